"""The requests of a page and the answers it gets, as JSON; ``docs/protocol.md`` is made from the request types here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from samref.core.geometry import ImageSize
from samref.core.hand import CleanUp, HandWork
from samref.core.masks import MaskWindow, Rle
from samref.core.prompts import MAX_DRAFT_POINTS, MAX_PROMPTS, Prompt, Prompts, prompt_from_dict, prompt_to_dict
from samref.errors import LabelError, PromptError, RequestError, SessionError
from samref.inference.session import DraftView, Overlap, SessionView
from samref.inference.session import Order as OrderTo
from samref.labels.annotations import MAX_ATTRIBUTES, MAX_NOTE, Annotation
from samref.labels.classes import MAX_NAME
from samref.labels.events import HistoryEntry

PROTOCOL_VERSION = 1

MAX_SEQUENCE = 2**53
"""JavaScript counts exactly up to here."""

MASK_CHARACTERS = 15_000
"""Longest run-length text of a mask; with all around it an answer stays under 20 kB."""

COARSE_CHARACTERS = 3_000
"""The same for the coarse mask that rides along with a refined one."""

EXACT_CHARACTERS = 200_000
"""The same for a mask with pixels that a person set: who sets single pixels must see single pixels."""

HAND_CHARACTERS = 6_000
"""The same for the pixels set by hand, which are only shown."""

PAINT_CHARACTERS = 400_000
"""Longest run-length text of a stroke."""

MAX_SELECTED = 10_000
"""Annotations that one request may name."""

MOST_BOXES = 300
"""Boxes kept for later that a page is told of; more could not be told apart on an image."""

MOST_BASES = 100
"""Prompts of a draft up to which a page is told what each answer starts from; beyond, it makes no mask of its own."""

COARSEST = 64
"""No preview has larger cells, in pixels."""

MAX_DIGESTS = 10_000
"""Images that one request may name."""

UNEXPECTED = "Something went wrong on the server and was logged there. Try again, or reload the page."


class VersionError(RequestError):
    """The page is of another version than the server."""


class UnknownWorkspaceError(SessionError):
    """No workspace has that token."""


# ---- requests

Count: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=MAX_SEQUENCE)]
Digest: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Identifier: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")]
Text: TypeAlias = Annotated[str, Field(pattern=r"\S", max_length=200)]
OptionalText: TypeAlias = Annotated[str, Field(max_length=200)] | None
Flag: TypeAlias = Annotated[bool, Field(strict=True)]
Mark: TypeAlias = Literal["", "done", "flagged"]
Digests: TypeAlias = Annotated[list[Digest], Field(min_length=1, max_length=MAX_DIGESTS)]
Coordinate: TypeAlias = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Corners: TypeAlias = tuple[Coordinate, Coordinate, Coordinate, Coordinate]


class Known(BaseModel):
    """What a tab has been told already."""

    annotations: Count = Field(default=0, description="the `annotations.revision` it last merged for the image")
    workspace: Count = Field(default=0, description="the `workspace.revision` it last saw")
    images: Count = Field(
        default=0, description="the `workspace.revision` whose list of images it holds; 0: it wants the whole list"
    )


class Request(BaseModel):
    """What every request says, checked in form but not in meaning."""

    model_config = ConfigDict(frozen=True)

    seq: Annotated[Count, Field(gt=0, description="1, 2, 3, … per page load; one not above the last is dropped")]
    tab: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="names the page load, made at random")]
    token: Identifier | None = Field(default=None, description="of the workspace; null only in `hello`")
    image: Digest | None = Field(default=None, description="digest of the image this tab has open")
    revision: Count = Field(default=0, description="the `view.revision` this tab last saw for that image")
    known: Known = Field(default_factory=Known)

    is_about_image: ClassVar[bool] = False
    """Whether it needs an image that is open."""


class ImageRequest(Request):
    """A request about the image that the tab has open."""

    is_about_image: ClassVar[bool] = True


class Hello(Request):
    """First request of a page. Without a token a workspace is made. Answer: `workspace` in full."""

    verb: Literal["hello"]


class Open(ImageRequest):
    """Opens an image of this workspace: draft and annotations come back from its log.

    Answers: phase `preparing`, then `ready` (or `refined` when a draft came back).
    """

    verb: Literal["open"]


class OpenExample(Request):
    """Puts a bundled example into the workspace and opens it; answers as `open`."""

    verb: Literal["open_example"]
    name: Text


class Sync(Request):
    """The present state again; changes nothing. Without an image only `workspace`."""

    verb: Literal["sync"]


class AddPrompts(ImageRequest):
    """Adds prompts to the draft in order, all or none.

    Answers: `coarse`, then `refined`; before them `preparing` when the image must be encoded (again) first. To a page
    that has painted a coarse mask of its own (`mine`): at once that the prompts are recorded, then `refined`.
    """

    verb: Literal["prompt"]
    prompts: Any = Field(description=f"list of 1 to {MAX_PROMPTS} prompts")
    coarse: Literal["send", "mine"] = Field(default="send", description="`send` or `mine`: who makes the coarse mask")


class WireMask(BaseModel):
    """Pixels of an image, as a page draws them: the run lengths of a box."""

    model_config = ConfigDict(frozen=True)

    box: tuple[Count, Count, Count, Count] = Field(description="x, y, width, height")
    counts: Annotated[str, Field(max_length=PAINT_CHARACTERS, description="COCO's compressed run lengths of the box")]


Tool: TypeAlias = Literal["brush", "eraser", "lasso", "polygon", "vertices"]
Amount: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=MAX_SEQUENCE)]
Identifiers: TypeAlias = Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=MAX_SELECTED)]


class Paint(ImageRequest):
    """Sets pixels of the draft by hand, for good: no later answer of the model changes them."""

    verb: Literal["paint"]
    added: WireMask | None = Field(default=None, description="pixels of the object")
    removed: WireMask | None = Field(default=None, description="pixels that are not of it")
    how: Tool


class Tidy(ImageRequest):
    """Cleans the draft's mask up; the pixels that change are set by hand. Waits for a mask that is under way."""

    verb: Literal["tidy"]
    how: CleanUp
    amount: Amount = Field(description="pixels of area (holes, islands; 0: all) or of length (the others)")


