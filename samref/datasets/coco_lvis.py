"""RITM's merged COCO and LVIS, on which RITM, SimpleClick and SegNext train.

The images of a part, a pickle about all of them, and one for each::

    train/hannotation.pickle            for each image, which object is part of which, and how many things there are
    train/images/000000000009.jpg
    train/masks/000000000009.pickle     PNG files whose values number the objects, and each object's file and number

Objects are given that are part of no other. After the things come regions of stuff, whose keys begin with ``stuff-``.

A pickle is a program: it may name any function of any module and have it called. Here (:func:`read_plain`) no name
leads outside this file: containers, numbers, strings and arrays of bytes are read, anything else is refused. What
NumPy's arrays and numbers are pickled as is built from stand-ins, so that none of NumPy's code runs either.

Source: code (RITM). The authors' sampler counts the parts as further objects where it asks whether there are any.
"""

from __future__ import annotations

import io
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samref.core.images import decode_label_image
from samref.datasets.coco import inside, refuse_none_there
from samref.datasets.records import ImageRecord, Layout, Listing, MaskSource, ObjectMask, Skipped, read_bytes
from samref.errors import DataError, ImageError

STUFF = "stuff-"
"""Keys of regions that are no things begin so."""

ANNOTATIONS = "hannotation.pickle"


@dataclass(frozen=True, slots=True)
class CocoLvisMasks(MaskSource):
    """The objects of one image, in the pickle ``path``."""

    roots: tuple[int, ...]
    """Numbers of the things that are part of no other."""

    things: int
    """How many things there are, parts among them; those beyond are stuff."""

    def read(self) -> list[ObjectMask]:
        content = read_plain(self.path)
        if not isinstance(content, tuple | list) or len(content) != 2 or not all(isinstance(c, list) for c in content):
            raise self._odd("it does not hold two lists, of layers and of objects")
        layers = [self._decode(layer) for layer in content[0]]
        places: list[Any] = content[1]
        stuff = range(self.things, len(places))
        named = [(str(n), n) for n in self.roots] + [(f"{STUFF}{n}", n) for n in stuff]
        return [ObjectMask(key, self._mask(layers, places, number), None) for key, number in named]

    def _decode(self, layer: Any) -> NDArray[np.int32]:
        if not isinstance(layer, ByteArray):
            raise self._odd("a layer is no file in an array of bytes")
        try:
            return decode_label_image(layer.values.tobytes())
        except ImageError as error:
            raise DataError(f"{self.path}: {error}") from error

    def _mask(self, layers: list[NDArray[np.int32]], places: list[Any], number: int) -> NDArray[np.bool_]:
        try:
            layer, value = places[number]
            if layer < 0:
                raise IndexError
            mask: NDArray[np.bool_] = layers[layer] == value
        except (IndexError, TypeError, ValueError) as error:
            raise self._odd(f"object {number} is in none of its {len(layers)} layers") from error
        return mask

    def _odd(self, what: str) -> DataError:
        return DataError(f"{self.path} is none of RITM's mask files: {what}.")


def _list_images(folder: Path, split: str) -> Listing:
    place = folder / split
    path = place / ANNOTATIONS
    if not path.is_file():
        raise DataError(f"There is no {path}.")
    content = read_plain(path)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise DataError(f"{path} does not tell of images by their names. Is it RITM's {ANNOTATIONS}?")
    records = []
    absent: list[Path] = []
    for name, told in sorted(content.items()):
        roots, things = _objects_of(path, name, told)
        image = place / "images" / inside(place, f"{name}.jpg", path)
        if not image.is_file():
            absent.append(image)
            continue
        masks = CocoLvisMasks(place / "masks" / f"{name}.pickle", roots, things)
        records.append(ImageRecord(folder.name, name, image, masks, COCO_LVIS.name))
    refuse_none_there(path, records, absent)
    return Listing(tuple(records), Skipped(images_not_found=len(absent)))


def _objects_of(path: Path, name: str, told: Any) -> tuple[tuple[int, ...], int]:
    """Numbers of the things that are part of no other, and how many things there are."""
    try:
        things, hierarchy = told["num_instance_masks"], told["hierarchy"]
        roots = tuple(number for number, node in hierarchy.items() if node is None or node["parent"] is None)
        valid = type(things) is int and all(type(number) is int and 0 <= number < things for number in roots)
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{path} does not say which objects the image {name[:60]!r} has.") from error
    if not valid:
        raise DataError(f"{path} numbers the objects of the image {name[:60]!r} beyond their count.")
    return roots, things


