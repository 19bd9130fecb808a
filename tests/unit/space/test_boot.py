"""A built folder is started as Hugging Face would, behind walls that hold: the folder alone has to do."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from samref.errors import SpaceError
from samref.space import boot as booting
from samref.space import stand_in
from samref.space.boot import boot
from samref.space.build import BuiltSpace
from samref.space.manifest import Spacefile

PROBE = """
import json, os, pathlib, socket, sys

def tried(act):
    try:
        act()
    except (OSError, ImportError) as error:
        return type(error).__name__
    return "done"

print(json.dumps({
    "write": tried(lambda: pathlib.Path("new").touch()),
    "rewrite": tried(lambda: pathlib.Path("app.py").open("a")),
    "connect": tried(lambda: socket.create_connection(("192.0.2.1", 80), 2)),
    "look up": tried(lambda: socket.getaddrinfo("huggingface.co", 443)),
    "read the repository": tried(lambda: pathlib.Path(ROOT, "assets", "weights", "README.md").read_text()),
    "import the repository": tried(lambda: __import__("samref")),
    "home": os.listdir(os.path.expanduser("~")),
    "secrets": [name for name in os.environ if "TOKEN" in name or "SECRET" in name],
    "space": [os.environ["SYSTEM"], os.environ["SPACE_HOST"], os.environ["GRADIO_SERVER_NAME"]],
    "demo": os.environ["SAMREF_DEMO_DAYS"],
}))
sys.exit(7)
"""


def _program(tmp_path: Path, built: BuiltSpace, text: str) -> BuiltSpace:
    """A folder with this program and nothing else."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "app.py").write_text(text)
    return replace(built, folder=folder)


def _left_running(folder: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found += [process.name] if (process / "cwd").readlink() == folder else []
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("wall", ["namespace", "Python"])
def test_walls_keep_a_program_from_everything_but_its_folder(
    root: Path,
    spacefile: Spacefile,
    pristine: dict[str, BuiltSpace],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wall: str,
) -> None:
    if wall == "namespace" and not booting._apart():
        pytest.skip("this system gives out no network namespaces")
    if wall == "Python":
        monkeypatch.setattr(booting, "_apart", list)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_person_who_checks")
    monkeypatch.setenv("SAMREF_DATA_FOLDER", "/nowhere")
    built = _program(tmp_path, pristine["cpu"], f"ROOT = {str(root)!r}\n{PROBE}")
    with pytest.raises(SpaceError, match="ended with status 7 instead of serving its page") as caught:
        boot(root, built, spacefile)
    seen = json.loads(str(caught.value).partition("It printed: ")[2])
    refused = "PermissionError" if wall == "Python" else seen["connect"]
    assert refused != "done"
    assert seen == {
        "write": "PermissionError",
        "rewrite": "PermissionError",
        "connect": refused,
        "look up": "PermissionError" if wall == "Python" else "gaierror",
        "read the repository": "PermissionError",
        "import the repository": "ImportError",
        "home": [],
        "secrets": [],
        "space": ["spaces", booting.SPACE_HOST, "0.0.0.0"],
        "demo": spacefile.variables["SAMREF_DEMO_DAYS"],
    }
    assert os.access(built.folder, os.W_OK)
    assert (built.folder / "app.py").stat().st_mode & 0o200, "rights are given back"


@pytest.mark.slow
def test_a_program_that_never_serves_is_given_up_and_ended(
    root: Path,
    spacefile: Spacefile,
    pristine: dict[str, BuiltSpace],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(booting, "CLICK_PATIENCE_S", 3.0)
    hurried = spacefile.model_copy(update={"check": spacefile.check.model_copy(update={"boot_seconds": 0.1})})
    built = _program(tmp_path, pristine["cpu"], "import time\nprint('thinking')\ntime.sleep(600)\n")
    with pytest.raises(SpaceError, match="did not come in time: nothing answers there"):
        boot(root, built, hurried)
    assert _left_running(built.folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cpu", "zerogpu"])
def test_the_built_folder_starts_and_answers_a_click(
    root: Path, spacefile: Spacefile, pristine: dict[str, BuiltSpace], tmp_path: Path, target: str
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(pristine[target].folder, folder)
    before = sorted(folder.rglob("*"))
    built = replace(pristine[target], folder=folder)
    started = boot(root, built, spacefile, zero_gpu=spacefile.targets[target].is_zero_gpu)
    assert started.click.pixels > 1000
    assert started.click.page_s < spacefile.check.boot_seconds
    assert "frame-ancestors https://huggingface.co" in started.headers["content-security-policy"]
    assert "x-frame-options" not in started.headers
    assert sorted(folder.rglob("*")) == before
    assert _left_running(folder) == []
    assert len(started.walls) == 2


LAUNCH = """
import spaces
import gradio
{function}
with gradio.Blocks() as demo:
    gradio.HTML("samref/static/")
demo.launch()
"""

FUNCTION = "@spaces.GPU(duration=6)\ndef encode(image):\n    return image\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        (LAUNCH.format(function="").replace("import spaces\n", ""), "launched without importing spaces"),
        (LAUNCH.format(function=""), "No @spaces.GPU function detected during startup"),
        ("import torch\n" + LAUNCH.format(function=""), "import it first"),
        (LAUNCH.format(function=FUNCTION), "while an example was opened"),
    ],
    ids=["no spaces", "no function", "torch first", "sound but no samref"],
)
def test_the_stand_in_for_spaces_refuses_what_zero_gpu_refuses(
    root: Path,
    spacefile: Spacefile,
    pristine: dict[str, BuiltSpace],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    sentence: str,
) -> None:
    monkeypatch.setattr(booting, "CLICK_PATIENCE_S", 30.0)
    built = _program(tmp_path, pristine["zerogpu"], program)
    with pytest.raises(SpaceError) as caught:
        boot(root, built, spacefile, zero_gpu=True)
    assert sentence in str(caught.value)


def test_the_stand_in_refuses_functions_that_zero_gpu_cannot_run_or_charges_too_much_for() -> None:
    async def coroutine() -> None: ...

    def plain() -> None: ...

    with pytest.raises(NotImplementedError, match="coroutine is a coroutine"):
        stand_in.GPU(duration=6)(coroutine)
    with pytest.raises(ValueError, match="plain asks for no duration"):
        stand_in.GPU(plain)
    assert stand_in.GPU(duration=6)(plain) is plain
    assert stand_in.gradio_auto_wrap(plain) is plain
