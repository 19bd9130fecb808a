"""The model that the page runs by itself: kept out of a test, or there from the beginning of it."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Route

from samref.files import assets_folder
from tests.browser.labelling_page import HOOK

__all__ = ["IS_OFF", "READY", "let_model_be_slow", "need_model", "without_model"]

READY = f"() => {HOOK}?.stats().local?.status.phase === 'ready'"

IS_OFF = f"() => {HOOK}?.stats().local?.status.reason === 'off'"

SWITCH_OFF = """if (location.protocol === "http:" && localStorage.getItem("samref.settings") === null) {
  localStorage.setItem("samref.settings", JSON.stringify({ localModel: false }));
}"""


def without_model(context: BrowserContext) -> None:
    """Have it switched off, as a person does in the help: every mask is the server's."""
    context.add_init_script(SWITCH_OFF)


def let_model_be_slow(context: BrowserContext) -> None:
    """Have the page use it however long its masks take on a busy machine."""

    def patient(route: Route) -> None:
        answer = route.fetch()
        body = answer.text()
        assert "SLOWEST_MS = 150;" in body
        route.fulfill(response=answer, body=body.replace("SLOWEST_MS = 150;", "SLOWEST_MS = 60000;"))

    context.route("**/local/assistant.js", patient)


def need_model() -> None:
    """Skip the test where its runtime is missing."""
    if not (assets_folder() / "browser" / "onnxruntime" / "files.json").is_file():
        pytest.skip("the runtime of the page's model is not in assets/browser")
