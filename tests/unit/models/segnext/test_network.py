"""The network of SegNext: what sees what, and where gradients go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from samref.errors import CheckpointInvalidError, CheckpointMissingError
from samref.models.registry import build_model, list_models
from samref.models.segnext.network import SEGNEXT_CONFIGS, SegNextConfig, SegNextNet

CONFIG = replace(SEGNEXT_CONFIGS["segnext-random"], fusion_blocks=2)


def test_a_gradient_reaches_every_weight_that_has_a_part_in_the_answer() -> None:
    torch.manual_seed(0)
    network = SegNextNet(CONFIG)
    maps = torch.rand(2, 3, 128, 128, requires_grad=True)
    network(torch.randn(2, 3, 128, 128), maps).square().mean().backward()
    silent = {key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()}
    assert silent == {"backbone.fc_norm.weight", "backbone.fc_norm.bias"}, "in the files, but not used"
    assert all(value.grad.isfinite().all() for value in network.parameters() if value.grad is not None)
    position = network.backbone.pos_embed.grad
    assert position is not None
    assert not position[:, 0].any(), "no token for a class"
    assert position[:, 1:].any(dim=-1).all()
    assert maps.grad is not None
    assert maps.grad.any(dim=(0, 2, 3)).all()


def test_without_attention_a_prompt_reaches_its_own_cell_only() -> None:
    """The plain sum: of the fused maps, what a disk changes is the token under it; with attention it is all of them."""
    torch.manual_seed(0)
    maps = torch.zeros(1, 3, 128, 128)
    maps[:, 1, 20:28, 36:44] = 1  # in the patch of row 1, column 2
    embedding = torch.randn(1, CONFIG.width, 8, 8)
    for blocks in (0, 1):
        network = SegNextNet(replace(CONFIG, fusion_blocks=blocks)).eval()
        with torch.no_grad():
            changed = network.fuse(embedding, maps) != network.fuse(embedding, torch.zeros_like(maps))
        cells = changed.any(dim=1)[0].nonzero().tolist()
        assert (cells == [[1, 2]]) is (blocks == 0)
        assert len(cells) == (64 if blocks else 1)
    assert not any(key.startswith("fusion") for key in SegNextNet(replace(CONFIG, fusion_blocks=0)).state_dict())


def test_the_plain_sum_is_built_by_name_and_offered_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMREF_CACHE", str(tmp_path))
    monkeypatch.setitem(SEGNEXT_CONFIGS, "segnext-b-sum", replace(CONFIG, fusion_blocks=0))
    assert "segnext-b-sum" not in [spec.name for spec in list_models()]
    with pytest.raises(CheckpointMissingError, match="None of segnext-b-sum are published: train them"):
        build_model("segnext-b-sum")
    torch.save(SegNextNet(replace(CONFIG, fusion_blocks=0)).state_dict(), tmp_path / "own.pth")
    assert build_model("segnext-b-sum", checkpoint=tmp_path / "own.pth").spec.name == "segnext-b-sum"
    torch.save(SegNextNet(CONFIG).state_dict(), tmp_path / "wrong.pth")
    with pytest.raises(CheckpointInvalidError, match="fusion_blocks"):
        build_model("segnext-b-sum", checkpoint=tmp_path / "wrong.pth")


def test_a_windowed_block_sees_its_window_only_and_a_global_one_everything() -> None:
    torch.manual_seed(0)
    network = SegNextNet(replace(CONFIG, depth=3)).eval()
    tokens: list[torch.Tensor] = []
    for block in network.backbone.blocks:
        block.register_forward_hook(lambda _module, _inputs, out: tokens.append(out.clone()))
    image = torch.randn(1, 3, 128, 128)
    changed = image.clone()
    changed[..., :16, :16] += 1  # one patch in the first of 2 x 2 windows
    with torch.no_grad():
        for one in (image, changed):
            network.embed(one)
    differs = [(before != after).any(dim=-1) for before, after in zip(tokens[:3], tokens[3:], strict=True)]
    for windowed in differs[:2]:  # rows of the batch are windows of 4 x 4 tokens
        assert windowed.any(dim=1).tolist() == [True, False, False, False]
        assert windowed[0].all()
    assert differs[2].shape == (1, 64)
    assert differs[2].all()


def test_the_head_is_the_published_one_computed_in_another_order() -> None:
    torch.manual_seed(0)
    head = SegNextNet(CONFIG).eval().head
    levels = tuple(
        torch.randn(2, width, side, side) for width, side in zip(CONFIG.neck_widths, (32, 16, 8, 4), strict=True)
    )
    wide = [
        F.interpolate(conv(level), (32, 32), mode="bilinear", align_corners=False)
        for conv, level in zip(head.convs, levels, strict=True)
    ]
    wanted = head.seg_conv(head.fusion_conv(torch.cat(wide, dim=1)))
    assert torch.allclose(head(levels), wanted, atol=1e-5)


@pytest.mark.parametrize("change", [{"image_size": 120}, {"heads": 5}, {"window": 3, "image_size": 160}])
def test_sizes_that_do_not_divide_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="divide"):
        replace(CONFIG, **change)


def test_every_third_block_and_the_last_are_global() -> None:
    config = replace(SegNextConfig(), depth=5)
    assert [config.is_global(block) for block in range(5)] == [False, False, True, False, True]
    assert (SegNextConfig().windows, SegNextConfig().grid) == (4, 64)


@pytest.mark.parametrize(("name", "parameters"), [("segnext-b-sax1", 106_701_761), ("segnext-b-sax2", 113_789_633)])
def test_the_released_variants_have_the_published_number_of_parameters(name: str, parameters: int) -> None:
    with torch.device("meta"):
        network = SegNextNet(SEGNEXT_CONFIGS[name])
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
