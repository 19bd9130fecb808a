"""One tab as a person uses it: mouse, keys and fingers in; what the page knows and what is painted out.

Where things are on the screen is worked out here anew, from the element's place and the view's numbers, so that the
page's own arithmetic is checked and not repeated.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Locator, Page

from samref.core.masks import Mask
from samref.labels.events import Prompted
from tests.browser.server import Server

__all__ = ["LabellingPage", "Place"]

PATIENCE_MS = 90_000
"""For anything the server must answer: the machine may be busy with other things."""

HOOK = "document.querySelector('.samref-root')?.samref"

SETTLED = f"""() => {{
  const hook = {HOOK};
  if (!hook?.view) return false; // the work page comes after the start page
  const {{ inFlight, waiting }} = hook.stats().transport;
  return inFlight === null && waiting === 0 && ["empty", "ready", "done"].includes(hook.phase())
    && hook.state().uploading === 0;
}}"""

READ_STATE = f"""() => {{
  const state = {HOOK}.state();
  const plain = (mask) => mask && {{ ...mask, counts: Array.from(mask.counts) }};
  return {{
    phase: {HOOK}.phase(),
    image: state.image,
    revision: state.revision,
    draft: {{ ...state.draft, mask: plain(state.draft.mask), coarse: plain(state.draft.coarse) }},
    objects: state.annotations.list.map((one) => ({{ ...one, mask: plain(one.mask) }})),
    classId: state.classId,
    classes: state.workspace?.classes ?? [],
    images: state.workspace?.images ?? [],
    tool: state.tool,
    offline: state.offline,
    requests: {HOOK}.stats().transport.seq,
  }};
}}"""

READ_PLACE = f"""() => {{
  const canvas = document.querySelector(".samref-overlay");
  const {{ left, top, width, height }} = canvas.getBoundingClientRect();
  const {{ scale, offsetX, offsetY }} = {HOOK}.view();
  return {{ left, top, width, height, dotsWide: canvas.width, dotsHigh: canvas.height,
    ratio: devicePixelRatio, scale, offsetX, offsetY }};
}}"""

READ_OVERLAY = """() => {
  const canvas = document.querySelector(".samref-overlay");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let text = "";
  for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
  return { width: canvas.width, height: canvas.height, data: btoa(text) };
}"""

READ_BOXES = """(selector) => [...document.querySelectorAll(selector)]
  .map((one) => one.getBoundingClientRect())
  .map(({ left, top, width, height }) => [left, top, width, height])"""

FRAMES = """(count) => new Promise((done) => {
  const next = () => (count-- > 0 ? requestAnimationFrame(next) : setTimeout(done));
  next();
})"""

DROP_FILE = """(element, { name, type, data, how }) => {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name, { type }));
  if (how === "paste") {
    document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: carried, bubbles: true, cancelable: true }));
    return;
  }
  for (const kind of ["dragenter", "dragover", "drop"]) {
    element.dispatchEvent(new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
  }
}"""


@dataclass(frozen=True)
class Place:
    """Where the image is on the screen.

    ``left`` to ``height`` in CSS pixels, ``dotsWide`` and ``dotsHigh`` of the canvas, ``ratio`` display dots per CSS
    pixel, ``scale`` dots per image pixel, ``offset*`` the image's corner in dots from the canvas' corner.
    """

    left: float
    top: float
    width: float
    height: float
    dotsWide: int  # noqa: N815 - as the page calls it
    dotsHigh: int  # noqa: N815
    ratio: float
    scale: float
    offsetX: float  # noqa: N815
    offsetY: float  # noqa: N815

    def pixel_at(self, x: float, y: float) -> tuple[int, int]:
        """The image pixel shown by the display dot at a position of the window."""
        return self.pixel_of_dot(
            math.floor(x * self.ratio + 1e-6) - round(self.left * self.ratio),
            math.floor(y * self.ratio + 1e-6) - round(self.top * self.ratio),
        )

    def pixel_of_dot(self, column: int, row: int) -> tuple[int, int]:
        """The image pixel under the middle of a canvas dot."""
        return (
            math.floor((column + 0.5 - self.offsetX) / self.scale),
            math.floor((row + 0.5 - self.offsetY) / self.scale),
        )

    def window_at(self, x: float, y: float) -> tuple[float, float]:
        """The window position of a continuous position in the image."""
        return (
            (x * self.scale + self.offsetX + round(self.left * self.ratio)) / self.ratio,
            (y * self.scale + self.offsetY + round(self.top * self.ratio)) / self.ratio,
        )

    def on_dots(self, mask: Mask) -> NDArray[np.bool_]:
        """A mask as the canvas must show it: each dot has the mask's value under its middle."""
        columns, rows = (np.floor(along).astype(int) for along in self._middles())
        height, width = mask.shape
        inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None, :]
        shown: NDArray[np.bool_] = inside & mask[np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)]
        return shown

    @property
    def decided(self) -> NDArray[np.bool_]:
        """Dots whose middle does not lie exactly on the border of two pixels, where either is right."""
        columns, rows = (np.abs(along - np.round(along)) > 1e-3 for along in self._middles())
        clear: NDArray[np.bool_] = rows[:, None] & columns[None, :]
        return clear

    def _middles(self) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """Image positions of the middles of the canvas' columns and rows of dots."""
        columns: NDArray[np.floating[Any]] = (np.arange(self.dotsWide) + 0.5 - self.offsetX) / self.scale
        rows: NDArray[np.floating[Any]] = (np.arange(self.dotsHigh) + 0.5 - self.offsetY) / self.scale
        return columns, rows


