"""Starts a built folder as Hugging Face would, behind walls, and clicks once.

The folder is read-only, the home is empty, no secret is set, and the network ends at this machine. A process of its
own (this module, run as a program) goes behind the walls, tries them, starts ``python app.py`` there, and says what it
saw as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from samref.errors import SpaceError
from samref.space import stand_in, walls
from samref.space.build import BuiltSpace
from samref.space.first_click import FirstClick, first_click
from samref.space.manifest import Spacefile

SPACE_ID = "samref/check"
SPACE_HOST = "samref-check.hf.space"

CLICK_PATIENCE_S = 60.0
"""Granted beyond the start, so that a slow click is told from none."""

SPARE_S = 120.0
"""Granted beyond all that, until the process behind the walls counts as stuck."""

LOG_LINES = 15
"""Of the program's output, shown when it fails."""

NOTES_NAME = "functions"

_LAST_CAPABILITY = 63
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


@dataclass(frozen=True, slots=True)
class Boot:
    """What came of a start.

    Attributes:
        click: what a visitor would have waited for.
        headers: of the page, as asked for by the name of the Space, in lower case.
        walls: a sentence for each wall, and how it was made.
    """

    click: FirstClick
    headers: Mapping[str, str]
    walls: tuple[str, ...]


def boot(root: Path, built: BuiltSpace, spacefile: Spacefile, *, zero_gpu: bool = False) -> Boot:
    """Start ``built`` and click once.

    Args:
        root: the repository it was made of, which it must not need.
        built: made read-only for the time being.
        spacefile: what it was made by: variables, and the seconds granted.
        zero_gpu: as on ZeroGPU.

    Raises:
        SpaceError: it did not start, or the click was not answered; with the last lines that it printed.
    """
    patience_s = spacefile.check.boot_seconds + CLICK_PATIENCE_S
    with tempfile.TemporaryDirectory(prefix="samref-boot-") as passing, _read_only(built.folder):
        plan = {
            "python": sys.executable,
            "folder": str(built.folder.resolve()),
            "app_file": spacefile.build.app_file,
            "root": str(root.resolve()),
            "passing": passing,
            "variables": spacefile.variables_of(built.target),
            "zero_gpu": zero_gpu,
            "patience_s": patience_s,
            "offline": False,
        }
        apart = _apart()
        command = [*apart, sys.executable, "-m", __spec__.name]
        said = _run(command, {**plan, "offline": not apart}, patience_s + SPARE_S)
    if "fault" in said:
        raise SpaceError(said["fault"])
    return Boot(FirstClick(**said["click"]), said["headers"], tuple(said["walls"]))


