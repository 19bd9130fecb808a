"""Events and annotations as JSON, and back. Nothing that is read is trusted: pydantic parses and refuses it.

An event is written as ``{"type": "prompted", "prompt": {…}, "model": "tiny"}``; the other keys are the fields of its
dataclass, and :data:`_EVENTS` is the table of what each may hold. An annotation is written as::

    {
        "id": "…",
        "class_id": 1,
        "mask": {"size": [480, 640], "counts": "…"},
        "prompts": {"items": [{"type": "click", "x": 3, "y": 4, "positive": true}], "mask": null},
        "model": "tiny",
        "score": 0.93,
        "created_at": "2026-11-21T08:00:00+00:00",
        "author": "",
        "seconds": 8.1,
        "clicks": 2,
        "visible": true,
    }
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator, ValidationError
from pydantic_core import core_schema as cs

from samref.core.geometry import ImageSize
from samref.core.hand import HOWS, HandWork
from samref.core.masks import MAX_RLE_PIXELS, Rle
from samref.core.prompts import (
    MAX_POINTS,
    MAX_PROMPTS,
    SCRIBBLE_WIDTH,
    Box,
    Click,
    Polygon,
    Prompts,
    Scribble,
    check_prompts,
)
from samref.errors import LabelError, PromptError
from samref.labels import events
from samref.labels.annotations import MAX_ATTRIBUTES, MAX_ID, MAX_NOTE, MAX_PATH, MAX_VALUE, Annotation
from samref.labels.classes import MAX_NAME, LabelClass
from samref.labels.events import MAX_HISTORY, Event

MAX_IMPORTED = 100_000
"""Annotations one import event may carry."""


def event_to_json(event: Event) -> str:
    """An event as it is written into a log."""
    return json.dumps(to_plain(event), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def event_from_json(body: str) -> Event:
    """The inverse of :func:`event_to_json`.

    Raises:
        LabelError: it is no JSON, of an unknown type, or a value is missing or unusable.
    """
    try:
        event: Event = _EVENT.validate_json(body)
    except ValidationError as error:
        raise LabelError(_sentence(error)) from error
    return event


def annotation_from_plain(data: Mapping[str, Any]) -> Annotation:
    """The inverse of :func:`to_plain` of an annotation."""
    annotation: Annotation = read(ANNOTATION, data)
    return annotation


def to_plain(value: Any) -> Any:
    """An event, an annotation or a part of one as plain JSON values."""
    keys = _KEYS.get(type(value))
    if keys is None:
        match value:
            case Rle():
                return value.to_coco()
            case datetime():
                return value.isoformat()
            case tuple() if value and type(value[0]) in _KEYS:
                return [to_plain(item) for item in value]
        return value
    plain = {"type": _TYPES[type(value)]} if type(value) in _TYPES else {}
    for name, key in keys:
        plain[key] = to_plain(getattr(value, name))
    for name, default in _LEFT_OUT.get(type(value), ()):
        if getattr(value, name) == default:
            del plain[name]
    return plain


def read(schema: SchemaValidator, data: Any) -> Any:
    """Plain JSON values as ``schema`` has them.

    Raises:
        LabelError: a value is missing or wrong; the sentence names it.
    """
    try:
        return schema.validate_python(data)
    except ValidationError as error:
        raise LabelError(_sentence(error)) from error


def _sentence(error: ValidationError) -> str:
    """What is wrong first, in a sentence that names the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    kind, place, context = first["type"], first["loc"], first.get("ctx", {})
    name = next((part for part in reversed(place) if isinstance(part, str)), None)
    match kind:
        case "union_tag_not_found":
            return "The value 'type' is missing."
        case "missing" if not isinstance(place[-1], str):
            return f"The list {name!r} has too few entries."
        case "missing":
            return f"The value {name!r} is missing."
        case "union_tag_invalid":
            return f"There is nothing of type {context['tag'][:40]!r} here."
        case "json_invalid":
            return f"It is no JSON: {context['error']}."
        case "string_too_long":
            return f"The value {name!r} may have {context['max_length']} characters at most."
        case "too_long":
            return f"The list {name!r} has {context['actual_length']} entries; the limit is {context['max_length']}."
    if name is None:
        return "A value is missing where an object {…} is expected."
    limits = {"greater_than": "above", "greater_than_equal": "at least", "less_than_equal": "at most"}
    if kind in limits:
        return f"The value {name!r} must be {limits[kind]} {next(iter(context.values()))}."
    return f"The value {name!r} must be {_WANTED.get(kind, first['msg'])}."


_WANTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "float_type": "a finite number",
    "float_parsing": "a finite number",
    "finite_number": "a finite number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object {…}",
    "dataclass_type": "an object {…}",
    "model_attributes_type": "an object {…}",
    "dict_attributes_type": "an object {…}",
}


# ---- what values may be; whole numbers may come with a decimal point, as some programs write them


def whole(value: Any) -> int:
    """A whole number that fits 63 bits, for schemas."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or abs(value) >= 1 << 63:
        raise PydanticCustomError("whole", "a whole number")
    return value


def text(max_length: int | None = None) -> CoreSchema:
    """Text of so many characters at most, for schemas."""
    return cs.str_schema(strict=True, max_length=max_length)


WHOLE = cs.no_info_plain_validator_function(whole)
NUMBER = cs.float_schema(strict=True, allow_inf_nan=False)
_BOOL = cs.bool_schema(strict=True)
_ID, _NAME = text(MAX_ID), text(MAX_NAME)
_BASIS = cs.chain_schema([WHOLE, cs.int_schema(ge=0, le=MAX_IMPORTED)])
_SIDE = cs.chain_schema([WHOLE, cs.int_schema(gt=0, le=MAX_RLE_PIXELS)])


def _time(value: str) -> datetime:
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is None:
            raise ValueError("no time zone")
        return time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise PydanticCustomError("time", "a time such as 2026-11-21T08:00:00+00:00") from error


def _rle(data: dict[str, Any]) -> Rle:
    height, width = data["size"]
    return Rle.from_counts(height, width, data["counts"])


def _check_annotation(annotation: Annotation) -> Annotation:
    try:
        check_prompts(annotation.prompts, ImageSize(annotation.mask.height, annotation.mask.width))
    except PromptError as error:
        raise LabelError(str(error)) from error
    return annotation


def _or_none(schema: CoreSchema) -> CoreSchema:
    return cs.with_default_schema(cs.nullable_schema(schema), default=None)


def _default(schema: CoreSchema, default: Any) -> CoreSchema:
    return cs.with_default_schema(schema, default=default)


def _tuple_of(schema: CoreSchema, max_length: int) -> CoreSchema:
    return cs.tuple_schema([schema], variadic_item_index=0, max_length=max_length)


_WRITTEN_AS = {"label_class": "class"}  # fields that have another key in JSON


def _values_of(made: type, **values: CoreSchema) -> CoreSchema:
    """An object whose keys are the fields of a frozen dataclass; it ignores others."""
    names = [field.name for field in fields(made)]
    assert names == list(values), made
    return cs.dataclass_schema(
        made,
        cs.dataclass_args_schema(
            made.__name__,
            [cs.dataclass_field(n, s, validation_alias=_WRITTEN_AS.get(n)) for n, s in values.items()],
        ),
        names,
        post_init=hasattr(made, "__post_init__"),
        slots=True,
    )


_RLE = cs.no_info_after_validator_function(
    _rle,
    cs.typed_dict_schema(
        {
            "size": cs.typed_dict_field(cs.tuple_schema([_SIDE, _SIDE])),
            "counts": cs.typed_dict_field(text()),
        }
    ),
)
_POSITIVE = cs.with_default_schema(_BOOL, default=True)
_POINTS = _tuple_of(cs.tuple_schema([NUMBER, NUMBER]), MAX_POINTS)
_PROMPTS: dict[str, CoreSchema] = {
    "click": _values_of(Click, x=NUMBER, y=NUMBER, positive=_POSITIVE),
    "box": _values_of(Box, x0=NUMBER, y0=NUMBER, x1=NUMBER, y1=NUMBER),
    "scribble": _values_of(
        Scribble, points=_POINTS, positive=_POSITIVE, width=cs.with_default_schema(NUMBER, default=SCRIBBLE_WIDTH)
    ),
    "polygon": _values_of(Polygon, points=_POINTS, positive=_POSITIVE),
}
_PROMPT = cs.tagged_union_schema(_PROMPTS, discriminator="type")
_HAND_WORK = _values_of(HandWork, added=_or_none(_RLE), removed=_or_none(_RLE))
_ATTRIBUTES = _tuple_of(cs.tuple_schema([_NAME, text(MAX_VALUE)]), MAX_ATTRIBUTES)
_IDS = _tuple_of(_ID, MAX_IMPORTED)
_CLASS = _values_of(LabelClass, id=WHOLE, name=_NAME, colour=text(7))
_ANNOTATION = cs.no_info_after_validator_function(
    _check_annotation,
    _values_of(
        Annotation,
        id=_ID,
        class_id=WHOLE,
        mask=_RLE,
        prompts=_values_of(Prompts, items=_tuple_of(_PROMPT, MAX_PROMPTS), mask=_or_none(_RLE)),
        model=_NAME,
        score=NUMBER,
        created_at=cs.no_info_after_validator_function(_time, _ID),
        author=_NAME,
        seconds=NUMBER,
        clicks=WHOLE,
        visible=_BOOL,
        by_hand=_or_none(_HAND_WORK),
        note=_default(text(MAX_NOTE), ""),
        attributes=_default(_ATTRIBUTES, ()),
        locked=_default(_BOOL, default=False),
    ),
)
_PROPOSED = _values_of(events.ProposedBox, id=_ID, class_id=WHOLE, box=_PROMPTS["box"])
_EVENTS: dict[str, CoreSchema] = {
    "image_opened": _values_of(events.ImageOpened, digest=_ID, file_name=text(MAX_PATH), height=_SIDE, width=_SIDE),
    "prompted": _values_of(events.Prompted, prompt=_PROMPT, model=_NAME, basis=_or_none(_BASIS)),
    "hand_painted": _values_of(
        events.HandPainted, added=_or_none(_RLE), removed=_or_none(_RLE), how=cs.literal_schema(list(HOWS))
    ),
    "mask_chosen": _values_of(events.MaskChosen, mask=_RLE, score=NUMBER, what=_NAME),
    "prompt_replaced": _values_of(events.PromptReplaced, index=_BASIS, prompt=_or_none(_PROMPT)),
    "mask_given": _values_of(events.MaskGiven, mask=_RLE),
    "travelled": _values_of(events.Travelled, by=cs.int_schema(strict=True, ge=-MAX_HISTORY, le=MAX_HISTORY)),
    "undone": _values_of(events.Undone),
    "redone": _values_of(events.Redone),
    "cleared": _values_of(events.Cleared),
    "committed": _values_of(events.Committed, annotation=_ANNOTATION),
    "edit_started": _values_of(events.EditStarted, annotation_id=_ID),
    "deleted": _values_of(events.Deleted, annotation_id=_ID),
    "visibility_changed": _values_of(events.VisibilityChanged, annotation_id=_ID, visible=_BOOL),
    "reclassed": _values_of(events.Reclassed, annotation_id=_ID, class_id=WHOLE),
    "described": _values_of(
        events.Described,
        annotation_ids=_IDS,
        class_id=_or_none(WHOLE),
        visible=_or_none(_BOOL),
        locked=_or_none(_BOOL),
        note=_or_none(text(MAX_NOTE)),
        attributes=_or_none(_ATTRIBUTES),
    ),
    "annotations_replaced": _values_of(
        events.AnnotationsReplaced, what=_NAME, removed=_IDS, put=_tuple_of(_ANNOTATION, MAX_IMPORTED)
    ),
    "reordered": _values_of(events.Reordered, annotation_id=_ID, position=_BASIS),
    "model_changed": _values_of(events.ModelChanged, model=_NAME),
    "boxes_proposed": _values_of(events.BoxesProposed, boxes=_tuple_of(_PROPOSED, MAX_IMPORTED)),
    "boxes_dropped": _values_of(events.BoxesDropped, ids=_IDS),
    "class_added": _values_of(events.ClassAdded, label_class=_CLASS),
    "class_changed": _values_of(events.ClassChanged, label_class=_CLASS),
    "class_removed": _values_of(events.ClassRemoved, class_id=WHOLE),
    "annotations_imported": _values_of(events.AnnotationsImported, annotations=_tuple_of(_ANNOTATION, MAX_IMPORTED)),
    "image_marked": _values_of(events.ImageMarked, mark=cs.literal_schema(list(events.MARKS))),
    "image_removed": _values_of(events.ImageRemoved),
    "image_restored": _values_of(events.ImageRestored),
}

_EVENT = SchemaValidator(cs.tagged_union_schema(_EVENTS, discriminator="type"))
ANNOTATION = SchemaValidator(_ANNOTATION)

_TYPES: dict[type, str] = {schema["cls"]: name for name, schema in (*_PROMPTS.items(), *_EVENTS.items())}
_KEYS: dict[type, list[tuple[str, str]]] = {
    made: [(field.name, _WRITTEN_AS.get(field.name, field.name)) for field in fields(made)]
    for made in (*_TYPES, LabelClass, Prompts, HandWork, Annotation, events.ProposedBox)
}
_LEFT_OUT: dict[type, tuple[tuple[str, Any], ...]] = {  # values that are not written, since reading gives them
    events.Prompted: (("basis", None),),
    Annotation: (("by_hand", None), ("note", ""), ("attributes", ()), ("locked", False)),
    events.Described: tuple((name, None) for name in ("class_id", "visible", "locked", "note", "attributes")),
}
