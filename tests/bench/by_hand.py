"""A scripted hand finishes awkward objects: a box, clicks while they help, then strokes with an unsteady hand.

    python -m tests.bench.by_hand --data FOLDER

prints what it took for each object to reach an IoU of 0.95. A stroke goes around (lasso) the largest mistake, as far
as the neighbouring mistakes of the same kind reach, and follows the true outline with an error that wanders by some
pixels of the screen, on which whoever draws has brought the place as close as it fits; it may add or remove pixels,
not both. ``--unsteady 0`` follows the outline exactly. Everything goes through a
:class:`~samref.inference.session.Session`.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from samref.core.hand import HandWork
from samref.core.images import DecodedImage
from samref.core.masks import Mask, Rle, mask_box, mask_iou
from samref.core.oracle import Annotator
from samref.core.prompts import Box
from samref.datasets import find_images, sample_objects
from samref.inference.device import load_predictor
from samref.inference.engine import LocalEngine, StoredImage
from samref.inference.session import Session
from samref.labels.events import Event, ImageOpened

WANTED = 0.95
CLICKS, STROKES = 8, 6

UNHELPFUL = 0.01
"""A click that gains less says that it is time for the brush."""

REACH = 9
"""Mistakes nearer than this are taken in one stroke, in pixels."""

UNSTEADY = 1.5
"""How far the hand leaves the outline, in pixels of the screen (standard deviation)."""

WAVE = 12.0
"""How long it stays away, in pixels of the screen (smoothness)."""

SCREEN, CLOSEST = 800, 16.0
"""Pixels of the screen that a stroke may fill, and the closest zoom that anybody draws at."""

OBJECTS = {
    "crackforest": 2,
    "carrot_weed": 2,
    "cwfid_plants": 1,
    "cigarettes": 1,
    "fasseg_faces": 1,
    "masked_face": 1,
    "mushrooms": 1,
    "dsb2018_nuclei": 1,
    "household_via": 1,
    "football_match": 1,
    "ccp_clothing": 1,
    "neu_seg": 1,
    "camvid": 1,
    "urban_facades": 1,
}
"""Cracks, leaves, hair, a crowd, glass, small and far things: how many of each data set."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What one object took."""

    name: str
    clicks: int
    strokes: int
    with_clicks: float
    in_the_end: float


class Hand:
    """Labels one object in a session of its own."""

    def __init__(self, engine: LocalEngine, model: str, image: DecodedImage, gt: Mask, unsteady: float) -> None:
        size = image.size
        events: list[Event] = [ImageOpened(image.digest, "image", size.height, size.width)]
        stored = StoredImage(image.digest, lambda: image)
        self.session = Session("hand", engine, stored, events, lambda *_: None, model=model)
        self.gt = gt
        self.unsteady = unsteady
        self.rng = np.random.default_rng(int(gt.sum()))

    async def finish(self, name: str) -> Finished:
        """Work until it is good enough, or the actions are used up."""
        await self._done()
        box = mask_box(self.gt)
        assert box is not None
        await self._prompt(Box(*map(float, box)))
        annotator, clicks, best = Annotator(self.gt), 0, self._iou()
        while clicks < CLICKS and self._iou() < WANTED:
            await self._prompt(annotator.click(self._mask()))
            clicks += 1
            if self._iou() < best + UNHELPFUL:
                if self._iou() < best:
                    self.session.do(self.session.undo())
                break
            best = self._iou()
        with_clicks, strokes = self._iou(), 0
        while strokes < STROKES and self._iou() < WANTED:
            self.session.do(self.session.paint(self._stroke(), "lasso"))
            strokes += 1
        return Finished(name, clicks, strokes, with_clicks, self._iou())

    def _stroke(self) -> HandWork:
        mask = self._mask()
        missing, surplus = self.gt & ~mask, mask & ~self.gt
        part, size = max((largest(missing), largest(surplus)), key=lambda found: found[1])
        assert size, "below the wanted IoU there is a mistake"
        box = mask_box(part)
        assert box is not None
        zoom = min(CLOSEST, SCREEN / max(box[2] - box[0], box[3] - box[1]))
        drawn = wandered(self.gt, self.unsteady / zoom, WAVE / zoom, self.rng)
        reached = cv2.dilate(part.astype(np.uint8), np.ones((REACH, REACH), np.uint8)) > 0
        if (part & missing).any():
            return HandWork(added=Rle.from_mask(reached & drawn))
        return HandWork(removed=Rle.from_mask(reached & ~drawn))

    async def _prompt(self, prompt: object) -> None:
        self.session.do(self.session.prompt(prompt))  # type: ignore[arg-type]
        await self._done()

    async def _done(self) -> None:
        self.session.catch_up()
        async for _ in self.session.watch():
            pass

    def _mask(self) -> Mask:
        shown = self.session.view.draft.mask
        return np.zeros_like(self.gt) if shown is None else shown.to_mask()

    def _iou(self) -> float:
        return mask_iou(self._mask(), self.gt)


def largest(mistakes: Mask) -> tuple[Mask, int]:
    """The largest group of mistakes that one stroke reaches, and its pixels."""
    joined = cv2.dilate(mistakes.astype(np.uint8), np.ones((REACH, REACH), np.uint8))
    count, parts = cv2.connectedComponents(joined)
    sizes = np.bincount(parts[mistakes], minlength=max(count, 2))
    sizes[0] = 0
    best = int(sizes.argmax())
    return mistakes & (parts == best), int(sizes[best])


def wandered(gt: Mask, by: float, wave: float, rng: np.random.Generator) -> Mask:
    """The object as a hand draws it: its outline moved by a smooth random field of ``by`` image pixels."""
    if by == 0:
        return gt
    height, width = gt.shape

    def field() -> NDArray[np.float32]:
        noise = cv2.GaussianBlur(rng.standard_normal(gt.shape).astype(np.float32), (0, 0), max(wave, 0.5))
        return (noise * (by / max(float(noise.std()), 1e-6))).astype(np.float32)

    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x + field(), y + field()
    moved = cv2.remap(gt.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    drawn: Mask = moved > 0.5
    return drawn


def main() -> None:
    """Finish the objects and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--unsteady", type=float, default=UNSTEADY)
    options = parser.parse_args()
    predictor = load_predictor(options.model, device="cpu")
    engine = LocalEngine(lambda _: predictor, options.model)
    records, _ = find_images(options.data)
    done: list[Finished] = []
    print(f"{'object':44} clicks strokes  after clicks  in the end")
    for dataset, count in OBJECTS.items():
        for record in sample_objects([one for one in records if one.dataset == dataset], count, 0):
            image = record.read_image()
            for one in record.read_objects(image):
                hand = Hand(engine, options.model, image, one.gt, options.unsteady)
                done.append(asyncio.run(hand.finish(record.sample_id(one.key))))
                found = done[-1]
                print(
                    f"{found.name:44} {found.clicks:6} {found.strokes:7} {found.with_clicks:13.3f} "
                    f"{found.in_the_end:11.3f}"
                )
    reached = [one for one in done if one.in_the_end >= WANTED]
    clicks, strokes = np.mean([one.clicks for one in done]), np.mean([one.strokes for one in done])
    print(f"{len(reached)} of {len(done)} reached {WANTED}: a box, {clicks:.1f} clicks and {strokes:.1f} strokes each")


if __name__ == "__main__":
    main()
