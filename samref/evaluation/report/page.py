"""The result of a measurement as one HTML file that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import base64
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from samref.datasets import ImageRecord
from samref.evaluation.noc import IOU_TARGETS, ClickCurve, EvaluatedPredictor, Scores, Stage
from samref.evaluation.report.build import Report
from samref.evaluation.report.files import write_text
from samref.evaluation.report.plots import check_plots, line_plot, step_plot
from samref.evaluation.report.style import STYLE
from samref.evaluation.report.table import report_notes
from samref.evaluation.report.worst_cases import WORST_AFTER, WorstCase, draw_worst

__all__ = ["check_page", "report_to_page", "write_page"]

_SHOWN_TARGETS = (0.85, 0.90)
_SHOWN_CLICKS = (1, 3, 5, 10)
_SHOWN_BOUNDARY = (1, 5)


def check_page() -> None:
    """Refuse, before a long measurement, to make a page where that is not possible.

    Raises:
        SamrefError: matplotlib is not installed.
    """
    check_plots()


def write_page(report: Report, predictor: EvaluatedPredictor, records: Sequence[ImageRecord], path: Path) -> None:
    """Write the page; the worst objects are labelled once more for their images.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    write_text(report_to_page(report, draw_worst(report, predictor, records)), path)


def report_to_page(report: Report, worst: Sequence[WorstCase] = ()) -> str:
    """The whole page; every name in it that comes from a user is escaped."""
    title = f"{report.model or 'model'} on {report.data}"
    sections = (
        _summary(report),
        _section("What the refiner changes", _differences(report)),
        _section("Quality against clicks", _curves(report)),
        _section("Clicks needed", _histograms(report)),
        _section("Data sets", "".join(_table(report, stage) for stage in report.protocol.stages)),
        _section("What went worst", _cases(report, worst)),
        _section("How it was measured", _facts(report)),
    )
    body = f"<main><h1>{escape(title)}</h1>{''.join(sections)}</main>"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: interactive segmentation</title><style>{STYLE}</style></head>\n"
        f"<body>{body}</body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>\n" if content else ""


def _summary(report: Report) -> str:
    protocol = report.protocol
    objects = next(iter(report.macro.values())).objects
    sets = len(next(iter(report.datasets.values())))
    first = {"click": "a click", "box": "a box", "scribble": "a scribble"}.get(protocol.first_prompt, "a prompt")
    lead = (
        f"{_count(objects, 'object')} of {_count(sets, 'data set')}, {first} first, "
        f"up to {_count(protocol.max_clicks, 'click')} each. The numbers are means over data sets of equal weight."
    )
    return f"<p>{lead}</p>" + "".join(_tiles(stage, scores) for stage, scores in report.macro.items())


def _tiles(stage: str, scores: Scores) -> str:
    values = [(f"NoC@{_percent(target)}", f"{scores.noc[target]:.2f}") for target in _SHOWN_TARGETS]
    values += [(f"IoU@{k}", _number(scores.miou[k])) for k in (1, 5) if k in scores.miou]
    values += [(f"BIoU@{k}", _number(scores.mbiou[k])) for k in (5,) if k in scores.mbiou]
    values += [("encode", _duration(scores.encode_s)), ("per click", _duration(scores.click_s))]
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in values)
    return f'<h3 class="stage">{stage}</h3><dl class="tiles">{items}</dl>'


