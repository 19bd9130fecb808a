"""The JSON forms of docs/protocol.md."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from samref.core.masks import Rle
from samref.core.prompts import Box, Click, Prompts, Scribble
from samref.errors import PromptError
from samref.web.wire import (
    MASK_CHARACTERS,
    RequestError,
    VersionError,
    answer_text,
    mask_to_wire,
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


def test_a_small_mask_travels_exactly() -> None:
    mask = np.zeros((40, 60), dtype=np.bool_)
    mask[5:9, 7:20] = True
    mask[6, 10] = False
    sent = mask_to_wire(Rle.from_mask(mask))
    assert sent is not None
    assert sent["box"] == [7, 5, 13, 4]
    assert sent["scale"] == 1
    back = Rle(4, 13, sent["counts"]).to_mask()
    assert np.array_equal(back, mask[5:9, 7:20])


def test_no_mask_and_an_empty_mask_are_told_apart() -> None:
    assert mask_to_wire(None) is None
    assert mask_to_wire(Rle.empty(10, 10)) == {"box": [0, 0, 0, 0], "counts": "", "scale": 1}


def test_a_ragged_mask_travels_as_a_preview_below_the_limit() -> None:
    ragged = np.random.default_rng(0).random((999, 1501)) < 0.5
    sent = mask_to_wire(Rle.from_mask(ragged))
    assert sent is not None
    assert sent["scale"] > 1
    assert len(sent["counts"]) <= MASK_CHARACTERS
    scale = sent["scale"]
    width, height = sent["box"][2:]
    Rle(-(-height // scale), -(-width // scale), sent["counts"]).to_mask()


def test_a_preview_keeps_the_object_where_it_is() -> None:
    rows, columns = np.mgrid[0:1000, 0:1000]
    disk = (rows - 500) ** 2 + (columns - 400) ** 2 < 300**2
    sent = mask_to_wire(Rle.from_mask(disk), characters=300)
    assert sent is not None
    scale = sent["scale"]
    assert scale > 1
    x, y, width, height = sent["box"]
    cells = Rle(-(-height // scale), -(-width // scale), sent["counts"]).to_mask()
    preview = np.zeros_like(disk)
    grown = cells.repeat(scale, axis=0).repeat(scale, axis=1)[:height, :width]
    preview[y : y + height, x : x + width] = grown
    assert np.count_nonzero(preview & disk) / np.count_nonzero(preview | disk) > 0.95


def test_an_answer_is_one_line_of_strict_json() -> None:
    text = answer_text(7, "view", final=False, view={"a": 1}, error=None)
    assert json.loads(text) == {"v": 1, "seq": 7, "kind": "view", "final": False, "view": {"a": 1}}
    with pytest.raises(ValueError, match="not JSON compliant"):
        answer_text(7, "view", final=True, view={"a": float("nan")})
