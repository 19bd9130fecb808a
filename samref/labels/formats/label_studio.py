"""Label Studio's tasks: masks as its own run lengths over RGBA, or outlines in percent.

    tasks.json          one task for an image, with one annotation
    label_config.xml    the labelling interface that the tasks need

*Written*: brush strokes by default, which are exact. On request outlines (``polygonlabels``), for objects of one part
without a hole; a polygon cannot say the others, so they stay brush strokes. The address of an image is that of Label
Studio's local storage, ``/data/local-files/?d=images/<name>``.

*Read*: ``brushlabels``, ``polygonlabels`` and ``rectanglelabels`` (a box without a mask) of annotations and predictions
that are not cancelled. An image is found by the path in its address.

The run lengths (``thi.ng/rle-pack``, with words of 8 bits) are a string of bits: 32 for the number of values, 5 for the
bits of a word less 1, four times 4 for the sizes of lengths less 1; then blocks of 1 bit (1: one value repeated), 2
bits (which size), the length less 1 in so many bits, and one value or as many as the length says. Values are the bytes
R, G, B, A of each pixel row by row; a pixel belongs to the object where A is above 127.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray
from pydantic_core import SchemaValidator
from pydantic_core import core_schema as cs

from samref.core.geometry import ImageSize
from samref.core.masks import Rle
from samref.errors import ImportFormatError, LabelError
from samref.labels.annotations import Annotation, ImageRecord
from samref.labels.formats.outlines import outline_iou, outline_of
from samref.labels.formats.reading import MAX_ENTRIES, Collector, LabelImport, rle_of_crop
from samref.labels.formats.source import FileNames, Files, Options, Report, Source, json_bytes
from samref.labels.serialization import NUMBER, WHOLE, read, text

_WORD = 8
_SIZES = (3, 4, 8, 16)  # bits of lengths, of which a block chooses one
_LONGEST = 1 << _SIZES[-1]
_MAX_BYTES_OF_MASK = 8_000_000
_BYTE_COST = 300  # of decoding a byte, in pixels of a mask
_THRESHOLD = 127

_BRUSH, _OUTLINE, _BOX_OF = "brush", "polygon", "image"  # names of the controls in label_config.xml


def label_studio_files(source: Source, options: Options, report: Report) -> Files:
    """The tasks, and the interface that shows them."""
    yield "tasks.json", _tasks(source, options, report)
    yield "label_config.xml", [_config(source)]


def _config(source: Source) -> bytes:
    view = ET.Element("View")
    ET.SubElement(view, "Image", name=_BOX_OF, value="$image", zoom="true")
    for tag, name in (("BrushLabels", _BRUSH), ("PolygonLabels", _OUTLINE)):
        labels = ET.SubElement(view, tag, name=name, toName=_BOX_OF)
        for label_class in source.classes:
            ET.SubElement(labels, "Label", value=label_class.name, background=label_class.colour)
    ET.indent(view)
    data: bytes = ET.tostring(view, "utf-8")
    return data + b"\n"


def _tasks(source: Source, options: Options, report: Report) -> Iterator[bytes]:
    names = FileNames.of(source.images)
    yield b"["
    for number, record in enumerate(source.read(), start=1):
        results = [r for a in record.annotations for r in _results(record, a, source, options, report)]
        address = "/data/local-files/?d=images/" + quote(names[record.digest].image)
        task = {"id": number, "data": {"image": address}, "annotations": [{"id": number, "result": results}]}
        yield (b"," if number > 1 else b"") + b"\n" + json_bytes(task)
    yield b"\n]\n"


def _results(
    record: ImageRecord, annotation: Annotation, source: Source, options: Options, report: Report
) -> Iterator[dict[str, Any]]:
    mask, size = annotation.mask, record.size
    if mask.area == 0:
        report.note(record, annotation, 0.0, "no outline")
        return
    head = {
        "id": annotation.id[:40],
        "to_name": _BOX_OF,
        "original_width": size.width,
        "original_height": size.height,
        "image_rotation": 0,
    }
    label = source.class_name(annotation.class_id)
    outline = outline_of(mask, options.tolerance) if options.shape == "polygons" else None
    if outline is not None and len(outline.parts) == 1 and (options.fill_holes or not outline.has_holes):
        filled = outline.without_holes()
        iou = outline_iou(mask, filled) if options.tolerance > 0 or outline.has_holes else 1.0
        report.note(record, annotation, iou, "hole filled" if outline.has_holes else "simplified", filled.points)
        points = [[100 * x / size.width, 100 * y / size.height] for x, y in filled.parts[0].outer]
        value: dict[str, Any] = {"points": points, "closed": True, "polygonlabels": [label]}
        yield {**head, "type": "polygonlabels", "from_name": _OUTLINE, "value": value}
        return
    report.note(record, annotation)
    value = {"format": "rle", "rle": encode_brush(mask), "brushlabels": [label]}
    yield {**head, "type": "brushlabels", "from_name": _BRUSH, "value": value}


def encode_brush(mask: Rle) -> list[int]:
    """A mask as Label Studio's run lengths, one number for each byte."""
    values, lengths = _rgba_runs(mask)
    whole, rest = np.divmod(lengths, _LONGEST)
    blocks = whole + (rest > 0)
    ends = np.cumsum(blocks)
    block_lengths = np.full(int(ends[-1]), _LONGEST, dtype=np.int64)
    block_lengths[(ends - 1)[rest > 0]] = rest[rest > 0]
    bits = 1 + 2 + _SIZES[-1] + _WORD
    packed = (1 << (bits - 1)) | (3 << (bits - 3)) | ((block_lengths - 1) << _WORD) | np.repeat(values, blocks)
    head = (4 * mask.height * mask.width).to_bytes(4, "big")
    table = _WORD - 1
    for size in _SIZES:
        table = table << 4 | size - 1
    body = (packed[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    start = [int(bit) for bit in f"{table:021b}"]
    data = np.packbits(np.concatenate([np.array(start), body.ravel()]).astype(np.uint8))
    return [*head, *data.tolist()]


def _rgba_runs(mask: Rle) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The bytes R, G, B, A of each pixel row by row, 255 in the object: values and how often each is repeated."""
    crop, left, top = mask.to_crop()
    changes = np.zeros((crop.shape[0], crop.shape[1] + 1), dtype=np.bool_)
    if crop.size:
        changes[:, 1:-1] = crop[:, 1:] != crop[:, :-1]
        changes[:, 0], changes[:, -1] = crop[:, 0], crop[:, -1]
    row, column = np.nonzero(changes)
    edges = np.concatenate(([0], (row + top) * mask.width + column + left, [mask.height * mask.width]))
    lengths = 4 * np.diff(edges)
    values = np.where(np.arange(lengths.size) % 2, 255, 0)
    return values[lengths > 0], lengths[lengths > 0]


# ---- reading

_RESULT = SchemaValidator(
    cs.typed_dict_schema(
        {
            "type": cs.typed_dict_field(text()),
            "value": cs.typed_dict_field(cs.dict_schema(cs.str_schema(), cs.any_schema())),
            "original_width": cs.typed_dict_field(WHOLE, required=False),
            "original_height": cs.typed_dict_field(WHOLE, required=False),
        }
    )
)


def _value(name: str, schema: cs.CoreSchema) -> SchemaValidator:
    return SchemaValidator(cs.typed_dict_schema({name: cs.typed_dict_field(schema)}))


_LABELS = _value("labels", cs.list_schema(text(), min_length=1, max_length=100))
_STROKE = _value("rle", cs.list_schema(cs.int_schema(strict=True, ge=0, le=255), max_length=_MAX_BYTES_OF_MASK))
_OUTLINED = _value("points", cs.list_schema(cs.tuple_schema([NUMBER, NUMBER]), min_length=3, max_length=100_000))
_PERCENT = SchemaValidator(
    cs.typed_dict_schema({key: cs.typed_dict_field(NUMBER) for key in ("x", "y", "width", "height")})
)


def read_label_studio(tasks: list[Any], collector: Collector) -> LabelImport:
    """Read the values of an export of tasks.

    Raises:
        ImportFormatError: an entry is wrong.
    """
    if len(tasks) > MAX_ENTRIES:
        raise ImportFormatError(f"The file has more than {MAX_ENTRIES} tasks. Split it and import the parts.")
    names = frozenset(name for name in map(_image_name, tasks) if name)
    for place, task in enumerate(tasks, start=1):
        try:
            _read_task(task, names, collector)
        except LabelError as error:
            raise ImportFormatError(f"The file, task {place}: {error}") from error
    return collector.result()


def _image_name(task: Any) -> str:
    """The path in the address of a task's image; empty where there is none."""
    data = task.get("data") if isinstance(task, dict) else None
    for value in data.values() if isinstance(data, dict) else ():
        if isinstance(value, str) and len(value) < 10_000:
            try:
                address = urlsplit(value)
                path = parse_qs(address.query).get("d", [unquote(address.path)])[0]
            except ValueError:
                continue
            if path.rpartition("/")[2]:
                return path
    return ""


def _read_task(task: Any, names: frozenset[str], collector: Collector) -> None:
    name = _image_name(task)
    if not name:
        raise LabelError("The address of its image is missing.")
    lists = [task.get(key) for key in ("annotations", "completions")]
    given = [each for found in lists if isinstance(found, list) for each in found]
    if not given and isinstance(task.get("predictions"), list):
        given = task["predictions"]
    results = [
        result
        for each in given
        if isinstance(each, dict) and not each.get("was_cancelled") and isinstance(each.get("result"), list)
        for result in each["result"]
    ]
    if len(results) > MAX_ENTRIES:
        raise LabelError(f"It has more than {MAX_ENTRIES} results.")
    record = collector.image(name, among=names)
    if record is None:
        if results:
            collector.note_unknown(name)
        return
    for place, entry in enumerate(results, start=1):
        try:
            _read_result(read(_RESULT, entry), record, collector)
        except LabelError as error:
            raise LabelError(f"result {place}: {error}") from error


def _read_result(result: dict[str, Any], record: ImageRecord, collector: Collector) -> None:
    kind, value = result["type"], result["value"]
    if kind not in ("brushlabels", "polygonlabels", "rectanglelabels"):
        return  # a choice, a comment, a relation
    label_class = collector.label_class(read(_LABELS, {"labels": value.get(kind)})["labels"][0])
    size = record.size
    collector.check_size(record, result.get("original_width", size.width), result.get("original_height", size.height))
    if kind == "brushlabels":
        data = read(_STROKE, value)["rle"]
        collector.spend(_BYTE_COST * len(data))
        collector.add(record, label_class, decode_brush(data, size, collector.spend))
    elif kind == "polygonlabels":
        points = read(_OUTLINED, value)["points"]
        ring = tuple((_exact(x * size.width / 100), _exact(y * size.height / 100)) for x, y in points)
        collector.add(record, label_class, collector.filled(record, ring))
    else:
        if value.get("rotation"):
            raise LabelError("A turned rectangle cannot be read; draw it upright or as a polygon.")
        sides = read(_PERCENT, value)
        x, width = (sides[key] * size.width / 100 for key in ("x", "width"))
        y, height = (sides[key] * size.height / 100 for key in ("y", "height"))
        collector.add_box(record, label_class, x, y, x + width, y + height)


def _exact(value: float) -> float:
    """A coordinate without what percent did to its last digits."""
    return round(value, 6)


def decode_brush(data: list[int], size: ImageSize, spend: Callable[[int], None] = lambda _: None) -> Rle:
    """The mask that Label Studio's run lengths stand for; ``spend`` is told how many pixels its box has.

    Raises:
        LabelError: they break off, or are not of an image of that size.
    """
    values, lengths = _blocks(data, 4 * size.pixels)
    ends = np.cumsum(lengths)
    # A run holds the alpha of the pixels p with start <= 4 p + 3 < end.
    is_object = values > _THRESHOLD
    first, last = (ends - lengths)[is_object] // 4, ends[is_object] // 4
    first, last = first[first < last], last[first < last]
    if first.size == 0:
        return Rle.empty(size.height, size.width)
    (rows, lefts), (last_rows, rights) = np.divmod(first, size.width), np.divmod(last - 1, size.width)
    if (rows < last_rows).any():  # a run goes on into the next row: take whole rows
        left, right = 0, size.width
    else:
        left, right = int(lefts.min()), int(rights.max()) + 1
    top, bottom = int(rows[0]), int(last_rows[-1]) + 1
    spend((bottom - top) * (right - left))
    # One more column, for a run that ends at the right edge; whole rows have no need of it, and runs go on behind it.
    stride = right - left + (left > 0 or right < size.width)
    change = np.zeros((bottom - top) * stride + 1, dtype=np.int8)
    np.add.at(change, (rows - top) * stride + lefts - left, 1)
    np.add.at(change, (last_rows - top) * stride + rights - left + 1, -1)
    crop = np.cumsum(change[:-1], dtype=np.int8).astype(np.bool_).reshape(bottom - top, stride)
    return rle_of_crop(crop[:, : right - left], left, top, size)


def _blocks(data: list[int], expected: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Values and how often each is repeated."""
    number = int.from_bytes(bytes(data), "big")
    length = 8 * len(data)
    text_of_bits = f"{number:0{length}b}" if length else ""
    at = 53  # 32 + 5 + 4 x 4
    if length < at:
        raise LabelError("The run lengths of its mask break off.")
    total, word = int(text_of_bits[:32], 2), int(text_of_bits[32:37], 2) + 1
    sizes = [int(text_of_bits[37 + 4 * n : 41 + 4 * n], 2) + 1 for n in range(4)]
    if total != expected:
        raise LabelError(f"The run lengths of its mask are of {total // 4} pixels, the image has {expected // 4}.")
    values: list[int] = []
    lengths: list[int] = []
    done = 0
    while done < total:
        if at + 3 > length:
            raise LabelError("The run lengths of its mask break off.")
        is_run, bits = text_of_bits[at] == "1", sizes[int(text_of_bits[at + 1 : at + 3], 2)]
        at += 3
        if at + bits > length:
            raise LabelError("The run lengths of its mask break off.")
        count = int(text_of_bits[at : at + bits], 2) + 1
        at += bits
        words = 1 if is_run else count
        if at + words * word > length:
            raise LabelError("The run lengths of its mask break off.")
        values += [int(text_of_bits[at + n * word : at + (n + 1) * word], 2) for n in range(words)]
        lengths += [count] if is_run else [1] * count
        at += words * word
        done += count
    if done != total:
        raise LabelError("The run lengths of its mask are longer than the image.")
    return np.array(values, dtype=np.int64), np.array(lengths, dtype=np.int64)