def _bitmap(wire: dict[str, Any] | None, image: dict[str, Any]) -> Mask:
    """The page's decoded mask in the image's frame; it must be exact, not a preview."""
    mask: Mask = np.zeros((image["height"], image["width"]), dtype=np.bool_)
    if wire is None or wire["width"] == 0:
        return mask
    assert wire["scale"] == 1, "a preview cannot be compared pixel for pixel"
    values = np.repeat(np.arange(len(wire["counts"])) % 2 == 1, wire["counts"])
    crop = values.reshape(wire["columns"], wire["rows"]).T
    mask[wire["y"] : wire["y"] + wire["height"], wire["x"] : wire["x"] + wire["width"]] = crop
    return mask


class LabellingPage:
    """A tab with samref in it."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.server = server
        page.set_default_timeout(PATIENCE_MS)

    # ---- getting there

    def open(self) -> LabellingPage:
        """Load the page and wait until it has said hello."""
        self.page.goto(self.server.url, wait_until="domcontentloaded")
        return self.settle()

    def open_example(self, name: str) -> LabellingPage:
        """Open a bundled image from the start screen and wait until it is encoded."""
        self.start.get_by_title(name, exact=True).click()
        self.wait(f"() => {HOOK}?.state().image?.file_name?.startsWith('{name}')")
        return self.settle()

    def settle(self) -> LabellingPage:
        """Wait until everything that was asked has been answered to the end."""
        return self.wait(SETTLED)

    def wait(self, condition: str, argument: Any = None) -> LabellingPage:
        """Wait until a JavaScript function says true."""
        try:
            self.page.wait_for_function(condition, arg=argument, polling=50, timeout=PATIENCE_MS)
        except Exception:
            print("the page was at:", self.page.evaluate(f"() => {HOOK} && [{HOOK}.phase(), {HOOK}.stats()]"))
            raise
        return self

    # ---- looking

    @property
    def state(self) -> dict[str, Any]:
        """What the page knows."""
        state: dict[str, Any] = self.page.evaluate(READ_STATE)
        return state

    @property
    def place(self) -> Place:
        """Where the image is shown."""
        return Place(**self.page.evaluate(READ_PLACE))

    @property
    def prompts(self) -> list[dict[str, Any]]:
        """What the draft holds."""
        prompts: list[dict[str, Any]] = self.state["draft"]["prompts"]
        return prompts

    @property
    def mask(self) -> Mask:
        """The draft's mask, as the page decoded it."""
        state = self.state
        return _bitmap(state["draft"]["mask"], state["image"])

    @property
    def coarse_mask(self) -> Mask:
        """The draft's coarse mask, as the page decoded it."""
        state = self.state
        return _bitmap(state["draft"]["coarse"], state["image"])

    @property
    def object_masks(self) -> list[Mask]:
        """The accepted objects' masks, as the page decoded them."""
        state = self.state
        return [_bitmap(one["mask"], state["image"]) for one in state["objects"]]

    @property
    def token(self) -> str:
        """The key of this browser's workspace."""
        token: str = self.page.evaluate("() => localStorage.getItem('samref.token')")
        return token

    @property
    def bases(self) -> list[int]:
        """For each prompt ever given on the open image, by the log on the disk: which one's memory it starts from."""
        log = self.server.events(self.token, self.state["image"]["digest"])
        return [event.basis or 0 for event in log if isinstance(event, Prompted)]

    @property
    def overlay(self) -> NDArray[np.uint8]:
        """What is painted over the photo: RGBA of every canvas dot, after the next frame."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        read = self.page.evaluate(READ_OVERLAY)
        dots = np.frombuffer(base64.b64decode(read["data"]), dtype=np.uint8)
        return dots.reshape(read["height"], read["width"], 4)

    def screen(self) -> NDArray[np.uint8]:
        """What the person sees of the canvas: RGB of every display dot."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        place = self.place
        image = Image.open(io.BytesIO(self.page.screenshot(scale="device"))).convert("RGB")
        left, top = round(place.left * place.ratio), round(place.top * place.ratio)
        dots: NDArray[np.uint8] = np.asarray(image)[top : top + place.dotsHigh, left : left + place.dotsWide]
        return dots

    def boxes(self, selector: str) -> list[tuple[float, float, float, float]]:
        """Left, top, width and height in the window of what matches at this moment, all read at once."""
        return [(box[0], box[1], box[2], box[3]) for box in self.page.evaluate(READ_BOXES, selector)]

    def let_frames_pass(self, count: int) -> LabellingPage:
        """Wait until the page has made so many frames, however long that takes."""
        self.page.evaluate(FRAMES, count)
        return self

    def close_messages(self) -> LabellingPage:
        """Close all messages, such as tips, which would otherwise leave by themselves at a moment of their own."""
        self.page.evaluate("() => document.querySelectorAll('.samref-toast').forEach((one) => one.remove())")
        return self

    # ---- pointing

    def click(self, x: float, y: float, button: str = "left", modifiers: str | None = None) -> tuple[int, int]:
        """Click on a continuous position in the image; gives the pixel under the mouse."""
        left, top = self.place.window_at(x, y)
        if modifiers:
            self.page.keyboard.down(modifiers)
        self.page.mouse.click(left, top, button="right" if button == "right" else "left")
        if modifiers:
            self.page.keyboard.up(modifiers)
        return self.place.pixel_at(left, top)

    def drag(self, *points: tuple[float, float]) -> None:
        """Press at the first position in the image, move over the others, let go at the last."""
        ways = [self.place.window_at(*point) for point in points]
        self.page.mouse.move(*ways[0])
        self.page.mouse.down()
        for way in ways[1:]:
            self.page.mouse.move(*way, steps=4)
        self.page.mouse.up()

    def zoom_to(self, percent: float, x: float, y: float) -> None:
        """Turn the wheel over a position in the image until the zoom is at least so large."""
        for _ in range(60):
            place = self.place
            if place.scale / place.ratio * 100 >= percent:
                return
            self.page.mouse.move(*place.window_at(x, y))
            self.page.mouse.wheel(0, -100)
            self.wait(f"(before) => {HOOK}.view().scale !== before", place.scale)
        raise AssertionError("the wheel does not zoom")

    def pan(self, dx: float, dy: float) -> None:
        """Drag the image with the middle button."""
        place = self.place
        x, y = place.left + place.width / 2, place.top + place.height / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down(button="middle")
        self.page.mouse.move(x + dx, y + dy, steps=5)
        self.page.mouse.up(button="middle")

    def press(self, key: str) -> LabellingPage:
        """Press a key."""
        self.page.keyboard.press(key)
        return self

    # ---- the parts of the page

    @property
    def start(self) -> Locator:
        """The start screen."""
        return self.page.locator(".samref-start")

    @property
    def objects(self) -> Locator:
        """The list of objects."""
        return self.page.locator(".samref-objects")

    @property
    def error(self) -> Locator:
        """The newest message about something that went wrong."""
        return self.page.locator(".samref-toast-error").last

    def give_file(self, name: str, data: bytes, kind: str, how: str) -> None:
        """Hand a file to the page: "choose", "drop" or "paste"."""
        if how == "choose":
            chooser = self.start.locator("input[type=file]").first
            chooser.set_input_files({"name": name, "mimeType": kind, "buffer": data})
            return
        carried = {"name": name, "type": kind, "data": base64.b64encode(data).decode(), "how": how}
        self.page.locator(".samref-stage").evaluate(DROP_FILE, carried)

    @property
    def exporting(self) -> Locator:
        """The dialog for labels out and in."""
        return self.page.locator(".samref-export")

    def open_export(self) -> Locator:
        """Open that dialog, if it is not open."""
        if not self.exporting.is_visible():
            self.page.get_by_role("button", name="Export labels, or import them").click()
            self.exporting.wait_for()
        return self.exporting

    def download(self, name: str, shape: str | None = None, scope: str | None = None) -> bytes:
        """Export by the dialog, which is closed then; gives the file.

        Args:
            name: of the format, as it is called there.
            shape: one of the masks there may be, by its value.
            scope: "This image" or "All images".
        """
        dialog = self.open_export()
        if scope is not None:
            dialog.locator("label", has_text=scope).click()
        dialog.locator(".samref-export-formats label", has=self.page.get_by_text(name, exact=True)).click()
        if shape is not None:
            dialog.get_by_label("Masks as").select_option(shape)
        with self.page.expect_download() as started:
            dialog.get_by_role("button", name="Download").click()
        data = started.value.path().read_bytes()
        dialog.get_by_role("button", name="Close").click()
        return data

    def in_one_task(self, act: Callable[[], object]) -> None:
        """Do something and wait until its requests are answered."""
        before = self.state["requests"]
        act()
        self.wait(f"(before) => {HOOK}.stats().transport.seq > before", before)
        self.settle()