class PreviewTidy(ImageRequest):
    """What `tidy` would make of the draft's mask; the answer carries `preview`, a mask. Changes nothing."""

    verb: Literal["preview_tidy"]
    how: CleanUp
    amount: Amount


class Subtract(ImageRequest):
    """Takes the pixels of all other objects that are shown from the draft's mask."""

    verb: Literal["subtract"]


class NextCandidate(ImageRequest):
    """Shows the next of the masks that the draft's lone click can mean: the object, a part of it, a group."""

    verb: Literal["next_candidate"]


class ReplacePrompt(ImageRequest):
    """Moves one prompt of the draft, or takes it away (`prompt` null); the model answers what is left anew."""

    verb: Literal["replace_prompt"]
    index: Count = Field(description="of the prompt among the draft's, from 0")
    prompt: Any = Field(default=None, description="the prompt that is there now")


class Undo(ImageRequest):
    """One entry of the image's history back, whatever it was; never leaves the image."""

    verb: Literal["undo"]


class Redo(ImageRequest):
    """One entry of the history forward again."""

    verb: Literal["redo"]


class Travel(ImageRequest):
    """Goes to any moment of the image's history."""

    verb: Literal["travel"]
    to: Count = Field(description="`number` of an entry of `history`")


class History(ImageRequest):
    """The answer carries `history`: `{at, entries: [{number, what}]}`, oldest first. Changes nothing."""

    verb: Literal["history"]


class Clear(ImageRequest):
    """Gives up the draft; an annotation that was being edited stays as it was."""

    verb: Literal["clear"]


