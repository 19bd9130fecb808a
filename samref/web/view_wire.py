"""A session's view as the page is told of it."""

from __future__ import annotations

from typing import Any

from samref.inference.views import DraftView, SessionView
from samref.web.mask_wire import COARSE_CHARACTERS, mask_to_wire
from samref.web.wire import prompts_to_wire

__all__ = ["view_to_wire"]


def view_to_wire(view: SessionView, annotations: dict[str, Any] | None, *, with_prompts: bool) -> dict[str, Any]:
    """The ``view`` of an answer.

    Args:
        view: of an opened image.
        annotations: what the tab lacks, see :mod:`samref.web.changes`.
        with_prompts: whether the draft's prompts travel, too.
    """
    assert view.image_size is not None, "only opened images are shown"
    wire: dict[str, Any] = {
        "revision": view.revision,
        "phase": view.phase,
        "image": {
            "digest": view.image_digest,
            "file_name": view.file_name,
            "width": view.image_size.width,
            "height": view.image_size.height,
        },
        "model": view.model,
        "model_note": view.model_note,
        "draft": _draft_to_wire(view.draft, with_prompts=with_prompts),
        "seconds": {"encode": round(view.encode_seconds, 4), "model": round(view.seconds, 4)},
    }
    if annotations is not None:
        wire["annotations"] = annotations
    return wire


def _draft_to_wire(draft: DraftView, *, with_prompts: bool) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "count": len(draft.prompts.items),
        "mask": mask_to_wire(draft.mask),
        "coarse": mask_to_wire(draft.coarse_mask, COARSE_CHARACTERS),
        "score": None if draft.score is None else round(draft.score, 3),
        "stage": draft.stage,
        "can_undo": draft.can_undo,
        "can_redo": draft.can_redo,
        "editing": draft.editing,
    }
    if with_prompts:
        wire["prompts"] = prompts_to_wire(draft.prompts)
    return wire
