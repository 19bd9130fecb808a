"""Every model measured on one machine in one run, as a Markdown table with a place between two marks in a document.

What each costs is measured first, then how good those are whose weights are at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from samref.datasets import find_images, sample_objects
from samref.errors import DataError, SamrefError, StorageError, UnknownModelError
from samref.evaluation.cost import Contender, Cost, Settings, build_predictor, measure_cost
from samref.evaluation.grabcut import GRABCUT
from samref.evaluation.noc import ClickProtocol
from samref.evaluation.report import (
    Report,
    check_target,
    data_digest,
    describe_machine,
    markdown_table,
    score_cells,
    scores_to_dict,
    weights_digests,
    write_json,
    write_text,
)
from samref.evaluation.run import evaluate, journal_path
from samref.models.registry import get_spec

BEGIN = "<!-- comparison -->"
END = "<!-- /comparison -->"

NOT_LOADED = "weights not loaded"

Told: TypeAlias = Callable[[str], None]
"""Told in words what is measured now."""

CONTENDERS = (
    Contender("tiny-coarse", "`tiny`, coarse", "tiny", "coarse"),
    Contender("tiny", "`tiny`, refined", "tiny"),
    Contender("grabcut", "GrabCut (OpenCV)", GRABCUT),
    Contender("sam-vit-b", "SAM ViT-B", "sam-vit-b"),
    Contender("sam-ref-vit-b", "SAM ViT-B + base-agnostic refiner", "sam-ref-vit-b", refines=True),
    Contender("sam-ref-vit-b-c64", "SAM-REF over ViT-B, C=64", "sam-ref-vit-b-c64", refines=True),
    Contender("sam-ref-vit-b-c32", "SAM-REF over ViT-B, C=32", "sam-ref-vit-b-c32", refines=True),
    Contender("segnext-b-sax1", "SegNext ViT-B, SA×1", "segnext-b-sax1"),
    Contender("segnext-b-sax2", "SegNext ViT-B, SA×2", "segnext-b-sax2"),
    Contender("focsam-vit-b", "FocSAM over ViT-B", "focsam-vit-b", refines=True),
)

_RATIO_ROWS = ("sam-ref-vit-b", "sam-ref-vit-b-c64", "sam-ref-vit-b-c32")
_QUALITY = ("NoC@85", "NoC@90", "IoU@1", "IoU@5", "BIoU@5")


@dataclass(frozen=True, slots=True)
class Row:
    """One model's figures."""

    contender: Contender
    cost: Cost | None
    """None where it could not be measured; ``failure`` says why."""

    report: Report | None
    """None where its weights are not at hand."""

    failure: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything one run found out."""

    data: str
    data_sha256: str
    settings: Settings
    machine: Mapping[str, str | int]
    rows: tuple[Row, ...]


def find_contenders(names: Sequence[str]) -> list[Contender]:
    """The contenders of those names, all where none is named; any model of the zoo is understood."""
    known = {one.name: one for one in CONTENDERS}
    found = []
    for name in names or known:
        if name in known:
            found.append(known[name])
            continue
        try:
            spec = get_spec(name)
        except UnknownModelError as error:
            raise UnknownModelError(f"{error} To compare there are also: {', '.join(known)}.") from error
        found.append(Contender(name, spec.title, name, refines="refined" in spec.stages))
    return found


def compare(
    data: Path,
    contenders: Sequence[Contender],
    settings: Settings,
    *,
    json_path: Path | None = None,
    progress: bool = False,
    told: Told = lambda _: None,
) -> Comparison:
    """Measure times and memory of every model, then the quality of those whose weights are at hand.

    Times come first, on one image (SegNext takes minutes for each on a CPU) and one after the other, each in its own
    process, so that they belong to one state of the machine. Where a JSON file is to be written, the measurements of
    quality keep journals beside it: killed and started again, times are taken anew and quality goes on where it was.

    Args:
        data: a data set folder or a folder of those.
        contenders: the models.
        settings: clicks, objects, device.
        json_path: where to write the comparison as JSON; reports of single models lie beside it.
        progress: show how far one model's quality is.
        told: told what is measured now.
    """
    found, _ = find_images(data)
    records = sample_objects(found, settings.limit_per_dataset, settings.seed)
    protocol = ClickProtocol(settings.max_clicks, limit_per_dataset=settings.limit_per_dataset, seed=settings.seed)
    costs: dict[str, Cost] = {}
    failures: dict[str, str] = {}
    for one in contenders:
        told(f"{one.name}: times and memory")
        try:
            costs[one.name] = measure_cost(one, records[0], settings)
        except DataError:
            raise
        except SamrefError as error:  # one model that does not fit the machine must not cost the others
            failures[one.name] = str(error)
    rows = []
    journals: list[Path] = []
    for one in contenders:
        cost, report = costs.get(one.name), None
        if cost is not None and cost.loaded:
            told(f"{one.name}: quality")
            own = None if json_path is None else json_path.with_name(f"{json_path.stem}.{one.name}.json")
            report = evaluate(
                data,
                build_predictor(one, settings)[0],
                replace(protocol, stages=(one.stage,)),
                model=one.model,
                weights=weights_digests(one.model),
                json_path=own,
                keep_journal=True,
                progress=progress,
            )
            if own is not None:
                journals.append(journal_path(own))
        rows.append(Row(one, cost, report, failures.get(one.name, "")))
    comparison = Comparison(data.resolve().name, data_digest(records), settings, describe_machine(), tuple(rows))
    if json_path is not None:
        write_json(comparison_to_dict(comparison), json_path)
    for path in journals:
        path.unlink(missing_ok=True)
    return comparison


def comparison_to_dict(comparison: Comparison) -> dict[str, Any]:
    """Plain JSON values."""
    return {
        "data": comparison.data,
        "data_sha256": comparison.data_sha256,
        "settings": asdict(comparison.settings),
        "machine": dict(comparison.machine),
        "models": {
            row.contender.name: {
                "title": row.contender.title,
                "stage": row.contender.stage,
                "cost": None if row.cost is None else asdict(row.cost),
                "failure": row.failure,
                "weights": None if row.report is None else dict(row.report.weights),
                "quality": None if row.report is None else scores_to_dict(row.report.macro[row.contender.stage]),
            }
            for row in comparison.rows
        },
    }


# ---- the table


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
    heads = ["model", "parameters", "encode s", "SPC", "SPC/20", "SAT s", "memory", *_QUALITY]
    notes = [f"Measured by `{command}` in one run: {where}.", spent, good]
    parts = [
        markdown_table([heads, *(_cells(row) for row in comparison.rows)]),
        _ratio_table(comparison),
        "\n".join(f"- {note}" for note in notes),
        "\n".join(f"- {row.contender.title}: {row.failure}" for row in comparison.rows if row.failure),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


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
        good = [NOT_LOADED if cost else "–", *["–"] * (len(_QUALITY) - 1)]
    else:
        cells = score_cells(row.report.macro[row.contender.stage])
        good = [cells.get(heading, "–") for heading in _QUALITY]
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
    return markdown_table([["per click", "SAM's decoder", "refiner", "refiner / decoder"], *rows]) if rows else ""


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


# ---- its place in a document


def check_marks(document: Path) -> None:
    """Refuse, before a long run, a document in which the marks are not there, each once and in order."""
    check_target(document)
    _split(document)


def put_between_marks(document: Path, text: str) -> None:
    """Replace what stands between the marks; all else stays as it is."""
    before, after = _split(document)
    write_text(f"{before}{BEGIN}\n{text.strip()}\n{END}{after}", document)


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
