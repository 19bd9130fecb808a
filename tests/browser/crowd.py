"""An image with as many objects as one likes, as files to give to the page."""

from __future__ import annotations

import io
import json
import math

import numpy as np
from PIL import Image

from tests.browser.labelling_page import LabellingPage

__all__ = ["SCROLL_LIST", "blob", "coco_of", "frames_while", "open_crowd", "photo"]

SCROLL_LIST = """(frame) => {
  const box = document.querySelector(".samref-objects-box");
  box.scrollTop = (frame * 157) % (box.scrollHeight - box.clientHeight);
}"""

_FRAMES = """async (each) => {
  let frames = 0;
  const begun = performance.now();
  await new Promise((done) => {
    const next = () => {
      frames += 1;
      each(frames);
      if (performance.now() - begun < 2000) requestAnimationFrame(next);
      else done();
    };
    requestAnimationFrame(next);
  });
  return frames / ((performance.now() - begun) / 1000);
}"""


def photo(width: int, height: int, seed: int = 1) -> bytes:
    """A PNG with soft blotches."""
    blotches = np.random.default_rng(seed).integers(90, 170, (height // 50, width // 50, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(blotches).resize((width, height), Image.Resampling.BICUBIC).save(data, "PNG")
    return data.getvalue()


def blob(x: float, y: float, radius_x: float, radius_y: float, turn: float = 0.0) -> list[float]:
    """A wavy COCO polygon around a point."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    reach = 1 + 0.12 * np.sin(3 * angles + turn) + 0.05 * np.sin(7 * angles + turn)
    corners = np.stack([x + radius_x * reach * np.cos(angles), y + radius_y * reach * np.sin(angles)], axis=1)
    flat: list[float] = corners.round(2).ravel().tolist()
    return flat


def coco_of(file_name: str, width: int, height: int, polygons: list[list[list[float]]], classes: list[str]) -> bytes:
    """A COCO file with an object for each entry of ``polygons``, of the classes in turn."""
    annotations = [
        {"id": number + 1, "image_id": 1, "category_id": number % len(classes) + 1, "segmentation": parts, "iscrowd": 0}
        for number, parts in enumerate(polygons)
    ]
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(classes)]
    images = [{"id": 1, "file_name": file_name, "width": width, "height": height}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories}).encode()


def frames_while(page: LabellingPage, each: str = "() => {}") -> float:
    """Frames a second that the page shows for two seconds in which ``each(frame)``, JavaScript, runs in every one."""
    frames: float = page.page.evaluate(f"() => ({_FRAMES})({each})")
    return frames


def open_crowd(page: LabellingPage, count: int, classes: int, width: int = 1600, height: int = 1200) -> LabellingPage:
    """Open an image with ``count`` objects that touch, in rows from the top left, of classes "kind 1", "kind 2", …"""
    columns = math.ceil(math.sqrt(count * width / height))
    wide, high = width / columns, height / math.ceil(count / columns)
    polygons = [
        [blob((n % columns + 0.5) * wide, (n // columns + 0.5) * high, wide * 0.5, high * 0.5, n)] for n in range(count)
    ]
    page.give_file("crowd.png", photo(width, height), "image/png", "drop")
    page.wait("() => document.querySelector('.samref-root').samref.state().image?.file_name === 'crowd.png'").settle()
    names = [f"kind {number + 1}" for number in range(classes)]
    page.give_file("crowd.json", coco_of("crowd.png", width, height, polygons, names), "application/json", "drop")
    page.wait(
        "(count) => document.querySelector('.samref-root').samref.state().annotations.list.length === count", count
    )
    return page.settle()
