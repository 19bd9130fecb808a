"""The objects that went worst, as images: what was meant, what came out, and where the annotator clicked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samref.core.images import encode_jpeg
from samref.core.masks import Mask, mask_box
from samref.core.prompts import Box, Click, Polygon, Prompt, Prompts, Scribble
from samref.datasets import ImageRecord
from samref.evaluation.noc import ClickCurve, EvaluatedPredictor, Recorder, Stage, click_curve
from samref.evaluation.report import Report

WORST_AFTER = 5
"""Clicks after which objects are compared: a person has lost patience by then."""

WORST_SHOWN = 12
WORST_PER_DATASET = 2
"""So that one hard data set does not fill the page."""

PANEL_PIXELS = 360
"""Longest side of a panel: the width of a telephone."""

_MARGIN = 0.25
"""Of the object's longer side, kept around it in the close view."""

_LEAST_VIEW = 48
"""Pixels of the image that a close view covers at least."""

_GT = (255, 214, 0)
_PRED = (40, 120, 255)
_POSITIVE = (0, 170, 80)
_NEGATIVE = (215, 40, 40)
_HALO = (0, 0, 0)
_WHITE = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class WorstCase:
    """One object that went badly.

    Attributes:
        sample_id: its name.
        stage: whose mask is shown.
        clicks: after so many.
        iou, biou: of the mask shown.
        whole: JPEG of the image with the outline that was wanted.
        close: JPEG of the object's surroundings with outline, mask and prompts.
    """

    sample_id: str
    stage: Stage
    clicks: int
    iou: float
    biou: float
    whole: bytes
    close: bytes


def choose_worst(report: Report, count: int = WORST_SHOWN, per_dataset: int = WORST_PER_DATASET) -> list[ClickCurve]:
    """Curves of the last stage with the least IoU after :data:`WORST_AFTER` clicks, the worst first."""
    clicks = min(WORST_AFTER, report.protocol.max_clicks)
    known = [one for one in report.curves[report.protocol.stages[-1]] if not math.isnan(one.iou_after(clicks))]
    chosen: list[ClickCurve] = []
    for curve in sorted(known, key=lambda one: (one.iou_after(clicks), one.sample_id)):
        if len(chosen) < count and sum(one.dataset == curve.dataset for one in chosen) < per_dataset:
            chosen.append(curve)
    return chosen


def draw_worst(
    report: Report, predictor: EvaluatedPredictor, records: Sequence[ImageRecord], count: int = WORST_SHOWN
) -> list[WorstCase]:
    """At most ``count`` of the worst objects, labelled once more to have their masks and clicks."""
    owners = {record.sample_id(key): (record, key) for record in records for key in record.keys or ()}
    return [_draw(report, predictor, *owners[curve.sample_id]) for curve in choose_worst(report, count)]


def _draw(report: Report, predictor: EvaluatedPredictor, record: ImageRecord, key: str) -> WorstCase:
    protocol = report.protocol
    stage = protocol.stages[-1]
    clicks = min(WORST_AFTER, protocol.max_clicks)
    image = record.read_image()
    (target,) = (one for one in record.read_objects(image) if one.key == key)
    recorder = Recorder(predictor)
    curve = click_curve(
        recorder,
        recorder.embed(image),
        target,
        sample_id=record.sample_id(key),
        dataset=record.dataset,
        stage=stage,
        max_clicks=clicks,
        first=protocol.first_prompt,
        stop_at=protocol.stop_at,
        rule=protocol.rule,
    )
    pred = recorder.answers[-1][-1].mask.to_mask()
    height, width = target.gt.shape
    window = _surroundings(target.gt, recorder.prompts)
    return WorstCase(
        sample_id=curve.sample_id,
        stage=stage,
        clicks=len(curve.ious),
        iou=curve.ious[-1],
        biou=curve.bious[-1],
        whole=encode_jpeg(_panel(image.rgb, (0, 0, width, height), target.gt, None, Prompts()), 82),
        close=encode_jpeg(_panel(image.rgb, window, target.gt, pred, recorder.prompts), 82),
    )


