"""The comparison as Markdown, and its place between two marks in a document."""

from __future__ import annotations

from pathlib import Path

from samref.errors import StorageError
from samref.evaluation.comparison import Comparison, Row
from samref.evaluation.report.files import check_target, write_text

__all__ = ["BEGIN", "END", "check_marks", "comparison_to_markdown", "put_between_marks"]

BEGIN = "<!-- comparison -->"
END = "<!-- /comparison -->"

NOT_LOADED = "weights not loaded"

_TARGETS = (0.85, 0.90)
_CLICKS = (1, 5)
_BOUNDARY = (5,)

_RATIO_ROWS = ("sam-ref-vit-b", "sam-ref-vit-b-c64", "sam-ref-vit-b-c32")


def check_marks(document: Path) -> None:
    """Refuse, before a long run, a document that has no place for the table.

    Raises:
        StorageError: it cannot be read or written, or its marks are not there, each once and in order.
    """
    check_target(document)
    _split(document)


def put_between_marks(document: Path, text: str) -> None:
    """Replace what stands between the marks; all else stays as it is.

    Raises:
        StorageError: as :func:`check_marks`, or the disk is full.
    """
    before, after = _split(document)
    write_text(f"{before}{BEGIN}\n{text.strip()}\n{END}{after}", document)


def comparison_to_markdown(comparison: Comparison, command: str) -> str:
    """The table, SAM-REF's own against SAM's decoder, and how it was measured."""
    settings, machine = comparison.settings, comparison.machine
    facts = [f"{name} {machine[name]}" for name in ("processor", "cores", "threads", "torch") if name in machine]
    devices = sorted({row.cost.device for row in comparison.rows if row.cost is not None})
    where = ", ".join([*facts, f"device {' and '.join(devices) or 'none'}", settings.precision])
    objects = max((row.report.macro[row.contender.stage].objects for row in comparison.rows if row.report), default=0)
    spent = (
        "SPC: mean seconds per click without the encoder, until the last mask; SPC/20 adds a twentieth of the encoder. "
        f"SAT: encoder and {settings.sat_grid} x {settings.sat_grid} lone clicks on one image. "
        "Memory: the most the whole process held (on a GPU, of its tensors there)."
    )
    good = (
        f"NoC, IoU and BIoU: {objects} objects of `{comparison.data}`, {settings.max_clicks} clicks, every data set "
        f'weighs the same. "{NOT_LOADED}": timed with random weights of the same sizes on whatever '
        "masks come out, which FocSAM's time depends on."
    )
    notes = [f"Measured by `{command}` in one run: {where}.", spent, good]
    parts = [_main_table(comparison), _ratio_table(comparison), "\n".join(f"- {note}" for note in notes)]
    failures = [f"- {row.contender.title}: {row.failure}" for row in comparison.rows if row.failure]
    return "\n\n".join(part for part in (*parts, "\n".join(failures)) if part) + "\n"


def _main_table(comparison: Comparison) -> str:
    heads = ["model", "parameters", "encode s", "SPC", "SPC/20", "SAT s", "memory"]
    heads += [f"NoC@{target * 100:.0f}" for target in _TARGETS]
    heads += [f"IoU@{k}" for k in _CLICKS] + [f"BIoU@{k}" for k in _BOUNDARY]
    return _markdown([heads, *(_cells(row) for row in comparison.rows)])


def _cells(row: Row) -> list[str]:
    cost = row.cost
    if cost is None:
        spent = ["–"] * 5 + ["not measured"]
    else:
        memory = cost.gpu_bytes if cost.device.startswith("cuda") else cost.memory_bytes
        spent = [
            f"{cost.parameters / 1e6:.2f} M" if cost.parameters else "none",
            _seconds(cost.encode_s),
            _seconds(cost.click_s),
            _seconds(cost.amortised_s),
            "–" if cost.sat_s is None else _seconds(cost.sat_s),
            f"{memory / 2**20:.0f} MiB",
        ]
    if row.report is None:
        return [
            row.contender.title,
            *spent,
            NOT_LOADED if cost else "–",
            *["–"] * (len(_TARGETS + _CLICKS + _BOUNDARY) - 1),
        ]
    scores = row.report.macro[row.contender.stage]
    good = [f"{scores.noc[target]:.2f}" for target in _TARGETS]
    good += [f"{scores.miou[k]:.3f}" if k in scores.miou else "–" for k in _CLICKS]
    good += [f"{scores.mbiou[k]:.3f}" if k in scores.mbiou else "–" for k in _BOUNDARY]
    return [row.contender.title, *spent, *good]


def _ratio_table(comparison: Comparison) -> str:
    """SAM-REF's refiner against SAM's own decoder, in the same clicks."""
    rows = [
        [
            row.contender.title,
            f"{row.cost.coarse_s * 1000:.0f} ms",
            f"{(row.cost.click_s - row.cost.coarse_s) * 1000:.0f} ms",
            f"{row.cost.refiner_ratio:.2f}",
        ]
        for row in comparison.rows
        if row.cost is not None and row.contender.name in _RATIO_ROWS
    ]
    return _markdown([["per click", "SAM's decoder", "refiner", "refiner / decoder"], *rows]) if rows else ""


def _markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" + "|---:" * (len(rows[0]) - 1) + "|", *lines[1:]])


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _split(document: Path) -> tuple[str, str]:
    try:
        text = document.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{document} cannot be read as text. Name a Markdown file with --readme.") from error
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise StorageError(
            f"{document} has no place for the table. Write a line {BEGIN} and below it a line {END}, each once, where "
            "it shall stand."
        )
    return text[: text.index(BEGIN)], text[text.index(END) + len(END) :]
