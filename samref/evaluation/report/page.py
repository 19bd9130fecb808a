"""The result of a measurement as one HTML file that needs nothing else: no network, no script, no other file.

Plots are SVG text that takes the page's own text colour, so that they are readable on light and on dark.
"""

from __future__ import annotations

import base64
import io
import math
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from samref.core.images import encode_jpeg
from samref.core.masks import Mask, mask_box
from samref.core.prompts import Box, Click, Polygon, Prompt, Prompts, Scribble
from samref.datasets import ImageRecord
from samref.errors import SamrefError
from samref.evaluation.noc import ClickCurve, EvaluatedPredictor, Recorder, Scores, Stage, by_dataset, click_curve
from samref.evaluation.report import Report, percent, report_notes, score_cells, score_in_words, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEMPLATE = "page.html.j2"

_SHOWN_TARGETS = (0.85, 0.90)

_INK = "#010203"
"""Stands for the page's text colour, which an SVG inside the page can ask for and matplotlib cannot."""

_COLOURS = ("#d97706", "#3a86e0", "#1a9d68", "#b5529c", "#8a8f98")
"""Told apart by colour-blind eyes, and with a contrast of 3 or more on white and on near-black."""

_STYLES = (("--", "o"), ("-", "s"), ("-.", "^"), (":", "D"), ("-", "v"))
_SIZE_INCHES = (4.4, 3.1)

_NAMES = re.compile(r"""( id="|url\(#|href="#)""")
"""Where an SVG names its parts and where it asks for them; the page has several SVGs and each name once."""

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


def check_page() -> None:
    """Refuse, before a long measurement, to make a page where that is not possible."""
    try:
        import matplotlib.figure  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise SamrefError(
            "A page with plots needs matplotlib, which is not installed. "
            "Install it with: pip install 'samref[evaluate]'"
        ) from error


def write_page(report: Report, predictor: EvaluatedPredictor, records: Sequence[ImageRecord], path: Path) -> None:
    """Write the page; the worst objects are labelled once more for their images."""
    write_text(report_to_page(report, draw_worst(report, predictor, records)), path)


