"""Write ``local_fixtures.json``: what Python draws, resizes and cuts, for the page's own model to agree with.

Run ``python tests/unit/web_js/make_local_fixtures.py`` after changing it; the file is committed.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from samref.core.geometry import Frame, ImageSize
from samref.core.masks import Rle
from samref.core.prompt_maps import MapFrame, draw_prompt_maps
from samref.core.prompts import Box, Click, Point, Polygon, Prompt, Prompts, prompt_to_dict
from samref.inference.postprocess import mask_from_logits
from samref.web.local import pack_pixels

SIDE, MULTIPLE, STRIDE, RADIUS = 96, 16, 2, 5.0
SIZES = ((96, 96), (300, 451), (40, 977), (1999, 211), (7, 5))
"""Heights and widths."""


def packed(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def polygons(rng: np.random.Generator, size: ImageSize) -> list[Polygon]:
    def corners(count: int) -> tuple[Point, ...]:
        spots = rng.random((count, 2)) * (size.width, size.height)
        return tuple((round(float(x), 2), round(float(y), 2)) for x, y in spots)

    whole = ((0.0, 0.0), (float(size.width), 0.0), (float(size.width), float(size.height)), (0.0, float(size.height)))
    return [Polygon(whole), *(Polygon(corners(count), count % 2 == 0) for count in (3, 4, 7, 20))]


def maps_of(size: ImageSize, prompts: tuple[Prompt, ...]) -> dict[str, Any]:
    frame = Frame.letterbox(size, SIDE, MULTIPLE)
    cells = (frame.padded.height // STRIDE, frame.padded.width // STRIDE)
    target = MapFrame(*cells, scale_xy=(1 / STRIDE, 1 / STRIDE), pixel_centre_xy=frame.pixel_centre_xy)
    scale_x, scale_y = frame.scale_xy
    moved = Prompts(prompts).mapped(frame.to_model, (scale_x * scale_y) ** 0.5)
    maps = draw_prompt_maps(moved, target, RADIUS / STRIDE)
    channels = np.stack([maps.positive, maps.negative, maps.box, maps.region])
    counts = Rle.from_mask(channels.reshape(-1, 1).astype(np.bool_)).counts
    said = [prompt_to_dict(prompt) for prompt in prompts]
    return {"width": size.width, "height": size.height, "prompts": said, "counts": counts}


def mask_of(size: ImageSize, seed: int) -> dict[str, Any]:
    frame = Frame.letterbox(size, SIDE, MULTIPLE)
    generator = torch.Generator().manual_seed(seed)
    low = (frame.padded.height // 4, frame.padded.width // 4)
    logits = torch.randn(1, 1, *low, generator=generator) - 0.3
    mask = mask_from_logits(logits, frame)
    return {"width": size.width, "height": size.height, "logits": packed(logits.numpy()), "counts": mask.counts}


def main() -> None:
    rng = np.random.default_rng(4)
    maps: list[dict[str, Any]] = []
    masks: list[dict[str, Any]] = []
    for height, width in SIZES:
        size = ImageSize(height, width)
        clicks = tuple(
            Click(int(rng.integers(width)), int(rng.integers(height)), bool(rng.integers(2))) for _ in range(6)
        )
        corners = (Click(0, 0), Click(width - 1, height - 1, False))
        x0, x1 = sorted(rng.random(2) * (width - 1))
        y0, y1 = sorted(rng.random(2) * (height - 1))
        boxes = (Box(0, 0, width, height), Box(round(x0, 1), round(y0, 1), round(x1, 1) + 1, round(y1, 1) + 1))
        maps += [maps_of(size, (*clicks, *corners)), *(maps_of(size, (box,)) for box in boxes)]
        maps += [maps_of(size, (polygon,)) for polygon in polygons(rng, size)]
        masks.append(mask_of(size, len(masks)))
    pixels = rng.integers(0, 256, (11, 17, 3)).astype(np.uint8)
    smooth = F.interpolate(torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), size=(45, 64), mode="bilinear")
    smooth = smooth.round().to(torch.uint8)
    small = F.interpolate(smooth, size=(28, 40), mode="bilinear", align_corners=False, antialias=True)
    written = {
        "model": {"side": SIDE, "multiple": MULTIPLE, "map_stride": STRIDE, "map_channels": 5, "click_radius": RADIUS},
        "maps": maps,
        "masks": masks,
        "pixels": {
            "packed": packed(np.frombuffer(pack_pixels(pixels), np.uint8)),
            "planes": packed(pixels.transpose(2, 0, 1)),
        },
        "shrunk": {"planes": packed(smooth.numpy()), "to": packed(small.numpy())},
    }
    path = Path(__file__).with_name("local_fixtures.json")
    path.write_text(json.dumps(written) + "\n")


if __name__ == "__main__":
    main()