class Commit(ImageRequest):
    """Accepts the draft as an annotation; waits for a refined mask that is under way."""

    verb: Literal["commit"]
    class_id: Count
    author: Annotated[str, Field(max_length=MAX_NAME)] | None = None
    overlap: Overlap = Field(
        default="keep",
        description="with other objects that are shown: kept, or the new one goes `under` (loses the pixels) or `over`",
    )


class Edit(ImageRequest):
    """Starts a draft from an annotation; `commit` then replaces it. Refused while another draft is open."""

    verb: Literal["edit"]
    id: Identifier


class Delete(ImageRequest):
    """Deletes an annotation."""

    verb: Literal["delete"]
    id: Identifier


class SetVisible(ImageRequest):
    """Hides or shows an annotation."""

    verb: Literal["set_visible"]
    id: Identifier
    visible: Flag


class Reclass(ImageRequest):
    """Gives an annotation another class."""

    verb: Literal["reclass"]
    id: Identifier
    class_id: Count


class DeleteAll(ImageRequest):
    """Deletes annotations in one act."""

    verb: Literal["delete_all"]
    ids: Identifiers


class Describe(ImageRequest):
    """Changes what is said about annotations; what is left out or null stays."""

    verb: Literal["describe"]
    ids: Identifiers
    class_id: Count | None = None
    visible: Flag | None = None
    locked: Flag | None = None
    note: Annotated[str, Field(max_length=MAX_NOTE)] | None = None
    attributes: Annotated[tuple[tuple[str, str], ...], Field(max_length=MAX_ATTRIBUTES)] | None = Field(
        default=None, description="list of [name, value]; all of them"
    )


class Reshape(ImageRequest):
    """Sets pixels of an annotation by hand (an outline that was moved)."""

    verb: Literal["reshape"]
    id: Identifier
    added: WireMask | None = None
    removed: WireMask | None = None


class Merge(ImageRequest):
    """Makes one annotation of several; it has the id and the class of the first."""

    verb: Literal["merge"]
    ids: Identifiers


class Split(ImageRequest):
    """Makes an annotation of each part that hangs together."""

    verb: Literal["split"]
    id: Identifier


class SubtractFrom(ImageRequest):
    """Takes the pixels of one annotation from others."""

    verb: Literal["subtract_from"]
    id: Identifier
    others: Identifiers


class SubtractOthers(ImageRequest):
    """Takes the pixels of others from one annotation."""

    verb: Literal["subtract_others"]
    id: Identifier
    others: Identifiers


class Order(ImageRequest):
    """Moves an annotation over or under others."""

    verb: Literal["order"]
    id: Identifier
    to: OrderTo


class Copy(ImageRequest):
    """Puts copies of annotations into another image of this workspace, which must have the same size."""

    verb: Literal["copy"]
    ids: Identifiers
    digest: Digest


class UseModel(ImageRequest):
    """Another model for this image; the draft's prompts are run again. Answers as `open`."""

    verb: Literal["use_model"]
    name: Text


class AddClass(Request):
    """Adds a class; the answer carries `workspace`."""

    verb: Literal["add_class"]
    name: Text
    colour: OptionalText = Field(default=None, description="`#rrggbb`")


class ChangeClass(Request):
    """Gives a class another name or colour."""

    verb: Literal["change_class"]
    class_id: Count
    name: OptionalText = None
    colour: OptionalText = None


class RemoveClass(Request):
    """Removes a class; refused while annotations use it."""

    verb: Literal["remove_class"]
    class_id: Count


class MarkImages(Request):
    """Marks images as `done` or `flagged`, or takes their mark away (an empty text); the answer carries `workspace`."""

    verb: Literal["mark_image"]
    digests: Digests
    mark: Mark


class RemoveImages(Request):
    """Takes images out of lists and exports; their files, drafts and objects stay. The answer carries `workspace`."""

    verb: Literal["remove_images"]
    digests: Digests


