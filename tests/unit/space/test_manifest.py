"""The Spacefile is read strictly: whatever is wrong is said in sentences, all of it at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from samref.errors import SpaceError, StorageError
from samref.space.manifest import SPACEFILE_NAME, Spacefile, load_spacefile
from tests.unit.space.spacefiles import Change, changed, put, write_changed


def test_the_first_line_says_who_reads_the_spacefile_and_what_hugging_face_reads(root: Path) -> None:
    first, *_ = (root / SPACEFILE_NAME).read_text("utf-8").splitlines()
    assert first.startswith("# ")
    assert "`python -m samref space`" in first
    assert "Hugging Face reads README.md" in first


def test_there_is_a_target_for_each_kind_of_machine(spacefile: Spacefile) -> None:
    hardware = {name: target.hardware for name, target in spacefile.targets.items()}
    assert hardware == {"cpu": "cpu-basic", "gpu": "t4-small", "zerogpu": "zero-a10g"}
    assert [name for name, target in spacefile.targets.items() if target.is_zero_gpu] == ["zerogpu"]
    assert spacefile.targets["gpu"].sleep_after == 1800, "seconds; hardware that costs does not run for nobody"


def _without(*keys: str) -> Change:
    def change(values: dict[str, Any]) -> None:
        for key in keys[:-1]:
            values = values[key]
        del values[keys[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (put("space", "colour", value="red"), "Spacefile: space.colour is no key of the Spacefile."),
        (put("targets", "cpu", "hardwear", value="x"), "Spacefile: targets.cpu.hardwear is no key of the Spacefile."),
        (_without("build", "sdk_version"), "Spacefile: build.sdk_version is missing."),
        (put("space", "colorFrom", value="orange"), "Spacefile: space.colorFrom is 'orange', but 'red', 'yellow', "),
        (put("space", "emoji", value="🎯🎯"), "Spacefile: space.emoji is '🎯🎯', but exactly one emoji is needed."),
        (put("space", "emoji", value="x"), "Spacefile: space.emoji is 'x', but exactly one emoji is needed."),
        (put("space", "short_description", value="x" * 61), "short_description has 61 characters, and at most 60 are"),
        (put("space", "license", value="apache"), "Spacefile: space.license is 'apache', but one of agpl-3.0, "),
        (put("build", "python_version", value=3.12), "python_version is 3.12, but text is needed; put it in quotes."),
        (put("build", "sdk_version", value=">=6"), "sdk_version is '>=6', but an exact version such as 6.31.0 is"),
        (put("build", "startup_timeout", value="10 min"), "startup_timeout is '10 min', but a duration such as 30s,"),
        (put("build", "custom_headers", value={"X-Frame-Options": "DENY"}), "build.custom_headers.X-Frame-Options is"),
        (put("build", "app_file", value="../app.py"), "app_file is '../app.py', but a path inside of the repository"),
        (put("files", "include", value=["/etc/*"]), "files.include.0 is '/etc/*', but a path inside of the repository"),
        (put("files", "include", value=[]), "Spacefile: files.include is [], but at least one entry is needed."),
        (put("files", "max_file_mb", value=0), "files.max_file_mb is 0, but a number above 0 is needed."),
        (put("variables", value={"demo": "1"}), "variables.demo is 'demo', but a name of capital letters"),
        (put("variables", value={"SAMREF_API": 1}), "variables.SAMREF_API is 1, but text is needed; put it in quotes."),
        (put("variables", value={"HF_TOKEN": "x"}), "each name of a variable or secret once; HF_TOKEN stands there"),
        (put("secrets", value=[{"name": "A", "value": "b", "why": "c"}]), "secrets.0.value is no key of the Spacefile"),
        (put("targets", value={}), "Spacefile: targets is {}, but at least one entry is needed."),
        (put("targets", "cpu", "hardware", value="h100"), "targets.cpu.hardware is 'h100', but 'cpu-basic', "),
        (put("oauth", "expiration_minutes", value=99999), "expiration_minutes is 99999, but a number of at most 43200"),
        (put("v", value=2), "Spacefile: v is 2, but 1 is needed."),
    ],
)
def test_a_slip_in_the_spacefile_is_a_sentence(root: Path, tmp_path: Path, change: Change, sentence: str) -> None:
    with pytest.raises(SpaceError) as caught:
        changed(root, tmp_path, change)
    assert sentence in str(caught.value)
    assert all(fault.endswith(".") for fault in caught.value.faults)


def test_all_slips_are_said_at_once(root: Path, tmp_path: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        values["space"]["emoji"] = ""
        values["space"]["colorTo"] = "mauve"
        values["surprise"] = 1
        del values["check"]

    with pytest.raises(SpaceError) as caught:
        changed(root, tmp_path, change)
    assert len(caught.value.faults) == 4


@pytest.mark.parametrize("emoji", ["🎯", "✂️", "👩🏽‍🎨", "🇪🇺", "✂"])
def test_an_emoji_of_several_signs_is_one(root: Path, tmp_path: Path, emoji: str) -> None:
    assert changed(root, tmp_path, put("space", "emoji", value=emoji)).space.emoji == emoji


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"v: 1\nspace: {a: 1}\nspace: {a: 2}\n", "line 1: space stands twice in the same place."),
        (b"v: [1\n", "is not YAML"),
        (b"", "holds no keys"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"v: !!python/object/apply:os.system [id]\n", "is not YAML"),
    ],
)
def test_what_is_no_manifest_is_a_sentence(tmp_path: Path, text: bytes, sentence: str) -> None:
    path = tmp_path / SPACEFILE_NAME
    path.write_bytes(text)
    with pytest.raises(SpaceError, match="Spacefile") as caught:
        load_spacefile(path)
    assert sentence in str(caught.value)


def test_a_spacefile_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the file or its folder is not there"):
        load_spacefile(tmp_path / SPACEFILE_NAME)


def test_a_target_that_is_not_there_names_those_that_are(spacefile: Spacefile) -> None:
    with pytest.raises(SpaceError, match=r"no target 'tpu' in the Spacefile. There are: cpu, gpu, zerogpu"):
        spacefile.target("tpu")


def test_storage_reaches_the_server_as_variables(root: Path, tmp_path: Path, spacefile: Spacefile) -> None:
    assert spacefile.variables_of("cpu") == dict(spacefile.variables), "none is configured"
    path = write_changed(root, tmp_path, put("storage", "ship_to", value="hf://buckets/owner/labels"))
    variables = load_spacefile(path).variables_of("cpu")
    assert variables["SAMREF_SHIP_TO"] == "hf://buckets/owner/labels"
    assert variables["SAMREF_SHIP_EVERY_S"] == "5"
    assert variables["SAMREF_SNAPSHOT_EVERY_S"] == "600"


def test_reading_a_spacefile_loads_no_torch_and_no_gradio(root: Path) -> None:
    program = (
        "import sys, pathlib, samref.space.build as b, samref.space.manifest as m, samref.space.checks; "
        "m.load_spacefile(pathlib.Path('Spacefile')); print(*sorted({'torch', 'gradio'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
