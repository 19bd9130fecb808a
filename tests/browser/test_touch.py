"""Fingers: one points, two move the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser.conftest import NewPage
from tests.browser.labelling_page import HOOK
from tests.browser.offline import Offline

pytestmark = pytest.mark.browser


def test_a_tap_clicks_and_two_fingers_zoom(new_page: NewPage, offline: Offline, examples_dir: Path) -> None:
    page = new_page(width=820, height=1100, has_touch=True, is_mobile=True, device_scale_factor=2).open_example(
        "coffee"
    )
    place = page.place
    left, top = place.window_at(300.5, 180.5)
    page.page.touchscreen.tap(left, top)
    page.settle()
    assert [(one["type"], one["x"], one["y"]) for one in page.prompts] == [("click", *place.pixel_at(left, top))]
    photo = (examples_dir / "coffee.jpg").read_bytes()
    assert np.array_equal(page.mask, offline.answer(photo, page.prompts).refined)

    devtools = page.page.context.new_cdp_session(page.page)

    def touch(kind: str, *fingers: tuple[float, float]) -> None:
        points: list[dict[str, Any]] = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(fingers)]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (left - 30, top))
    touch("touchStart", (left - 30, top), (left + 30, top))
    for apart in (40, 50, 60):
        touch("touchMove", (left - apart, top), (left + apart, top))
    touch("touchEnd")
    page.wait(f"(before) => {HOOK}.view().scale > 1.8 * before", place.scale)
    after = page.place
    assert after.scale / place.scale == pytest.approx(2, rel=0.05)
    assert np.allclose(after.window_at(300.5, 180.5), (left, top), atol=4), "what is between the fingers stays there"
    assert len(page.settle().prompts) == 1, "two fingers do not click"
