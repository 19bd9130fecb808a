"""The first load: few bytes, and no file that the browser hears of late."""

from __future__ import annotations

import re

import httpx
import pytest

from samref.web.page import STATIC_ADDRESS, modules_for_work
from tests.browser.conftest import NewBrowser
from tests.browser.first_load import load
from tests.browser.server import Server

pytestmark = pytest.mark.browser

MOST_BYTES = 400_000
"""Of the start page with all that it shows, and of the work page's modules, which follow by themselves."""

MOST_FOR_WORK = 90_000
"""Of these modules alone."""

MODULES = ("/assets/", "/samref/static/")


def test_the_first_load_is_light_and_the_console_stays_empty(new_browser: NewBrowser, server: Server) -> None:
    seen = load(new_browser(), server.url)
    work = seen.bytes_below(*(f"/{STATIC_ADDRESS}/{name}" for name in modules_for_work()))
    assert 40_000 < work <= MOST_FOR_WORK
    assert seen.total_bytes <= MOST_BYTES, seen.bytes_of
    assert all(seen.bytes_of.values()), "a response whose bytes were not counted"
    seen.page.wait_for_timeout(4_000)  # a preload that nothing used is said after the load event, and later
    assert seen.messages == []


def test_the_page_itself_names_every_module_of_its_first_view(new_browser: NewBrowser, server: Server) -> None:
    named = set(re.findall(r'(?:href|src)="\.?/?([^"]+)"', httpx.get(server.url).text))
    seen = load(new_browser(), server.url)
    modules = [path for path in seen.before if path.startswith(MODULES)]
    assert len(modules) > 40
    assert [path for path in modules if path.removeprefix("/") not in named] == []
    work = [path for path in seen.bytes_of if path.endswith("/workbench.js")]
    assert len(work) == 1, "the work page comes by itself"
    assert work[0] not in modules, "and after the start page"


def test_a_second_visit_fetches_no_module_again(new_browser: NewBrowser, server: Server) -> None:
    context = new_browser()
    load(context, server.url).page.close()
    seen = load(context, server.url)
    assert seen.bytes_below(*MODULES) < 0.2 * MOST_BYTES