def report_to_page(report: Report, worst: Sequence[WorstCase] = ()) -> str:
    """The whole page; every name in it that comes from a user is escaped."""
    environment = Environment(
        loader=PackageLoader(__package__, ""),
        autoescape=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["base64"] = lambda jpeg: base64.b64encode(jpeg).decode("ascii")
    environment.filters["score"] = score_in_words
    return environment.get_template(TEMPLATE).render(
        title=f"{report.model or 'model'} on {report.data}",
        protocol=report.protocol,
        objects=next(iter(report.macro.values())).objects,
        data_sets=len(next(iter(report.datasets.values()))),
        tiles={stage: _tiles(scores) for stage, scores in report.macro.items()},
        differences=report.differences,
        curves=_curves(report),
        histograms=_histograms(report),
        tables={stage: _table(report, stage) for stage in report.protocol.stages},
        worst=worst,
        worst_after=min(WORST_AFTER, report.protocol.max_clicks),
        facts=_facts(report),
        notes=[note for note in report_notes(report) if not note.startswith("Machine:")],
    )


def _tiles(scores: Scores) -> dict[str, str]:
    cells = score_cells(scores, _SHOWN_TARGETS, (), (1, 5), (5,))
    return {**cells, "encode": _duration(scores.encode_s), "per click": _duration(scores.click_s)}


def _curves(report: Report) -> list[tuple[Markup, str, str]]:
    """Plots with what they show and their ends in words, for people who cannot see them."""
    clicks = range(1, report.protocol.max_clicks + 1)
    plots = []
    for name, value in (("Mean IoU", ClickCurve.iou_after), ("Mean boundary IoU", ClickCurve.biou_after)):
        series: dict[str, list[float]] = {
            stage: [_macro_mean(own, value, k) for k in clicks] for stage, own in report.curves.items()
        }
        svg = line_plot(series, title=name, x_label="clicks", y_label=name)
        words = "; ".join(f"{stage}: from {values[0]:.3f} to {values[-1]:.3f}" for stage, values in series.items())
        plots.append((Markup(svg), f"{name} after each click.", f"{words}."))  # noqa: S704 - matplotlib escapes
    return plots


def _histograms(report: Report) -> list[tuple[Markup, str, str]]:
    most = report.protocol.max_clicks
    plots = []
    for target in _SHOWN_TARGETS:
        series: dict[str, list[int | None]] = {
            stage: [curve.clicks_to(target) for curve in own] for stage, own in report.curves.items()
        }
        never = {stage: found.count(None) for stage, found in series.items()}
        words = ", ".join(f"{stage} {lost} object{'' if lost == 1 else 's'}" for stage, lost in never.items())
        name = f"Clicks to IoU {percent(target)} %"
        svg = step_plot(series, most, title=name, x_label=name, y_label="objects")
        caption = f"{name}; the hatched bar never got there."
        plots.append((Markup(svg), caption, f"Never: {words}."))  # noqa: S704 - matplotlib escapes
    return plots


def _table(report: Report, stage: Stage) -> list[list[str]]:
    lines = {**report.datasets[stage], "mean of data sets": report.macro[stage]}
    rows = [
        {
            "data set": name,
            "objects": str(scores.objects),
            **score_cells(scores, nof=(0.90,), bious=(1, 5)),
            "encode": _duration(scores.encode_s),
            "click": _duration(scores.click_s),
        }
        for name, scores in lines.items()
    ]
    return [list(rows[-1]), *(list(row.values()) for row in rows)]


def _facts(report: Report) -> list[tuple[str, str]]:
    protocol = report.protocol
    until = "" if protocol.stop_at is None else f", until IoU {protocol.stop_at:g}"
    limit = protocol.limit_per_dataset
    drawn = "all" if limit is None else f"at most {limit} of each data set, drawn with seed {protocol.seed}"
    return [
        ("model", report.model or "not named"),
        *((f"weights {name}", f"SHA-256 {digest}") for name, digest in report.weights.items()),
        ("data", f"{report.data}, SHA-256 of images and masks {report.data_sha256 or 'not taken'}"),
        ("annotator looks at", ", then ".join(protocol.stages) + " masks"),
        ("first prompt", protocol.first_prompt),
        ("clicks", f"{protocol.max_clicks}{until}"),
        ("objects", drawn),
        ("workers", str(protocol.workers)),
        *((name, str(value)) for name, value in report.machine.items()),
        ("written", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
    ]


def _macro_mean(curves: Sequence[ClickCurve], value: Callable[[ClickCurve, int], float], clicks: int) -> float:
    """Mean over data sets of equal weight; objects without a value (NaN) are left out."""
    known = by_dataset(curve for curve in curves if not math.isnan(value(curve, clicks)))
    means = [statistics.fmean(value(curve, clicks) for curve in own) for own in known.values()]
    return statistics.fmean(means) if means else math.nan


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


# ---- the objects that went worst, as images


@dataclass(frozen=True, slots=True)
class WorstCase:
    """One object that went badly: the mask of ``stage`` after so many clicks.

    Attributes:
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
    return [_draw_case(report, predictor, *owners[curve.sample_id]) for curve in choose_worst(report, count)]


def _draw_case(report: Report, predictor: EvaluatedPredictor, record: ImageRecord, key: str) -> WorstCase:
    stage = report.protocol.stages[-1]
    protocol = replace(report.protocol, max_clicks=min(WORST_AFTER, report.protocol.max_clicks))
    image = record.read_image()
    (target,) = (one for one in record.read_objects(image) if one.key == key)
    recorder = Recorder(predictor)
    curve = click_curve(
        recorder,
        recorder.embed(image),
        target,
        protocol,
        stage,
        sample_id=record.sample_id(key),
        dataset=record.dataset,
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
    xs = [box[0], box[2], *(round(click.x) for click in prompts.clicks)]
    ys = [box[1], box[3], *(round(click.y) for click in prompts.clicks)]
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
        _draw_prompt(canvas, prompt, number, (x0, y0), scale)
    return canvas


def _scaled(mask: Mask, size: tuple[int, int]) -> Mask:
    scaled: Mask = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(np.bool_)
    return scaled


def _outline(canvas: NDArray[np.uint8], mask: Mask, colour: tuple[int, int, int], width: int) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, colour, width, cv2.LINE_AA)


def _draw_prompt(canvas: NDArray[np.uint8], prompt: Prompt, number: int, origin: tuple[int, int], scale: float) -> None:
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


# ---- plots


def line_plot(series: Mapping[str, Sequence[float]], *, title: str, x_label: str, y_label: str) -> str:
    """Values (0..1) after 1, 2, 3, ... clicks as one line each; NaN leaves a gap."""
    with _drawing(title, x_label, y_label) as (axes, text):
        most = 1
        for number, (name, values) in enumerate(series.items()):
            style, marker = _STYLES[number % len(_STYLES)]
            clicks = range(1, len(values) + 1)
            most = max(most, len(values))
            axes.plot(
                clicks, values, style, marker=marker, ms=3.5, lw=1.6, color=_COLOURS[number % len(_COLOURS)], label=name
            )
        known = [value for values in series.values() for value in values if not math.isnan(value)]
        axes.set_ylim(math.floor(10 * min(known, default=0)) / 10, 1)
        axes.set_xlim(0.5, most + 0.5)
        _whole_clicks(axes, most)
    return text.getvalue()


def step_plot(series: Mapping[str, Sequence[int | None]], most: int, *, title: str, x_label: str, y_label: str) -> str:
    """How many objects needed how many clicks, side by side for each series; the last bar is those that never did.

    ``series`` has the clicks of each object, None for never, and ``most`` is how many were given.
    """
    with _drawing(title, x_label, y_label) as (axes, text):
        never = most + 1.5
        width = 0.84 / max(1, len(series))
        for number, (name, clicks) in enumerate(series.items()):
            places = list(range(1, most + 1))
            heights = [sum(one == count for one in clicks) for count in places]
            shift = (number - (len(series) - 1) / 2) * width
            colour = _COLOURS[number % len(_COLOURS)]
            axes.bar([place + shift for place in places], heights, width, color=colour, label=name)
            lost = sum(one is None for one in clicks)
            axes.bar([never + shift], [lost], width, color="none", edgecolor=colour, hatch="////", lw=1)
        _whole_clicks(axes, most, extra={never: "never"})
        axes.set_xlim(0.3, never + 0.7)
    return text.getvalue()


def _whole_clicks(axes: Axes, most: int, extra: Mapping[float, str] | None = None) -> None:
    step = max(1, math.ceil(most / 8)) if most > 10 else 1
    ticks: dict[float, str] = {count: str(count) for count in (1, *range(step, most + 1, step))}
    ticks.update(extra or {})
    axes.set_xticks(list(ticks), list(ticks.values()))


@contextmanager
def _drawing(title: str, x_label: str, y_label: str) -> Iterator[tuple[Axes, io.StringIO]]:
    """Axes to draw on; the text holds the SVG afterwards."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none",  # text stays text, in the page's font
        "svg.hashsalt": title,  # names inside the SVG are the same every time and differ between plots
        "text.parse_math": False,  # a dollar sign in a name is a dollar sign
        "font.size": 9,
        "hatch.linewidth": 0.8,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), _INK),
    }
    text = io.StringIO()
    with mpl.rc_context(settings):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(visible=True, axis="y", color=_INK, alpha=0.15, lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        yield axes, text
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, loc="best")
        raw = io.StringIO()
        figure.savefig(raw, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text.write(_for_page(raw.getvalue(), re.sub(r"\W+", "-", title)))


def _for_page(svg: str, name: str) -> str:
    """The ``<svg>`` element alone: in the page's colour, as wide as its column, with names of its own."""
    element = _NAMES.sub(rf"\g<1>{name}-", svg[svg.index("<svg") :])
    head, tag, rest = element.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return head + ' aria-hidden="true" focusable="false"' + tag + rest.replace(_INK, "currentColor")
