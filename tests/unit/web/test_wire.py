"""The JSON forms of docs/protocol.md."""

from __future__ import annotations

import json
from typing import Any

import pytest

from samref.core.prompts import Box, Click, Prompts, Scribble
from samref.errors import PromptError
from samref.web.wire import (
    RequestError,
    VersionError,
    answer_text,
    parse_request,
    prompts_from_wire,
    prompts_to_wire,
)

DIGEST = "ab" * 32


def request(**changes: Any) -> dict[str, Any]:
    return {"v": 1, "seq": 3, "token": "abc", "verb": "undo", "image": DIGEST, "revision": 4, "known": {}} | changes


def test_a_request_is_read_field_by_field() -> None:
    parsed = parse_request(request(known={"annotations": 7, "workspace": 2}, class_id=5))
    assert (parsed.seq, parsed.verb, parsed.image, parsed.revision) == (3, "undo", DIGEST, 4)
    assert (parsed.known_annotations, parsed.known_workspace, parsed.integer("class_id")) == (7, 2, 5)


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        "x",
        request(seq="3"),
        request(seq=-1),
        request(seq=True),
        request(seq=1.5),
        request(seq=2**60),
        request(token=5),
        request(token="../../etc"),
        request(verb=None),
        request(verb="x" * 100),
        request(image="../secret"),
        request(image="AB" * 32),
        request(image=DIGEST + "\n"),
        request(known=[1]),
        request(known={"annotations": None}),
        request(revision=float("nan")),
    ],
)
def test_a_request_of_the_wrong_form_is_refused(broken: Any) -> None:
    with pytest.raises(RequestError):
        parse_request(broken)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_a_page_of_another_version_is_told_so(version: Any) -> None:
    with pytest.raises(VersionError, match="Reload"):
        parse_request(request(v=version))


def test_arguments_of_the_wrong_kind_are_refused() -> None:
    parsed = parse_request(request(name=" ", id="a/b", visible=1, class_id="1", digest=DIGEST.upper()))
    with pytest.raises(RequestError):
        parsed.text("name")
    with pytest.raises(RequestError):
        parsed.identifier("id")
    with pytest.raises(RequestError):
        parsed.flag("visible")
    with pytest.raises(RequestError):
        parsed.integer("class_id")
    with pytest.raises(RequestError):
        parsed.digest("digest")
    assert parsed.optional_text("colour") is None


def test_prompts_come_in_order() -> None:
    prompts = prompts_from_wire(
        [{"type": "click", "x": 1, "y": 2}, {"type": "box", "x0": 0, "y0": 0, "x1": 4, "y1": 5}]
    )
    assert prompts == (Click(1, 2), Box(0, 0, 4, 5))


@pytest.mark.parametrize("value", [None, [], {}, "click", [3], [{"type": "click"}], [{"type": "lasso"}]])
def test_prompts_that_cannot_be_read_are_refused(value: Any) -> None:
    with pytest.raises(PromptError):
        prompts_from_wire(value)


def test_ten_thousand_clicks_are_refused() -> None:
    with pytest.raises(PromptError, match="10000"):
        prompts_from_wire([{"type": "click", "x": 1, "y": 2}] * 10_000)


def test_prompts_travel_with_two_decimals() -> None:
    sent = prompts_to_wire(Prompts((Scribble(((1.23456, 2.0),), False, 11.0),)))
    assert sent == [{"type": "scribble", "points": [[1.23, 2]], "positive": False, "width": 11}]


def test_an_answer_is_one_line_of_strict_json() -> None:
    text = answer_text(7, "view", final=False, view={"a": 1}, error=None)
    assert json.loads(text) == {"v": 1, "seq": 7, "kind": "view", "final": False, "view": {"a": 1}}
    with pytest.raises(ValueError, match="not JSON compliant"):
        answer_text(7, "view", final=True, view={"a": float("nan")})
