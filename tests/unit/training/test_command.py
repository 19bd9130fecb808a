"""``samref train`` and ``samref precompute`` as a person types them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner, Result

from samref.cli.main import build_app
from samref.errors import CheckpointInvalidError, DataError, TrainingError
from samref.models.checkpoints import load_into, load_safetensors, load_torch
from samref.models.registry import build_model
from samref.models.sam_ref.model import SamRefModel, trained_parts
from samref.models.segnext.network import SEGNEXT_CONFIGS, SegNextNet


def samref(*arguments: object) -> Result:
    given = [str(argument) for argument in arguments]
    return CliRunner().invoke(build_app(given[0]), given)


def test_both_stages_of_sam_ref_over_stored_embeddings(shapes: Path, tmp_path: Path) -> None:
    store, decoder, refiner = tmp_path / "store", tmp_path / "decoder.safetensors", tmp_path / "refiner.safetensors"
    small = ("--model", "sam-random", "--device", "cpu", "--data", shapes)
    made = samref("precompute", *small, "--out", store)
    assert made.exit_code == 0, made.output
    assert "6 made, 0 were there" in made.output
    common = (*small, "--embeddings", store, "--workers", 0, "--batch", 1)
    first = samref("train", "sam-ref-decoder", *common, "--out", tmp_path / "1", "--steps", 1, "--export", decoder)
    assert first.exit_code == 0, first.output
    assert "6 images of coco_shapes, lvis_shapes" in first.output
    weights = load_safetensors(decoder)
    assert "output_upscaling.0.weight" in weights
    assert {value.dtype for value in weights.values()} == {torch.float32}
    second = samref(
        *("train", "sam-ref-32", *common, "--base", decoder),
        *("--out", tmp_path / "2", "--steps", 1, "--accumulate", 2, "--export", refiner),
    )
    assert second.exit_code == 0, second.output
    with safe_open(refiner, framework="pt") as file:
        assert file.metadata()["recipe"] == "sam-ref-32"
        assert file.metadata()["step"] == "1"
    on = samref(
        "train", "sam-ref-32", *common, "--base", decoder, "--start", refiner, "--out", tmp_path / "4", "--steps", 1
    )
    assert on.exit_code == 0, on.output
    model = build_model("sam-ref-random", checkpoint=refiner)
    assert isinstance(model, SamRefModel)
    assert model.spec.stages == ("coarse", "refined")
    loaded = trained_parts(model.base.network, model.refiner).state_dict()  # type: ignore[attr-defined]
    exported = load_safetensors(refiner)
    assert all(torch.equal(loaded[key], exported[key]) for key in exported)
    assert len(loaded) == len(exported)
    for key, value in weights.items():
        assert torch.equal(exported[f"mask_decoder.{key}"], value), "stage 2 leaves the decoder as stage 1 made it"
    other = samref("train", "sam-ref-32", *common, "--base", refiner, "--out", tmp_path / "3")
    assert isinstance(other.exception, CheckpointInvalidError)
    assert "mask decoder of sam-random" in str(other.exception)


def test_focsam_and_segnext_go_out_under_their_official_names(shapes: Path, tmp_path: Path) -> None:
    common = ("--data", shapes, "--device", "cpu", "--workers", 0, "--batch", 1, "--steps", 1)
    focus, net = tmp_path / "focus.safetensors", tmp_path / "net.pth"
    small = (*common, "--model", "sam-random")
    ran = samref("train", "focsam-refiner", *small, "--out", tmp_path / "1", "--export", focus)
    assert ran.exit_code == 0, ran.output
    assert {key.split(".")[0] for key in load_safetensors(focus)} == {"refine_head", "decode_head"}
    again = samref("train", "focsam-refiner", *small, "--out", tmp_path / "2", "--start", focus)
    assert again.exit_code == 0, again.output
    ran = samref(
        "train", "segnext-sax1", *common, "--model", "segnext-random", "--out", tmp_path / "3", "--export", net
    )
    assert ran.exit_code == 0, ran.output
    load_into(SegNextNet(SEGNEXT_CONFIGS["segnext-random"]), load_torch(net), "segnext")


def test_what_does_not_go_together_is_refused(shapes: Path, tmp_path: Path) -> None:
    common = ("--data", shapes, "--out", tmp_path / "out", "--device", "cpu")
    for given, error, words in (
        (("nope",), TrainingError, "focsam-refiner"),
        (("tiny-base", "--model", "sam-vit-b"), TrainingError, "trains the embedded model"),
        (("tiny-refiner",), TrainingError, "--base FILE"),
        (("segnext-sax1", "--model", "segnext-random", "--embeddings", tmp_path), TrainingError, "trains its encoder"),
        (("sam-ref-64", "--model", "sam-random", "--embeddings", tmp_path), DataError, "samref precompute --model"),
        (("sam-ref-64", "--model", "sam-random", "--layout", "pascal"), DataError, "There is no layout 'pascal'"),
        (("sam-ref-64", "--model", "sam-random", "--export", "x.pth"), TrainingError, "exported as .safetensors"),
    ):
        result = samref("train", *given, *common)
        assert isinstance(result.exception, error), (given, result.exception)
        assert words in str(result.exception)


def test_an_unwritable_folder_is_named(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "out"
    result = samref("train", "smoke-base", "--data", shapes, "--out", out, "--device", "cpu", "--steps", 1)
    assert result.exception is not None
    assert f"The folder {out} cannot be made" in str(result.exception)


@pytest.mark.slow
def test_several_processes_train_from_the_command_line(shapes: Path, tmp_path: Path) -> None:
    """accelerate's own launcher, two processes on the CPU: one log, one state."""
    pytest.importorskip("accelerate", reason="several processes need accelerate")
    import os
    import subprocess
    import sys

    program = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    program += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m", "samref"]
    program += ["train", "segnext-sax1", "--model", "segnext-random", "--data", str(shapes), "--out", str(tmp_path)]
    program += ["--steps", "20", "--max-minutes", "0.2", "--device", "cpu", "--batch", "1", "--workers", "0"]
    ran = subprocess.run(
        program, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=280, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.count("6 images of") == 1
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] >= 1