COCO_LVIS = Layout(
    name="coco-lvis",
    expects=f"train/{ANNOTATIONS} with train/images/NAME.jpg and train/masks/NAME.pickle",
    splits=("val", "train"),
    fits=lambda folder: any((folder / split / ANNOTATIONS).is_file() for split in ("val", "train")),
    list_images=_list_images,
)


# ---- pickles of plain values

_BYTE = ("u1", "B")
"""Codes of NumPy's uint8."""


class _Refused(pickle.UnpicklingError):
    """The pickle asks for something that is not plain; the message is a whole sentence."""


class _Kind:
    """A dtype: its code and byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|") or any(part is not None for part in state[2:5]):
            raise _Refused("It holds an array of records.")
        self.order = state[1]


class ByteArray:
    """An array of bytes; ``values`` is uint8."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, kind, fortran, data = state
        self.fill(data, kind, shape, "F" if fortran else "C")

    def fill(self, data: Any, kind: Any, shape: Any, order: Any) -> None:
        """Take the content."""
        if not isinstance(kind, _Kind) or kind.code not in _BYTE or not isinstance(data, bytes | bytearray):
            raise _Refused("It holds an array of something other than bytes.")
        sides = shape if isinstance(shape, tuple) else (shape,)
        if not all(type(side) is int and side >= 0 for side in sides) or math.prod(sides) != len(data):
            raise _Refused("It holds an array whose size is not that of its content.")
        flat = np.frombuffer(bytes(data), dtype=np.uint8)
        self.values = flat.reshape(sides, order="F" if order == "F" else "C")


class _StandIns:
    """What the names of NumPy and codecs call here. Bound methods: nothing that a pickle sets on one changes it."""

    __slots__ = ()

    def dtype(self, code: Any, *_: Any) -> _Kind:
        if not isinstance(code, str):
            raise _Refused("It holds an array of records.")
        return _Kind(code)

    def reconstruct(self, *_: Any) -> ByteArray:
        """An array without content, filled by its state."""
        return ByteArray()

    def frombuffer(self, data: Any, kind: Any, shape: Any, order: Any) -> ByteArray:
        """An array of protocol 5."""
        array = ByteArray()
        array.fill(data, kind, shape, order)
        return array

    def scalar(self, kind: Any, data: Any) -> int:
        if not isinstance(kind, _Kind) or kind.code[:1] not in ("i", "u") or not isinstance(data, bytes):
            raise _Refused("It holds a number that is not whole.")
        return int.from_bytes(data, "big" if kind.order == ">" else "little", signed=kind.code[0] == "i")

    def encode(self, text: Any, encoding: Any) -> bytes:
        """Bytes, as protocol 2 has them: a string of which each character is one."""
        if not isinstance(text, str) or encoding != "latin1":
            raise _Refused("It holds a string in an encoding that is not plain.")
        return text.encode("latin1")


_STAND_INS = _StandIns()
_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): object(),
    ("numpy", "dtype"): _STAND_INS.dtype,
    ("_codecs", "encode"): _STAND_INS.encode,
    ("builtins", "set"): set,  # as protocols before 4 have sets
    ("__builtin__", "set"): set,
}
for _core in ("numpy.core", "numpy._core"):  # before and since NumPy 2
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _STAND_INS.reconstruct
    _KNOWN[f"{_core}.multiarray", "scalar"] = _STAND_INS.scalar
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _STAND_INS.frombuffer


class _PlainUnpickler(pickle.Unpickler):
    """Finds the stand-ins and sets, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise _Refused(f"It asks for Python's {module[:60]}.{name[:60]}, for which a data set has no use.")
        return _KNOWN[module, name]


def read_plain(path: Path) -> Any:
    """What is pickled in a file: plain values, arrays of bytes as :class:`ByteArray`; anything else is refused."""
    data = io.BytesIO(read_bytes(path))
    try:
        return _PlainUnpickler(data).load()
    except _Refused as error:
        raise DataError(f"{path} is not read. {error} Get it again from those who publish the data set.") from error
    except (
        pickle.UnpicklingError,
        ArithmeticError,
        AttributeError,
        EOFError,
        ImportError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise DataError(f"{path} is no pickle, or breaks off. Copy or download it again.") from error
