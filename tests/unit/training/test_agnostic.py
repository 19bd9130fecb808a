"""The refiner that fits any base: what it learns from, that all of it learns, that it starts from changing nothing."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from samref.cli.main import build_app
from samref.core.prompts import Box, Click, Scribble
from samref.errors import DataError, TrainingError
from samref.models.checkpoints import load_safetensors
from samref.models.layers import randomize
from samref.models.sam_ref.network import SamRef, SamRefConfig
from samref.models.sam_ref.weights import AGNOSTIC_REFINER
from samref.models.tiny.network import EncoderConfig, TinyConfig, TinyNet
from samref.training.agnostic import AGNOSTIC_RECIPES, AgnosticObjective, MaskShares, harm
from samref.training.annotator import BatchAnnotator
from samref.training.dataset import BatchShape, SceneBatch, SceneBatches, find_images
from samref.training.mask_examples import MaskExample, with_margin
from samref.training.mask_records import MaskRecord, load_records, record_grabcut, record_tiny, save_record
from samref.training.scenes import half_labels
from samref.training.trainer import Trainer

SMALL = TinyConfig(image_size=128, encoder=EncoderConfig(0.125), context=16, widths=(8, 8, 16), heads=2, blocks=1)
NARROW = SamRefConfig(
    width=8, global_blocks=1, local_blocks=1, residual_detail=True, inject_embedding=False, crop=64, minimum=32
)
CPU = torch.device("cpu")
SIDE = 128


@pytest.fixture(scope="module")
def scenes(shapes: Path) -> SceneBatch:
    return SceneBatches(find_images(shapes), (BatchShape(2, SIDE, whole=1.0, share=1.0),), 1, seed=3).batch(0)


def a_record(prompts: tuple[Click | Scribble, ...] = (Click(20.0, 30.0),)) -> MaskRecord:
    labels = np.zeros((SIDE, SIDE), dtype=np.uint8)
    cv2.circle(labels, (50, 60), 25, 1, -1)
    logits = np.full((1, SIDE // 4, SIDE // 4), -4, dtype=np.float16)
    logits[0, 10:20, 8:18] = 4
    return MaskRecord(np.full((SIDE, SIDE, 3), 90, dtype=np.uint8), labels, logits, (prompts,))


def learn(objective: AgnosticObjective, scenes: SceneBatch, seed: int = 0) -> dict[str, float]:
    rgb = torch.from_numpy(scenes.rgb).permute(0, 3, 1, 2)
    labels = torch.from_numpy(scenes.labels).flatten(0, 1)[:, None]
    rng = np.random.default_rng(seed)
    half, numeric = half_labels(labels)
    return objective.backward(rgb, labels, half, BatchAnnotator(numeric, 2.5, rng), rng, nullcontext, 1)


def test_gradients_reach_every_weight_of_both_refiners(scenes: SceneBatch) -> None:
    refiner = SamRef(NARROW)
    randomize(refiner, 0)
    values = learn(AgnosticObjective(refiner, {}, crop=64), scenes)
    assert values["loss"] > 0
    for name, parameter in refiner.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name


def test_before_training_no_pixel_changes_sides() -> None:
    torch.manual_seed(0)
    refiner = SamRef(AGNOSTIC_REFINER).eval()
    mask = torch.randn(1, 1, 16, 16) * 8
    image, maps = torch.randn(1, 3, 64, 64), torch.rand(1, 3, 64, 64)

    def check(logits: torch.Tensor) -> None:
        timid = mask.abs() <= AGNOSTIC_REFINER.surest
        assert torch.allclose(logits[timid], mask[timid], atol=1e-5, rtol=0)
        assert torch.equal(logits > 0, mask > 0)
        assert (logits.abs() <= mask.abs() + 1e-5).all()  # a sure base is believed a little less

    with torch.inference_mode():
        part = refiner.global_refiner
        refined = part(part.image_stem(image), maps, None, mask)
        check(refined.logits)
        local = refiner.local_refiner
        crop = torch.nn.functional.interpolate(image, (32, 32))
        refined = local(local.image_stem(crop), maps[..., :32, :32], None, mask)
        check(refined.logits)


def test_a_refiner_that_takes_an_embedding_is_no_refiner_for_any_base() -> None:
    with pytest.raises(AssertionError):
        AgnosticObjective(SamRef(replace(NARROW, inject_embedding=True)), {})


def test_the_share_of_a_kind_held_out_goes_to_the_other_wrong_ones(scenes: SceneBatch) -> None:
    shares = MaskShares(good=0.25, wrong=0.25, recorded=(("tiny", 0.3), ("grabcut", 0.2)))
    objective = AgnosticObjective(SamRef(NARROW), {"grabcut": [a_record()]}, shares, crop=64)
    assert objective.kinds == ["good", "wrong", "grabcut"]
    assert objective.weights.sum() == pytest.approx(1)
    assert objective.weights[0] == pytest.approx(0.25)
    assert objective.weights[1] / objective.weights[2] == pytest.approx(0.25 / 0.2)
    rng = np.random.default_rng(0)
    drawn = [objective.draw(scenes.rgb[0], scenes.labels[0, 0], rng).kind for _ in range(60)]
    assert set(drawn) == {"good", "wrong", "grabcut"}


def test_a_mirrored_or_turned_record_keeps_prompts_on_the_same_pixels() -> None:
    record = a_record((Click(20.0, 30.0), Scribble(((20.0, 30.0), (25.0, 31.0)), True, 3.0)))
    objective = AgnosticObjective(SamRef(NARROW), {"tiny": [record]}, MaskShares(0.0, 0.0), crop=64)
    seen = set()
    for seed in range(24):
        example = objective._drawn_example(record.rgb, record.labels, np.random.default_rng(seed))
        click, stroke = example.prompts
        assert isinstance(click, Click)
        assert isinstance(stroke, Scribble)
        column, row = int(2 * click.x), int(2 * click.y)
        assert example.labels[row, column] == 1  # the click was inside and is still
        assert example.logits[row // 4, column // 4] == record.logits[0][15, 10]
        assert stroke.points[0] == (click.x, click.y)
        seen.add((click.x, click.y))
    mirrored = SIDE / 2 - 1 - 20.0
    assert seen == {(20.0, 30.0), (mirrored, 30.0), (30.0, 20.0), (30.0, mirrored)}


def test_only_right_pixels_that_become_less_right_cost_extra() -> None:
    gt, valid = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    gt[..., 4:12, 4:12] = 1
    right = 6 * (2 * gt - 1)
    assert float(harm(right, right, gt, valid)) == 0
    assert float(harm(2 * right, right, gt, valid)) == 0
    spoilt = right.clone()
    spoilt[..., 5, 5] = -1
    assert float(harm(spoilt, right, gt, valid)) == pytest.approx(2 / 64)
    assert float(harm(right, spoilt, gt, valid)) == 0  # a corrected pixel costs nothing
    valid[..., 5, 5] = 0
    assert float(harm(spoilt, right, gt, valid)) == 0


def test_a_margin_is_padding_that_does_not_count_and_hides_little_of_the_object() -> None:
    record = a_record()
    example = MaskExample(record.rgb, record.labels, record.logits[0].astype(np.float32), record.prompts[0], "good")
    seen = 0
    for seed in range(20):
        changed = with_margin(example, np.random.default_rng(seed))
        padded = changed.labels == 255
        seen += bool(padded.any())
        assert (changed.rgb[padded] == 127).all()
        assert ((changed.labels == 1) == ((example.labels == 1) & ~padded)).all()
        assert (changed.labels == 1).sum() >= 0.9 * (example.labels == 1).sum()
        assert (changed.logits[padded[::4, ::4]] < 0).all()
    assert seen > 5


def test_records_come_back_from_disk_as_they_were(tmp_path: Path) -> None:
    record = a_record((Click(20.0, 30.5, False), Scribble(((1.0, 2.0), (3.0, 4.5)), True, 3.0)))
    save_record(record, tmp_path / "00000-0.npz")
    (back,) = load_records(tmp_path)
    assert np.array_equal(back.rgb, record.rgb)
    assert np.array_equal(back.labels, record.labels)
    assert np.array_equal(back.logits, record.logits)
    assert back.prompts == record.prompts


def test_a_damaged_record_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no recorded masks"):
        load_records(tmp_path)
    (tmp_path / "00000-0.npz").write_bytes(b"PK\x03\x04 not a table")
    with pytest.raises(DataError, match=r"00000-0\.npz"):
        load_records(tmp_path)


def test_a_record_whose_parts_do_not_fit_is_refused(tmp_path: Path) -> None:
    save_record(replace(a_record(), rgb=np.zeros((64, 64, 3), dtype=np.uint8)), tmp_path / "a.npz")
    with pytest.raises(DataError, match="do not fit"):
        load_records(tmp_path)


def test_bases_are_recorded_after_several_prompts_with_clicks_and_strokes_only(shapes: Path) -> None:
    shape = BatchShape(1, SIDE, whole=1.0, share=1.0)
    batch = SceneBatches(find_images(shapes), (shape,), 2, seed=4).batch(0)
    net = TinyNet(SMALL).eval()
    randomize(net, 0)
    for found in (record_tiny(net, batch, np.random.default_rng(0)), record_grabcut(batch, np.random.default_rng(0))):
        records = list(found)
        assert len(records) == 2
        for record in records:
            assert record.logits.shape == (4, SIDE // 4, SIDE // 4)
            assert len(record.prompts) == 4
            assert not any(isinstance(prompt, Box) for step in record.prompts for prompt in step)
            counts = [len(step) for step in record.prompts]
            assert counts == sorted(counts)  # prompts are never taken back


def test_training_that_was_stopped_ends_in_the_same_weights(shapes: Path, tmp_path: Path) -> None:
    recipe = AGNOSTIC_RECIPES["smoke-agnostic"]

    def trainer(out: Path) -> Trainer:
        torch.manual_seed(0)
        objective = AgnosticObjective(SamRef(NARROW), {"tiny": [a_record()]}, crop=64)
        return Trainer(objective, recipe, shapes, out, CPU, bf16=False)

    whole = trainer(tmp_path / "whole")
    whole.run()
    started = trainer(tmp_path / "halves")
    batches = started._batches()
    for _ in range(2):
        started._train_step(batches)
        started.step += 1
    started.save()
    resumed = trainer(tmp_path / "halves")
    assert resumed.step == 2
    resumed.run()
    for one, two in zip(whole.trained.parameters(), resumed.trained.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_command_line_trains_exports_and_names_a_wrong_recipe(shapes: Path, tmp_path: Path) -> None:
    save_record(a_record(), tmp_path / "records" / "00000-0.npz")
    app, run = build_app("refiner"), CliRunner()
    export = tmp_path / "refiner.safetensors"
    given = ["refiner", "train", "--data", str(shapes), "--out", str(tmp_path / "out")]
    told = [*given, "--recipe", "smoke-agnostic", "--steps", "1", "--device", "cpu", "--fp32", "--export", str(export)]
    result = run.invoke(app, [*told, "--tiny", str(tmp_path / "records")])
    assert result.exit_code == 0, result.output
    assert "masks: good, wrong, tiny" in result.output
    refiner = SamRef(AGNOSTIC_REFINER)
    refiner.load_state_dict(load_safetensors(export))
    assert export.stat().st_size < 1_000_000
    wrong = run.invoke(app, [*given, "--recipe", "no-such"])
    assert isinstance(wrong.exception, TrainingError)
