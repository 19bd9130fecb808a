"""Times and memory of the embedded model on an image of 1024 pixels; what the README's table is made of."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import samref
from samref.core.images import DecodedImage, decode_image
from samref.core.prompts import Click, Prompts
from samref.inference.predictor import Embedding, Predictor
from samref.models.interface import DecoderState

Record = Callable[[str, float, str], None]

CLICKS = (
    Click(560, 300),
    Click(880, 250, positive=False),
    Click(250, 150),
    Click(200, 600, positive=False),
    Click(640, 480),
)
"""On and off the raccoon, as somebody would correct."""

ROUNDS = 5
MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return samref.load_predictor("tiny")


@pytest.fixture(scope="module")
def image(examples_dir: Path) -> DecodedImage:
    image = decode_image((examples_dir / "raccoon.jpg").read_bytes())
    assert image.size.longest == 1024
    return image


@pytest.fixture(scope="module")
def embedding(predictor: Predictor, image: DecodedImage) -> Embedding:
    predictor.embed(image)  # the first one chooses kernels
    return predictor.embed(image)


def _sequence(predictor: Predictor, embedding: Embedding) -> list[dict[str, float]]:
    """Seconds from each click to each stage's mask, the previous answer given back as a person's session does."""
    times: list[dict[str, float]] = []
    state: DecoderState | None = None
    for count in range(1, len(CLICKS) + 1):
        seconds: dict[str, float] = {}
        for prediction in predictor.predict(embedding, Prompts(CLICKS[:count]), state):
            seconds[prediction.stage] = prediction.seconds
            last = prediction
        state = last.state
        times.append(seconds)
    return times


def test_a_click_costs_a_fraction_of_an_encode(
    predictor: Predictor, image: DecodedImage, embedding: Embedding, record: Record
) -> None:
    encodes = [predictor.embed(image).encode_s for _ in range(ROUNDS)]
    _sequence(predictor, embedding)  # warm-up
    clicks = [click for _ in range(ROUNDS) for click in _sequence(predictor, embedding)]
    encode_s = statistics.median(encodes)
    coarse_s = statistics.median(click["coarse"] for click in clicks)
    refined_s = statistics.median(click["refined"] for click in clicks)

    record(f"encode, {image.size.width} x {image.size.height}, {predictor.device}, {predictor.dtype}", encode_s, "s")
    record("click to coarse mask, model time, median", coarse_s * 1000, "ms")
    record("click to refined mask, model time, median", refined_s * 1000, "ms")
    record("click to refined mask, model time, slowest", max(click["refined"] for click in clicks) * 1000, "ms")
    assert coarse_s < refined_s
    assert coarse_s < encode_s


def test_the_tenth_click_costs_about_what_the_first_one_does(
    predictor: Predictor, embedding: Embedding, record: Record
) -> None:
    def seconds(count: int) -> float:
        prompts = Prompts((CLICKS * 2)[:count])
        runs = [list(predictor.predict(embedding, prompts, None))[-1].seconds for _ in range(2 * ROUNDS)]
        return statistics.median(runs)

    seconds(1)
    ratio = seconds(10) / seconds(1)
    record("time of a click with 10 prompts against 1", ratio, "x")
    assert ratio < 2


def test_an_embedding_is_counted_to_the_byte(
    predictor: Predictor, image: DecodedImage, embedding: Embedding, record: Record
) -> None:
    tensors = (embedding.features.image_embedding, embedding.features.pixels, *embedding.features.parts.values())
    held = sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())
    record("embedding of one image", embedding.size_bytes / MEBIBYTE, "MiB")
    record("image itself, decoded", image.rgb.nbytes / MEBIBYTE, "MiB")
    assert held <= 1.1 * embedding.size_bytes


def test_what_an_object_remembers_is_small_beside_its_image(
    predictor: Predictor, embedding: Embedding, record: Record
) -> None:
    *_, last = predictor.predict(embedding, Prompts(CLICKS), None)
    values = (last.state.low_res_logits, last.state.final_logits, last.state.refocused)
    held = sum(t.untyped_storage().nbytes() for t in values if isinstance(t, torch.Tensor))
    record("one step of one object: state and mask", (held + len(last.mask.counts)) / 1024, "KiB")
    assert held < embedding.size_bytes


def test_importing_samref_does_not_import_torch(record: Record) -> None:
    code = "import sys, time; t = time.perf_counter(); import samref; print(time.perf_counter() - t, *sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    record("import samref", float(answer[0]) * 1000, "ms")
    assert "samref" in answer
    assert "torch" not in answer