def _surroundings(gt: Mask, prompts: Prompts) -> tuple[int, int, int, int]:
    """The object and every prompt with a margin, (x0, y0, x1, y1) inside the image."""
    box = mask_box(gt)
    assert box is not None, "an empty object is never measured"
    xs, ys = [box[0], box[2]], [box[1], box[3]]
    for click in prompts.clicks:
        xs.append(round(click.x))
        ys.append(round(click.y))
    margin = max(_MARGIN * max(max(xs) - min(xs), max(ys) - min(ys)), _LEAST_VIEW / 4)
    height, width = gt.shape
    return (
        max(0, round(min(xs) - margin)),
        max(0, round(min(ys) - margin)),
        min(width, round(max(xs) + margin)),
        min(height, round(max(ys) + margin)),
    )


def _panel(
    rgb: NDArray[np.uint8], window: tuple[int, int, int, int], gt: Mask, pred: Mask | None, prompts: Prompts
) -> NDArray[np.uint8]:
    """A part of the image at the panel's size with everything drawn over it."""
    x0, y0, x1, y1 = window
    scale = PANEL_PIXELS / max(x1 - x0, y1 - y0)
    size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    shrinking = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas: NDArray[np.uint8] = np.ascontiguousarray(cv2.resize(rgb[y0:y1, x0:x1], size, interpolation=shrinking))
    if pred is not None:
        inside = _scaled(pred[y0:y1, x0:x1], size)
        canvas[inside] = (0.55 * canvas[inside] + 0.45 * np.array(_PRED)).astype(np.uint8)
        _outline(canvas, inside, _PRED, 1)
    wanted = _scaled(gt[y0:y1, x0:x1], size)
    _outline(canvas, wanted, _HALO, 4)
    _outline(canvas, wanted, _GT, 2)
    for number, prompt in enumerate(prompts.items, 1):
        _mark(canvas, prompt, number, (x0, y0), scale)
    return canvas


def _scaled(mask: Mask, size: tuple[int, int]) -> Mask:
    pixels = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    scaled: Mask = pixels.astype(np.bool_)
    return scaled


def _outline(canvas: NDArray[np.uint8], mask: Mask, colour: tuple[int, int, int], width: int) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, colour, width, cv2.LINE_AA)


def _mark(canvas: NDArray[np.uint8], prompt: Prompt, number: int, origin: tuple[int, int], scale: float) -> None:
    """A prompt as a person sees it on the page: + adds, - removes, the number says when."""

    def place(x: float, y: float) -> tuple[int, int]:
        return round((x + 0.5 - origin[0]) * scale), round((y + 0.5 - origin[1]) * scale)

    match prompt:
        case Click(x, y, positive):
            centre = place(x, y)
            cv2.circle(canvas, centre, 9, _WHITE, -1, cv2.LINE_AA)
            cv2.circle(canvas, centre, 8, _POSITIVE if positive else _NEGATIVE, -1, cv2.LINE_AA)
            text = f"{number}" if positive else f"-{number}"
            (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.36, 1)
            corner = (centre[0] - width // 2, centre[1] + height // 2)
            cv2.putText(canvas, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.36, _WHITE, 1, cv2.LINE_AA)
        case Box(left, top, right, bottom):
            cv2.rectangle(canvas, place(left - 0.5, top - 0.5), place(right - 0.5, bottom - 0.5), _POSITIVE, 2)
        case Scribble(points, positive, _) | Polygon(points, positive):
            line = np.array([place(x, y) for x, y in points], dtype=np.int32)
            closed = isinstance(prompt, Polygon)
            cv2.polylines(canvas, [line], closed, _POSITIVE if positive else _NEGATIVE, 3, cv2.LINE_AA)
