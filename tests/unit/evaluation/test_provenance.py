from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from samref.core.images import decode_label_image, encode_png
from samref.datasets import find_images
from samref.errors import CheckpointMissingError
from samref.evaluation.report import data_digest, describe_machine, weights_digests
from samref.inference.predictor import Predictor
from samref.models.checkpoints import weights_folder
from samref.models.registry import build_model, get_spec
from tests.unit.evaluation.painter import write_zoo


def digest(folder: Path) -> str:
    return data_digest(find_images(folder)[0])


def test_the_digest_of_the_data_does_not_depend_on_where_they_lie(tmp_path: Path) -> None:
    write_zoo(tmp_path / "a", ("air", "zoo"))
    shutil.copytree(tmp_path / "a", tmp_path / "b" / "c")
    assert digest(tmp_path / "a") == digest(tmp_path / "b" / "c")


def test_one_pixel_of_a_image_or_a_mask_changes_it(tmp_path: Path) -> None:
    seen = set()
    for name in ("whole", "mask", "image", "names"):
        folder = tmp_path / name
        write_zoo(folder, ("zoo",), records=1)
        if name == "mask":
            path = folder / "zoo" / "masks" / "0.png"
            ids = decode_label_image(path.read_bytes()).astype(np.uint8)
            ids[20, 40] = 1
            path.write_bytes(encode_png(ids))
        if name == "image":
            path = folder / "zoo" / "images" / "0.png"
            path.write_bytes(encode_png(np.zeros((40, 50, 3), dtype=np.uint8)))
        if name == "names":
            for part in ("images", "masks"):
                (folder / "zoo" / part / "0.png").rename(folder / "zoo" / part / "1.png")
        seen.add(digest(folder))
    assert len(seen) == 4


def test_only_objects_that_are_measured_count(tmp_path: Path) -> None:
    write_zoo(tmp_path, ("zoo",), records=1)
    (record,), _ = find_images(tmp_path)
    one = replace(record, keys=("1",))
    assert data_digest([one]) == data_digest([one]) != data_digest([record])


def test_weights_that_come_with_samref_have_the_digests_of_their_files() -> None:
    digests = weights_digests("tiny")
    assert list(digests) == [file.file_name for file in get_spec("tiny").checkpoints]
    for name, told in digests.items():
        assert told == hashlib.sha256((weights_folder() / name).read_bytes()).hexdigest()


def test_weights_of_ones_own_are_read(tmp_path: Path) -> None:
    for file in get_spec("tiny").checkpoints:
        (tmp_path / file.file_name).write_bytes(file.file_name.encode())
    digests = weights_digests("tiny", tmp_path)
    assert digests == {name: hashlib.sha256(name.encode()).hexdigest() for name in digests}
    single = tmp_path / "sam.pth"
    single.write_bytes(b"x")
    assert weights_digests("sam-vit-b", single) == {"sam.pth": hashlib.sha256(b"x").hexdigest()}
    with pytest.raises(CheckpointMissingError):
        weights_digests("sam-vit-b", tmp_path / "nowhere.pth")


def test_random_weights_have_no_file() -> None:
    assert weights_digests("tiny-random") == {}


def test_the_machine_is_told_with_the_predictors_own_device_and_precision() -> None:
    facts = describe_machine(Predictor(build_model("tiny-random"), "cpu", torch.float32))
    assert facts["device"] == "cpu"
    assert facts["dtype"] == "torch.float32"
    assert facts["processor"]
    assert "device" not in describe_machine()
