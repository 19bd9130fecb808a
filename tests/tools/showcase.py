"""Makes ``assets/showcase``: the finished result that the start page shows. Run ``python -m tests.tools.showcase``.

The prompts are chosen by hand, after a look at what both stages make of several clicks on every example; masks, image
and figures are computed here from the embedded model. ``tests/unit/web/test_showcase.py`` computes them again.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

import samref
from samref.core.images import decode_image
from samref.core.masks import MaskWindow, Rle, rle_iou
from samref.core.prompts import Click, Prompts
from samref.models.registry import get_spec
from samref.web.examples import SHOWCASE_FILE, Showcase, ShowcaseClick, ShowcaseMask

ROOT = Path(__file__).resolve().parent.parent.parent
MODEL = "tiny"
EXAMPLE = "astronaut.jpg"
WHAT = "the visor, black glass that mirrors the room"
CLICKS = (ShowcaseClick(x=400, y=470, positive=True),)

IMAGE_FILE = "hero.webp"
IMAGE_BYTES = 60_000
"""The start page must not wait for more."""


def masks_of(data: bytes, clicks: tuple[ShowcaseClick, ...]) -> tuple[Rle, Rle]:
    """Coarse and refined mask for the last of ``clicks``, given in turn to the embedded model."""
    predictor = samref.load_predictor(MODEL, device="cpu", precision="fp32")
    embedding = predictor.embed(decode_image(data))
    said = tuple(Click(one.x, one.y, one.positive) for one in clicks)
    state = None
    for count in range(1, len(said) + 1):
        coarse, refined = predictor.predict(embedding, Prompts(said[:count]), state)
        state = refined.state
    return coarse.mask, refined.mask


def weights_of_model() -> dict[str, str]:
    """SHA-256 of each file of the model's weights."""
    return {one.file_name: one.sha256 or "" for one in get_spec(MODEL).checkpoints}


def make_showcase(data: bytes) -> tuple[Showcase, bytes]:
    """The showcase of an example, and its image for the start page.

    Args:
        data: bytes of the example's file.
    """
    coarse, refined = masks_of(data, CLICKS)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    packed = io.BytesIO()
    image.save(packed, format="WEBP", quality=66, method=6)
    union, common = coarse.union(refined), coarse.intersection(refined)
    showcase = Showcase(
        example=EXAMPLE,
        image=IMAGE_FILE,
        width=image.width,
        height=image.height,
        model=MODEL,
        weights=weights_of_model(),
        prompts=CLICKS,
        what=WHAT,
        coarse=_on_wire(coarse),
        refined=_on_wire(refined),
        iou=round(rle_iou(coarse, refined), 4),
        pixels_differ=union.area - common.area,
    )
    return showcase, packed.getvalue()


def _on_wire(mask: Rle) -> ShowcaseMask:
    window = MaskWindow.from_rle(mask)
    return ShowcaseMask(box=window.box_xywh, counts=window.mask.counts)


def main() -> None:
    """Write both files, and say what they hold."""
    showcase, image = make_showcase((ROOT / "assets" / "examples" / EXAMPLE).read_bytes())
    if len(image) > IMAGE_BYTES:
        raise SystemExit(f"{IMAGE_FILE} has {len(image)} bytes, more than {IMAGE_BYTES}: lower its quality.")
    folder = ROOT / "assets" / "showcase"
    folder.mkdir(exist_ok=True)
    (folder / IMAGE_FILE).write_bytes(image)
    (folder / SHOWCASE_FILE).write_text(showcase.model_dump_json() + "\n", encoding="utf-8")
    print(f"{IMAGE_FILE}: {len(image)} bytes; IoU {showcase.iou}, {showcase.pixels_differ} pixels differ")


if __name__ == "__main__":
    main()
