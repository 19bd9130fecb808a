"""The tree of errors and its codes, which the page and other programs count on."""

from __future__ import annotations

import inspect
import re

from samref import errors

LINE = re.compile(r"^ {4}([ │├└─]*)(\w+Error) +([a-z]+) ", re.MULTILINE)

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.SamrefError)]


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn: list[tuple[str, str, str]] = []
    above: dict[int, str] = {}
    for branches, name, code in LINE.findall(errors.__doc__ or ""):
        depth = len(branches) // 4
        above[depth] = name
        drawn.append((name, above.get(depth - 1, "Exception"), code))
    assert sorted(drawn) == sorted((kind.__name__, kind.__mro__[1].__name__, kind.code) for kind in KINDS)


def test_the_codes_of_the_protocol_do_not_change() -> None:
    codes = {kind.code for kind in KINDS}
    protocol = {"stale", "busy", "request", "prompt", "image", "model", "import", "label", "storage", "session"}
    assert codes == protocol | {"settings", "data", "training", "space"}
