"""FocSAM's refiner and its window against numbers the authors' code computed: blocks, real size, boxes.

Sizes come from the files' own arrays, so that further files of the same form are checked without new code.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samref.core.geometry import ImageSize
from samref.models.focsam.model import official_parts
from samref.models.focsam.network import (
    FocusBlock,
    FocusRefiner,
    NullKeyAttention,
    PDyReLU,
    PixelUpdate,
    RefinerConfig,
    TokenUpdate,
    active_cells,
    expanded_boxes,
    object_boxes,
)
from samref.models.sam.network import SAM_CONFIGS, build_sam_network
from tests.parity.recordings import cases, files, load, require, strided
from tests.parity.weights import array, assert_close, official_weights

BLOCK_LIMIT = 2e-4
LIMIT = 1e-3


def with_official_weights(module: nn.Module, prefix: str = "") -> Any:
    """The module with the values that belong to its own names behind ``prefix``."""
    named = {prefix + key: value for key, value in module.state_dict().items()}
    weights = official_weights(named)
    module.load_state_dict({key.removeprefix(prefix): value for key, value in weights.items()})
    return module.eval()


# ---- names


@pytest.mark.parametrize("path", files("keys_focsam_block_dim*.json"), ids=lambda path: path.stem)
def test_a_block_has_exactly_the_official_names_and_shapes(path: Path) -> None:
    expected = json.loads(path.read_text())
    width = int(path.stem.rpartition("dim")[2])
    ratio = expected["img2cls.mlp.0.weight"][0] / width
    block = FocusBlock(RefinerConfig(width, 1, 1, ratio), shifted=False, scales_token=True)
    assert {key: list(value.shape) for key, value in block.state_dict().items()} == expected


def test_the_refiner_has_exactly_the_official_names_and_shapes() -> None:
    expected = json.loads(require("keys_focsam_refiner.json").read_text())
    own = {f"refine_head.{key}": list(value.shape) for key, value in FocusRefiner().state_dict().items()}
    assert own == expected
    assert sum(p.numel() for p in FocusRefiner().parameters()) == pytest.approx(25.40e6, rel=1e-3)


@pytest.mark.parametrize("path", files("keys_focsam_vit_*.json"), ids=lambda path: path.stem)
def test_a_whole_model_has_exactly_the_official_names_and_shapes(path: Path) -> None:
    expected = json.loads(path.read_text())
    config = SAM_CONFIGS[f"sam-vit-{path.stem[-1]}"]
    with torch.device("meta"):
        whole = official_parts(build_sam_network(config), FocusRefiner())
    assert {key: list(value.shape) for key, value in whole.state_dict().items()} == expected


# ---- blocks


class Blocks:
    """One ``focsam_blocks_*`` file."""

    def __init__(self, name: str) -> None:
        self.reference = load(require(f"{name}.npz"))
        width, window = self.reference["win_x"].shape[1], self.reference["win_x"].shape[-1]
        keys = files(f"keys_{name.replace('blocks', 'block')}.json")
        hidden = json.loads(keys[0].read_text())["img2cls.mlp.0.weight"][0] if keys else 4 * width
        self.config = RefinerConfig(width, 1, self._heads(width), hidden / width, window)

    def _heads(self, width: int) -> int:
        """Shapes do not tell them; the file says so, or its attention does."""
        for key in ("heads", "num_heads"):
            if key in self.reference:
                return int(self.reference[key])
        errors = {}
        for heads in (heads for heads in range(1, width // 4 + 1) if width % heads == 0):
            attention = with_official_weights(NullKeyAttention(width, heads), "attn.")
            pixels = self.tensor("win_x").flatten(2).transpose(1, 2)
            errors[heads] = float(np.abs(array(attention(pixels, pixels)) - self.reference["win_attn"]).max())
        return min(errors, key=errors.__getitem__)

    def tensor(self, key: str) -> Tensor:
        return torch.from_numpy(self.reference[key])


@pytest.fixture(scope="module", params=cases("focsam_blocks_*"))
def blocks(request: pytest.FixtureRequest) -> Blocks:
    return Blocks(request.param)


@pytest.mark.parametrize(("kind", "shifted", "scales"), [("plain", 0, 1), ("shift", 1, 1), ("last", 1, 0)])
def test_a_block_gives_the_numbers_of_the_reference(blocks: Blocks, kind: str, shifted: int, scales: int) -> None:
    block = with_official_weights(FocusBlock(blocks.config, shifted=bool(shifted), scales_token=bool(scales)))
    x, token = block(blocks.tensor("x"), blocks.tensor("q"), blocks.tensor("mask") > 0)
    expected = blocks.reference[f"{kind}_x"]
    assert_close(strided(array(x), expected), expected, BLOCK_LIMIT, f"{kind} x")
    assert_close(array(token), blocks.reference[f"{kind}_q"], BLOCK_LIMIT, f"{kind} q")


def test_the_pixel_update_gives_the_numbers_of_the_reference_at_every_step(blocks: Blocks) -> None:
    update = with_official_weights(PixelUpdate(blocks.config))
    seen: dict[str, Tensor] = {}

    def remember(name: str) -> Any:
        return lambda *call: seen.__setitem__(name, call[2])

    watched = {
        "win_attn": update.attn,
        "win_pdyrelu": update.relu1,
        "win_dcn_offset": update.conv2.dcn_offset,
        "win_dcn": update.conv2,
    }
    for name, module in watched.items():
        module.register_forward_hook(remember(name))
    seen["win_out"] = update(blocks.tensor("win_x"), blocks.tensor("win_q"))
    for name, value in seen.items():
        assert_close(array(value), blocks.reference[name], BLOCK_LIMIT, name)
    assert len(seen) == 5


def test_the_token_update_gives_the_numbers_of_the_reference(blocks: Blocks) -> None:
    update = with_official_weights(TokenUpdate(blocks.config))
    token = update(blocks.tensor("win_q"), blocks.tensor("win_x").flatten(2).transpose(1, 2))
    assert_close(array(token), blocks.reference["img2cls_out"], BLOCK_LIMIT, "img2cls_out")


def test_p_dyrelu_gives_the_numbers_of_the_reference(blocks: Blocks) -> None:
    activation = with_official_weights(PDyReLU(blocks.config.width))
    out = activation(blocks.tensor("pd_x"), blocks.tensor("pd_c"))
    assert_close(array(out), blocks.reference["pd_out"], BLOCK_LIMIT, "pd_out")


# ---- the refiner in its real size


@pytest.mark.parametrize("name", cases("focsam_refiner*", pytest.mark.slow))
def test_the_refiner_gives_the_numbers_of_the_reference_after_every_block(name: str) -> None:
    reference = load(require(f"{name}.npz"))
    width = reference["token"].shape[-1]
    depth = sum(1 for key in reference if re.fullmatch(r"block\d+_q", key))
    config = RefinerConfig(width, depth, int(reference.get("heads", 8)), window=int(reference.get("window", 16)))
    refiner = with_official_weights(FocusRefiner(config), "refine_head.")
    grid = ImageSize(*reference["mask64"].shape[-2:])
    rng = np.random.default_rng(int(reference["seed"]))
    embedding = rng.standard_normal((1, width, grid.height, grid.width), dtype=np.float32)
    token = rng.standard_normal((1, 1, width), dtype=np.float32)
    np.testing.assert_array_equal(token, reference["token"])
    box = torch.from_numpy(reference["box"])[None]
    cells = active_cells(box, ImageSize(16 * grid.height, 16 * grid.width), grid)
    np.testing.assert_array_equal(cells.numpy(), reference["mask64"] > 0)
    x = torch.empty(0)
    with torch.no_grad():
        for index, (x, q) in enumerate(refiner.steps(torch.from_numpy(embedding), torch.from_numpy(token), cells)):
            mean, std = x[0].mean((1, 2)), x[0].flatten(1).std(1, correction=0)
            for what, value in (("x_mean", mean), ("x_std", std), ("q", q[0, 0])):
                key = f"block{index}_{what}"
                assert_close(array(value), reference[key], LIMIT, key)
            if (crop := reference.get(f"block{index}_x_crop")) is not None:
                assert_close(array(x)[:, ::8, ::4, ::4], crop, LIMIT, f"block{index}_x_crop")
    assert_close(array(x)[:, ::8, ::4, ::4], reference["out_crop"], LIMIT, "out_crop")
    assert_close(array(x)[0, ::32, 20:44, 20:44], reference["out_window"], LIMIT, "out_window")
    assert_close(array(x[0].mean((1, 2))), reference["out_mean"], LIMIT, "out_mean")
    assert_close(array(x[0].flatten(1).std(1, correction=0)), reference["out_std"], LIMIT, "out_std")


# ---- the window


@pytest.mark.parametrize("name", cases("focsam_boxes*"))
def test_the_window_is_that_of_the_reference(name: str) -> None:
    reference = load(require(f"{name}.npz"))
    logits = torch.from_numpy(reference["logits_x64"]).float()[:, None] / 64
    square = ImageSize(4 * logits.shape[-2], 4 * logits.shape[-1])
    up = F.interpolate(logits, (square.height, square.width), mode="bilinear", align_corners=False)
    boxes = object_boxes(up[:, 0] > 0)
    np.testing.assert_array_equal(boxes.numpy(), reference["bbox"])
    ratios = [key.removeprefix("expanded_") for key in reference if key.startswith("expanded_h")]
    assert ratios
    for ratio in ratios:
        by_height, by_width = (float(part[1:]) for part in ratio.split("_"))
        expanded = expanded_boxes(boxes, by_height, by_width, square)
        np.testing.assert_array_equal(expanded.numpy(), reference[f"expanded_{ratio}"])
        packed = reference[f"mask64_{ratio}"]
        cells = active_cells(expanded, square, ImageSize(packed.shape[2], packed.shape[2])).numpy()
        np.testing.assert_array_equal(np.packbits(cells, axis=-1), packed)


@pytest.mark.parametrize("name", cases("focsam_boxes*"))
def test_boxes_anywhere_in_any_frame_grow_as_in_the_reference(name: str) -> None:
    reference = load(require(f"{name}.npz"))
    found = [match for key in reference if (match := re.fullmatch(r"free_expanded_([\d.]+)_in_(\d+)x(\d+)", key))]
    assert found
    for match in found:
        ratio, frame = float(match[1]), ImageSize(int(match[2]), int(match[3]))
        expanded = expanded_boxes(torch.from_numpy(reference["free_boxes"]), ratio, ratio, frame)
        np.testing.assert_array_equal(expanded.numpy(), reference[match[0]])
