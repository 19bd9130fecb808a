"""The page's own model against the server's: coarse masks of real images, pixel by pixel.

The page's modules run in Node, with the very runtime, graphs and weights that a browser gets.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samref.core.images import decode_image
from samref.core.masks import Mask
from samref.core.prompts import Box, Click, Polygon, Prompt, Prompts, prompt_to_dict
from samref.files import assets_folder
from samref.inference.device import load_predictor
from samref.inference.framed import framed_pixels
from samref.models.interface import DecoderState
from samref.web.local import pack_pixels

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MOST_DIFFERENT = 0.005
"""Of the object's pixels."""

ROTATED = 6  # of EXIF: turned by a quarter

SETS = (
    "balloon",
    "bsds500_test_regions",
    "camvid",
    "car_parts",
    "ccp_clothing",
    "coco_subset",
    "coolfish_via",
    "wbc_cells",
)


def _jpeg(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def bundled() -> Iterator[tuple[str, bytes]]:
    """The examples, and what was made of them: large, flat, narrow, small, grey, turned."""
    examples = {path.stem: path for path in sorted((assets_folder() / "examples").glob("*.jpg"))}
    for name in ("astronaut", "chelsea", "coffee", "photographer", "raccoon", "rocket"):
        yield name, examples[name].read_bytes()
    raccoon = Image.open(examples["raccoon"]).convert("RGB")
    for width, height in ((4608, 3456), (1500, 300), (211, 1999), (100, 75)):
        yield f"raccoon {width} x {height}", _jpeg(raccoon.resize((width, height), Image.Resampling.BICUBIC))
    yield "grey", _jpeg(Image.open(examples["coffee"]).convert("L"))
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    yield "turned", _jpeg(Image.open(examples["rocket"]).convert("RGB"), exif=exif)


def shared(root: Path) -> Iterator[tuple[str, bytes]]:
    """One image of each set, where they are on this machine."""
    for name in SETS:
        images = sorted((root.parent / "shared" / "data" / "dev" / name / "images").glob("*.jpg"))
        if images:
            yield name, images[len(images) // 2].read_bytes()


def steps_of(width: int, height: int, seed: int) -> list[list[Prompt]]:
    rng = random.Random(seed)

    def click(positive: bool) -> Click:
        return Click(rng.randrange(width), rng.randrange(height), positive)

    middle = Click(width // 2, height // 2)
    outline = Polygon(((width * 0.2, height * 0.3), (width * 0.7, height * 0.1), (width * 0.8, height * 0.9)))
    box = Box(width * 0.2, height * 0.2, width * 0.8, height * 0.75)
    return [[middle], [middle, click(False)], [middle, click(False), click(True)], [box], [box, outline]]


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed")
    return found


def test_coarse_masks_are_the_servers(root: Path, node: str, tmp_path: Path) -> None:
    predictor = load_predictor("tiny", device="cpu", precision="fp32")
    cases, expected, names = [], [], []
    for number, (name, data) in enumerate([*bundled(), *shared(root)]):
        image = decode_image(data)
        width, height = image.size.width, image.size.height
        (tmp_path / f"{number}.bin").write_bytes(pack_pixels(framed_pixels(image)))
        embedding, state = predictor.embed(image), DecoderState()
        masks = []
        steps = steps_of(width, height, number)
        for prompts in steps:
            coarse = next(predictor.predict(embedding, Prompts(tuple(prompts)), state))
            masks.append(coarse.mask.to_mask())
            state = coarse.state
        said = [[prompt_to_dict(prompt) for prompt in prompts] for prompts in steps]
        cases.append({"pixels": f"{number}.bin", "width": width, "height": height, "steps": said, "hover": None})
        expected.append(masks)
        names.append(f"{name}, {width} x {height}")
    (tmp_path / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    tool = root / "tests" / "tools" / "run_local_model.mjs"
    subprocess.run([node, str(tool), str(tmp_path)], check=True, timeout=800)
    answers = json.loads((tmp_path / "answers.json").read_text("utf-8"))
    worst = {}
    for name, answer, masks in zip(names, answers, expected, strict=True):
        shares = [
            int((whole(step["mask"], *mask.shape) ^ mask).sum()) / max(1, int(mask.sum()))
            for step, mask in zip(answer["steps"], masks, strict=True)
        ]
        worst[name] = max(shares)
        print(f"{name}: {100 * max(shares):.3f} %")
    assert len(worst) == len(cases)
    assert {name: share for name, share in worst.items() if share > MOST_DIFFERENT} == {}


def whole(mask: dict[str, Any] | None, height: int, width: int) -> Mask:
    """A mask of the page over the whole image."""
    image = np.zeros((height, width), dtype=np.bool_)
    if mask is not None:
        counts = mask["counts"]
        runs = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        columns = slice(mask["x"], mask["x"] + mask["width"])
        image[mask["y"] : mask["y"] + mask["height"], columns] = runs.reshape(mask["columns"], mask["rows"]).T
    return image
