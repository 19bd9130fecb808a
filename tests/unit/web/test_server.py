"""The verbs of the protocol, from request to answer, with the seeded random model."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import numpy as np
import pytest

from samref.core.images import decode_image
from samref.core.masks import Rle
from samref.core.prompts import Click, Prompts
from samref.errors import RequestError
from samref.inference.predictor import Predictor
from samref.web import server as server_module
from tests.unit.web.conftest import Page, Server, png

MIDDLE = {"type": "click", "x": 48, "y": 36}
CORNER = {"type": "click", "x": 3, "y": 3, "positive": False}


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


async def opened(server: Server, tab: str = "tab", token: str | None = None, seed: int = 0) -> Page:
    page = Page(server, tab, token)
    await page.ask("hello")
    page.image = server.add_image(page.token, png(seed), f"image{seed}.png")
    await page.view_of("open")
    return page


def full_mask(view: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    mask, size = view["draft"]["mask"], view["image"]
    assert mask["scale"] == 1
    x, y, width, height = mask["box"]
    whole = np.zeros((size["height"], size["width"]), dtype=np.bool_)
    whole[y : y + height, x : x + width] = Rle(height, width, mask["counts"]).to_mask()
    return whole


def test_hello_makes_a_workspace_and_knows_it_again(server: Server) -> None:
    async def scenario() -> None:
        page = Page(server, "tab")
        (answer,) = await page.ask("hello")
        assert answer["workspace"]["classes"][0]["name"] == "object"
        assert [example["name"] for example in answer["workspace"]["examples"]] == ["red_disk.png"]
        assert [model["ready"] for model in answer["workspace"]["models"]] == [True, False]
        again = Page(server, "other-tab", page.token)
        (answer,) = await again.ask("hello")
        assert answer["workspace"]["token"] == page.token
        assert len(page.token or "") >= 43, "256 bits"

    run(scenario())


def test_an_unknown_token_and_an_old_page_are_sent_away(server: Server) -> None:
    async def scenario() -> None:
        (answer,) = await Page(server, "a", "not-a-token").ask("hello")
        assert (answer["kind"], answer["bye"]["reason"]) == ("bye", "token")
        (answer,) = await Page(server, "b").ask("sync")
        assert (answer["kind"], answer["bye"]["reason"]) == ("bye", "token")
        (answer,) = await Page(server, "c").ask("hello", v=0)
        assert (answer["kind"], answer["bye"]["reason"]) == ("bye", "version")

    run(scenario())


def test_a_click_is_answered_by_a_coarse_and_then_a_refined_mask(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = Predictor.predict

    def slowly(*arguments: Any, **options: Any) -> Iterator[Any]:
        for prediction in predict(*arguments, **options):
            yield prediction
            time.sleep(0.5)  # however busy the machine, the coarse mask is taken before the refined one is there

    monkeypatch.setattr(Predictor, "predict", slowly)

    async def scenario() -> None:
        page = await opened(server)
        assert page.view["phase"] == "ready"
        answers = await page.ask("prompt", prompts=[MIDDLE])
        assert [answer["view"]["phase"] for answer in answers] == ["coarse", "refined"]
        assert [answer["final"] for answer in answers] == [False, True]
        draft = answers[-1]["view"]["draft"]
        assert (draft["count"], draft["stage"], answers[-1]["view"]["undo"]) == (1, "refined", "click")
        assert draft["coarse"] is not None
        assert "prompts" not in draft, "the page has them"
        assert "workspace" not in answers[-1]

    run(scenario())


def test_a_page_with_a_coarse_mask_of_its_own_hears_that_it_is_recorded_and_gets_the_same_refined_mask(
    server: Server,
) -> None:
    async def scenario() -> None:
        usual = await opened(server, "usual")
        wanted = await usual.view_of("prompt", prompts=[MIDDLE])
        page = await opened(server)
        answers = await page.ask("prompt", prompts=[MIDDLE], coarse="mine")
        told, *_, last = [answer["view"] for answer in answers]
        assert (told["phase"], told["draft"]["count"], told["draft"]["mask"]) == ("preparing", 1, None)
        assert (last["phase"], last["draft"]["coarse"]) == ("refined", None)
        assert "coarse" not in [answer["view"]["phase"] for answer in answers]
        assert told["draft"]["bases"] == [0], "from which its next coarse mask goes on"
        assert last["draft"]["mask"] == wanted["draft"]["mask"]
        following = await page.ask("prompt", prompts=[CORNER])
        assert following[-1]["view"]["draft"]["coarse"] is not None, "only that one was its own"

    run(scenario())


def test_the_mask_on_the_wire_is_the_one_the_model_gives(server: Server) -> None:
    async def scenario() -> None:
        page = await opened(server)
        view = await page.view_of("prompt", prompts=[MIDDLE])
        embedding = server.predictor.embed(decode_image(png(0)))
        *_, expected = server.predictor.predict(embedding, Prompts((Click(48, 36),)))
        assert np.array_equal(full_mask(view), expected.mask.to_mask())

    run(scenario())


def test_undo_and_redo_walk_through_the_draft(server: Server) -> None:
    async def scenario() -> None:
        page = await opened(server)
        first = full_mask(await page.view_of("prompt", prompts=[MIDDLE]))
        second = full_mask(await page.view_of("prompt", prompts=[CORNER]))
        back = await page.view_of("undo")
        assert np.array_equal(full_mask(back), first)
        assert [prompt["x"] for prompt in back["draft"]["prompts"]] == [48]
        assert np.array_equal(full_mask(await page.view_of("redo")), second)
        cleared = await page.view_of("clear")
        assert (cleared["draft"]["count"], cleared["draft"]["mask"]) == (0, None)
        assert np.array_equal(full_mask(await page.view_of("undo")), second), "what Esc threw away is back"
        for _ in range(2):
            back = await page.view_of("undo")
        assert (back["undo"], back["redo"]) == (None, "click")
        assert (await page.error_of("undo"))["code"] == "session"

    run(scenario())


def test_an_object_is_accepted_changed_edited_and_deleted(server: Server) -> None:
    async def scenario() -> None:
        page = await opened(server)
        drawn = full_mask(await page.view_of("prompt", prompts=[MIDDLE]))
        await page.view_of("commit", class_id=1, author="Ada")
        (identifier,) = page.annotations
        assert page.annotations[identifier]["area"] == np.count_nonzero(drawn)
        assert page.workspace["images"][0]["annotations"] == 1
        await page.ask("add_class", name="cat", colour="#00ff00")
        assert [c["name"] for c in page.workspace["classes"]] == ["object", "cat"]
        await page.view_of("reclass", id=identifier, class_id=2)
        assert page.annotations[identifier]["class_id"] == 2
        assert (await page.error_of("remove_class", class_id=2))["code"] == "label"
        await page.view_of("set_visible", id=identifier, visible=False)
        assert page.annotations[identifier]["visible"] is False
        view = await page.view_of("edit", id=identifier)
        assert view["draft"]["editing"] == identifier
        await page.view_of("prompt", prompts=[CORNER])
        await page.view_of("commit", class_id=2)
        assert list(page.annotations) == [identifier]
        assert page.annotations[identifier]["clicks"] >= 2
        await page.view_of("delete", id=identifier)
        assert page.annotations == {}

    run(scenario())


def test_only_what_changed_travels(server: Server) -> None:
    async def scenario() -> None:
        page = await opened(server)
        for prompt in (MIDDLE, CORNER | {"positive": True}):
            await page.view_of("prompt", prompts=[prompt])
            if page.view["draft"]["mask"]["box"] == [0, 0, 0, 0]:
                pytest.skip("the random model drew nothing here")
            await page.view_of("commit", class_id=1)
        (first, second) = page.annotations
        (answer,) = await page.ask("set_visible", id=second, visible=False)
        assert [entry["id"] for entry in answer["view"]["annotations"]["changed"]] == [second]
        assert answer["view"]["annotations"]["order"] == [first, second]
        answers = await page.ask("prompt", prompts=[MIDDLE])
        assert all("annotations" not in answer["view"] for answer in answers)

    run(scenario())


@pytest.mark.parametrize(
    ("prompts", "code"),
    [
        ([{"type": "click", "x": 96, "y": 3}], "prompt"),
        ([{"type": "click", "x": -1, "y": 3}], "prompt"),
        ([{"type": "click", "x": float("nan"), "y": 3}], "prompt"),
        ([{"type": "click", "x": float("inf"), "y": 3}], "prompt"),
        ([{"type": "click", "x": "3", "y": 3}], "prompt"),
        ([{"type": "box", "x0": 5, "y0": 5, "x1": 5, "y1": 30}], "prompt"),
        ([{"type": "polygon", "points": [[0, 0], [1, 1]]}], "prompt"),
        ([MIDDLE, {"type": "click", "x": 500, "y": 3}], "prompt"),
        ([MIDDLE] * 10_000, "prompt"),
        ([], "prompt"),
        ("everything", "prompt"),
    ],
)
def test_a_prompt_that_cannot_be_used_changes_nothing(server: Server, prompts: Any, code: str) -> None:
    async def scenario() -> None:
        page = await opened(server)
        before = await page.view_of("prompt", prompts=[MIDDLE])
        error = await page.error_of("prompt", prompts=prompts)
        assert error["code"] == code
        assert error["message"].endswith((".", "…"))
        assert page.view["revision"] == before["revision"]
        assert page.view["draft"]["mask"] == before["draft"]["mask"]
        assert len(page.view["draft"]["prompts"]) == 1, "an error brings the truth along"

    run(scenario())


@pytest.mark.parametrize(
    ("verb", "arguments", "code"),
    [
        ("dance", {}, "request"),
        ("commit", {}, "request"),
        ("commit", {"class_id": "1"}, "request"),
        ("commit", {"class_id": 1}, "session"),
        ("edit", {"id": "../../x"}, "request"),
        ("edit", {"id": "nobody"}, "label"),
        ("delete", {"id": "nobody"}, "label"),
        ("set_visible", {"id": "nobody", "visible": 1}, "request"),
        ("reclass", {"id": "nobody", "class_id": 1}, "label"),
        ("use_model", {"name": "gigantic"}, "model"),
        ("use_model", {"name": "sam-vit-h"}, "model"),
        ("add_class", {"name": "  "}, "request"),
        ("add_class", {"name": "object"}, "label"),
        ("add_class", {"name": "cat", "colour": "red; background: url(x)"}, "label"),
        ("change_class", {"class_id": 99, "name": "x"}, "label"),
        ("remove_class", {"class_id": 1}, "label"),
        ("open_example", {"name": "../CREDITS.md"}, "image"),
        ("open_example", {"name": "CREDITS.md"}, "image"),
        ("open", {"image": "ab" * 32}, "image"),
        ("prefetch", {"digest": "ab" * 32}, "image"),
        ("open", {"image": None}, "request"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(
    server: Server, verb: str, arguments: dict[str, Any], code: str
) -> None:
    async def scenario() -> None:
        page = await opened(server)
        before = page.view["revision"]
        assert (await page.error_of(verb, **arguments))["code"] == code
        assert server.store.revision(1, page.image) == before

    run(scenario())


def test_another_workspace_cannot_see_a_image(server: Server) -> None:
    async def scenario() -> None:
        owner = await opened(server)
        stranger = Page(server, "stranger")
        await stranger.ask("hello")
        stranger.image = owner.image
        assert (await stranger.error_of("open"))["code"] == "image"
        assert (await stranger.error_of("prompt", prompts=[MIDDLE]))["code"] == "image"
        assert stranger.view == {}

    run(scenario())


def test_an_example_is_opened_by_name(server: Server) -> None:
    async def scenario() -> None:
        page = Page(server, "tab")
        await page.ask("hello")
        view = await page.view_of("open_example", name="red_disk.png")
        assert (view["image"]["file_name"], view["phase"]) == ("red_disk.png", "ready")
        assert page.workspace["images"][0]["digest"] == view["image"]["digest"]

    run(scenario())


def test_requests_out_of_order_and_doubled_are_dropped(server: Server) -> None:
    async def scenario() -> None:
        page = await opened(server)
        late = page.request("prompt", prompts=[CORNER])
        await page.view_of("prompt", prompts=[MIDDLE])
        assert await server.send(late) == []
        assert page.view["draft"]["count"] == 1

    run(scenario())


def test_ten_clicks_in_one_second_end_with_the_last_one(server: Server) -> None:
    async def scenario() -> None:
        page = await opened(server)
        requests = [page.request("prompt", prompts=[{"type": "click", "x": 20 + 5 * i, "y": 30}]) for i in range(10)]
        answers = await asyncio.gather(*(server.send(request) for request in requests))
        assert answers[-1][-1]["view"]["phase"] == "refined"
        for overtaken in answers[:-1]:
            assert all(answer["seq"] < requests[-1]["seq"] for answer in overtaken)
        page.take(answers[-1][-1])
        view = await page.view_of("sync")
        assert view["draft"]["count"] == 10
        assert view["draft"]["prompts"][-1]["x"] == 65

    run(scenario())


def test_two_tabs_on_different_images_do_not_meet(server: Server) -> None:
    async def scenario() -> None:
        one = await opened(server, "one", seed=1)
        two = await opened(server, "two", one.token, seed=2)
        alone = await opened(server, "three", seed=1)
        expected = full_mask(await alone.view_of("prompt", prompts=[MIDDLE]))
        first: dict[str, Any]
        first, _ = await asyncio.gather(
            one.view_of("prompt", prompts=[MIDDLE]), two.view_of("prompt", prompts=[CORNER])
        )
        assert np.array_equal(full_mask(first), expected)
        assert two.view["draft"]["count"] == 1

    run(scenario())


def test_two_tabs_on_one_image_lose_nothing(server: Server) -> None:
    async def scenario() -> None:
        one = await opened(server, "one")
        two = Page(server, "two", one.token, one.image)
        await two.view_of("open")
        await one.view_of("prompt", prompts=[MIDDLE])
        await one.view_of("commit", class_id=1)
        error = await two.error_of("prompt", prompts=[CORNER])
        assert error["code"] == "stale"
        assert list(two.annotations) == list(one.annotations), "the refusal brings the truth along"
        assert (await two.view_of("prompt", prompts=[MIDDLE]))["draft"]["count"] == 1
        assert (await one.error_of("undo"))["code"] == "stale"
        assert (await one.view_of("undo"))["draft"]["count"] == 0

    run(scenario())


def test_a_tab_is_not_stale_because_of_its_own_requests(server: Server) -> None:
    async def scenario() -> None:
        page = await opened(server)
        revision = page.revision
        await page.view_of("prompt", prompts=[MIDDLE])
        page.revision = revision  # sent before the answer to the first was seen
        assert (await page.view_of("prompt", prompts=[CORNER]))["draft"]["count"] == 2

    run(scenario())


def test_after_a_restart_the_draft_and_the_objects_come_back(server: Server) -> None:
    async def scenario() -> None:
        page = await opened(server)
        await page.view_of("prompt", prompts=[MIDDLE])
        await page.view_of("commit", class_id=1)
        await page.view_of("prompt", prompts=[MIDDLE])
        await page.view_of("prompt", prompts=[CORNER])
        before = await page.view_of("undo")
        reborn = server.restarted()
        try:
            fresh = Page(reborn, "after", page.token, page.image)
            answers = await fresh.ask("open")
            assert answers[0]["view"]["phase"] == "preparing"
            after = fresh.view
            assert after["phase"] == "refined"
            assert after["revision"] == before["revision"]
            assert after["draft"]["mask"] == before["draft"]["mask"]
            assert after["draft"]["prompts"] == before["draft"]["prompts"]
            assert (after["undo"], after["redo"]) == ("click", "click")
            assert list(fresh.annotations) == list(page.annotations)
        finally:
            reborn.close()

    run(scenario())


def test_an_evicted_session_is_rebuilt_without_a_word(server: Server) -> None:
    async def scenario() -> None:
        page = await opened(server)
        before = await page.view_of("prompt", prompts=[MIDDLE])
        for _ in range(50):  # the worker may be about to put its tools away
            if server.verbs._sessions.remove((1, page.image or "")):
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError("the session stays busy")
        after = await page.view_of("prompt", prompts=[CORNER])
        assert after["draft"]["count"] == 2
        back = await page.view_of("undo")
        assert back["draft"]["mask"] == before["draft"]["mask"]

    run(scenario())


def test_a_full_disk_refuses_a_click_and_keeps_everything(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from samref.errors import StorageError

    async def scenario() -> None:
        page = await opened(server)
        before = await page.view_of("prompt", prompts=[MIDDLE])

        def full(*_: Any, **__: Any) -> None:
            raise StorageError("The disk is full.")

        with monkeypatch.context() as patch:
            patch.setattr(server.store, "append", full)
            error = await page.error_of("prompt", prompts=[CORNER])
        assert error["code"] == "storage"
        assert page.view["draft"]["mask"] == before["draft"]["mask"]
        assert (await page.view_of("prompt", prompts=[CORNER]))["draft"]["count"] == 2

    run(scenario())


def test_a_bug_is_logged_and_told_without_its_details(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        page = await opened(server)

        def broken(*_: Any, **__: Any) -> None:
            raise RuntimeError("secret /path/to/something")

        with monkeypatch.context() as patch:
            patch.setattr(server.store, "append", broken)
            error = await page.error_of("prompt", prompts=[MIDDLE])
        assert error["code"] == "internal"
        assert "secret" not in error["message"]
        assert "secret" in caplog.text
        assert (await page.view_of("prompt", prompts=[MIDDLE]))["draft"]["count"] == 1

    run(scenario())


def test_unreadable_payloads_are_answered_not_raised(server: Server) -> None:
    async def scenario() -> None:
        payloads: list[Any] = [{"v": 1}, {"v": 1, "seq": "x"}, {"v": 1, "seq": 1, "verb": []}]
        for payload in payloads:
            assert len(await server.send({**payload, "tab": "tab"})) == 1
        nameless: Any
        for nameless in (None, 5, [], {"v": 1}, {"v": 1, "tab": "a b"}):
            with pytest.raises(RequestError):
                await server.send(nameless)

    run(scenario())


def test_a_image_is_encoded_ahead_of_time(server: Server) -> None:
    async def scenario() -> None:
        page = await opened(server)
        digest = server.add_image(page.token, png(9), "next.png")
        (answer,) = await page.ask("prefetch", digest=digest)
        assert answer["final"]
        for _ in range(500):
            if server.engine.stats().embeddings == 2:
                break
            await asyncio.sleep(0.01)
        assert server.engine.stats().embeddings == 2

    run(scenario())


def test_an_answer_that_nobody_takes_keeps_nobody_else_from_asking(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_REQUESTS", 2)

    async def scenario() -> None:
        held = [server.verbs.send(Page(server, tab).request("hello")) for tab in ("a", "b", "c")]
        for answers in held:
            assert json.loads(await anext(answers))["kind"] == "view"
        assert (await Page(server, "d").ask("hello"))[-1]["kind"] == "view"
        for answers in held:
            await answers.aclose()

    run(scenario())


@pytest.mark.parametrize("seq", [0, -1, 7.0, True, "8", None, 2**54])
def test_a_request_without_a_proper_number_does_nothing(server: Server, seq: Any) -> None:
    async def scenario() -> None:
        page = await opened(server)
        await page.view_of("prompt", prompts=[MIDDLE])
        request = {**page.request("clear"), "seq": seq}
        (answer,) = await server.send(request)
        assert (answer["kind"], answer["error"]["code"]) == ("error", "request")
        assert (await page.view_of("sync"))["draft"]["count"] == 1

    run(scenario())


def test_one_workspace_cannot_take_all_the_room(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_OWN_REQUESTS", 2)

    async def scenario() -> None:
        greedy, other = await opened(server), await opened(server, "other")
        pages = [Page(server, f"tab{number}", greedy.token) for number in range(4)]
        answers = await asyncio.gather(*(page.ask("sync") for page in pages))
        kinds = [answer[-1]["kind"] for answer in answers]
        assert kinds.count("view") == 2
        assert {answer[-1]["error"]["code"] for answer in answers if answer[-1]["kind"] == "error"} == {"busy"}
        assert (await other.ask("sync"))[-1]["kind"] == "view"
        assert (await pages[0].ask("sync"))[-1]["kind"] == "view", "there is room again"

    run(scenario())


def test_class_names_travel_as_data(server: Server) -> None:
    async def scenario() -> None:
        page = await opened(server)
        name = "<img src=x onerror=alert(1)> ${7*7}"
        await page.ask("add_class", name=name)
        assert page.workspace["classes"][-1]["name"] == name

    run(scenario())
