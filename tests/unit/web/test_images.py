"""What can be done to images as a whole: marks, removal, and a list of which only changes are sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

from tests.unit.web.conftest import Page, Server, png

MIDDLE = {"type": "click", "x": 48, "y": 36, "positive": True}


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


class KeepingPage(Page):
    """A page that keeps the list of images and takes changes of it in, as the real one does."""

    def request(self, verb: str, **arguments: Any) -> dict[str, Any]:
        request = super().request(verb, **arguments)
        request["known"]["images"] = self.known_workspace
        return request

    def take(self, answer: dict[str, Any]) -> None:
        if (workspace := answer.get("workspace")) and workspace["since"]:
            changed = {image["digest"]: image for image in workspace["images"]}
            kept = [changed.pop(image["digest"], image) for image in self.workspace["images"]]
            answer["workspace"] = {**self.workspace, **workspace, "images": [*kept, *changed.values()]}
        super().take(answer)


async def page_with(server: Server, count: int, tab: str = "tab", token: str | None = None) -> tuple[Page, list[str]]:
    token = token or server.newcomer()
    digests = [server.add_image(token, png(seed), f"{seed}.png") for seed in range(count)]
    page = KeepingPage(server, tab, token=token)
    await page.ask("hello")
    return page, digests


def state_of(page: Page, digest: str) -> tuple[Any, ...]:
    (found,) = (image for image in page.workspace["images"] if image["digest"] == digest)
    return found.get("mark", ""), found.get("draft", False), found.get("removed", False), found["annotations"]


def test_images_are_marked_removed_and_restored(server: Server) -> None:
    async def scenario() -> None:
        page, (first, second) = await page_with(server, 2)
        await page.ask("mark_image", digests=[first, second], mark="done")
        await page.ask("mark_image", digests=[second], mark="flagged")
        assert [state_of(page, each)[0] for each in (first, second)] == ["done", "flagged"]
        await page.ask("remove_images", digests=[first])
        assert state_of(page, first)[2]
        assert [image.digest for image in server.store.images(server.verbs.find(page.token))] == [second]
        await page.ask("restore_images", digests=[first])
        assert state_of(page, first) == ("done", False, False, 0)

    run(scenario())


def test_an_answer_brings_only_the_images_that_changed(server: Server) -> None:
    async def scenario() -> None:
        page, digests = await page_with(server, 5)
        (answer,) = await page.ask("mark_image", digests=[digests[3]], mark="done")
        assert answer["workspace"]["since"] > 0
        assert state_of(page, digests[3])[0] == "done"
        raw = await server.send(page.request("mark_image", digests=[digests[1]], mark="done"))
        assert [image["digest"] for image in raw[-1]["workspace"]["images"]] == [digests[1]]
        assert "models" not in raw[-1]["workspace"], "what does not change is not sent again"
        old_page = Page(server, "old", token=page.token)
        old_page.known_workspace = 1
        await old_page.ask("sync")
        assert len(old_page.workspace["images"]) == 5, "a page that keeps no list gets the whole one"
        assert "models" in old_page.workspace

    run(scenario())


def test_the_list_says_which_images_have_an_unfinished_object(server: Server) -> None:
    async def scenario() -> None:
        page, (first, second) = await page_with(server, 2)
        page.image = first
        await page.view_of("open")
        await page.view_of("prompt", prompts=[MIDDLE])
        page.image, page.revision = second, 0
        await page.view_of("open")
        assert [state_of(page, each)[1] for each in (first, second)] == [True, False]
        page.image, page.revision = first, 0
        await page.view_of("open")
        await page.view_of("commit", class_id=1)
        assert state_of(page, first) == ("", False, False, 1)
        await page.view_of("edit", id=page.view["annotations"]["order"][0])
        await page.view_of("clear")
        await page.ask("sync")
        assert state_of(page, first) == ("", False, False, 1)

    run(scenario())


def test_a_mark_makes_no_other_tab_stale_and_keeps_the_draft(server: Server) -> None:
    async def scenario() -> None:
        page, (digest,) = await page_with(server, 1)
        page.image = digest
        await page.view_of("open")
        await page.view_of("prompt", prompts=[MIDDLE])
        other, _ = await page_with(server, 0, tab="other", token=page.token)
        await other.ask("mark_image", digests=[digest], mark="flagged")
        view = await page.view_of("prompt", prompts=[MIDDLE])
        assert view["draft"]["count"] == 2
        assert view["revision"] == server.store.revision(server.verbs.find(page.token), digest)
        await page.ask("sync")
        assert state_of(page, digest) == ("flagged", True, False, 0)

    run(scenario())


def test_what_is_not_ones_own_cannot_be_marked_or_removed(server: Server) -> None:
    async def scenario() -> None:
        _, (foreign,) = await page_with(server, 1)
        page, _ = await page_with(server, 0)
        mine = server.add_image(page.token, png(7), "mine.png")
        for verb, arguments in (("mark_image", {"mark": "done"}), ("remove_images", {}), ("restore_images", {})):
            error = await page.error_of(verb, digests=[mine, foreign], **arguments)
            assert error["code"] == "label"
        await page.ask("sync")
        assert state_of(page, mine) == ("", False, False, 0)
        for bad in ([], "x", [mine] * 10_001, ["../x"]):
            assert (await page.error_of("remove_images", digests=bad))["code"] == "request"
        assert (await page.error_of("mark_image", digests=[mine], mark="perfect"))["code"] == "request"

    run(scenario())


def test_a_mark_is_there_after_a_restart(server: Server) -> None:
    async def scenario() -> None:
        page, (digest,) = await page_with(server, 1)
        await page.ask("mark_image", digests=[digest], mark="done")
        again = server.restarted()
        try:
            answers = await again.send({**page.request("hello"), "tab": "new", "seq": 1})
            assert json.dumps(answers[-1]["workspace"]["images"]).count('"mark": "done"') == 1
        finally:
            again.close()

    run(scenario())
