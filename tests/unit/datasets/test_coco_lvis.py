"""RITM's pickles: read whichever protocol wrote them, and never run."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samref.datasets import images_of
from samref.datasets.coco_lvis import ByteArray, read_plain
from samref.errors import DataError
from tests.unit.datasets import miniatures


class Calls:
    """Pickled as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def pickled(path: Path, value: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_gives_the_same_plain_values(protocol: int, tmp_path: Path) -> None:
    table = np.arange(6, dtype=np.uint8).reshape(2, 3)
    value = {
        "a": [1, -2.5, None, True, {2, 3}, ("x", b"bytes\xff")],
        "n": np.int32(-7),
        "c": table,
        "f": np.asfortranarray(table),
    }
    told = read_plain(pickled(tmp_path / "a.pickle", value, protocol))
    assert told["a"] == value["a"]
    assert (told["n"], type(told["n"])) == (-7, int)
    for name in ("c", "f"):
        assert isinstance(told[name], ByteArray)
        assert told[name].values.tolist() == table.tolist()


def test_old_and_new_names_of_numpys_modules_are_known(tmp_path: Path) -> None:
    path = pickled(tmp_path / "a.pickle", np.arange(3, dtype=np.uint8), 2)
    for other in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
        path.write_bytes(path.read_bytes().replace(b"numpy.core.multiarray", other))
        assert read_plain(path).values.tolist() == [0, 1, 2]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.mkdir, "mkdir"), (eval, "eval"), (getattr, "getattr"), (np.load, "load"), (sys.exit, "exit"), (open, "open")],
)
def test_a_pickle_that_names_a_function_is_refused_and_nothing_is_called(
    function: Any, name: str, protocol: int, tmp_path: Path
) -> None:
    target = tmp_path / "made"
    path = pickled(tmp_path / "a.pickle", [1, Calls(function, str(target))], protocol)
    with pytest.raises(DataError, match=rf"asks for Python's \S+\.{name}, for which a data set has no use\."):
        read_plain(path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (np.arange(3), "array of something other than bytes"),
        (np.array([None]), "array of something other than bytes"),
        (np.zeros(2, dtype=[("a", "u1")]), "array of records"),
        (np.float64(1.5), "number that is not whole"),
        (Path("x"), "asks for Python's"),
        (object(), "asks for Python's"),
    ],
)
def test_what_is_not_plain_is_refused_in_a_sentence(value: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=sentence):
        read_plain(pickled(tmp_path / "a.pickle", value))


def test_an_array_larger_than_its_content_is_refused(tmp_path: Path) -> None:
    path = pickled(tmp_path / "a.pickle", np.arange(3, dtype=np.uint8), 4)
    changed = path.read_bytes().replace(b"K\x01K\x03\x85", b"K\x01K\xff\x85")
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    with pytest.raises(DataError, match="size is not that of its content"):
        read_plain(path)


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x04", b"\x80\x04]q", b"(" * 100_000, b"\x80\x04N}b."])
def test_what_is_no_pickle_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pickle").write_bytes(content)
    with pytest.raises(DataError, match="is no pickle, or breaks off"):
        read_plain(tmp_path / "a.pickle")


def test_state_cannot_be_forced_on_a_stand_in(tmp_path: Path) -> None:
    """``numpy.dtype`` followed by a state of attributes (opcode BUILD)."""
    (tmp_path / "a.pickle").write_bytes(b"cnumpy\ndtype\n(NU\x08__call__Nd\x86b.")
    with pytest.raises(DataError):
        read_plain(tmp_path / "a.pickle")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_parts_of_objects_are_left_out_and_stuff_says_so(protocol: int, tmp_path: Path) -> None:
    miniatures.write_coco_lvis(tmp_path, protocol=protocol)
    first, second = (record.load() for record in images_of(tmp_path))
    assert (first.ids, second.ids) == (("0", "stuff-2"), ("0",))
    assert np.array_equal(first.label_map(), miniatures.numbers(ignored=False))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([1], "does not tell of images"),
        ({"a": 3}, "which objects the image 'a' has"),
        ({"a": {"num_instance_masks": 1, "hierarchy": {3: None}}}, "beyond their count"),
        ({"../../a": {"num_instance_masks": 0, "hierarchy": {}}}, "does not lie in"),
    ],
)
def test_an_odd_annotation_pickle_is_named(content: Any, sentence: str, tmp_path: Path) -> None:
    miniatures.write_coco_lvis(tmp_path)
    pickled(tmp_path / "val" / "hannotation.pickle", content)
    with pytest.raises(DataError, match=sentence):
        images_of(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (7, "two lists"),
        (([3], []), "no file in an array of bytes"),
        (([], [(0, 1), (0, 1)]), "object 0 is in none of its 0 layers"),
        (([np.zeros(3, dtype=np.uint8)], []), "000000000009.pickle: "),
    ],
)
def test_an_odd_mask_pickle_is_named(content: Any, sentence: str, tmp_path: Path) -> None:
    miniatures.write_coco_lvis(tmp_path)
    pickled(tmp_path / "val" / "masks" / "000000000009.pickle", content)
    with pytest.raises(DataError, match=sentence):
        images_of(tmp_path)[0].load()
