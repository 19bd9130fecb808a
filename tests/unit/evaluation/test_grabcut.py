from __future__ import annotations

import hashlib

import numpy as np
import pytest

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.core.masks import Mask, mask_iou
from samref.core.prompts import Box, Click, Polygon, Prompt, Prompts, Scribble
from samref.errors import PromptError
from samref.evaluation.grabcut import GrabCutPrediction, GrabCutPredictor, GrabCutState


def scene() -> tuple[DecodedImage, Mask]:
    """A red disk and a red bar on a noisy blue ground; the disk is the object."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((80, 110))
    disk: Mask = (rows - 40) ** 2 + (columns - 35) ** 2 <= 20**2
    rgb = rng.integers(0, 40, (80, 110, 3), dtype=np.uint8) + np.array([20, 40, 150], dtype=np.uint8)
    red = disk.copy()
    red[20:60, 85:100] = True
    rgb[red] = rng.integers(0, 40, (int(red.sum()), 3), dtype=np.uint8) + np.array([190, 20, 20], dtype=np.uint8)
    return DecodedImage(rgb, ImageSize(80, 110), hashlib.sha256(rgb.tobytes()).hexdigest()), disk


def cut(*prompts: Prompt, state: GrabCutState | None = None, image: DecodedImage | None = None) -> GrabCutPrediction:
    predictor = GrabCutPredictor()
    (answer,) = predictor.predict(predictor.embed(image or scene()[0]), Prompts(prompts), state)
    return answer


@pytest.mark.parametrize(
    "prompt",
    [
        Click(35, 40),
        Box(12, 17, 58, 63),
        Scribble(((25, 40), (45, 40))),
        Polygon(((13, 20), (57, 20), (57, 62), (13, 62))),
    ],
)
def test_each_kind_of_prompt_finds_the_disk(prompt: Prompt) -> None:
    found = cut(prompt).mask.to_mask()
    _, disk = scene()
    assert mask_iou(found, disk, found & ~disk) > 0.9  # colours alone cannot tell the bar from the disk


def test_a_negative_click_takes_the_look_alike_away_and_the_state_carries_the_rest() -> None:
    _, disk = scene()
    first = cut(Click(35, 40))
    second = cut(Click(35, 40), Scribble(((92, 22), (92, 58)), False), state=first.state)
    mask = second.mask.to_mask()
    assert not mask[22:58, 91:94].any()
    assert mask[disk].mean() > 0.9


def test_outside_a_box_nothing_is_object() -> None:
    mask = cut(Box(12, 17, 58, 63)).mask.to_mask()
    mask[17:63, 12:58] = False
    assert not mask.any()


def test_clicked_pixels_are_always_as_the_person_said() -> None:
    clicks = (Click(35, 40), Click(5, 5), Click(36, 40, False), Click(0, 79), Click(109, 0, False))
    mask = cut(*clicks).mask.to_mask()
    assert [bool(mask[int(c.y), int(c.x)]) for c in clicks[1:]] == [c.positive for c in clicks[1:]]


def test_the_same_prompts_give_the_same_mask_whatever_was_cut_before() -> None:
    first = cut(Click(35, 40))
    cut(Click(90, 40))
    assert cut(Click(35, 40)).mask == first.mask


def test_neither_image_nor_state_is_changed() -> None:
    image, _ = scene()
    before = image.rgb.copy()
    first = cut(Click(35, 40), image=image)
    labels = first.state.labels.copy()
    cut(Click(35, 40), Click(90, 40, False), state=first.state, image=image)
    assert np.array_equal(first.state.labels, labels)
    assert np.array_equal(image.rgb, before)


def test_a_image_of_one_pixel_and_a_flat_one_are_no_catastrophe() -> None:
    tiny = DecodedImage(np.zeros((1, 1, 3), dtype=np.uint8), ImageSize(1, 1), "")
    assert cut(Click(0, 0), image=tiny).mask.area == 1
    flat = DecodedImage(np.full((30, 30, 3), 90, dtype=np.uint8), ImageSize(30, 30), "")
    assert cut(Click(15, 15), Click(2, 2, False), image=flat).mask.to_mask()[15, 15]


def test_a_prompt_outside_the_image_is_refused() -> None:
    with pytest.raises(PromptError, match="outside"):
        cut(Click(500, 3))
