"""Walls around a program that should get by with a built folder alone; copied beside it as ``sitecustomize``.

Python runs it before the program. It refuses every samref but the one in the folder, every file of the repository that
the folder was made of, and, where the system has no better wall, every connection to another machine. It uses Python's
own library only, since nothing else is imported yet.
"""

from __future__ import annotations

import ipaddress
import json
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

WALLS_VARIABLE = "SPACE_CHECK_WALLS"
"""JSON: ``folder`` with the program, ``closed`` paths, ``offline`` where connections are refused here. No variable of
samref's own settings, which would refuse it."""

PACKAGE = "samref"


class OnlyFrom(MetaPathFinder):
    """Finds samref in ``folder``, and refuses any other."""

    def __init__(self, folder: str) -> None:
        self._folder = _inside(folder)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != PACKAGE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None or not _inside(spec.origin).startswith(self._folder):
            where = "nowhere" if spec is None else spec.origin
            raise ImportError(f"{PACKAGE} was looked for outside of the built folder, and found {where}")
        return spec


class Wall:
    """A hook for what Python is about to do; see :func:`sys.addaudithook`."""

    def __init__(self, closed: Sequence[str], *, offline: bool) -> None:
        self._closed = tuple(_inside(path) for path in closed)
        self._offline = offline

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = _inside(os.fsdecode(arguments[0]))
            if path.startswith(self._closed):
                raise PermissionError(f"{path} is a file of the repository, which a Space does not have")
        elif self._offline and event in ("socket.connect", "socket.sendto"):
            address = arguments[1]
            if isinstance(address, tuple) and not _is_own_machine(address[0]):
                raise PermissionError(f"a connection to {address[0]} was refused: a Space is checked without network")
        elif self._offline and event == "socket.getaddrinfo":
            host = arguments[0]
            if host is not None and not _is_own_machine(os.fsdecode(host)):
                raise PermissionError(f"{host} was looked up: a Space is checked without network")


def _inside(path: str) -> str:
    """A path with a slash at its end, so that it begins with those of the folders it lies in, and with no other."""
    return os.path.join(os.path.abspath(path), "")  # noqa: PTH100, PTH118 - pathlib would be imported for each file


def _is_own_machine(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host in ("localhost", "")
    return address.is_loopback or address.is_unspecified


def raise_walls(about: str) -> None:
    """Put up the walls that ``about`` asks for, for as long as this Python runs."""
    wanted = json.loads(about)
    sys.meta_path.insert(0, OnlyFrom(wanted["folder"]))
    sys.addaudithook(Wall(wanted["closed"], offline=wanted["offline"]))


if __name__ == "sitecustomize":
    raise_walls(os.environ[WALLS_VARIABLE])
