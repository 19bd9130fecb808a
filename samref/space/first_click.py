"""Opens an example on a running samref and clicks on it, as a visitor's page does; the proof that a Space works."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias

import httpx

from samref.core.masks import Rle
from samref.errors import LabelError, SpaceError

PAUSE_S = 0.1
"""Between two looks at an address that does not answer yet."""

MARK = "samref/static/"
"""Stands in the page of samref and in no page that says a Space is building or asleep."""

_Answer: TypeAlias = dict[str, Any]

_HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class FirstClick:
    """What a visitor waited for, in seconds, and what came of it.

    Attributes:
        page_s: until the page was there, the server's start included.
        open_s: until an example was open and encoded.
        coarse_s: from the click to the first mask.
        refined_s: from the click to the final mask.
        pixels: of that mask.
    """

    page_s: float
    open_s: float
    coarse_s: float
    refined_s: float
    pixels: int

    def __str__(self) -> str:
        return (
            f"page after {self.page_s:.1f} s, example open after {self.open_s:.2f} s, "
            f"coarse mask {self.coarse_s * 1000:.0f} ms and refined mask {self.refined_s * 1000:.0f} ms after the click"
        )


def first_click(address: str, *, patience_s: float, token: str = "") -> FirstClick:
    """Wait for the page at ``address``, open its first example, click on the middle, and wait for the refined mask.

    Args:
        address: such as https://owner-name.hf.space
        patience_s: for all of it.
        token: of Hugging Face, for a Space that is private; sent to this address alone.

    Raises:
        SpaceError: one of these did not happen; the message says which.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    deadline = time.monotonic() + patience_s
    with httpx.Client(base_url=address.rstrip("/") + "/", timeout=patience_s, headers=headers) as client:
        visitor = _Visitor(client, address, deadline)
        try:
            return visitor.visit()
        except httpx.HTTPError as error:
            what = str(error) or type(error).__name__
            raise SpaceError(f"{address} stopped answering while {visitor.doing} ({what}). Look at its log.") from error
        except (KeyError, TypeError, ValueError, IndexError, LabelError) as error:
            raise SpaceError(
                f"{address} gave an answer that cannot be understood while {visitor.doing} ({error!r}). "
                "Another version of samref runs there, or something between changes its answers."
            ) from error


class _Visitor:
    """One tab of a browser that comes for the first time."""

    def __init__(self, client: httpx.Client, address: str, deadline: float) -> None:
        self._client = client
        self._address = address
        self._deadline = deadline
        self._tab = secrets.token_urlsafe(16)
        self._seq = 0
        self._token: str | None = None
        self.doing = "its page was loaded"

    def visit(self) -> FirstClick:
        began = time.perf_counter()
        self._wait_for_page()
        page_s = time.perf_counter() - began

        self.doing = "an example was opened"
        (*_, hello) = self._ask("hello")
        self._token = str(hello["workspace"]["token"])
        if not hello["workspace"]["examples"]:
            raise SpaceError(f"{self._address} has no example to click on. Add images to assets/examples.")
        name = hello["workspace"]["examples"][0]["name"]
        began = time.perf_counter()
        (*_, opened) = self._ask("open_example", name=name)
        open_s = time.perf_counter() - began

        view, image = opened["view"], opened["view"]["image"]

        self.doing = "a click was answered"
        click = {"type": "click", "x": image["width"] // 2, "y": image["height"] // 2, "positive": True}
        began = time.perf_counter()
        seconds: dict[str, float] = {}
        for answer in self._ask("prompt", image["digest"], view["revision"], prompts=[click]):
            view = answer["view"]
            seconds[view["phase"]] = time.perf_counter() - began
        if "refined" not in seconds:
            raise SpaceError(f"{self._address} answered a click without a refined mask. Look at its log.")
        pixels = _pixels(view["draft"]["mask"])
        if pixels == 0:
            raise SpaceError(f"{self._address} answered a click on {name} with an empty mask. Look at its weights.")
        return FirstClick(page_s, open_s, seconds.get("coarse", seconds["refined"]), seconds["refined"], pixels)

    def _wait_for_page(self) -> None:
        seen = "nothing answers there"
        while True:
            try:
                answer = self._client.get("")
            except httpx.TransportError as error:
                seen = f"nothing answers there ({str(error) or type(error).__name__})"
            else:
                if answer.status_code == HTTPStatus.OK and MARK in answer.text:
                    return
                if HTTPStatus.BAD_REQUEST <= answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
                    seen = f"it answers with status {answer.status_code}: {_excerpt(answer.text)}"
                else:
                    seen = f"its page is not samref's (status {answer.status_code})"
            if time.monotonic() + PAUSE_S > self._deadline:
                raise SpaceError(f"The page of {self._address} did not come in time: {seen}. Look at its log.")
            time.sleep(PAUSE_S)

    def _ask(
        self, verb: str, image: str | None = None, revision: int = 0, **arguments: Any
    ) -> Iterator[dict[str, Any]]:
        """The answers to one request, as they come; the last one is final."""
        self._seq += 1
        known = {"annotations": 0, "workspace": 0}
        request = {"v": 1, "seq": self._seq, "tab": self._tab, "token": self._token, "verb": verb, "image": image}
        body = json.dumps({**request, "revision": revision, "known": known, **arguments})
        answer: _Answer = {}
        with self._client.stream("POST", "samref/send", content=body, headers=_HEADERS) as response:
            if response.status_code != HTTPStatus.OK:
                said = _excerpt(response.read().decode("utf-8", "replace"))
                raise SpaceError(
                    f"{self._address} answered with status {response.status_code} while {self.doing}: {said}. "
                    "Look at its log."
                )
            for line in response.iter_lines():
                if time.monotonic() > self._deadline:
                    raise SpaceError(f"{self._address} was too slow while {self.doing}. Look at its log.")
                if not line.strip():
                    continue
                answer = json.loads(line)
                if answer["kind"] != "view":
                    told = answer.get("error") or answer.get("bye") or {}
                    raise SpaceError(f"{self._address} refused while {self.doing}: {told.get('message')}")
                yield answer
        if not answer.get("final"):
            raise SpaceError(f"{self._address} ended an answer in the middle while {self.doing}. Look at its log.")


def _pixels(mask: dict[str, Any] | None) -> int:
    """Of a mask on the wire; cells of a preview count as what they cover."""
    if mask is None:
        return 0
    _, _, width, height = mask["box"]
    if width == 0:
        return 0
    scale = int(mask["scale"])
    return Rle.from_counts(-(-height // scale), -(-width // scale), mask["counts"]).area * scale**2


_EXCERPT = 200


def _excerpt(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _EXCERPT else f"{words[: _EXCERPT - 3]}..."