def _differences(report: Report) -> str:
    """Refined minus coarse with intervals, where both were measured."""
    if not report.differences:
        return ""
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("change", "mean", "from", "to", "sure"))
    rows = "".join(
        f'<tr><th scope="row">{escape(one.measure)}</th><td>{one.mean:+.4f}</td><td>{one.low:+.4f}</td>'
        f"<td>{one.high:+.4f}</td><td>{'yes' if one.excludes_zero else 'no'}</td></tr>"
        for one in report.differences
    )
    confidence = report.differences[0].confidence * 100
    return (
        f"<p>Refined minus coarse, each object compared with itself. The interval holds {confidence:g} % of the means "
        "when objects are drawn again with replacement. Sure: the interval excludes zero.</p>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Differences"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _curves(report: Report) -> str:
    clicks = range(1, report.protocol.max_clicks + 1)

    def means(value: Callable[[ClickCurve, int], float]) -> dict[str, list[float]]:
        return {stage: [_macro_mean(curves, value, k) for k in clicks] for stage, curves in report.curves.items()}

    plots = (("Mean IoU", means(ClickCurve.iou_after)), ("Mean boundary IoU", means(ClickCurve.biou_after)))
    return _figures(
        (line_plot(series, title=name, x_label="clicks", y_label=name), f"{name} after each click.", _in_words(series))
        for name, series in plots
    )


def _histograms(report: Report) -> str:
    most = report.protocol.max_clicks
    plots = []
    for target in _SHOWN_TARGETS:
        series: dict[str, list[int | None]] = {
            stage: [curve.clicks_to(target) for curve in curves] for stage, curves in report.curves.items()
        }
        never = ", ".join(f"{stage} {_count(found.count(None), 'object')}" for stage, found in series.items())
        name = f"Clicks to IoU {_percent(target)} %"
        svg = step_plot(series, most, title=name, x_label=name, y_label="objects")
        plots.append((svg, f"{name}; the hatched bar never got there.", f"Never: {never}."))
    return _figures(plots)


def _figures(plots: Iterable[tuple[str, str, str]]) -> str:
    figures = "".join(
        f'<figure><div role="img" aria-label="{escape(f"{caption} {words}")}">{svg}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for svg, caption, words in plots
    )
    return f'<div class="plots">{figures}</div>'


def _in_words(series: dict[str, list[float]]) -> str:
    return "; ".join(f"{name}: from {values[0]:.3f} to {values[-1]:.3f}" for name, values in series.items()) + "."


def _table(report: Report, stage: Stage) -> str:
    datasets, macro = report.datasets[stage], report.macro[stage]
    clicks = [k for k in _SHOWN_CLICKS if k in macro.miou]
    boundary = [k for k in _SHOWN_BOUNDARY if k in macro.mbiou]
    heads = ["objects", *(f"NoC@{_percent(x)}" for x in IOU_TARGETS), *(f"NoF@{_percent(x)}" for x in (0.90,))]
    heads += [*(f"IoU@{k}" for k in clicks), *(f"BIoU@{k}" for k in boundary), "encode", "click"]

    def row(name: str, scores: Scores) -> str:
        cells = [str(scores.objects), *(f"{scores.noc[x]:.2f}" for x in IOU_TARGETS), str(scores.never[0.90])]
        cells += [_number(scores.miou[k]) for k in clicks] + [_number(scores.mbiou[k]) for k in boundary]
        cells += [_duration(scores.encode_s), _duration(scores.click_s)]
        return f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'

    head = "".join(f'<th scope="col">{name}</th>' for name in ("data set", *heads))
    rows = "".join(row(name, scores) for name, scores in datasets.items())
    return (
        f'<h3 class="stage">{stage}</h3><div class="scroll" tabindex="0" role="region" '
        f'aria-label="Numbers per data set, {stage}"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>'
        f"<tfoot>{row('mean of data sets', macro)}</tfoot></table></div>"
    )


def _cases(report: Report, worst: Sequence[WorstCase]) -> str:
    if not worst:
        return ""
    clicks = min(WORST_AFTER, report.protocol.max_clicks)
    lead = (
        f"<p>The objects with the least IoU after {_count(clicks, 'click')}, at most two of a data set. "
        '<span class="key gt">yellow line</span> what was wanted, <span class="key pred">blue</span> the '
        f"{worst[0].stage} mask; green marks add and red marks with a minus remove, numbered in order.</p>"
    )
    return lead + f'<div class="cases">{"".join(_case(case) for case in worst)}</div>'


def _case(case: WorstCase) -> str:
    name = escape(case.sample_id)
    values = f"IoU {_number(case.iou)}, BIoU {_number(case.biou)} after {_count(case.clicks, 'click')}"
    return (
        f'<figure><div class="pair">{_image(case.whole, f"{case.sample_id}: the image and the outline wanted")}'
        f"{_image(case.close, f'{case.sample_id}: mask and clicks')}</div>"
        f"<figcaption><b>{name}</b><br>{values}</figcaption></figure>"
    )


def _image(jpeg: bytes, text: str) -> str:
    return f'<img alt="{escape(text)}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode("ascii")}">'


def _facts(report: Report) -> str:
    protocol = report.protocol
    until = "" if protocol.stop_at is None else f", until IoU {protocol.stop_at:g}"
    facts = [
        ("model", report.model or "not named"),
        *((f"weights {name}", f"SHA-256 {digest}") for name, digest in report.weights.items()),
        ("data", f"{report.data}, SHA-256 of images and masks {report.data_sha256 or 'not taken'}"),
        ("annotator looks at", ", then ".join(protocol.stages) + " masks"),
        ("first prompt", protocol.first_prompt),
        ("clicks", f"{protocol.max_clicks}{until}"),
        ("objects", _drawn(report)),
        ("workers", str(protocol.workers)),
        *((name, str(value)) for name, value in report.machine.items()),
        ("written", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
    ]
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    notes = "".join(f"<li>{escape(note)}</li>" for note in report_notes(report) if not note.startswith("Machine:"))
    return f'<dl class="facts">{rows}</dl><ul>{notes}</ul>'


def _drawn(report: Report) -> str:
    limit = report.protocol.limit_per_dataset
    return "all" if limit is None else f"at most {limit} of each data set, drawn with seed {report.protocol.seed}"


def _macro_mean(curves: Sequence[ClickCurve], value: Callable[[ClickCurve, int], float], clicks: int) -> float:
    """Mean over data sets of equal weight; objects without a value (NaN) are left out."""
    by_dataset: dict[str, list[float]] = {}
    for curve in curves:
        one = value(curve, clicks)
        if not math.isnan(one):
            by_dataset.setdefault(curve.dataset, []).append(one)
    return statistics.fmean(map(statistics.fmean, by_dataset.values())) if by_dataset else math.nan


def _percent(target: float) -> str:
    return f"{target * 100:.0f}"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
