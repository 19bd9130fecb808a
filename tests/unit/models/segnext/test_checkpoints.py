"""SegNext's released files: what is loaded, and what is refused in which words."""

from __future__ import annotations

from collections import UserDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from samref import serve
from samref.cli import models as models_command
from samref.core.geometry import ImageSize
from samref.core.prompts import Click, Prompts
from samref.errors import CheckpointInvalidError, CheckpointMissingError
from samref.models.interface import DecoderState, ImageInput, PromptBatch
from samref.models.registry import build_model, get_spec, list_models
from samref.models.segnext import SPECS
from samref.models.segnext import model as segnext
from samref.models.segnext.model import build_segnext
from samref.models.segnext.network import SEGNEXT_CONFIGS, random_weights

SMALL = SEGNEXT_CONFIGS["segnext-random"]
CONFIGS = {f"segnext-b-sax{depth}": replace(SMALL, fusion_blocks=depth) for depth in (1, 2)}
CONFIG = {
    "class": "isegm.model.is_plainvit_model.PlainVitModel",
    "params": {"backbone_params": {"type": "builtin", "value": {"img_size": (1024, 1024)}, "specified": True}},
}
"""Of the form that released files have."""


@pytest.fixture(autouse=True)
def small_variants(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The released variants at the size of the random one: loading is the same, and takes no minute."""
    monkeypatch.setattr(segnext, "SEGNEXT_CONFIGS", {**SEGNEXT_CONFIGS, **CONFIGS})
    monkeypatch.setenv("SAMREF_CACHE", str(tmp_path / "cache"))


def weights(name: str = "segnext-b-sax1") -> dict[str, Tensor]:
    return random_weights(CONFIGS[name], 3)


def write(path: Path, state_dict: dict[str, Any], config: Any = CONFIG) -> Path:
    torch.save({"state_dict": state_dict, "config": config}, path)
    return path


def test_a_file_of_the_released_form_gives_the_model(tmp_path: Path) -> None:
    model = build_segnext(SPECS["segnext-b-sax1"], checkpoint=write(tmp_path / "own.pth", weights()))
    assert all(torch.equal(value, weights()[key]) for key, value in model.network.state_dict().items())
    size = ImageSize(20, 30)
    frame = model.frame(size)
    features = model.encode(ImageInput(torch.zeros(20, 30, 3, dtype=torch.uint8), frame))
    (output,) = model.decode(features, PromptBatch(Prompts((Click(60, 60),)), frame), DecoderState())
    assert output.logits.isfinite().all()


def test_a_file_in_the_cache_is_found_by_its_official_name(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (checkpoint,) = SPECS["segnext-b-sax2"].checkpoints
    write(tmp_path / "cache" / checkpoint.file_name, weights("segnext-b-sax2"))
    assert len(build_segnext(SPECS["segnext-b-sax2"]).network.fusion_blocks) == 2


@pytest.mark.parametrize("name", ["segnext-b-sax1", "segnext-b-sax2"])
def test_a_missing_file_is_named_with_its_source_and_its_place(name: str, tmp_path: Path) -> None:
    (checkpoint,) = get_spec(name).checkpoints
    with pytest.raises(CheckpointMissingError) as refusal:
        build_model(name)
    message = str(refusal.value)
    for part in (checkpoint.file_name, "https://github.com/uncbiag/SegNext", str(tmp_path / "cache"), "--checkpoint"):
        assert part in message
    assert "models fetch" not in message, "there is nothing to fetch it from"


@pytest.mark.parametrize(
    ("given", "wanted", "complaint"),
    [
        ("segnext-b-sax1", "segnext-b-sax2", r"missing: fusion_blocks\.1\."),
        ("segnext-b-sax2", "segnext-b-sax1", r"not part of the model: fusion_blocks\.1\."),
    ],
)
def test_the_other_variant_is_refused_by_its_keys(given: str, wanted: str, complaint: str, tmp_path: Path) -> None:
    path = write(tmp_path / "other.pth", weights(given))
    with pytest.raises(CheckpointInvalidError, match=complaint):
        build_segnext(SPECS[wanted], checkpoint=path)


def test_missing_extra_and_misshaped_keys_are_named(tmp_path: Path) -> None:
    wrong = weights()
    del wrong["neck.down_16.0.bias"]
    wrong["text_encoder.proj"] = torch.zeros(1)
    wrong["head.seg_conv.weight"] = torch.zeros(2, 16, 1, 1)
    with pytest.raises(CheckpointInvalidError) as refusal:
        build_segnext(SPECS["segnext-b-sax1"], checkpoint=write(tmp_path / "wrong.pth", wrong))
    message = str(refusal.value)
    assert "missing: neck.down_16.0.bias" in message
    assert "not part of the model: text_encoder.proj" in message
    assert "head.seg_conv.weight is (2, 16, 1, 1) instead of (1, 16, 1, 1)" in message


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "own.pth", weights())
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointInvalidError, match=r"own\.pth"):
        build_segnext(SPECS["segnext-b-sax1"], checkpoint=path)


class Trap:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("config", ["an easy dictionary", "a trap"])
def test_a_config_of_python_objects_is_refused_with_the_way_to_convert_it(config: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = UserDict(CONFIG) if config == "an easy dictionary" else Trap(trace)
    path = write(tmp_path / "own.pth", weights(), content)
    with pytest.raises(CheckpointInvalidError) as refusal:
        build_segnext(SPECS["segnext-b-sax1"], checkpoint=path)
    assert not trace.exists()
    assert "weights alone" in str(refusal.value)
    assert "torch.save(torch.load('OLD.pth', weights_only=False)['state_dict'], 'NEW.pth')" in str(refusal.value)


def test_a_converted_file_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "new.pth"
    torch.save(weights(), path)
    assert build_segnext(SPECS["segnext-b-sax1"], checkpoint=path).spec.name == "segnext-b-sax1"


def test_the_command_line_says_where_a_person_gets_the_file() -> None:
    listed = CliRunner().invoke(models_command.app, ["list"]).output
    (line,) = (line for line in listed.splitlines() if line.startswith("segnext-b-sax1"))
    assert "to download by hand" in line
    result = CliRunner().invoke(models_command.app, ["fetch", "segnext-b-sax1"])
    assert isinstance(result.exception, CheckpointMissingError)
    assert "Download vitb_sa1_cocolvis_epoch_90.pth from https://github.com/uncbiag/SegNext" in str(result.exception)


def test_the_model_picker_says_it_too_and_does_not_offer_the_model() -> None:
    entry = serve._entry(get_spec("segnext-b-sax1"))
    assert not entry.ready
    assert "https://github.com/uncbiag/SegNext" in entry.note


def test_the_zoo_lists_them_and_marks_the_random_one() -> None:
    names = [spec.name for spec in list_models()]
    assert {"segnext-b-sax1", "segnext-b-sax2", "segnext-random"} <= set(names)
    random = get_spec("segnext-random")
    assert random.checkpoints == ()
    assert "tests only" in random.note
    model = build_model("segnext-random")
    embedding = model.encode(ImageInput(torch.from_numpy(np.zeros((8, 9, 3), np.uint8)), model.frame(ImageSize(8, 9))))
    assert embedding.image_embedding.shape == (1, 32, 8, 8)
