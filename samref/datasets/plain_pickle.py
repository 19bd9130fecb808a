"""Pickles of plain values: containers, numbers, strings, and arrays of bytes. Anything else is refused.

A pickle is a program: it may name any function of any module and have it called. Here no name leads outside this file.
What NumPy's arrays and numbers are pickled as is built from stand-ins, so that none of NumPy's code runs either.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samref.datasets.records import read_bytes
from samref.errors import DataError

__all__ = ["ByteArray", "read_plain"]

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
    """An array of bytes.

    Attributes:
        values: uint8.
    """

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, kind, fortran, data = state
        self.fill(data, kind, shape, "F" if fortran else "C")

    def fill(self, data: Any, kind: Any, shape: Any, order: Any) -> None:
        """Take the content.

        Raises:
            _Refused: it is no array of bytes.
        """
        if not isinstance(kind, _Kind) or kind.code not in _BYTE or not isinstance(data, bytes | bytearray):
            raise _Refused("It holds an array of something other than bytes.")
        sides = shape if isinstance(shape, tuple) else (shape,)
        if not all(type(side) is int and side >= 0 for side in sides) or math.prod(sides) != len(data):
            raise _Refused("It holds an array whose size is not that of its content.")
        flat = np.frombuffer(bytes(data), dtype=np.uint8)
        self.values = flat.reshape(sides, order="F" if order == "F" else "C")


class _NdArray:
    """The name ``numpy.ndarray``."""

    __slots__ = ()


class _MakeKind:
    """``numpy.dtype(code, align, copy)``."""

    __slots__ = ()

    def __call__(self, code: Any, *_: Any) -> _Kind:
        if not isinstance(code, str):
            raise _Refused("It holds an array of records.")
        return _Kind(code)


class _Reconstruct:
    """An array without content, filled by its state."""

    __slots__ = ()

    def __call__(self, *_: Any) -> ByteArray:
        return ByteArray()


class _FromBuffer:
    """An array of protocol 5."""

    __slots__ = ()

    def __call__(self, data: Any, kind: Any, shape: Any, order: Any) -> ByteArray:
        array = ByteArray()
        array.fill(data, kind, shape, order)
        return array


class _Scalar:
    """A number of NumPy's."""

    __slots__ = ()

    def __call__(self, kind: Any, data: Any) -> int:
        if not isinstance(kind, _Kind) or kind.code[:1] not in ("i", "u") or not isinstance(data, bytes):
            raise _Refused("It holds a number that is not whole.")
        return int.from_bytes(data, "big" if kind.order == ">" else "little", signed=kind.code[0] == "i")


class _Encode:
    """Bytes, as protocol 2 has them: a string of which each character is one."""

    __slots__ = ()

    def __call__(self, text: Any, encoding: Any) -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise _Refused("It holds a string in an encoding that is not plain.")
        return text.encode("latin1")


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NdArray(),
    ("numpy", "dtype"): _MakeKind(),
    ("_codecs", "encode"): _Encode(),
    ("builtins", "set"): set,  # as protocols before 4 have sets
    ("__builtin__", "set"): set,
}
for _core in ("numpy.core", "numpy._core"):  # before and since NumPy 2
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _Reconstruct()
    _KNOWN[f"{_core}.multiarray", "scalar"] = _Scalar()
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _FromBuffer()


class _PlainUnpickler(pickle.Unpickler):
    """Finds the stand-ins and sets, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise _Refused(f"It asks for Python's {module[:60]}.{name[:60]}, for which a data set has no use.")
        return _KNOWN[module, name]


def read_plain(path: Path) -> Any:
    """What is pickled in a file: plain values, arrays of bytes as :class:`ByteArray`.

    Raises:
        DataError: it cannot be read, is damaged, or asks for anything else.
    """
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
