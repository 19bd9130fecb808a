"""Images are decoded in threads of their own: large ones hold up neither small ones nor anything else."""

from __future__ import annotations

import asyncio
import threading

import pytest

from samref.core.images import SMALL_PIXELS
from samref.core.prompts import MAX_DRAFT_POINTS, MAX_POINTS
from samref.labels.formats.reading import LabelImport
from samref.web import server as server_module
from samref.web.http import DecodeThreads
from tests.unit.web.conftest import Page, Server


def test_large_images_wait_for_each_other_and_nothing_else_waits_for_them() -> None:
    async def scenario() -> None:
        threads, leave, inside = DecodeThreads(), threading.Event(), []

        def large() -> None:
            inside.append(threading.current_thread().name)
            assert leave.wait(20)

        waiting = [asyncio.create_task(threads.run(SMALL_PIXELS + 1, large)) for _ in range(100)]
        for number in range(6):
            assert await asyncio.wait_for(threads.run(SMALL_PIXELS, lambda n=number: n), 5) == number  # type: ignore[misc]
            assert await asyncio.wait_for(asyncio.to_thread(lambda: "a click"), 5) == "a click"
        assert len(inside) == 1
        leave.set()
        await asyncio.gather(*waiting)
        assert len(inside) == len(waiting)

    asyncio.run(scenario())


def test_one_file_is_imported_at_a_time_and_clicks_go_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    leave, now, most = threading.Event(), 0, 0

    def slow(*_: object) -> LabelImport:
        nonlocal now, most
        now += 1
        most = max(most, now)
        assert leave.wait(20)
        now -= 1
        return LabelImport((), {}, (), (), ())

    monkeypatch.setattr(server_module, "import_labels", slow)

    async def scenario() -> None:
        page = Page(server, "tab")
        await page.ask("hello")
        await page.view_of("open_example", name="red_disk.png")
        imports = [asyncio.create_task(server.verbs.import_labels(page.token, b"{}", "x.json")) for _ in range(60)]
        await asyncio.wait_for(page.view_of("prompt", prompts=[{"type": "click", "x": 40, "y": 30}]), 20)
        leave.set()
        await asyncio.gather(*imports)

    asyncio.run(scenario())
    assert most == 1


def test_a_draft_of_too_many_points_is_refused_and_stays_as_it_was(server: Server) -> None:
    async def scenario() -> None:
        page = Page(server, "tab")
        await page.ask("hello")
        await page.view_of("open_example", name="red_disk.png")
        points = [[number % 90 + 0.5, number // 400 + 0.5] for number in range(MAX_POINTS)]
        scribble = {"type": "scribble", "points": points, "positive": True}
        error = await page.error_of("prompt", prompts=[scribble] * (MAX_DRAFT_POINTS // MAX_POINTS + 1))
        assert str(MAX_DRAFT_POINTS) in error["message"]
        for _ in range(MAX_DRAFT_POINTS // MAX_POINTS):
            await page.view_of("prompt", prompts=[scribble])
        error = await page.error_of("prompt", prompts=[{**scribble, "points": points[:1]}])
        assert (error["code"], str(MAX_DRAFT_POINTS) in error["message"]) == ("prompt", True)
        assert (await page.view_of("sync"))["draft"]["count"] == MAX_DRAFT_POINTS // MAX_POINTS

    asyncio.run(scenario())
