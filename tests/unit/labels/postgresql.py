"""A private PostgreSQL for tests: in a temporary folder, reached by its socket only, gone at the end."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

_USER = "samref"


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("there is no PostgreSQL under /usr/lib/postgresql")
    return found[-1].parent


@contextmanager
def server() -> Iterator[Path]:
    """A running server: the folder of its socket."""
    programs = _programs()
    # PostgreSQL refuses to run as root; Debian's package brings a user for it along.
    other: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="samref-pg-", dir="/tmp") as name:  # sockets need a short name
        folder = Path(name)
        if other:
            folder.chmod(0o777)
        data = folder / "data"
        initdb: list[str | Path] = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            _USER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        made = subprocess.run(initdb, cwd="/", capture_output=True, text=True, check=False, **other)
        assert made.returncode == 0, made.stderr
        options = [f"unix_socket_directories={folder}", "listen_addresses=", "fsync=off"]
        command: list[str | Path] = [
            programs / "postgres",
            "-D",
            data,
            *(word for option in options for word in ("-c", option)),
        ]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, **other)
        try:
            _wait(folder, process)
            yield folder
        finally:
            process.terminate()
            process.wait(30)


def _wait(folder: Path, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(host=str(folder), user=_USER, dbname="postgres").close()
        except psycopg.OperationalError:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        else:
            return


def new_database(folder: Path) -> str:
    """The address of an empty database on the server."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(host=str(folder), user=_USER, dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return f"postgresql+psycopg://{_USER}@/{name}?host={folder}"