class RestoreImages(Request):
    """Brings removed images back with everything they had; the answer carries `workspace`."""

    verb: Literal["restore_images"]
    digests: Digests


class Prefetch(Request):
    """Encodes an image of this workspace while nothing else is to do (the next one). Sent only when idle."""

    verb: Literal["prefetch"]
    digest: Digest


class ProposeBoxes(ImageRequest):
    """Boxes drawn for later, of which the workspace's job makes masks (see `/samref/bulk`)."""

    verb: Literal["propose_boxes"]
    boxes: Annotated[list[Corners], Field(min_length=1, max_length=MAX_PROMPTS, description="[x0, y0, x1, y1] each")]
    class_id: Count


AnyRequest: TypeAlias = (
    Hello
    | Open
    | OpenExample
    | Sync
    | AddPrompts
    | Paint
    | Tidy
    | PreviewTidy
    | Subtract
    | NextCandidate
    | ReplacePrompt
    | Undo
    | Redo
    | Travel
    | History
    | Clear
    | Commit
    | Edit
    | Delete
    | SetVisible
    | Reclass
    | DeleteAll
    | Describe
    | Reshape
    | Merge
    | Split
    | SubtractFrom
    | SubtractOthers
    | Order
    | Copy
    | UseModel
    | AddClass
    | ChangeClass
    | RemoveClass
    | MarkImages
    | RemoveImages
    | RestoreImages
    | Prefetch
    | ProposeBoxes
)

_REQUESTS: TypeAdapter[AnyRequest] = TypeAdapter(Annotated[AnyRequest, Field(discriminator="verb")])


def parse_request(payload: Any) -> AnyRequest:
    """Check the form of one request; nothing in ``payload`` is trusted.

    Raises:
        VersionError: the page speaks another version of the protocol.
        RequestError: a field is missing or of the wrong kind.
    """
    if not isinstance(payload, Mapping):
        raise RequestError("The request could not be read.")
    if payload.get("v") != PROTOCOL_VERSION:
        raise VersionError("This page is of another version than the server. Reload the page.")
    try:
        request = _REQUESTS.validate_python(payload)
    except ValidationError as error:
        raise RequestError(_sentence(error, payload)) from error
    if request.is_about_image and request.image is None:
        raise RequestError(f"The request {request.verb!r} needs an open image.")
    return request


def parse_basics(payload: Any) -> Request | None:
    """Who asks about which image in a request whose arguments cannot be read; None where that cannot be read either."""
    try:
        return Request.model_validate(payload)
    except ValidationError:
        return None


def _sentence(error: ValidationError, payload: Mapping[Any, Any]) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    if first["type"] == "union_tag_invalid":
        return f"The server knows no verb {str(payload.get('verb'))[:40]!r}. Reload the page."
    if first["type"] == "union_tag_not_found":
        return "The request could not be read: it names no verb."
    verb, *path = first["loc"]
    field = ".".join(str(part) for part in path) or "a value"
    reason = first["msg"][:1].lower() + first["msg"][1:]
    return f"The request {verb!r} could not be read: {field}: {reason[:120]}."


_TAB = re.compile(r"[A-Za-z0-9_-]{1,64}")


def tab_and_sequence(payload: Any) -> tuple[str, int | None]:
    """The page load and the number of a request that may be unreadable otherwise; None where it has no number.

    Raises:
        RequestError: it does not say which page load it comes from.
    """
    tab = payload.get("tab") if isinstance(payload, Mapping) else None
    if not isinstance(tab, str) or not _TAB.fullmatch(tab):
        raise RequestError("The request could not be read: it does not say from which page load it comes.")
    seq = payload.get("seq")
    return tab, seq if isinstance(seq, int) and not isinstance(seq, bool) and 0 < seq <= MAX_SEQUENCE else None


