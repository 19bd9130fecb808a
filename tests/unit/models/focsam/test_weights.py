"""FocSAM's files by their own key names, in a tiny size: whole, in parts, of another variant, damaged, absent."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from samref.core.geometry import ImageSize
from samref.core.prompts import Click, Prompts
from samref.errors import CheckpointInvalidError, CheckpointMissingError
from samref.models.checkpoints import cache_folder
from samref.models.focsam import model as focsam_weights
from samref.models.focsam.model import OFFICIAL_INPUT, FocsamConfig, FocsamModel, about_focus, official_parts
from samref.models.focsam.network import FocusRefiner, RefinerConfig
from samref.models.interface import Checkpoint, DecoderState, ImageInput, ModelSpec, PromptBatch
from samref.models.registry import build_model, get_spec
from samref.models.sam import model as sam
from samref.models.sam.network import SAM_CONFIGS

Weights = dict[str, Tensor]
REFINER = "refine_head."


@pytest.fixture(scope="module")
def original() -> FocsamModel:
    built = build_model("focsam-random")
    assert isinstance(built, FocsamModel)
    return built


@pytest.fixture
def whole(original: FocsamModel) -> Weights:
    assert original.refiner is not None
    return dict(official_parts(original.base.network, original.refiner).state_dict())


@pytest.fixture(autouse=True)
def tiny_sizes(original: FocsamModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``focsam-vit-b`` and ``sam-vit-b`` in the sizes of the random models; the cache folder is empty."""
    assert original.refiner is not None
    config = original.refiner.config
    configs = {f"sam-vit-{letter}": replace(original.base.config, depth=2 + i) for i, letter in enumerate("blh")}

    def small_refiner(given: RefinerConfig) -> FocusRefiner:
        return FocusRefiner(replace(config, dynamic_windows=given.dynamic_windows, dynamic_relu=given.dynamic_relu))

    def small_sam(spec: ModelSpec) -> sam.SamModel:
        return sam.build_sam(replace(spec, checkpoints=(Checkpoint(f"{spec.name}.pth", "https://x"),)))

    for module in (sam, focsam_weights):
        monkeypatch.setattr(module, "SAM_CONFIGS", {**SAM_CONFIGS, **configs})
    monkeypatch.setattr(focsam_weights, "build_sam", small_sam)
    monkeypatch.setattr(focsam_weights, "FocusRefiner", small_refiner)
    monkeypatch.setenv("SAMREF_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path


def build(name: str, checkpoint: Path | None = None) -> FocsamModel:
    model = build_model(name, checkpoint=checkpoint)
    assert isinstance(model, FocsamModel)
    return model


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def save_sam(original: FocsamModel, weights: Weights | None = None) -> None:
    torch.save(dict(weights or original.base.network.state_dict()), cache_folder() / "sam-vit-b.pth")


def last_logits(model: FocsamModel) -> Tensor:
    """Of two clicks on an image, given the embedding that ``input_rule`` "sam" makes of it."""
    size = ImageSize(96, 128)
    rgb = np.random.default_rng(5).integers(0, 256, (size.height, size.width, 3), dtype=np.uint8)
    plain = FocsamModel(model.base, model.refiner, model.spec)
    features = plain.encode(ImageInput(torch.from_numpy(rgb), plain.frame(size)))
    prompts = Prompts((Click(20, 20), Click(60, 60))).mapped(features.frame.to_model, 1.0)
    *_, last = model.decode(features, PromptBatch(prompts, features.frame), DecoderState())
    return last.logits


class TestWholeFiles:
    def test_a_whole_file_is_the_whole_model(self, original: FocsamModel, whole: Weights, tmp_path: Path) -> None:
        path = saved(tmp_path / "iter_160000.pth", {"meta": {"iter": 160000}, "state_dict": whole})
        model = build("focsam-vit-b", checkpoint=path)
        torch.testing.assert_close(last_logits(model), last_logits(original))
        assert model.spec.stages == ("coarse", "refined")
        assert model.spec.note == ""

    def test_it_prepares_images_as_the_authors_evaluation_does(self, whole: Weights, tmp_path: Path) -> None:
        path = saved(tmp_path / "whole.pth", {"state_dict": whole})
        assert build("focsam-vit-b", checkpoint=path).config == OFFICIAL_INPUT
        assert (OFFICIAL_INPUT.input_rule, OFFICIAL_INPUT.channel_order) == ("focsam", "bgr")

    def test_in_the_cache_folder_it_is_found_by_its_name(self, original: FocsamModel, whole: Weights) -> None:
        saved(cache_folder() / "focsam_vit_b.pth", {"state_dict": whole})
        spec = get_spec("focsam-vit-b")
        assert spec.stages == ("coarse", "refined")
        assert [checkpoint.file_name for checkpoint in spec.checkpoints] == ["focsam_vit_b.pth"]
        torch.testing.assert_close(last_logits(build("focsam-vit-b")), last_logits(original))

    def test_the_training_log_beside_the_weights_is_left_alone(
        self, original: FocsamModel, whole: Weights, tmp_path: Path, mmengine: Callable[[], None]
    ) -> None:
        history = sys.modules["mmengine.logging.history_buffer"].HistoryBuffer()
        log = {"log_scalars": {"train/loss": history}, "runtime_info": {"iter": 160000}, "resumed_keys": {}}
        path = saved(tmp_path / "iter.pth", {"message_hub": log, "state_dict": whole})
        mmengine()  # on most machines there is none
        model = build("focsam-vit-b", checkpoint=path)
        torch.testing.assert_close(last_logits(model), last_logits(original))

    def test_code_in_the_file_is_refused_and_not_run(self, whole: Weights, tmp_path: Path) -> None:
        touched = tmp_path / "touched"
        path = saved(tmp_path / "bad.pth", {"message_hub": Malicious(touched), "state_dict": whole})
        with pytest.raises(CheckpointInvalidError, match="code to run"):
            build("focsam-vit-b", checkpoint=path)
        assert not touched.exists()


class TestPartsOfFiles:
    def test_a_refiner_alone_goes_over_the_official_sam(
        self, original: FocsamModel, whole: Weights, tmp_path: Path
    ) -> None:
        save_sam(original)
        path = tmp_path / "refiner.safetensors"
        save_file({key: value for key, value in whole.items() if key.startswith(REFINER)}, path)
        model = build("focsam-vit-b", checkpoint=path)
        torch.testing.assert_close(last_logits(model), last_logits(original))
        assert model.config == FocsamConfig()
        assert not any(p.requires_grad for p in model.base.network.parameters())

    def test_a_refiner_may_bring_its_decoder(self, original: FocsamModel, whole: Weights, tmp_path: Path) -> None:
        other = build_model("sam-random", seed=9)
        assert isinstance(other, sam.SamModel)
        mixed = {**original.base.network.state_dict()}
        mixed |= {k: v for k, v in other.network.state_dict().items() if k.startswith("mask_decoder.")}
        save_sam(original, mixed)
        parts = {key: value for key, value in whole.items() if key.startswith((REFINER, "decode_head."))}
        model = build("focsam-vit-b", checkpoint=saved(tmp_path / "tuned.pth", parts))
        torch.testing.assert_close(last_logits(model), last_logits(original))
        assert not any(p.requires_grad for p in model.base.network.parameters())

    @pytest.mark.parametrize("switch", ["dynamic_windows", "dynamic_relu"])
    def test_a_refiner_of_an_ablation_is_what_its_file_says(
        self, original: FocsamModel, switch: str, tmp_path: Path
    ) -> None:
        save_sam(original, original.base.network.state_dict())
        assert original.refiner is not None
        refiner = FocusRefiner(replace(original.refiner.config, **{switch: False}))
        weights = {f"{REFINER}{key}": value for key, value in refiner.state_dict().items()}
        path = tmp_path / "part.safetensors"
        save_file(weights, path, about_focus(refiner.config))
        model = build("focsam-vit-b", checkpoint=path)
        assert model.refiner is not None
        assert model.refiner.config == refiner.config
        assert last_logits(model).isfinite().all()
        if switch == "dynamic_relu":
            save_file(weights, path)
            with pytest.raises(CheckpointInvalidError, match=r"missing: refine_head\.token_proj"):
                build("focsam-vit-b", checkpoint=path)

    def test_a_refiner_needs_its_sam(self, whole: Weights, tmp_path: Path) -> None:
        parts = {key: value for key, value in whole.items() if key.startswith(REFINER)}
        with pytest.raises(CheckpointMissingError, match=r"a refiner without the SAM .*models fetch sam-vit-b"):
            build("focsam-vit-b", checkpoint=saved(tmp_path / "refiner.pth", parts))

    def test_an_official_sam_file_gives_plain_sam(self, original: FocsamModel, tmp_path: Path) -> None:
        path = saved(tmp_path / "sam.pth", dict(original.base.network.state_dict()))
        model = build("focsam-vit-b", checkpoint=path)
        assert model.refiner is None
        assert "plain SAM" in model.spec.note


class TestWrongFiles:
    def test_the_keys_of_another_variant_are_named_as_they_stand_in_the_file(
        self, whole: Weights, tmp_path: Path
    ) -> None:
        path = saved(tmp_path / "b.pth", {"state_dict": whole})
        with pytest.raises(CheckpointInvalidError, match=r"focsam-vit-h.*missing: backbone\.blocks\.2\."):
            build("focsam-vit-h", checkpoint=path)

    @pytest.mark.parametrize(
        ("key", "message"),
        [
            ("neck.point_embeds.2.weight", r"missing: neck\.point_embeds\.2\.weight"),
            ("decode_head.iou_token.weight", r"missing: decode_head\.iou_token\.weight"),
            ("refine_head.blocks.1.cls2img.conv2.dcn.weight", r"missing: refine_head\.blocks\.1\.cls2img\.conv2\.dcn"),
        ],
    )
    def test_a_key_that_is_missing_is_named(self, whole: Weights, tmp_path: Path, key: str, message: str) -> None:
        del whole[key]
        with pytest.raises(CheckpointInvalidError, match=message):
            build("focsam-vit-b", checkpoint=saved(tmp_path / "b.pth", {"state_dict": whole}))

    def test_a_key_too_many_and_one_of_another_shape_are_named(self, whole: Weights, tmp_path: Path) -> None:
        whole["refine_head.more.weight"] = torch.zeros(2)
        whole["refine_head.token_proj.weight"] = torch.zeros(2, 3)
        with pytest.raises(CheckpointInvalidError, match=r"refine_head\.more\.weight.*token_proj\.weight is \(2, 3\)"):
            build("focsam-vit-b", checkpoint=saved(tmp_path / "b.pth", {"state_dict": whole}))

    def test_the_file_of_the_first_stage_has_no_refiner(self, whole: Weights, tmp_path: Path) -> None:
        stage_1 = {key: value for key, value in whole.items() if not key.startswith(REFINER)}
        with pytest.raises(CheckpointInvalidError, match=r"missing: refine_head\."):
            build("focsam-vit-b", checkpoint=saved(tmp_path / "1.pth", {"state_dict": stage_1}))
        tuned = {key: value for key, value in stage_1.items() if key.startswith("decode_head.")}
        with pytest.raises(CheckpointInvalidError, match=r"missing: refine_head\."):
            build("focsam-vit-b", checkpoint=saved(tmp_path / "2.pth", tuned))

    def test_half_of_a_decoder_is_not_filled_up_with_sams(
        self, original: FocsamModel, whole: Weights, tmp_path: Path
    ) -> None:
        save_sam(original)
        kept = {key: value for key, value in whole.items() if key.startswith((REFINER, "decode_head.transformer"))}
        with pytest.raises(CheckpointInvalidError, match=r"missing: decode_head\.iou_token"):
            build("focsam-vit-b", checkpoint=saved(tmp_path / "half.pth", kept))


class TestAbsentFiles:
    def test_without_any_weights_it_says_which_official_file_goes_where(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointMissingError) as raised:
            build("focsam-vit-h")
        for part in ("github.com/YouHuang67/focsam", "iter_160000.pth", "focsam_vit_h.pth", str(cache_folder())):
            assert part in str(raised.value)
        assert "models fetch focsam-vit-h" in str(raised.value)

    def test_of_sizes_that_nobody_published_it_asks_for_ones_own(self) -> None:
        with pytest.raises(CheckpointMissingError, match=r"your own training at .*focsam_vit_b\.pth"):
            build("focsam-vit-b")

    def test_with_sams_weights_alone_it_is_plain_sam_and_says_so(self, original: FocsamModel) -> None:
        save_sam(original)
        model = build("focsam-vit-b")
        assert model.refiner is None
        assert model.spec.stages == ("coarse",)
        assert "no refiner weights" in model.spec.note
        assert "plain SAM's mask" in model.spec.note

    def test_a_path_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointMissingError, match=r"nowhere\.pth"):
            build("focsam-vit-b", checkpoint=tmp_path / "nowhere.pth")


