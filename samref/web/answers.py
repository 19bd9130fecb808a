"""Failures as the page is told of them."""

from __future__ import annotations

from samref.errors import BusyError, SamrefError, StaleError

__all__ = ["UNEXPECTED", "BusyError", "StaleError", "error_code"]

UNEXPECTED = "Something went wrong on the server and was logged there. Try again, or reload the page."


def error_code(error: SamrefError) -> str:
    """The word of the protocol for a kind of failure."""
    return error.code