def parse_prompts(value: Any) -> tuple[Prompt, ...]:
    """The prompts of one request, in order.

    Raises:
        PromptError: not a list of prompts, or too many.
    """
    if not isinstance(value, list) or not value:
        raise PromptError("The request brought no prompts.")
    if len(value) > MAX_PROMPTS:
        raise PromptError(f"{len(value)} prompts at once are too many (the limit is {MAX_PROMPTS} for one object).")
    drawn = [entry.get("points") for entry in value if isinstance(entry, Mapping)]
    points = sum(len(one) for one in drawn if isinstance(one, list))
    if points > MAX_DRAFT_POINTS:
        raise PromptError(
            f"The prompts of one request have {points} points together; the limit is {MAX_DRAFT_POINTS}. "
            "Draw with fewer points."
        )
    if not all(isinstance(entry, Mapping) for entry in value):
        raise PromptError("The prompt could not be read: a value is missing or of the wrong kind.")
    return tuple(prompt_from_dict(entry) for entry in value)


def parse_stroke(added: WireMask | None, removed: WireMask | None, size: ImageSize) -> HandWork:
    """The pixels of a stroke in an image of ``size``.

    Raises:
        PromptError: they reach beyond the image, or their run lengths are wrong.
    """
    return HandWork(_stroke(added, size), _stroke(removed, size))


def _stroke(wire: WireMask | None, size: ImageSize) -> Rle | None:
    if wire is None:
        return None
    x, y, width, height = wire.box
    if not width or not height or x + width > size.width or y + height > size.height:
        raise PromptError(
            f"The stroke reaches beyond the image, which is {size.width} x {size.height} pixels. Draw on the image."
        )
    try:
        window = Rle.from_counts(height, width, wire.counts).to_mask()
    except LabelError as error:
        raise PromptError("The stroke could not be read. Draw it again.") from error
    return Rle.from_window(np.ascontiguousarray(window.T), x, y, size)


# ---- answers


def answer_text(seq: int, kind: str, *, final: bool, **sections: Any) -> str:
    """One answer as JSON text; sections that are None are left out."""
    answer = {"v": PROTOCOL_VERSION, "seq": seq, "kind": kind, "final": final}
    answer.update({name: section for name, section in sections.items() if section is not None})
    return json.dumps(answer, separators=(",", ":"), allow_nan=False)


def view_to_wire(view: SessionView, known_annotations: int, *, with_prompts: bool) -> dict[str, Any]:
    """The ``view`` of an answer.

    Args:
        view: of the session.
        known_annotations: the revision whose annotations the tab has.
        with_prompts: whether the draft's prompts travel, too.
    """
    wire: dict[str, Any] = {
        "revision": view.revision,
        "phase": view.phase,
        "image": {
            "digest": view.digest,
            "file_name": view.file_name,
            "width": view.size.width,
            "height": view.size.height,
        },
        "model": view.model,
        "model_note": view.model_note,
        "draft": _draft_to_wire(view.draft, with_prompts=with_prompts),
        "undo": view.undo,
        "redo": view.redo,
        "seconds": {"encode": round(view.encode_seconds, 4), "model": round(view.draft.seconds, 4)},
    }
    if with_prompts:  # else the page has them, too
        boxes = ((each.box, each.class_id) for each in view.proposed[:MOST_BOXES])
        wire["proposed"] = [[*map(_rounded, (b.x0, b.y0, b.x1, b.y1)), class_id] for b, class_id in boxes]
    if view.annotations_revision > known_annotations:
        changed = [one for one in view.annotations if view.changed_at[one.id] > known_annotations]
        wire["annotations"] = {
            "revision": view.annotations_revision,
            "order": [annotation.id for annotation in view.annotations],
            "changed": [_annotation_to_wire(annotation) for annotation in changed],
        }
    return wire