def _run(command: Sequence[str], plan: Mapping[str, Any], patience_s: float) -> dict[str, Any]:
    """What the process behind the walls says at its end; nothing of it is left running."""
    here = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(  # noqa: S603 - a command of ours
        command,
        env={**os.environ, "PYTHONPATH": here},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(json.dumps(plan), timeout=patience_s)
    except subprocess.TimeoutExpired as error:
        raise SpaceError("The built folder neither started nor ended. Start it by hand to see why.") from error
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    try:
        said: dict[str, Any] = json.loads(out)
    except ValueError as error:
        raise SpaceError(f"The built folder could not be tried: {_tail(errors)}") from error
    return said


def _apart() -> list[str]:
    """The command that runs another one without any network but its own loopback; nothing where none may."""
    tool = shutil.which("unshare")
    for options in (["--map-root-user", "--net"], ["--net"]):
        command = [tool, *options] if tool else []
        if command and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:  # noqa: S603
            return command
    return []


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """Without a single right to write, for a while."""
    paths = [folder, *folder.rglob("*")]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
    try:
        for path, mode in modes.items():
            path.chmod(mode & 0o555)
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


# ---- behind the walls


def _behind_walls(plan: Mapping[str, Any]) -> dict[str, Any]:
    passing = Path(plan["passing"])
    folder = Path(plan["folder"])
    found = []
    if not plan["offline"]:
        _bring_up_loopback()
        found.append("The network ends at this machine: a network namespace of its own.")
    else:
        found.append("The network ends at this machine: Python refuses every other address (no namespace was allowed).")
    _give_up_rights()
    helpers = _helpers(passing)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = _environment(plan, helpers, port)
    if _is_written(plan["python"], folder, environment):
        return {"fault": "The code folder could be written to, so whether the Space needs that cannot be told here."}
    found.append("The code folder is read-only, tried before the start.")
    log = passing / "log"
    with log.open("wb") as file:
        program = subprocess.Popen(  # noqa: S603 - what is to be tried
            [plan["python"], plan["app_file"]],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        click = _watched(program, f"http://127.0.0.1:{port}", plan["patience_s"])
        page = httpx.get(f"http://127.0.0.1:{port}/", headers={"Host": SPACE_HOST}, timeout=30, trust_env=False)
        if page.status_code != httpx.codes.OK:
            raise SpaceError(f"The page does not answer to the name of the Space (status {page.status_code}).")
        fault = ""
    except SpaceError as error:
        fault = str(error)
    finally:
        if program.poll() is None and plan["zero_gpu"] and not (passing / NOTES_NAME).is_file():
            fault = "The program was launched without importing spaces, which ZeroGPU demands."
        program.kill()
        program.wait()
    if fault:
        return {"fault": f"{fault} It printed: {_tail(log.read_text(errors='replace'))}"}
    return {"click": asdict(click), "headers": {**page.headers}, "walls": found}


def _watched(program: subprocess.Popen[bytes], address: str, patience_s: float) -> FirstClick:
    """The first click, given up as soon as the program ends."""
    outcome: list[FirstClick | SpaceError] = []

    def visit() -> None:
        try:
            outcome.append(first_click(address, patience_s=patience_s))
        except SpaceError as error:
            outcome.append(error)

    visitor = threading.Thread(target=visit, daemon=True)
    visitor.start()
    while visitor.is_alive():
        visitor.join(0.05)
        if program.poll() is not None:
            raise SpaceError(f"The program ended with status {program.returncode} instead of serving its page.")
    (found,) = outcome
    if isinstance(found, SpaceError):
        raise found
    return found


def _environment(plan: Mapping[str, Any], helpers: Path, port: int) -> dict[str, str]:
    """All that the program is told; of this machine's own only where programs are and how many threads to use."""
    passing = Path(plan["passing"])
    home, temporary = passing / "home", passing / "tmp"
    home.mkdir()
    temporary.mkdir()
    root = Path(plan["root"])
    closed = [str(root / name) for name in ("Spacefile", "app.py", "assets", "samref", "space")]
    about = {"folder": plan["folder"], "closed": closed, "offline": plan["offline"]}
    kept = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS", "LD_LIBRARY_PATH") if name in os.environ}
    environment = {
        **kept,
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(helpers),
        "PYTHONUNBUFFERED": "1",
        walls.WALLS_VARIABLE: json.dumps(about),
        "SYSTEM": "spaces",
        "SPACE_ID": SPACE_ID,
        "SPACE_HOST": SPACE_HOST,
        "SPACE_AUTHOR_NAME": SPACE_ID.partition("/")[0],
        "SPACE_REPO_NAME": SPACE_ID.partition("/")[2],
        "SPACE_TITLE": "samref",
        "GRADIO_SERVER_NAME": "0.0.0.0",  # noqa: S104 - as a Space says it
        "GRADIO_SERVER_PORT": str(port),
        stand_in.NOTES_VARIABLE: str(passing / NOTES_NAME),
        **plan["variables"],
    }
    return {**environment, "SPACES_ZERO_GPU": "true"} if plan["zero_gpu"] else environment


def _helpers(passing: Path) -> Path:
    """A folder with the walls and the stand-in for ``spaces``, for Python's path."""
    folder = passing / "helpers"
    about = folder / f"spaces-{stand_in.STANDS_FOR}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: spaces\nVersion: {stand_in.STANDS_FOR}\n", "utf-8")
    shutil.copyfile(Path(walls.__file__), folder / "sitecustomize.py")
    shutil.copyfile(Path(stand_in.__file__), folder / "spaces.py")
    return folder


_REFUSED = 3
_WRITE = f"""
import pathlib
try:
    pathlib.Path("written").touch()
except OSError:
    raise SystemExit({_REFUSED}) from None
"""


def _is_written(python: str, folder: Path, environment: Mapping[str, str]) -> bool:
    """Whether a program that is started now can write into the code folder."""
    done = subprocess.run([python, "-c", _WRITE], cwd=folder, env=environment, capture_output=True, check=False)  # noqa: S603
    return done.returncode != _REFUSED


def _give_up_rights() -> None:
    """Have modes of files hold for every program started from now on, also where this one runs as root."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None)
    for capability in range(_LAST_CAPABILITY + 1):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # refused for those that the system does not know
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _bring_up_loopback() -> None:
    """A new network namespace has a loopback that is down."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        asked = struct.pack("16sH14s", b"lo", 0, b"")
        (flags,) = struct.unpack("16xH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, asked))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", flags | _IFF_UP, b""))


def _tail(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-LOG_LINES:]) or "nothing"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_behind_walls(json.load(sys.stdin))))
