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
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from samref.datasets import ImageRecord
from samref.errors import SamrefError
from samref.evaluation.noc import ClickCurve, EvaluatedPredictor, Scores, Stage
from samref.evaluation.report import Report, percent, report_notes, score_cells, score_in_words, write_text
from samref.evaluation.report.worst_cases import WORST_AFTER, WorstCase, draw_worst

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


def check_page() -> None:
    """Refuse, before a long measurement, to make a page where that is not possible.

    Raises:
        SamrefError: matplotlib is not installed.
    """
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
        series: dict[str, list[float]] = {}
        for stage, own in report.curves.items():
            series[stage] = [_macro_mean(own, value, k) for k in clicks]
        svg = line_plot(series, title=name, x_label="clicks", y_label=name)
        words = "; ".join(f"{stage}: from {values[0]:.3f} to {values[-1]:.3f}" for stage, values in series.items())
        plots.append((Markup(svg), f"{name} after each click.", f"{words}."))  # noqa: S704 - matplotlib escapes
    return plots


def _histograms(report: Report) -> list[tuple[Markup, str, str]]:
    most = report.protocol.max_clicks
    plots = []
    for target in _SHOWN_TARGETS:
        series: dict[str, list[int | None]] = {}
        for stage, own in report.curves.items():
            series[stage] = [curve.clicks_to(target) for curve in own]
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
    by_dataset: dict[str, list[float]] = {}
    for curve in curves:
        one = value(curve, clicks)
        if not math.isnan(one):
            by_dataset.setdefault(curve.dataset, []).append(one)
    return statistics.fmean(map(statistics.fmean, by_dataset.values())) if by_dataset else math.nan


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


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
    head = _without(_without(head, "width"), "height")
    return head + ' aria-hidden="true" focusable="false"' + tag + rest.replace(_INK, "currentColor")


def _without(tag: str, attribute: str) -> str:
    before, found, after = tag.partition(f' {attribute}="')
    return before + after.partition('"')[2] if found else tag
