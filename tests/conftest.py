"""What every test can count on: no network, one thread, none of the person's own folders."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import Any

# Before torch is imported anywhere: small models are quicker on one thread than on many, and equal on every machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile(
    "samref", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("samref")


def find_chromium() -> str | None:
    """The Chromium to drive: $SAMREF_CHROMIUM, or the system's."""
    named = os.environ.get("SAMREF_CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine cannot run."""
    reasons: dict[str, str] = {}
    if find_chromium() is None:
        reasons["browser"] = "no Chromium on this machine (apt-get install chromium, or name one in SAMREF_CHROMIUM)"
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        if not torch.cuda.is_available():
            reasons["gpu"] = "no CUDA device on this machine"
    for item in items:
        for marker, reason in reasons.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Any:
    """Refuse every connection that leaves this machine: no test may download anything."""
    connect = socket.socket.connect

    def connect_on_this_machine(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"tests stay on this machine; refused to connect to {address[0]}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_on_this_machine)
        yield


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the person's real cache and data folders out of reach."""
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path_factory.getbasetemp() / name.lower()))
    for name in ("SAMREF_CACHE", "SAMREF_DATA_FOLDER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def examples_dir() -> Path:
    """Photos under a free licence that ship with the repository."""
    return ROOT / "assets" / "examples"


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the Chromium to drive."""
    found = find_chromium()
    if found is None:
        pytest.skip("no Chromium on this machine")
    return found
