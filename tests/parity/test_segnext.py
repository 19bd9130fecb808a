"""Our SegNext against numbers the authors' code computed: every ``segnext_*.npz`` among the reference fixtures.

A recording ``segnext_{model}_sax{n}_{batch|sequence}.npz`` or ``segnext_{model}.npz`` is compared with the network that
``keys_segnext_{model}_sax{n}.json`` describes. Names and shapes do not tell the number of heads and which blocks are
global, so these are the recordings' documented ones, or what a recording says of itself.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.core.prompts import Click, Prompts
from samref.inference.predictor import Predictor
from samref.models.interface import DecoderState, ImageInput, ModelSpec, PromptBatch
from samref.models.layers import resize
from samref.models.segnext.model import LOGIT_SHIFT, SegNextModel, draw_points, scale_points
from samref.models.segnext.network import SEGNEXT_CONFIGS, SegNextConfig, SegNextNet, stretch
from tests.parity.recordings import Arrays, files, load, require
from tests.parity.weights import assert_close, official_weights

LIMIT = 2e-4
MASK_LIMIT = 1e-4
PIXELS_PER_CELL = 20
"""Of ``image_small`` in the recordings of the released size."""

HEADS = {192: 6, 768: 12}
"""By width."""


def cases(form: str) -> list[Any]:
    """Every recording of a form as ``(model, sax)``, those of the released size marked slow."""
    found = [re.fullmatch(rf"segnext_(.+)_sax(\d+)_{form}", path.stem) for path in files("segnext_*.npz")]
    named = [(match[1], int(match[2])) for match in found if match]
    if not named:
        return [pytest.param("", 0, marks=pytest.mark.skip(f"no recording segnext_*_{form}.npz (set SAMREF_PARITY)"))]
    return [pytest.param(*name, marks=[pytest.mark.slow] if "1024" in name[0] else []) for name in named]


def key_lists() -> list[str]:
    return [path.stem for path in files("keys_segnext_*.json")]


def config_of(keys: dict[str, list[int]], recording: Arrays) -> SegNextConfig:
    """The sizes that a list of names and shapes stands for."""
    width, _, patch_size, _ = keys["backbone.patch_embed.proj.weight"]
    grid = round((keys["backbone.pos_embed"][1] - 1) ** 0.5)

    def count(prefix: str) -> int:
        return len({key.removeprefix(prefix).split(".")[0] for key in keys if key.startswith(prefix)})

    def said(name: str, otherwise: int) -> int:
        return int(recording[name]) if name in recording else otherwise

    last = {4: "down_4.5", 8: "down_8.2", 16: "down_16.0", 32: "down_32.2"}
    neck = [keys[f"neck.{layer}.weight"][0] for layer in last.values()]
    return SegNextConfig(
        image_size=grid * patch_size,
        patch_size=patch_size,
        width=width,
        depth=count("backbone.blocks."),
        heads=said("heads", HEADS.get(width, width // 64)),
        global_every=said("global_atten_freq", 3),
        mlp_ratio=keys["backbone.blocks.0.mlp.fc1.weight"][0] // width,
        fusion_blocks=count("fusion_blocks."),
        neck_widths=(neck[0], neck[1], neck[2], neck[3]),
        head_width=keys["head.seg_conv.weight"][1],
    )


def read_keys(stem: str) -> dict[str, list[int]]:
    keys: dict[str, list[int]] = json.loads(require(f"{stem}.json").read_text())
    return keys


def build(model: str, sax: int, recording: Arrays) -> SegNextModel:
    config = config_of(read_keys(f"keys_segnext_{model}_sax{sax}"), recording)
    with torch.device("meta"):
        network = SegNextNet(config)
    network.load_state_dict(official_weights(network.state_dict()), strict=True, assign=True)
    spec = ModelSpec(
        f"segnext-{model}-sax{sax}", model, "stretch", config.image_size, frozenset({"click"}), ("coarse",)
    )
    return SegNextModel(spec, network)


@functools.lru_cache(maxsize=1)
def prepared(model: str, sax: int, form: str) -> tuple[Arrays, SegNextModel]:
    recording = load(require(f"segnext_{model}_sax{sax}_{form}.npz"))
    return recording, build(model, sax, recording)


def every(step: int) -> tuple[slice, slice]:
    return slice(None, None, step), slice(None, None, step)


@pytest.mark.parametrize("stem", key_lists() or ["keys_segnext"])
def test_the_network_has_exactly_the_official_names_and_shapes(stem: str) -> None:
    keys = read_keys(stem)
    with torch.device("meta"):
        network = SegNextNet(config_of(keys, {}))
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == keys


@pytest.mark.parametrize("name", ["segnext-b-sax1", "segnext-b-sax2"])
def test_the_released_sizes_are_those_of_the_official_key_lists(name: str) -> None:
    config = config_of(read_keys(name.replace("-b-", "_vitb1024_").replace("segnext", "keys_segnext")), {})
    assert config == SEGNEXT_CONFIGS[name]


@pytest.mark.parametrize("stem", [path.stem for path in files("segnext_prompt_maps*.npz")])
def test_listed_points_are_drawn_as_published(stem: str) -> None:
    recording = load(require(f"{stem}.npz"))
    lists = [key for key in recording if key.startswith("points_")]
    assert lists
    for key in lists:
        expected = np.unpackbits(recording[key.replace("points", "map")], axis=-1)
        np.testing.assert_array_equal(draw_points(recording[key], ImageSize(*expected.shape[1:]), 5.0), expected)


@pytest.mark.parametrize(("model", "sax"), cases("batch"))
def test_every_tensor_of_a_batch_is_the_published_one(model: str, sax: int) -> None:
    recording, ours = prepared(model, sax, "batch")
    network = ours.network
    side = network.config.image_size

    def compare(key: str, actual: torch.Tensor) -> None:
        assert_close(actual.numpy(), recording[key], LIMIT, key)

    with torch.inference_mode():
        pixels = torch.from_numpy(recording["image"]).permute(0, 3, 1, 2).float() / 255
        size = ImageSize(*pixels.shape[-2:])
        image = network.prepare(pixels)
        compare("preprocessed_s8", image[:, :, ::8, ::8])
        mask = stretch(torch.from_numpy(recording["prev_mask"]).float() / 255, side)
        compare("prompt_prev_s8", mask[:, :, ::8, ::8])

        frame = ours.frame(size)
        scaled = [scale_points(points.astype(np.float32), size, frame.resized) for points in recording["points"]]
        np.testing.assert_array_equal(scaled, recording["points_scaled"])
        disks = np.stack([draw_points(points, frame.padded, network.config.click_radius) for points in scaled])
        np.testing.assert_array_equal(disks, np.unpackbits(recording["prompt_disks"], axis=-1, count=side))

        maps = torch.cat([mask, torch.from_numpy(disks).float()], dim=1)
        compare("prompt_feats_c8", network.visual_prompts_encoder(maps)[:, ::8])
        embedding = network.embed(image)
        compare("image_feats_c8", embedding[:, ::8])
        fused = network.fuse(embedding, maps)
        compare("fused_c8", fused[:, ::8])
        levels = network.neck(fused)
        for index, (level, channels) in enumerate(zip(levels, (8, 4, 8, 8), strict=True)):
            compare(f"pyr{index}_s4", level[(slice(None), slice(None, None, channels), *every(4))])
        low_res_logits = network.head(levels)
        compare("low_logits", low_res_logits)
        full = network.to_model_frame(low_res_logits)
        compare("up_logits_s4", full[:, :, ::4, ::4])
        compare("logits", resize(full, (size.height, size.width)))
        assert torch.equal(network(image, maps), full)


def decode_steps(ours: SegNextModel, rgb: NDArray[np.uint8], clicks: NDArray[Any]) -> Any:
    """Click by click through the interface: low-res logits and image-frame probabilities, both (1, 1, ...)."""
    frame = ours.frame(ImageSize(*rgb.shape[:2]))
    features = ours.encode(ImageInput(torch.from_numpy(rgb), frame))
    state = DecoderState()
    prompts = Prompts()
    for row, column, positive in clicks.tolist():
        prompts = prompts.add(Click(column, row, bool(positive)))
        batch = PromptBatch(prompts.mapped(frame.to_model, 1.0), frame)
        (output,) = ours.decode(features, batch, state)
        state = output.state
        assert state.low_res_logits is not None
        size = (frame.image.height, frame.image.width)
        yield features, state.low_res_logits, (resize(output.logits, size) - LOGIT_SHIFT).sigmoid()


@pytest.mark.parametrize(("model", "sax"), cases("sequence"))
def test_a_sequence_of_clicks_through_the_interface_is_the_published_one(model: str, sax: int) -> None:
    recording, ours = prepared(model, sax, "sequence")
    steps = list(decode_steps(ours, recording["image"], recording["clicks"]))
    assert len(steps) == len(recording["low_logits"])
    for step, (_, low_res_logits, probability) in enumerate(steps):
        assert_close(low_res_logits[0, 0].numpy(), recording["low_logits"][step], LIMIT, f"low logits {step + 1}")
        shown = probability[0, 0].numpy()[every(2)]
        assert_close(shown, recording["probs_s2"][step], LIMIT, f"probabilities {step + 1}")


@pytest.mark.parametrize(("model", "sax"), cases("sequence"))
def test_the_predictor_shows_the_published_masks(model: str, sax: int) -> None:
    recording, ours = prepared(model, sax, "sequence")
    predictor = Predictor(ours)
    rgb = recording["image"]
    embedding = predictor.embed(DecodedImage(rgb, ImageSize(*rgb.shape[:2]), "recorded"))
    state, prompts = None, Prompts()
    for step, (row, column, positive) in enumerate(recording["clicks"].tolist()):
        prompts = prompts.add(Click(column, row, bool(positive)))
        (prediction,) = predictor.predict(embedding, prompts, state)
        state = prediction.state
        assert state.low_res_logits is not None
        assert_close(state.low_res_logits[0, 0].numpy(), recording["low_logits"][step], LIMIT, f"step {step + 1}")
        probability = recording["probs_s2"][step].astype(np.float64).clip(1e-7, 1 - 1e-7)
        logits = np.log(probability / (1 - probability)) + LOGIT_SHIFT
        differs = prediction.mask.to_mask()[every(2)] != (logits > 0)
        assert not (differs & (np.abs(logits) > MASK_LIMIT * logits.std())).any()


def released() -> list[Any]:
    """Arrayss of whole models as ``(model, sax)``; each says itself which of SA x1, x2 it has."""
    names = [path.stem.removeprefix("segnext_") for path in files("segnext_*.npz")]
    found = []
    for name in names:
        if "_sax" not in name and not name.startswith("prompt_maps"):
            with np.load(require(f"segnext_{name}.npz")) as file:
                found += sorted({(name, int(match[1])) for key in file if (match := re.match(r"sax(\d+)_", key))})
    if not found:
        return [pytest.param("", 0, marks=pytest.mark.skip("no recording segnext_vitb1024.npz (set SAMREF_PARITY)"))]
    return [pytest.param(*one, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]) for one in found]


@pytest.mark.parametrize(("model", "sax"), released())
def test_the_released_size_gives_the_published_numbers(model: str, sax: int) -> None:
    recording = load(require(f"segnext_{model}.npz"))
    ours = build(model, sax, recording)
    small = recording["image_small"]
    rgb = small.repeat(PIXELS_PER_CELL, axis=0).repeat(PIXELS_PER_CELL, axis=1)
    clicks = [key for key in recording if re.fullmatch(rf"sax{sax}_click\d+_prob", key)]
    steps = decode_steps(ours, rgb, recording["clicks"][: len(clicks)])
    for number, (features, low_res_logits, probability) in enumerate(steps, start=1):
        if number == 1:
            check_features(ours, features.image_embedding, recording, rgb, f"sax{sax}_fused_crop")
        name = f"sax{sax}_click{number}"
        low, shown = low_res_logits[0, 0].numpy(), probability[0, 0].numpy()
        assert_close(low[every(4)], recording[f"{name}_low_s4"], LIMIT, f"{name} low logits")
        rows, columns = (np.linspace(0, length - 1, 64).astype(int) for length in shown.shape)
        assert_close(shown[rows][:, columns], recording[f"{name}_prob"], LIMIT, f"{name} probabilities")
        *moments, share = recording[f"{name}_stats"]
        ours_moments = [low.mean(), low.std(), shown.mean(), shown.std()]
        for actual, expected, what in zip(ours_moments, moments, ("mean", "std", "p mean", "p std"), strict=True):
            assert_close(np.array(actual), np.array(expected), LIMIT, f"{name} {what}")
        near = float((np.abs(np.log(shown / (1 - shown)) + LOGIT_SHIFT) <= MASK_LIMIT * low.std()).mean())
        assert abs(float((shown > 0.49).mean()) - float(share)) <= near + 1e-6, f"{name} share above 0.49"


def check_features(
    ours: SegNextModel, embedding: torch.Tensor, recording: Arrays, rgb: NDArray[np.uint8], fused_key: str
) -> None:
    features = embedding[0].numpy()
    assert_close(features[(slice(None, None, 12), *every(4))], recording["image_feats_crop"], LIMIT, "image features")
    assert_close(features.mean(axis=(1, 2)), recording["image_feats_mean"], LIMIT, "their means")
    assert_close(features.std(axis=(1, 2)), recording["image_feats_std"], LIMIT, "their spreads")
    frame = ours.frame(ImageSize(*rgb.shape[:2]))
    row, column, positive = recording["clicks"][0].tolist()
    batch = PromptBatch(Prompts((Click(column, row, bool(positive)),)).mapped(frame.to_model, 1.0), frame)
    with torch.inference_mode():
        fused = ours.network.fuse(embedding, ours.draw_maps(batch, DecoderState()))[0].numpy()
    assert_close(fused[(slice(None, None, 12), *every(4))], recording[fused_key], LIMIT, "fused")
