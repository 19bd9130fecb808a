"""Failures as the page is told of them."""

from __future__ import annotations

from samref.errors import (
    ImageError,
    ImportFormatError,
    LabelError,
    ModelError,
    PromptError,
    SamrefError,
    SessionError,
    StorageError,
)
from samref.web.wire import RequestError

__all__ = ["UNEXPECTED", "BusyError", "StaleError", "error_code"]

UNEXPECTED = "Something went wrong on the server and was logged there. Try again, or reload the page."


class StaleError(SessionError):
    """Another tab changed the image since this one looked."""


class BusyError(SamrefError):
    """The server has too much to do just now."""


_CODES: tuple[tuple[type[SamrefError], str], ...] = (
    (StaleError, "stale"),
    (BusyError, "busy"),
    (RequestError, "request"),
    (PromptError, "prompt"),
    (ImageError, "image"),
    (ModelError, "model"),
    (ImportFormatError, "import"),
    (LabelError, "label"),
    (StorageError, "storage"),
    (SessionError, "session"),
)


def error_code(error: SamrefError) -> str:
    """The word of the protocol for a kind of failure; "request" for one without its own word."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), "request")
