"""Which annotations of an image changed since a tab last looked, so that an answer carries only those."""

from __future__ import annotations

from typing import Any

from samref.inference.views import SessionView
from samref.labels.annotations import Annotation
from samref.web.mask_wire import mask_to_wire

__all__ = ["AnnotationChanges"]


class AnnotationChanges:
    """Remembers at which revision each annotation took its present form."""

    def __init__(self) -> None:
        """Know of nothing yet: at the first look all are new."""
        self._revision = 0
        self._order: tuple[str, ...] | None = None
        self._seen: dict[str, tuple[Annotation, int]] = {}

    def note(self, view: SessionView) -> None:
        """Compare with the view before; views must come in order of their revisions."""
        seen = {}
        changed = False
        for annotation in view.annotations:
            before = self._seen.get(annotation.id)
            if before is not None and before[0] is annotation:
                seen[annotation.id] = before
            else:
                seen[annotation.id] = (annotation, view.revision)
                changed = True
        order = tuple(seen)
        if changed or order != self._order:
            self._revision = view.revision
        self._seen, self._order = seen, order

    def since(self, known: int, view: SessionView) -> dict[str, Any] | None:
        """What a tab lacks that knows revision ``known``; None when it lacks nothing."""
        if self._revision <= known:
            return None
        changed = [annotation for annotation in view.annotations if self._seen[annotation.id][1] > known]
        return {
            "revision": self._revision,
            "order": [annotation.id for annotation in view.annotations],
            "changed": [_annotation_to_wire(annotation) for annotation in changed],
        }


def _annotation_to_wire(annotation: Annotation) -> dict[str, Any]:
    return {
        "id": annotation.id,
        "class_id": annotation.class_id,
        "mask": mask_to_wire(annotation.mask),
        "score": round(annotation.score, 3),
        "visible": annotation.visible,
        "area": annotation.mask.area,
        "clicks": annotation.clicks,
        "seconds": round(annotation.seconds, 1),
        "model": annotation.model,
    }