def _draft_to_wire(draft: DraftView, *, with_prompts: bool) -> dict[str, Any]:
    mask = None
    if draft.mask is not None:
        characters = MASK_CHARACTERS if draft.hand is None else EXACT_CHARACTERS
        mask = mask_to_wire(draft.window or _window(draft.mask), characters)
    wire: dict[str, Any] = {
        "count": len(draft.prompts.items),
        "mask": mask,
        "coarse": None if draft.coarse is None else mask_to_wire(draft.coarse.window, COARSE_CHARACTERS),
        "score": None if draft.score is None else round(draft.score, 3),
        "stage": draft.stage,
        "editing": draft.editing,
        "bases": None if draft.bases is None or len(draft.bases) > MOST_BASES else draft.bases,
    }
    if draft.hand is not None:
        parts = {"added": draft.hand.added, "removed": draft.hand.removed}
        wire["hand"] = {name: _part_to_wire(part) for name, part in parts.items()}
    if with_prompts:
        wire["prompts"] = prompts_to_wire(draft.prompts)
    return wire


def _part_to_wire(part: Rle | None) -> dict[str, Any] | None:
    return None if part is None else mask_to_wire(_window(part), HAND_CHARACTERS)


def _annotation_to_wire(annotation: Annotation) -> dict[str, Any]:
    return {
        "id": annotation.id,
        "class_id": annotation.class_id,
        "mask": mask_to_wire(
            _window(annotation.mask), MASK_CHARACTERS if annotation.by_hand is None else EXACT_CHARACTERS
        ),
        "score": round(annotation.score, 3) if annotation.has_score else None,
        "visible": annotation.visible,
        "area": annotation.mask.area,
        "clicks": annotation.clicks,
        "seconds": round(annotation.seconds, 1),
        "model": annotation.model,
        "note": annotation.note,
        "attributes": [list(pair) for pair in annotation.attributes],
        "locked": annotation.locked,
    }


def history_to_wire(entries: Sequence[HistoryEntry], at: int) -> dict[str, Any]:
    """The ``history`` of an answer."""
    return {"at": at, "entries": [{"number": n, "what": entry.what} for n, entry in enumerate(entries)]}


def prompts_to_wire(prompts: Prompts) -> list[dict[str, Any]]:
    """Prompts as JSON values with two decimals, which is finer than any screen."""
    wire = []
    for prompt in prompts.items:
        plain = prompt_to_dict(prompt)
        wire.append({key: _rounded(value) if isinstance(value, float) else value for key, value in plain.items()})
        if "points" in plain:  # twenty thousand are rounded in some milliseconds
            wire[-1]["points"] = [[_rounded(x), _rounded(y)] for x, y in plain["points"]]
    return wire


def _rounded(value: float) -> float:
    rounded = round(value, 2)
    return int(rounded) if rounded.is_integer() else rounded


_window = lru_cache(maxsize=512)(MaskWindow.from_rle)


@lru_cache(maxsize=512)
def _preview(mask: Rle, characters: int) -> tuple[str, int]:
    """Run lengths of cells of ``scale`` x ``scale`` pixels that are short enough, and that ``scale``.

    A cell is set where at least half of its pixels are; pixels beyond the rim count as their neighbours.
    """
    share = np.ascontiguousarray(mask.to_mask()).view(np.uint8) * np.uint8(255)
    scale = 1
    while True:
        height, width = share.shape
        if height % 2 or width % 2:
            share = cv2.copyMakeBorder(share, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE).astype(np.uint8)
        halved = (share.shape[1] // 2, share.shape[0] // 2)
        share = cv2.resize(share, halved, interpolation=cv2.INTER_AREA).astype(np.uint8)
        scale *= 2
        counts = Rle.from_mask(share >= 128).counts
        if len(counts) <= characters or scale >= COARSEST:
            return counts, scale


def mask_to_wire(window: MaskWindow, characters: int) -> dict[str, Any]:
    """A mask cut to its box, as a preview at a lower resolution when its run lengths are too long.

    Args:
        window: the mask.
        characters: what its run lengths may take.
    """
    is_short = len(window.mask.counts) <= characters
    counts, scale = (window.mask.counts, 1) if is_short else _preview(window.mask, characters)
    return {"box": list(window.box_xywh), "counts": counts, "scale": scale}
