"""People who click at a steady pace, each in a workspace of their own; their tabs send and wait as `transport.js` does.

All of them share one thread and one HTTP client, so that on a small machine the server keeps the processor.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

EVERY_S = 2.0
"""From one click of a person to the next."""

CLICKS_AN_OBJECT = 5

ENDS_BEFORE_S = 0.5
"""An object is accepted so long before the first click on the next one: a hand goes from the key to the mouse."""

NEGATIVE = (False, False, True, False, True)
"""Which clicks on an object say what does not belong to it."""

PATIENCE_S = 120.0

KEEP_ALIVE_S = 3.0
"""Below the server's five seconds, so that no request meets a connection that is just being closed."""


@dataclass(slots=True)
class TimedClick:
    """One click: when it was due, and the seconds from then to its masks.

    Attributes:
        due: moment at which the person clicks, of ``time.perf_counter``.
        coarse_s: to the first answer whose mask knows of the click.
        refined_s: to the refined answer; None when something newer overtook it.
    """

    due: float
    coarse_s: float | None = None
    refined_s: float | None = None


@dataclass(slots=True)
class _Request:
    verb: str
    arguments: dict[str, Any]
    clicks: list[TimedClick]
    seq: int = 0
    is_answered: bool = False


@dataclass
class Tab:
    """One page load. A request leaves when none is in flight or the one in flight has had its first answer.

    Attributes:
        http: to the server.
        image: the open image as the server tells of it.
        draft: the newest known.
        refusals: whatever the server said instead of a view.
    """

    http: httpx.AsyncClient
    image: Mapping[str, Any] = field(default_factory=dict)
    draft: Mapping[str, Any] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    _name: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    _token: str | None = None
    _seq: int = 0
    _revision: int = 0
    _known: dict[str, int] = field(default_factory=lambda: {"annotations": 0, "workspace": 0})
    _in_flight: _Request | None = None
    _waiting: deque[_Request] = field(default_factory=deque)
    _without_mask: list[TimedClick] = field(default_factory=list)
    _posts: set[asyncio.Task[None]] = field(default_factory=set)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, verb: str, *, click: TimedClick | None = None, **arguments: Any) -> None:
        """Put a request at the end of the line."""
        self._idle.clear()
        self._waiting.append(_Request(verb, arguments, [] if click is None else [click]))
        self._pump()

    async def settle(self) -> None:
        """Wait until all is answered to the end."""
        await asyncio.wait_for(self._idle.wait(), PATIENCE_S)
        if self._posts:  # stale answers, which end with the next one
            await asyncio.wait(self._posts, timeout=PATIENCE_S)

    @property
    def shows_mask(self) -> bool:
        """Whether the person sees a mask that knows of every click."""
        mask = self.draft.get("mask") or {"box": (0, 0, 0, 0)}
        return mask["box"][2] > 0 and not self._without_mask and not self._waiting

    def _pump(self) -> None:
        if not self._waiting:
            if self._in_flight is None:
                self._idle.set()
            return
        if self._in_flight is not None and not self._in_flight.is_answered:
            return
        request = self._take_next()
        self._seq += 1
        request.seq = self._seq
        self._in_flight = request
        if request.verb == "prompt":
            self._without_mask += request.clicks
        else:
            self._without_mask.clear()  # the draft they belong to is gone: they never had a mask
        message = {
            "v": 1,
            "seq": self._seq,
            "tab": self._name,
            "verb": request.verb,
            "token": self._token,
            "image": self.image.get("digest"),
            "revision": self._revision,
            "known": self._known,
            **request.arguments,
        }
        post = asyncio.get_running_loop().create_task(self._post(json.dumps(message)))
        self._posts.add(post)
        post.add_done_callback(self._posts.discard)

    def _take_next(self) -> _Request:
        """The first request of the line; prompts that wait behind one another are joined."""
        first = self._waiting.popleft()
        while first.verb == "prompt" and self._waiting and self._waiting[0].verb == "prompt":
            joined = self._waiting.popleft()
            first.arguments["prompts"] += joined.arguments["prompts"]
            first.clicks += joined.clicks
        return first

    async def _post(self, body: str) -> None:
        headers = {"Content-Type": "application/json"}
        try:
            async with self.http.stream("POST", "samref/send", content=body, headers=headers) as response:
                if response.status_code != 200:
                    raise httpx.HTTPError(f"status {response.status_code}: {(await response.aread())[:300]!r}")
                async for line in response.aiter_lines():
                    self._receive(json.loads(line), time.perf_counter())
        except httpx.HTTPError as error:
            self._refused(f"{type(error).__name__}: {error}")

    def _refused(self, message: str) -> None:
        self.refusals.append(message)
        self._in_flight = None
        self._waiting.clear()
        self._pump()

    def _receive(self, answer: Mapping[str, Any], now: float) -> None:
        request = self._in_flight
        if request is None or answer["seq"] != request.seq:
            return  # stale
        if answer["kind"] != "view":
            self._refused(f"{request.verb}: {answer.get('error') or answer.get('bye')}")
            return
        request.is_answered = True
        if answer["final"]:
            self._in_flight = None
        if workspace := answer.get("workspace"):
            self._token, self._known["workspace"] = workspace["token"], workspace["revision"]
        if view := answer.get("view"):
            self._show(request, view, now)
        self._pump()

    def _show(self, request: _Request, view: Mapping[str, Any], now: float) -> None:
        self.image, self.draft, self._revision = view["image"], view["draft"], view["revision"]
        if "annotations" in view:
            self._known["annotations"] = view["annotations"]["revision"]
        if request.verb != "prompt" or view["phase"] not in ("coarse", "refined"):
            return
        for click in self._without_mask:
            click.coarse_s = now - click.due
        self._without_mask.clear()
        if view["phase"] == "refined":
            newest = request.clicks[-1]
            newest.refined_s = now - newest.due


