"""Images that come in, upright and whole, and files that must not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import expect

from tests.browser.conftest import NewBrowser, NewPage
from tests.browser.labelling_page import HOOK, LabellingPage
from tests.browser.offline import Offline
from tests.browser.page_model import without_model
from tests.browser.server import Server

pytestmark = pytest.mark.browser

MESSAGES_KB = 20

PHOTO_IS_PAINTED = """() => {
  const photo = document.querySelector(".samref-photo");
  return photo.getContext("2d").getImageData(photo.width / 2, photo.height / 2, 1, 1).data[3] > 0;
}"""

KEEP_MESSAGES = """
  window.messages = [];
  const fetchBefore = window.fetch;
  window.fetch = async (...request) => {
    const response = await fetchBefore(...request);
    if (String(request[0]?.url ?? request[0]).includes("/samref/send") && response.body) {
      const [ours, theirs] = response.body.tee();
      (async () => {
        const text = new TextDecoder();
        let rest = "";
        for (const reader = ours.getReader(); ; ) {
          const { done, value } = await reader.read();
          if (done) return;
          const parts = (rest + text.decode(value, { stream: true })).split("\\n");
          rest = parts.pop();
          window.messages.push(...parts);
        }
      })().catch(() => {});
      return new Response(theirs, { status: response.status, headers: response.headers });
    }
    return response;
  };
"""


def jpeg(image: Image.Image, **options: object) -> bytes:
    """The bytes of a JPEG file."""
    target = io.BytesIO()
    image.save(target, "JPEG", quality=92, **options)
    return target.getvalue()


def test_a_rotated_photo_is_shown_upright_and_clicks_land_on_its_pixels(new_page: NewPage, offline: Offline) -> None:
    upright = Image.new("RGB", (360, 480), "navy")
    draw = ImageDraw.Draw(upright)
    draw.rectangle((0, 0, 179, 239), fill="black")
    draw.rectangle((180, 240, 359, 479), fill="white")
    draw.ellipse((200, 40, 320, 160), fill="yellow")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate clockwise to see it upright
    photo = jpeg(upright.transpose(Image.Transpose.ROTATE_90), exif=exif)

    page = new_page(device_scale_factor=1.5)
    page.give_file("turned.jpg", photo, "image/jpeg", "choose")
    page.wait(f"() => {HOOK}.state().image?.file_name === 'turned.jpg'").settle()
    assert (page.state["image"]["width"], page.state["image"]["height"]) == (360, 480)
    page.wait(PHOTO_IS_PAINTED)
    place, screen = page.place, page.screen().astype(int)
    for x, y, colour in ((90, 120, (0, 0, 0)), (270, 360, (255, 255, 255)), (260, 100, (255, 255, 0))):
        dot = screen[round(y * place.scale + place.offsetY), round(x * place.scale + place.offsetX)]
        assert abs(dot - colour).max() < 30

    pixel = page.click(260.4, 100.6)
    page.settle()
    assert (page.prompts[0]["x"], page.prompts[0]["y"]) == pixel == (260, 100)
    assert np.array_equal(page.mask, offline.answer(photo, page.prompts).refined)


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_images_are_taken_by_drop_and_paste(new_page: NewPage, examples_dir: Path, how: str) -> None:
    page = new_page().open_example("coffee")
    page.give_file("cat.jpg", (examples_dir / "chelsea.jpg").read_bytes(), "image/jpeg", how)
    page.wait(f"() => {HOOK}.state().workspace.images.length === 2").settle()
    assert [one["file_name"] for one in page.state["images"]] == ["coffee.jpg", "cat.jpg"]
    assert page.state["image"]["file_name"] == "coffee.jpg", "nobody is taken away from the image they work on"
    page.press("PageDown").wait(f"() => {HOOK}.state().image?.file_name === 'cat.jpg'").settle()
    page.click(200.5, 150.5)
    assert page.settle().mask.any()


def test_files_that_are_no_images_get_a_sentence_and_change_nothing(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    page.click(300.5, 180.5)
    before = page.settle().state
    bad = {
        "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "image/svg+xml"),
        "nothing.png": (b"", "image/png"),
        "letter.txt": (b"Dear page, " * 40, "text/plain"),
    }
    for name, (data, kind) in bad.items():
        page.page.locator(".samref-toast").evaluate_all("(toasts) => toasts.forEach((toast) => toast.remove())")
        page.give_file(name, data, kind, "drop")
        expect(page.error).to_be_visible()
        sentence = page.error.inner_text().strip()
        assert len(sentence) > 20, name
        assert sentence.endswith("."), sentence
    after = page.settle().state
    for kept in ("image", "images", "revision", "draft", "objects"):
        assert after[kept] == before[kept]


def test_replies_for_a_twelve_megapixel_photo_stay_small(
    new_browser: NewBrowser, server: Server, examples_dir: Path
) -> None:
    context = new_browser()
    without_model(context)  # it would have the server send no coarse masks
    page = LabellingPage(context.new_page(), server).open()
    page.page.add_init_script(KEEP_MESSAGES)
    page.page.reload()
    page.settle()
    photo = Image.open(examples_dir / "raccoon.jpg").resize((4000, 3000), Image.Resampling.LANCZOS)
    page.give_file("large.jpg", jpeg(photo), "image/jpeg", "choose")
    page.wait(f"() => {HOOK}.state().image?.file_name === 'large.jpg'").settle()
    sizes = []
    for x, y in ((1700.5, 1200.5), (2300.5, 1500.5), (900.5, 2100.5)):
        page.page.evaluate("() => { window.messages.length = 0; }")
        pixel = page.click(x, y)
        prompt = page.settle().prompts[-1]
        assert (prompt["x"], prompt["y"]) == pixel
        assert page.state["draft"]["mask"] is not None
        sizes += page.page.evaluate("() => window.messages.map((one) => new TextEncoder().encode(one).length)")
    assert len(sizes) >= 6, "a coarse and a refined answer for each click"
    print(f"replies for 12 megapixels: {len(sizes)}, largest {max(sizes)} bytes")
    assert max(sizes) <= MESSAGES_KB * 1000
