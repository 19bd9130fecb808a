"""The result of a measurement as plain text: one line per data set and one for their mean."""

from __future__ import annotations

from collections.abc import Sequence

from samref.evaluation.noc import IOU_TARGETS, Scores
from samref.evaluation.report.build import Report

__all__ = ["align", "report_notes", "report_to_table"]

TABLE_CLICKS = (1, 3, 5, 10)
"""IoU after so many clicks has a column of its own."""

TABLE_BOUNDARY_CLICKS = (1, 5, 10)


def report_to_table(report: Report) -> str:
    """The report as plain text: one line per data set and one for their mean."""
    parts = []
    protocol = report.protocol
    for stage, datasets in report.datasets.items():
        title = f"{report.model or 'model'}, {stage} masks, first prompt: {protocol.first_prompt}, data: {report.data}"
        title += "" if protocol.rule == "ritm" else f", protocol: {protocol.rule}"
        title += "" if protocol.sam_masks is None else f", SAM's masks: {protocol.sam_masks}"
        head = ["data set", "objects"]
        head += [f"NoC@{target * 100:.0f}" for target in IOU_TARGETS]
        head += [f"NoF@{target * 100:.0f}" for target in IOU_TARGETS]
        clicks = [k for k in TABLE_CLICKS if k <= protocol.max_clicks]
        boundary = [k for k in TABLE_BOUNDARY_CLICKS if k <= protocol.max_clicks]
        head += [f"IoU@{k}" for k in clicks] + [f"BIoU@{k}" for k in boundary] + ["encode s", "s/click"]
        rows = [_row(name, scores, clicks, boundary) for name, scores in datasets.items()]
        rows.append(_row("mean of data sets", report.macro[stage], clicks, boundary))
        parts.append("\n".join([title, "", *align([head, *rows])]))
    parts.append("\n".join(report_notes(report)))
    return "\n\n".join(parts) + "\n"


def _row(name: str, scores: Scores, clicks: Sequence[int], boundary: Sequence[int]) -> list[str]:
    return [
        name,
        str(scores.objects),
        *(f"{scores.noc[target]:.2f}" for target in IOU_TARGETS),
        *(str(scores.never[target]) for target in IOU_TARGETS),
        *(f"{scores.miou[k]:.3f}" for k in clicks),
        *(f"{scores.mbiou[k]:.3f}" for k in boundary),
        f"{scores.encode_s:.3f}",
        f"{scores.click_s:.3f}",
    ]


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first row is its head and the last one its sum, each beside a rule."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def report_notes(report: Report) -> list[str]:
    """What a reader has to know about the numbers, a sentence each."""
    protocol, skipped = report.protocol, report.skipped
    layouts = f"Layout of the data: {', '.join(protocol.layouts) or 'not told'}"
    lines = [
        f"{layouts}{'' if protocol.split is None else f', part {protocol.split}'}. Protocol: {protocol.rule}.",
        f"NoC: mean clicks to that IoU, a failure counts as {protocol.max_clicks}. NoF: objects that never got there.",
        "Times are medians; s/click leaves the encoder out.",
        "The mean gives every data set the same weight; objects and NoF are sums.",
    ]
    for stage, scores in report.macro.items():
        counts = ", ".join(f"@{target * 100:.0f}: {count}" for target, count in scores.at_max.items())
        lines.append(f"{stage}: objects whose clicks equal {protocol.max_clicks} (the published count): {counts}.")
        harm = f"{100 * scores.harmful_rate:.1f} % of the clicks after the first lowered IoU by more than a point"
        lines.append(f"{stage}: {harm}; {scores.amortised_s:.3f} s per click with a twentieth of the encoder.")
    lines += [f"{one.to_sentence('refined', 'coarse')}." for one in report.differences]
    if protocol.stop_at is not None:
        lines.append(f"The annotator stopped at IoU {protocol.stop_at:g}: IoU@k keeps the last mask from there on.")
    if report.measured_before:
        lines.append(f"{report.measured_before} objects were measured by an earlier run that was interrupted.")
    if protocol.limit_per_dataset is not None:
        lines.append(f"At most {protocol.limit_per_dataset} objects per data set, drawn with seed {protocol.seed}.")
    left_out = skipped.to_sentences()
    if left_out:
        lines.append(f"Left out: {', '.join(left_out)}.")
    lines.append("Machine: " + ", ".join(f"{key} {value}" for key, value in report.machine.items()) + ".")
    return lines
