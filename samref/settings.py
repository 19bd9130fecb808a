"""What a person running the server may choose: command line first, environment second, defaults last."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from samref.core.geometry import MAX_PIXELS
from samref.errors import SamrefError

__all__ = ["ENVIRONMENT_PREFIX", "Settings", "SettingsError"]

ENVIRONMENT_PREFIX = "SAMREF_"
"""``SAMREF_PORT=8000`` sets ``port``, and so on for every field."""

WORKSPACE_DAYS = f"{ENVIRONMENT_PREFIX}WORKSPACE_DAYS"
"""Once removed old workspaces; whoever set it should hear that it does not."""

MEBIBYTE = 1024 * 1024


_FRAME_ANCESTORS = re.compile(r"(\*|self|https?://[\w.*:-]+( https?://[\w.*:-]+)*)")


class SettingsError(SamrefError):
    """A setting has a value that cannot be used."""


def _default_data_folder() -> Path:
    return user_data_path("samref", appauthor=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the server can be told; each store has a size and a clock.

    Attributes:
        host: address to listen on; only this machine can connect to 127.0.0.1.
        port: TCP port.
        model: name of the model new images are opened with.
        device: "auto", "cpu", "cuda", ...
        precision: "auto" (measured at start), "fp32" or "bf16".
        data_folder: images, classes and annotations live here.
        upload_bytes: largest file that may be uploaded.
        pixels: largest image that may be uploaded, checked before decoding; at most 100 million.
        sessions: images kept ready in memory, over all workspaces.
        session_bytes: memory of those sessions together, without embeddings.
        session_idle_s: a session not touched for so long is dropped from memory (its log stays on disk).
        embedding_bytes: memory for image embeddings.
        demo_days: for a demo that anybody may visit: workspaces made while this is set are removed with all they hold
            when nobody looked at them for so many days in which a server ran; 0 keeps everything for good.
        store_bytes: disk space for all images and labels together; more images are refused, nothing is removed.
        max_threads: threads that wait for disk and decoder; an open page holds none.
        hosts: further names the server answers to, separated by commas; "*" for any. Its own addresses need no mention.
        frame_ancestors: who may show the page in a frame: "self", "*", or addresses separated by spaces.
        self_test: click a bundled image at start and print the times.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    model: str = "tiny"
    device: str = "auto"
    precision: str = "auto"
    data_folder: Path = field(default_factory=_default_data_folder)
    upload_bytes: int = 64 * MEBIBYTE
    pixels: int = MAX_PIXELS
    sessions: int = 64
    session_bytes: int = 2048 * MEBIBYTE
    session_idle_s: float = 3600.0
    embedding_bytes: int = 1024 * MEBIBYTE
    demo_days: float = 0.0
    store_bytes: int = 50 * 1024 * MEBIBYTE
    max_threads: int = 64
    hosts: str = ""
    frame_ancestors: str = "self"
    self_test: bool = True

    def __post_init__(self) -> None:
        for name in (
            "upload_bytes",
            "pixels",
            "sessions",
            "session_bytes",
            "session_idle_s",
            "embedding_bytes",
            "store_bytes",
            "max_threads",
        ):
            value = getattr(self, name)
            if not math.isfinite(value) or value <= 0:
                raise SettingsError(f"The setting {name} is {value}; it must be above zero.")
        if not math.isfinite(self.demo_days) or self.demo_days < 0:
            raise SettingsError(f"The setting demo_days is {self.demo_days}; it must be 0 (keep for good) or more.")
        if self.pixels > MAX_PIXELS:
            raise SettingsError(
                f"The setting pixels is {self.pixels}; an image may have at most {MAX_PIXELS} pixels, whatever is set."
            )
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"The port {self.port} does not exist; choose one from 1 to 65535 (0: any free one).")
        if not _FRAME_ANCESTORS.fullmatch(self.frame_ancestors):
            raise SettingsError(
                f"The setting frame_ancestors is {self.frame_ancestors!r}; use self, * or addresses such as "
                "https://example.org, separated by spaces."
            )
        if self.precision not in ("auto", "fp32", "bf16"):
            raise SettingsError(f"There is no precision {self.precision!r}; use auto, fp32 or bf16.")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **overrides: Any) -> Settings:
        """Settings from ``SAMREF_*`` variables; ``overrides`` that are not None win.

        Raises:
            SettingsError: a variable does not hold a value of the right kind, or means nothing any more.
        """
        if WORKSPACE_DAYS in environment:
            raise SettingsError(
                f"{WORKSPACE_DAYS} is set, but workspaces are not removed by their age any more. Unset it; a demo that "
                f"should forget its visitors can set {ENVIRONMENT_PREFIX}DEMO_DAYS instead."
            )
        known = {f.name: f.type for f in fields(cls)}
        values: dict[str, Any] = {}
        for name, kind in known.items():
            text = environment.get(ENVIRONMENT_PREFIX + name.upper())
            if text is not None:
                values[name] = _parsed(name, str(kind), text)
        values.update({name: value for name, value in overrides.items() if value is not None})
        return replace(cls(), **values)


def _parsed(name: str, kind: str, text: str) -> Any:
    variable = ENVIRONMENT_PREFIX + name.upper()
    try:
        match kind:
            case "int":
                return int(text)
            case "float":
                return float(text)
            case "Path":
                return Path(text).expanduser()
            case "bool":
                return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
            case _:
                return text
    except (ValueError, KeyError) as error:
        wanted = {"int": "a whole number", "float": "a number", "bool": "yes or no"}[kind]
        raise SettingsError(f"{variable} is {text!r}, but {wanted} is needed.") from error
