"""SAM-REF over an official SAM: what the zoo says about its refiner is true."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.core.prompts import Click, Prompts
from samref.errors import CheckpointInvalidError, CheckpointMissingError
from samref.inference.predictor import Predictor
from samref.models.checkpoints import place_of, verify
from samref.models.interface import ModelSpec
from samref.models.layers import randomize
from samref.models.registry import build_model, get_spec, list_models
from samref.models.sam import RANDOM
from samref.models.sam.model import MultimaskMode, build_sam
from samref.models.sam_ref import AGNOSTIC_WEIGHTS
from samref.models.sam_ref import model as sam_ref_checkpoint
from samref.models.sam_ref.model import (
    AGNOSTIC_REFINER,
    SMALL_REFINER,
    SamRefModel,
    about_refiner,
    load_agnostic_refiner,
    trained_parts,
)
from samref.models.sam_ref.network import SamRef, SamRefConfig
from samref.training.trainer import export_weights

OVER_SAM = [spec for spec in list_models() if spec.name.startswith("sam-ref-vit-")]


def test_there_is_one_over_every_official_sam() -> None:
    assert [spec.name for spec in OVER_SAM] == ["sam-ref-vit-b", "sam-ref-vit-l", "sam-ref-vit-h"]


def test_sam_below_the_refiner_always_answers_with_its_single_mask() -> None:
    """As it is trained: at a lone first click, too, mask token 0 and not the best of the other three."""
    model = build_model("sam-ref-random")
    assert isinstance(model, SamRefModel)
    rgb = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    image, click = DecodedImage(rgb, ImageSize(90, 120), "0"), Prompts((Click(60, 40),))
    lone = Predictor(model)
    coarse = next(iter(lone.predict(lone.embed(image), click)))
    modes: tuple[MultimaskMode, ...] = ("single", "first-click")
    alone = [Predictor(build_sam(RANDOM, mode)) for mode in modes]
    single, best = (next(iter(sam.predict(sam.embed(image), click))).state.low_res_logits for sam in alone)
    own = coarse.state.low_res_logits
    assert own is not None
    assert single is not None
    assert best is not None
    assert torch.equal(own, single)
    assert not torch.equal(single, best)


def test_a_file_of_ones_own_training_is_used_over_sam(tmp_path: Path) -> None:
    sam, refiner = build_sam(RANDOM, seed=3), SamRef(SMALL_REFINER)
    randomize(refiner, 4)
    path = tmp_path / "own.safetensors"
    export_weights(trained_parts(sam.network, refiner), path, about_refiner(refiner.config), torch.float32)
    model = build_model("sam-ref-random", checkpoint=path)
    assert isinstance(model, SamRefModel)
    assert model.refiner.config == SMALL_REFINER
    assert "your own training" in model.spec.note
    rgb = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    image = DecodedImage(rgb, ImageSize(90, 120), "0")
    answers = [
        list(predictor.predict(predictor.embed(image), Prompts((Click(60, 40),))))
        for predictor in (Predictor(model), Predictor(build_model("sam-ref-random")))
    ]
    assert [answer.stage for answer in answers[0]] == ["coarse", "refined"]
    logits = [answer[-1].state.final_logits for answer in answers]
    assert logits[0] is not None
    assert logits[1] is not None
    assert not torch.equal(logits[0], logits[1]), "weights of the file, not random ones"


def test_a_file_in_the_cache_folder_is_found_by_the_models_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMREF_CACHE", str(tmp_path))
    assert "your own training" not in get_spec("sam-ref-vit-b").note
    (tmp_path / "sam-ref-vit-b.safetensors").write_bytes(b"no weights")
    spec = get_spec("sam-ref-vit-b")
    assert "your own training" in spec.note
    assert [file.file_name for file in spec.checkpoints][1:] == ["sam-ref-vit-b.safetensors"]
    assert "your own training" not in get_spec("sam-ref-vit-l").note
    with pytest.raises(CheckpointInvalidError, match="not a readable safetensors file"):
        build_model("sam-ref-vit-b")


def test_a_file_that_does_not_say_what_it_holds_is_refused(tmp_path: Path) -> None:
    sam, refiner = build_sam(RANDOM), SamRef(SMALL_REFINER)
    path = tmp_path / "own.safetensors"
    parts = trained_parts(sam.network, refiner)
    wider = about_refiner(replace(SMALL_REFINER, width=16))
    told = about_refiner(SMALL_REFINER)["sam_ref"]
    odd = {"sam_ref": told.replace('"crop": 64', '"crop": "64"')}
    words_nobody_knows = ("selector", "above"), ("rule", "change"), ("feedback", "coarse")
    for about, words in (
        ({}, "does not say which SAM-REF refiner"),
        ({"sam_ref": "[1]"}, "does not say which SAM-REF refiner"),
        ({"sam_ref": '{"dilations": [1], "hidden": 1}'}, "does not say which SAM-REF refiner"),
        (odd, "unusable crop"),
        *(({"sam_ref": told.replace(f'"{word}"', '"x"')}, f"unusable {name}") for name, word in words_nobody_knows),
        (wider, "refiner.global_refiner"),
    ):
        export_weights(parts, path, about, torch.float32)
        with pytest.raises(CheckpointInvalidError, match=words):
            build_model("sam-ref-random", checkpoint=path)


@pytest.mark.parametrize("spec", OVER_SAM, ids=lambda spec: str(spec.name))
def test_the_refiner_comes_with_samref_and_the_note_says_what_it_was_trained_on(spec: ModelSpec) -> None:
    assert spec.stages == ("coarse", "refined")
    *sam, refiner = spec.checkpoints
    assert tuple(sam) == get_spec(spec.name.replace("sam-ref-", "sam-")).checkpoints
    assert refiner.comes_with_samref
    verify(place_of(refiner), refiner)
    assert "masks of other bases" in spec.note


def test_a_damaged_refiner_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refiner = OVER_SAM[0].checkpoints[-1]
    content = place_of(refiner).read_bytes()
    monkeypatch.setenv("SAMREF_WEIGHTS", str(tmp_path))
    with pytest.raises(CheckpointMissingError):
        load_agnostic_refiner(AGNOSTIC_WEIGHTS)
    (tmp_path / refiner.file_name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointInvalidError, match="SHA-256"):
        load_agnostic_refiner(AGNOSTIC_WEIGHTS)


def test_without_sams_weights_it_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMREF_CACHE", str(tmp_path))
    with pytest.raises(CheckpointMissingError, match="sam-vit-b"):
        build_model("sam-ref-vit-b")


def test_with_sams_weights_the_refiner_for_any_base_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    small = build_sam(RANDOM, seed=7)
    monkeypatch.setattr(sam_ref_checkpoint, "build_sam", lambda *_, **__: small)  # in place of 375 MB
    model = build_model("sam-ref-vit-b")
    assert isinstance(model, SamRefModel)
    assert model.spec == get_spec("sam-ref-vit-b")
    shipped = load_agnostic_refiner(AGNOSTIC_WEIGHTS).state_dict()
    assert all(torch.equal(value, shipped[key]) for key, value in model.refiner.state_dict().items())
    predictor = Predictor(model)
    rgb = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    embedding = predictor.embed(DecodedImage(rgb, ImageSize(90, 120), "0"))
    state = None
    for clicks in ((Click(60, 40),), (Click(60, 40), Click(20, 20, positive=False))):
        stages = list(predictor.predict(embedding, Prompts(clicks), state))
        assert [answer.stage for answer in stages] == ["coarse", "refined"]
        state = stages[-1].state
        assert state.final_logits is not None


@pytest.mark.parametrize(
    "config",
    [
        AGNOSTIC_REFINER,
        replace(AGNOSTIC_REFINER, selector="below", feedback="final", use_local=False),
        SamRefConfig(width=64, global_blocks=8),
    ],
)
def test_a_config_builds_the_same_network_again_from_its_own_values(config: SamRefConfig) -> None:
    again = SamRefConfig(**asdict(config))
    assert again == config
    torch.manual_seed(0)
    one, two = SamRef(config), SamRef(again)
    two.load_state_dict(one.state_dict())
    assert [p.shape for p in one.parameters()] == [p.shape for p in two.parameters()]
