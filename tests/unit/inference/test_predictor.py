"""A predictor speaks the image frame, computes a stage only when asked, and remembers nothing."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import samref
from samref.core.images import decode_image, encode_png
from samref.core.masks import Rle
from samref.core.prompts import Box, Click, Polygon, Prompts, Scribble
from samref.errors import ImageError, ModelError, PromptError
from samref.inference.predictor import Prediction, Predictor
from samref.models.interface import DecoderState, ImageFeatures, MaskOutput, PromptBatch
from samref.models.registry import build_model
from samref.models.sam_ref.model import SamRefModel
from tests.unit.inference.exact_model import ExactModel, Watch, make_image, make_predictor

CLICK = Prompts((Click(5, 6),))


def masks(predictions: Iterator[Prediction]) -> list[Rle]:
    return [prediction.mask for prediction in predictions]


def test_an_embedding_says_whose_it_is_and_what_it_costs() -> None:
    image = make_image()
    embedding = make_predictor().embed(image)
    assert (embedding.image_digest, embedding.model_name) == (image.digest, "exact")
    assert embedding.size_bytes == 3 * 4 + image.rgb.nbytes
    assert embedding.encode_s > 0


def test_the_coarse_mask_is_given_before_the_refined_stage_is_computed() -> None:
    watch = Watch()
    predictor = make_predictor(watch=watch)
    predictions = predictor.predict(predictor.embed(make_image()), CLICK, None)
    coarse = next(predictions)
    assert (coarse.stage, coarse.score, watch.stages) == ("coarse", 0.25, ["encode", "coarse"])
    refined = next(predictions)
    assert (refined.stage, refined.score, watch.stages) == ("refined", 0.75, ["encode", "coarse", "refined"])
    assert next(predictions, None) is None
    assert refined.seconds > coarse.seconds > 0


def test_masks_have_the_size_of_the_image_and_the_patch_is_in_the_refined_one() -> None:
    predictor = make_predictor()
    embedding = predictor.embed(make_image(height=120, width=160))
    coarse, refined = predictor.predict(embedding, CLICK, None)
    for prediction in (coarse, refined):
        assert prediction.mask.to_mask().shape == (120, 160)
    assert coarse.mask != refined.mask


def test_the_error_map_is_rendered_only_when_asked_for() -> None:
    predictor = make_predictor()
    embedding = predictor.embed(make_image())
    assert [p.error_mask for p in predictor.predict(embedding, CLICK)] == [None, None]
    coarse, refined = predictor.predict(embedding, CLICK, error_map=True)
    assert coarse.error_mask is None
    assert refined.error_mask is not None
    assert refined.error_mask.to_mask().shape == (24, 32)


def test_the_memory_of_one_answer_changes_the_next() -> None:
    predictor = make_predictor()
    embedding = predictor.embed(make_image())
    *_, first = predictor.predict(embedding, CLICK, None)
    more = CLICK.add(Click(9, 9, False))
    assert first.state.step == 1
    assert masks(predictor.predict(embedding, more, first.state)) != masks(predictor.predict(embedding, more, None))


def test_prompts_reach_the_model_in_its_own_frame() -> None:
    seen: list[PromptBatch] = []

    class Listening(ExactModel):
        def decode(self, features: ImageFeatures, prompts: PromptBatch, state: DecoderState) -> Iterator[MaskOutput]:
            seen.append(prompts)
            return super().decode(features, prompts, state)

    predictor = Predictor(Listening())
    half = np.zeros((24, 32), dtype=np.bool_)
    half[:, :16] = True
    prompts = Prompts(
        (Click(10, 20), Box(2, 4, 32, 24), Scribble(((0, 0), (8, 6)), width=4), Polygon(((0, 0), (8, 0), (8, 8)))),
        Rle.from_mask(half),
    )
    list(predictor.predict(predictor.embed(make_image(height=24, width=32)), prompts))
    assert seen[0].prompts.items == (
        Click(5, 10),
        Box(1, 2, 16, 12),
        Scribble(((0, 0), (4, 3)), width=2),
        Polygon(((0, 0), (4, 0), (4, 4))),
    )
    mask = seen[0].mask
    assert mask is not None
    assert mask.shape == (1, 1, 4, 4)
    assert mask.dtype == torch.float32
    assert (mask[..., :3, :2] > 0).all()
    assert (mask[..., :3, 2:] < 0).all()
    assert (mask[..., 3, :] < 0).all()  # padding


@pytest.mark.parametrize(
    "prompts",
    [
        Prompts(),
        Prompts((Click(32, 0),)),
        Prompts((Click(float("nan"), 0),)),
        Prompts((Box(3, 3, 3, 9),)),
        Prompts((Click(1, 1),) * 1001),
        Prompts(mask=Rle.empty(5, 5)),
    ],
)
def test_prompts_that_do_not_fit_are_refused_at_the_call(prompts: Prompts) -> None:
    watch = Watch()
    predictor = make_predictor(watch=watch)
    embedding = predictor.embed(make_image())
    with pytest.raises(PromptError):
        predictor.predict(embedding, prompts)
    assert watch.stages == ["encode"]


def test_a_kind_of_prompt_that_the_model_does_not_take_is_refused_with_those_it_takes() -> None:
    predictor = make_predictor(prompts=frozenset(("click", "box")))
    embedding = predictor.embed(make_image())
    with pytest.raises(PromptError, match="does not take scribbles and masks"):
        predictor.predict(embedding, Prompts((Scribble(((1, 1),)),), Rle.empty(24, 32)))


def test_inference_mode_does_not_leak_to_the_consumer_between_two_stages() -> None:
    predictor = make_predictor()
    predictions = predictor.predict(predictor.embed(make_image()), CLICK)
    next(predictions)
    assert not torch.is_inference_mode_enabled()
    list(predictions)
    assert not torch.is_inference_mode_enabled()


def test_two_threads_get_what_each_would_get_alone() -> None:
    predictor = make_predictor()
    images = [predictor.embed(make_image(seed)) for seed in (1, 2)]
    alone = [masks(predictor.predict(image, CLICK)) for image in images]
    together: list[list[Rle]] = [[], []]

    def work(index: int) -> None:
        for _ in range(20):
            together[index] += masks(predictor.predict(images[index], CLICK))

    threads = [threading.Thread(target=work, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [alone[0] * 20, alone[1] * 20]


def test_an_embedding_of_another_model_is_a_bug_and_said_so() -> None:
    embedding = make_predictor("other").embed(make_image())
    with pytest.raises(ValueError, match="other"):
        make_predictor().predict(embedding, CLICK)


def test_segment_takes_a_image_in_any_form_and_gives_the_final_mask(tmp_path: Path) -> None:
    image = make_image()
    data = encode_png(image.rgb)
    path = tmp_path / "cat.png"
    path.write_bytes(data)
    predictor = make_predictor()
    results = [
        predictor.segment(source, clicks=[(5, 6)])
        for source in (path, str(path), data, image, image.rgb, Image.fromarray(image.rgb), decode_image(data))
    ]
    assert {result.stage for result in results} == {"refined"}
    assert len({result.mask for result in results}) == 1


def test_segment_takes_plain_tuples_and_typed_prompts() -> None:
    predictor, image = make_predictor(), make_image()
    half = np.zeros((24, 32), dtype=np.bool_)
    plain = predictor.segment(
        image,
        [(5, 6), (7, 8, False)],
        (1, 2, 30, 20),
        scribbles=[[(1, 1), (2, 2)]],
        polygons=[[(0, 0), (9, 0), (9, 9)]],
    )
    typed = predictor.segment(
        image,
        [Click(5, 6), Click(7, 8, False)],
        Box(1, 2, 30, 20),
        scribbles=[Scribble(((1, 1), (2, 2)))],
        polygons=[Polygon(((0, 0), (9, 0), (9, 9)))],
    )
    assert plain.mask == typed.mask
    assert predictor.segment(image, mask=half).mask == predictor.segment(image, mask=Rle.from_mask(half)).mask


def test_segment_refuses_before_it_encodes(tmp_path: Path) -> None:
    watch = Watch()
    predictor = make_predictor(watch=watch)
    with pytest.raises(PromptError, match="at least one"):
        predictor.segment(make_image())
    with pytest.raises(PromptError, match="outside"):
        predictor.segment(make_image(), [(99, 0)])
    with pytest.raises(ImageError, match="no file"):
        predictor.segment(tmp_path / "none.png", [(0, 0)])
    with pytest.raises(ImageError, match="uint8"):
        predictor.segment(np.zeros((4, 4, 3)), [(0, 0)])
    with pytest.raises(ImageError, match=r"\(4, 4, 7\)"):
        predictor.segment(np.zeros((4, 4, 7), dtype=np.uint8), [(0, 0)])
    assert watch.stages == []


def test_a_pillow_image_is_turned_upright_like_its_file() -> None:
    sideways = Image.fromarray(make_image(height=20, width=30).rgb)
    exif = sideways.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    sideways.save(buffer, format="PNG", exif=exif)
    predictor = make_predictor()
    from_image = predictor.segment(Image.open(io.BytesIO(buffer.getvalue())), [(3, 28)])
    from_file = predictor.segment(buffer.getvalue(), [(3, 28)])
    assert from_image.mask == from_file.mask
    assert (from_image.mask.height, from_image.mask.width) == (30, 20)


def test_images_that_must_not_be_written_to_are_only_read() -> None:
    image = make_image()
    rgb = image.rgb.copy()
    rgb.flags.writeable = False
    prediction = make_predictor().segment(replace(image, rgb=rgb), [(5, 6)])
    assert prediction.mask == make_predictor().segment(image, [(5, 6)]).mask


def test_two_objects_interleaved_on_the_embedded_architecture_equal_each_alone() -> None:
    predictor = samref.load_predictor("tiny-random", device="cpu", precision="fp32")
    embeddings = [predictor.embed(make_image(seed, 60, 90)) for seed in (1, 2)]
    clicks = [[Click(10, 20), Click(70, 40, False), Click(30, 30)], [Click(80, 5), Click(40, 50), Click(8, 8, False)]]

    def rounds(which: list[int]) -> list[list[Rle]]:
        prompts, states = [Prompts(), Prompts()], [DecoderState(), DecoderState()]
        answers: list[list[Rle]] = [[], []]
        for index in which:
            prompts[index] = prompts[index].add(clicks[index][len(prompts[index].items)])
            *_, final = predictor.predict(embeddings[index], prompts[index], states[index])
            states[index] = final.state
            answers[index].append(final.mask)
        return answers

    assert rounds([0, 1, 1, 0, 1, 0]) == rounds([0, 0, 0, 1, 1, 1])


def test_an_answer_that_is_no_number_is_an_error_and_not_an_empty_mask() -> None:
    model = build_model("tiny-random")
    assert isinstance(model, SamRefModel)
    with torch.no_grad():
        next(model.refiner.local_refiner.parameters()).fill_(float("nan"))
    predictor = Predictor(model)
    stages = predictor.predict(predictor.embed(make_image(height=60, width=80)), Prompts((Click(20, 20),)))
    assert next(stages).stage == "coarse"
    with pytest.raises(ModelError, match="not a number"):
        next(stages)
