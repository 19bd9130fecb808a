"""Images to train on, from whatever a folder holds: a public data set, folders of masks, or the team's own labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from samref.datasets import ImageRecord, Skipped, list_data_sets


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to train on, and what had to be left out."""

    records: tuple[ImageRecord, ...]
    skipped: Skipped

    @property
    def summary(self) -> str:
        """One line for the person who started the training."""
        names = sorted({record.dataset for record in self.records})
        left_out = self.skipped.to_sentences()
        rest = f"; left out: {', '.join(left_out)}" if left_out else ""
        return f"{len(self.records)} images of {', '.join(names)}{rest}."


def find_training_images(data: Path, layout: str = "auto", split: str | None = None) -> Found:
    """The images in ``data``, nothing decoded.

    Args:
        data: one data set, a folder of data sets, or the folder of a samref project.
        layout: a name in :data:`~samref.datasets.LAYOUTS`, or "auto" to recognise it.
        split: part of the data set; None takes the one named "train" where there are parts.
    """
    listings = list_data_sets(data, layout, split or "train")
    records = tuple(record for listing in listings for record in listing.records)
    return Found(records, sum((listing.skipped for listing in listings), Skipped()))