@dataclass
class Person:
    """Somebody at one tab who clicks again and again, whatever has come back by then.

    Attributes:
        tab: where they sit.
        rng: where they click.
        every_s: from one click to the next.
        coarse_mine: whether their page makes the coarse masks itself.
        clicks: all they made, those of the warm-up not counted.
        accepted: objects.
        given_up: objects of which they saw no mask when they wanted to accept it.
    """

    tab: Tab
    rng: random.Random
    every_s: float = EVERY_S
    coarse_mine: bool = False
    clicks: list[TimedClick] = field(default_factory=list)
    accepted: int = 0
    given_up: int = 0
    _middle: tuple[float, float] = (0.5, 0.5)

    async def begin(self, example: str) -> None:
        """Open an example in a new workspace and warm up: image encoded, one click answered to the end."""
        self.tab.send("hello")
        await self.tab.settle()
        self.tab.send("open_example", name=example)
        await self.tab.settle()
        self._click(TimedClick(time.perf_counter()), number=0)
        await self.tab.settle()
        self.tab.send("clear")
        await self.tab.settle()

    async def label(self, begin: float, end: float, first_clicks: int) -> None:
        """Click from ``begin`` to ``end`` and wait for the last answers; the first object takes ``first_clicks``."""
        due, number, clicks = begin, 0, first_clicks
        while due < end:
            await _until(due)
            click = TimedClick(due)
            if due < end - self.every_s:  # the last ones are followed by nothing
                self.clicks.append(click)
            self._click(click, number)
            number, due = number + 1, due + self.every_s
            if number == clicks:
                await _until(due - ENDS_BEFORE_S)
                self._end_object()
                number, clicks = 0, CLICKS_AN_OBJECT
        await self.tab.settle()

    def _click(self, click: TimedClick, number: int) -> None:
        if number == 0:
            self._middle = (self.rng.uniform(0.25, 0.75), self.rng.uniform(0.25, 0.75))
        reach = 0.2 if NEGATIVE[number] else 0.05 * (number > 0)
        places = (middle + self.rng.choice((-reach, reach)) * self.rng.uniform(0.5, 1) for middle in self._middle)
        x, y = (int(place * self.tab.image[side]) for place, side in zip(places, ("width", "height"), strict=True))
        prompt = {"type": "click", "x": x, "y": y, "positive": not NEGATIVE[number]}
        self.tab.send("prompt", click=click, prompts=[prompt], **({"coarse": "mine"} if self.coarse_mine else {}))

    def _end_object(self) -> None:
        if self.tab.shows_mask or self.coarse_mine:
            self.tab.send("commit", class_id=1)
            self.accepted += 1
        else:
            self.tab.send("clear")
            self.given_up += 1


async def label_together(
    url: str,
    examples: list[str],
    people: int,
    seconds: float,
    on_warm: Callable[[], None],
    *,
    every_s: float = EVERY_S,
    coarse_mine: bool = False,
) -> list[Person]:
    """What ``people`` did, each on one of the ``examples``, for ``seconds`` after all of them had warmed up.

    Args:
        url: of the server.
        examples: names of bundled images; one image for each person, in turn.
        people: how many; their clicks are spread evenly over ``every_s``.
        seconds: from the first click to about the last.
        on_warm: called when the warm-up is over.
        every_s: from one click of a person to the next.
        coarse_mine: whether their pages make the coarse masks themselves.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEP_ALIVE_S)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False, limits=limits) as http:
        everyone = [Person(Tab(http), random.Random(number), every_s, coarse_mine) for number in range(people)]
        await asyncio.gather(
            *(person.begin(examples[number % len(examples)]) for number, person in enumerate(everyone))
        )
        on_warm()
        begin = time.perf_counter()
        starts = [begin + every_s * number / people for number in range(people)]
        # People do not finish their objects all at the same time.
        sizes = [1 + number % CLICKS_AN_OBJECT for number in range(people)]
        await asyncio.gather(
            *(
                person.label(start, begin + seconds, size)
                for person, start, size in zip(everyone, starts, sizes, strict=True)
            )
        )
    return everyone


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.perf_counter()))
