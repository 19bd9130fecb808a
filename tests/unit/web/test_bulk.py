"""A workspace's boxes become masks beside the work of people; nothing of it is lost, and nobody waits for it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from samref.core.images import decode_image
from samref.core.prompts import Box, Prompts
from samref.errors import ImportFormatError, SessionError, UnwritableError
from samref.inference.predictor import Predictor
from samref.labels.events import ImageRemoved
from samref.labels.store import ProjectStore
from samref.web import bulk as bulk_module
from samref.web.http import TOKEN_HEADER, build_routes
from tests.unit.web.conftest import Page, Server, png

MIDDLE = {"type": "click", "x": 48, "y": 36}
BOXES = ([20, 10, 50, 50], [5, 5, 30, 30])


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def boxes_for(*names: str, boxes: tuple[list[int], ...] = BOXES) -> bytes:
    entries = [{"image_id": n, "category_id": 1, "bbox": box} for n in range(len(names)) for box in boxes]
    images = [{"id": n, "file_name": name, "width": 96, "height": 72} for n, name in enumerate(names)]
    return json.dumps({"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": entries}).encode()


async def workspace(server: Server, count: int = 3) -> tuple[Page, list[str]]:
    """A page whose workspace has images with two boxes each."""
    page = Page(server, "tab")
    await page.ask("hello")
    digests = [server.add_image(page.token, png(n), f"{n}.png") for n in range(count)]
    await server.verbs.import_boxes(page.token, boxes_for(*(f"{n}.png" for n in range(count))))
    return page, digests


async def until(server: Server, page: Page, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    number = server.verbs.find(page.token)
    for _ in range(1000):
        told = await server.verbs.bulk.look(number, "tab")
        if condition(told):
            return told
        await asyncio.sleep(0.01)
    raise AssertionError(f"it did not happen: {told}")


def is_at_rest(told: dict[str, Any]) -> bool:
    return told["phase"] in ("paused", "done", "none")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    predict = Predictor.predict

    def slowly(*arguments: Any, **options: Any) -> Iterator[Any]:
        for prediction in predict(*arguments, **options):
            time.sleep(0.05)
            yield prediction

    monkeypatch.setattr(Predictor, "predict", slowly)
    monkeypatch.setattr("samref.inference.engine.MAX_PAUSE_S", 0.0)


def test_every_box_becomes_the_mask_the_model_gives_for_it(server: Server) -> None:
    async def scenario() -> None:
        page, digests = await workspace(server)
        number = server.verbs.find(page.token)
        told = await server.verbs.bulk.look(number, "tab")
        assert (told["phase"], told["boxes"], told["images"]) == ("paused", 6, 3)
        await server.verbs.bulk.start(number, "tab")
        told = await until(server, page, is_at_rest)
        assert (told["phase"], told["masks"], told["images_done"], told["faults"]) == ("done", 6, 3, [])
        annotations = server.store.state(number, digests[1]).annotations
        embedding = server.predictor.embed(decode_image(png(1)))
        *_, expected = server.predictor.predict(embedding, Prompts((Box(20, 10, 70, 60),)))
        first = annotations[0]
        assert first.mask == expected.mask
        assert (first.prompts, first.clicks, first.author) == (Prompts((Box(20, 10, 70, 60),)), 1, "")
        assert [c.name for c in server.store.classes(number) if c.id == first.class_id] == ["cat"]
        await page.ask("sync", image=None)
        assert [image["annotations"] for image in page.workspace["images"]] == [2, 2, 2]

    run(scenario())


def test_an_open_image_shows_the_new_objects_and_its_tab_may_go_on(server: Server) -> None:
    async def scenario() -> None:
        page, digests = await workspace(server)
        page.image = digests[0]
        await page.view_of("open")
        await server.verbs.bulk.start(server.verbs.find(page.token), "tab")
        await until(server, page, is_at_rest)
        await page.view_of("prompt", prompts=[MIDDLE])
        assert len(page.annotations) == 2

    run(scenario())


def test_an_image_somebody_draws_in_waits(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_module, "OCCUPIED_S", 0.01)

    async def scenario() -> None:
        page, digests = await workspace(server)
        page.image = digests[0]
        await page.view_of("open")
        await page.view_of("prompt", prompts=[MIDDLE])
        await server.verbs.bulk.start(server.verbs.find(page.token), "tab")
        told = await until(server, page, lambda each: each["phase"] == "waiting")
        assert told["images_done"] == 2
        await page.view_of("commit", class_id=1)
        assert (await until(server, page, is_at_rest))["masks"] == 6
        await page.view_of("sync")
        assert len(page.annotations) == 3

    run(scenario())


def test_two_jobs_at_once_are_refused(server: Server, slow: None) -> None:
    async def scenario() -> None:
        page, _ = await workspace(server)
        number = server.verbs.find(page.token)
        await server.verbs.bulk.start(number, "tab")
        with pytest.raises(SessionError, match="already"):
            await server.verbs.bulk.start(number, "other")
        await until(server, page, is_at_rest)

    run(scenario())


def test_a_workspace_without_boxes_has_no_job(server: Server) -> None:
    async def scenario() -> None:
        page = Page(server, "tab")
        await page.ask("hello")
        number = server.verbs.find(page.token)
        assert (await server.verbs.bulk.look(number, "tab"))["phase"] == "none"
        with pytest.raises(SessionError, match="no boxes"):
            await server.verbs.bulk.start(number, "tab")

    run(scenario())


def test_a_pause_keeps_what_is_done_and_goes_on_from_there(server: Server, slow: None) -> None:
    async def scenario() -> None:
        page, digests = await workspace(server)
        number = server.verbs.find(page.token)
        await server.verbs.bulk.start(number, "tab")
        await until(server, page, lambda each: each["boxes_done"] == 3)
        told = await server.verbs.bulk.pause(number)
        assert told["phase"] == "paused"
        made = sum(len(server.store.state(number, digest).annotations) for digest in digests)
        assert made == told["boxes_done"] >= 3
        await server.verbs.bulk.start(number, "tab")
        told = await until(server, page, is_at_rest)
        assert (told["phase"], told["boxes_done"], told["boxes"], told["masks"]) == ("done", 6, 6, 6)

    run(scenario())


def test_a_cancelled_job_drops_its_boxes_and_keeps_its_masks(server: Server, slow: None) -> None:
    async def scenario() -> None:
        page, digests = await workspace(server)
        number = server.verbs.find(page.token)
        await server.verbs.bulk.start(number, "tab")
        await until(server, page, lambda each: each["images_done"] == 1)
        assert (await server.verbs.bulk.cancel(number))["phase"] == "none"
        assert len(server.store.state(number, digests[0]).annotations) == 2
        assert server.store.proposed_boxes(number) == {}
        again = server.restarted()
        assert again.store.proposed_boxes(number) == {}
        again.close()

    run(scenario())


def test_a_killed_server_loses_the_image_under_way_at_most(server: Server, slow: None) -> None:
    async def first() -> None:
        page, _ = await workspace(server, 4)
        await server.verbs.bulk.start(server.verbs.find(page.token), "tab")
        await until(server, page, lambda each: each["images_done"] >= 2)
        tokens.append(page.token or "")  # nothing is tidied up: the job's task dies with the loop

    async def second() -> None:
        again = server.restarted()
        page = Page(again, "later", tokens[0])
        number = again.verbs.find(page.token)
        told = await again.verbs.bulk.look(number, "later")
        assert told["phase"] == "paused"
        assert told["images"] in (1, 2)
        await again.verbs.bulk.start(number, "later")
        assert (await until(again, page, is_at_rest))["phase"] == "done"
        counts = [image.annotations for image in again.store.images(number)]
        assert counts == [2, 2, 2, 2], "each box once"
        again.close()

    tokens: list[str] = []
    run(first())
    run(second())


def test_a_vanished_image_keeps_no_other_from_being_done(server: Server) -> None:
    async def scenario() -> None:
        page, digests = await workspace(server)
        number = server.verbs.find(page.token)
        kept = server.store.blobs.read(digests[1])
        server.store.blobs.remove(digests[1])
        await server.verbs.bulk.start(number, "tab")
        told = await until(server, page, is_at_rest)
        assert (told["phase"], told["masks"]) == ("done", 4)
        assert told["faults"][0].startswith("1.png: ")
        server.store.blobs.add(kept, digests[1])
        await server.verbs.bulk.start(number, "tab")
        assert (await until(server, page, is_at_rest))["phase"] == "done"
        assert [image.annotations for image in server.store.images(number)] == [2, 2, 2]

    run(scenario())


def test_a_full_disk_pauses_the_job_and_keeps_what_is_done(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    append, appended = ProjectStore.append, list[str]()

    def fail_second(self: ProjectStore, number: int, digest: str | None, *events: Any) -> Any:
        appended.append(str(digest))
        if len(appended) == 2:
            raise UnwritableError("The labels were not saved: the disk is full.")
        return append(self, number, digest, *events)

    async def scenario() -> None:
        page, digests = await workspace(server)
        number = server.verbs.find(page.token)
        monkeypatch.setattr(ProjectStore, "append", fail_second)
        await server.verbs.bulk.start(number, "tab")
        told = await until(server, page, is_at_rest)
        assert told["phase"] == "paused"
        assert "disk is full" in told["note"]
        assert len(server.store.state(number, digests[0]).annotations) == 2
        await server.verbs.bulk.start(number, "tab")
        told = await until(server, page, is_at_rest)
        assert (told["phase"], told["boxes_done"], told["note"]) == ("done", 6, "")
        assert [image.annotations for image in server.store.images(number)] == [2, 2, 2]

    run(scenario())


def test_the_same_boxes_imported_again_change_nothing(server: Server) -> None:
    async def scenario() -> None:
        page, _ = await workspace(server)
        number = server.verbs.find(page.token)
        await server.verbs.bulk.start(number, "tab")
        await until(server, page, is_at_rest)
        await server.verbs.import_boxes(page.token, boxes_for("0.png", "1.png", "2.png"))
        assert (await server.verbs.bulk.look(number, "tab"))["phase"] != "paused"
        with pytest.raises(SessionError):
            await server.verbs.bulk.start(number, "tab")

    run(scenario())


def test_a_refused_file_changes_nothing(server: Server) -> None:
    async def scenario() -> None:
        page, digests = await workspace(server, 2)
        number = server.verbs.find(page.token)
        before = [server.store.revision(number, digest) for digest in digests]
        data = json.loads(boxes_for("0.png", "1.png", boxes=([1, 2, 30, 40],)))
        data["annotations"][1]["bbox"] = [90, 2, 30, 40]
        with pytest.raises(ImportFormatError, match=r"1\.png"):
            await server.verbs.import_boxes(page.token, json.dumps(data).encode())
        assert [server.store.revision(number, digest) for digest in digests] == before

    run(scenario())


def test_boxes_drawn_for_later_are_done_with_the_others(server: Server) -> None:
    async def scenario() -> None:
        page = Page(server, "tab")
        await page.ask("hello")
        page.image = server.add_image(page.token, png(0), "0.png")
        await page.view_of("open")
        await page.view_of("propose_boxes", boxes=[[20, 10, 70, 60], [5, 5, 35, 35]], class_id=1)
        assert (await page.error_of("propose_boxes", boxes=[[20, 10, 97, 60]], class_id=1))["code"] == "prompt"
        assert (await page.error_of("propose_boxes", boxes=[[20, 10, 70, 60]], class_id=9))["code"] == "label"
        assert (await page.error_of("propose_boxes", boxes=[], class_id=1))["code"] == "request"
        await server.verbs.bulk.start(server.verbs.find(page.token), "tab")
        assert (await until(server, page, is_at_rest))["masks"] == 2

    run(scenario())


def test_a_review_begins_with_the_worst_and_leaves_out_what_was_seen(server: Server) -> None:
    async def scenario() -> None:
        page, _ = await workspace(server)
        number = server.verbs.find(page.token)
        await server.verbs.bulk.start(number, "tab")
        await until(server, page, is_at_rest)
        told = server.verbs.bulk.to_review(number)
        scores = [one["score"] for one in told["objects"]]
        assert (told["count"], scores) == (6, sorted(scores))
        worst = told["objects"][0]
        page.image = worst["image"]
        await page.view_of("open")
        await page.view_of("describe", ids=[worst["id"]], attributes=[["reviewed", "yes"]])
        left = server.verbs.bulk.to_review(number)
        assert worst["id"] not in [one["id"] for one in left["objects"]]
        assert left["count"] == 5
        await page.view_of("undo")
        assert server.verbs.bulk.to_review(number)["count"] == 6

    run(scenario())


def test_the_objects_of_an_image_are_undone_in_one_step(server: Server) -> None:
    async def scenario() -> None:
        page, digests = await workspace(server, 1)
        number = server.verbs.find(page.token)
        await server.verbs.bulk.start(number, "tab")
        await until(server, page, is_at_rest)
        page.image = digests[0]
        await page.view_of("open")
        await page.view_of("undo")
        assert page.annotations == {}
        await page.view_of("redo")
        assert len(page.annotations) == 2
        assert (await server.verbs.bulk.look(number, "tab"))["phase"] == "done"

    run(scenario())


def test_boxes_in_an_ordinary_import_are_kept_for_the_job(server: Server) -> None:
    async def scenario() -> None:
        page = Page(server, "tab")
        await page.ask("hello")
        server.add_image(page.token, png(0), "0.png")
        for _ in range(2):
            await server.verbs.import_labels(page.token, boxes_for("0.png"), "boxes.json")
        number = server.verbs.find(page.token)
        told = await server.verbs.bulk.look(number, "tab")
        assert (told["phase"], told["boxes"]) == ("paused", 2)

    run(scenario())


def test_an_image_that_was_removed_is_left_out(server: Server) -> None:
    async def scenario() -> None:
        page, digests = await workspace(server)
        number = server.verbs.find(page.token)
        server.store.append(number, digests[0], ImageRemoved())
        await server.verbs.bulk.start(number, "tab")
        told = await until(server, page, is_at_rest)
        assert (told["masks"], told["images"]) == (4, 2)

    run(scenario())


def test_the_routes_answer_whoever_has_the_key_and_nobody_else(server: Server, tmp_path: Path) -> None:
    routes = build_routes(server.verbs, tmp_path, version="1")
    with TestClient(Starlette(routes=routes)) as client:
        token = server.newcomer()
        server.add_image(token, png(0), "0.png")
        mine = {TOKEN_HEADER: token}
        for method, path in (("GET", "bulk?tab=t"), ("POST", "bulk?do=start&tab=t"), ("GET", "review")):
            assert client.request(method, f"/samref/{path}").status_code == 401
        assert client.post("/samref/import-boxes", content=b"{}").status_code == 401

        refused = client.post("/samref/import-boxes", content=b"nothing", headers=mine)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "import")
        told = client.post("/samref/import-boxes", content=boxes_for("0.png"), headers=mine).json()
        assert (told["boxes"], told["images"]) == (2, 1)
        for path in ("bulk?do=dance&tab=t", "bulk?tab=t", "bulk?do=start", "bulk?do=start&tab=../x"):
            assert client.post(f"/samref/{path}", headers=mine).status_code == 400
        assert client.post("/samref/bulk?do=start&tab=t", headers=mine).json()["phase"] == "running"
        for _ in range(1000):
            told = client.get("/samref/bulk?tab=t", headers=mine).json()
            if is_at_rest(told):
                break
            time.sleep(0.01)
        assert (told["phase"], told["masks"]) == ("done", 2)
        assert client.get("/samref/review", headers=mine).json()["count"] == 2
