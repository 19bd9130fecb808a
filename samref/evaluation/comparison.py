"""Every model measured on one machine in one run: what it costs, and how good it is where its weights are at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from samref.core.masks import Rle
from samref.datasets.objects import ImageRecord, find_images, load_objects, read_image, sample_objects
from samref.errors import SamrefError, UnknownModelError
from samref.evaluation.cost import Cost, CostJob, Device, PrecisionName, Sample, build_predictor, measure_cost
from samref.evaluation.journal import journal_path
from samref.evaluation.noc import Stage
from samref.evaluation.progress import Progress
from samref.evaluation.provenance import data_digest, describe_machine, weights_digests
from samref.evaluation.report.build import Report, scores_to_dict
from samref.evaluation.run import evaluate
from samref.models.registry import get_spec

__all__ = [
    "CONTENDERS",
    "Comparison",
    "Contender",
    "Row",
    "Settings",
    "compare",
    "comparison_to_dict",
    "find_contenders",
]

COST_IMAGES = 1
"""Images that are clicked on for the times, spread over the data sets (SegNext takes minutes for each on a CPU)."""

Told: TypeAlias = Callable[[str], None]
"""Told in words what is measured now."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One line of the comparison.

    Attributes:
        name: what ``--models`` calls it.
        title: what the table calls it.
        model: name in the zoo, "grabcut", or empty where no weights can exist.
        stage: whose masks count.
        untrained: name for :func:`samref.models.registry.build_untrained`; empty: only with weights.
        refines: whether it counts as loaded only with its refiner's weights.
    """

    name: str
    title: str
    model: str
    stage: Stage = "refined"
    untrained: str = ""
    refines: bool = False


CONTENDERS = (
    Contender("tiny-coarse", "`tiny`, coarse", "tiny", "coarse"),
    Contender("tiny", "`tiny`, refined", "tiny"),
    Contender("grabcut", "GrabCut (OpenCV)", "grabcut"),
    Contender("sam-vit-b", "SAM ViT-B", "sam-vit-b", untrained="sam-vit-b"),
    Contender("sam-ref-vit-b", "SAM ViT-B + base-agnostic refiner", "sam-ref-vit-b", "refined", "sam-ref-vit-b", True),
    Contender("sam-ref-vit-b-c64", "SAM-REF over ViT-B, C=64", "", "refined", "sam-ref-vit-b-c64", True),
    Contender("sam-ref-vit-b-c32", "SAM-REF over ViT-B, C=32", "", "refined", "sam-ref-vit-b-c32", True),
    Contender("segnext-b-sax1", "SegNext ViT-B, SA×1", "segnext-b-sax1", untrained="segnext-b-sax1"),
    Contender("segnext-b-sax2", "SegNext ViT-B, SA×2", "segnext-b-sax2", untrained="segnext-b-sax2"),
    Contender("focsam-vit-b", "FocSAM over ViT-B", "focsam-vit-b", "refined", "focsam-vit-b", True),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How it is measured; see :func:`compare`."""

    max_clicks: int = 20
    limit_per_dataset: int | None = 5
    seed: int = 0
    sat_grid: int = 16
    device: Device = "auto"
    precision: PrecisionName = "fp32"


@dataclass(frozen=True, slots=True)
class Row:
    """One model's figures.

    Attributes:
        contender: which model.
        cost: None where it could not be measured.
        report: None where its weights are not at hand.
        failure: why there is no cost.
    """

    contender: Contender
    cost: Cost | None
    report: Report | None
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
    """The contenders of those names, all where none is named; any model of the zoo is understood.

    Raises:
        UnknownModelError: there is none of a name.
    """
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
        refines = "refined" in spec.stages
        found.append(Contender(name, spec.title, name, "refined", name, refines))
    return found


def compare(
    data: Path,
    contenders: Sequence[Contender] = CONTENDERS,
    settings: Settings = Settings(),
    *,
    json_path: Path | None = None,
    progress: Callable[[], Progress | None] = lambda: None,
    told: Told | None = None,
) -> Comparison:
    """Measure times and memory of every model, then the quality of those whose weights are at hand.

    Times come first and one after the other, each in its own process, so that they belong to one state of the
    machine. Where a JSON file is to be written, the measurements of quality keep journals beside it: killed and
    started again, times are taken anew and quality goes on where it was.

    Args:
        data: a data set folder or a folder of those.
        contenders: the models.
        settings: clicks, objects, device.
        json_path: where the comparison will be written (by the caller); reports of single models lie beside it.
        progress: makes what is told how far one model's quality is, anew for each model.
        told: told what is measured now.

    Raises:
        DataError: the folder does not hold what was expected.
        StorageError: a report cannot be written.
    """
    found, _ = find_images(data)
    records = sample_objects(found, settings.limit_per_dataset, settings.seed)
    samples = tuple(_sample(record) for record in _spread(records, COST_IMAGES))
    jobs = {one.name: _job(one, samples, settings) for one in contenders}
    costs = {one.name: _measured(one, jobs[one.name], told) for one in contenders}
    rows = []
    journals: list[Path] = []
    for one in contenders:
        cost, failure = costs[one.name]
        report = None
        if cost is not None and cost.loaded:
            if told is not None:
                told(f"{one.name}: quality")
            own = None if json_path is None else json_path.with_name(f"{json_path.stem}.{one.name}.json")
            report = _quality(data, one, jobs[one.name], settings, own, progress())
            if own is not None:
                journals.append(journal_path(own))
        rows.append(Row(one, cost, report, failure))
    for path in journals:
        path.unlink(missing_ok=True)
    return Comparison(data.resolve().name, data_digest(records), settings, describe_machine(), tuple(rows))


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


def _spread(records: Sequence[ImageRecord], count: int) -> list[ImageRecord]:
    """So many images at equal distances in the list."""
    return [records[index * len(records) // count] for index in range(min(count, len(records)))]


def _sample(record: ImageRecord) -> Sample:
    """The image's largest object."""
    objects = load_objects(record, read_image(record))
    largest = max(objects, key=lambda one: int(one.gt.sum()))
    rle = Rle.from_mask(largest.gt)
    return Sample(str(record.image_path.resolve()), (rle.height, rle.width, rle.counts))


def _job(one: Contender, samples: tuple[Sample, ...], settings: Settings) -> CostJob:
    return CostJob(
        model=one.model,
        untrained=one.untrained,
        stage=one.stage,
        refines=one.refines,
        samples=samples,
        clicks=settings.max_clicks,
        sat_grid=settings.sat_grid,
        device=settings.device,
        precision=settings.precision,
    )


def _measured(one: Contender, job: CostJob, told: Told | None) -> tuple[Cost | None, str]:
    if told is not None:
        told(f"{one.name}: times and memory")
    try:
        return measure_cost(job), ""
    except SamrefError as error:  # one model that does not fit the machine must not cost the others
        return None, str(error)


def _quality(
    data: Path, one: Contender, job: CostJob, settings: Settings, own: Path | None, progress: Progress | None
) -> Report:
    predictor, _, _ = build_predictor(job)
    return evaluate(
        data,
        predictor,
        model=one.model,
        weights={} if one.model == "grabcut" else weights_digests(one.model),
        max_clicks=settings.max_clicks,
        stage=one.stage,
        limit=settings.limit_per_dataset,
        seed=settings.seed,
        json_path=own,
        keep_journal=True,
        progress=progress,
    )