def test_the_zoo_knows_every_size_and_what_each_lacks() -> None:
    for letter in "blh":
        spec = get_spec(f"focsam-vit-{letter}")
        assert spec.note.startswith("It has no refiner weights")
        assert spec.stages == ("coarse",)
        assert not any(checkpoint.comes_with_samref for checkpoint in spec.checkpoints)
    assert "github.com" in get_spec("focsam-vit-h").note
    assert "published" in get_spec("focsam-vit-l").note


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def mmengine(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A package that pickles its log of losses as mmengine does; the call takes it away again."""
    names = ["mmengine", "mmengine.logging", "mmengine.logging.history_buffer"]
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))

    class HistoryBuffer:
        def __init__(self) -> None:
            self._log_history = np.array([0.5, 0.25])
            self._last = np.float64(0.25)

        def __getstate__(self) -> dict[str, Any]:
            return {**self.__dict__, "statistics_methods": {"min": HistoryBuffer.min}}

        def min(self) -> float:
            return float(self._log_history.min())

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = names[-1], "HistoryBuffer"
    HistoryBuffer.min.__module__, HistoryBuffer.min.__qualname__ = names[-1], "HistoryBuffer.min"
    sys.modules[names[-1]].HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]

    def gone() -> None:
        for name in names:
            monkeypatch.delitem(sys.modules, name)

    return gone
