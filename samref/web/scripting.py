"""Named endpoints for scripts: masks without a page, through Gradio's queue and its API description.

They are off unless the setting ``api`` says otherwise. Gradio makes the API page, an OpenAPI schema and (on a Space) a
text for agents from the docstrings and types here, so what those show is what there is. A script has no workspace:
nothing of it is kept but the files it exchanges, which go after minutes, and clicks of people go first.

No ``from __future__ import annotations``: Gradio reads the types as they are.
"""

import asyncio
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import gradio as gr
from gradio.data_classes import FileData
from gradio.events import api
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import TypedDict

from samref.core.images import DecodedImage, decode_image, encode_png
from samref.core.prompts import MAX_POINTS, MAX_PROMPTS, Prompts
from samref.errors import ImageError, PromptError, SamrefError
from samref.inference.predictor import Prediction, prompts_from
from samref.web.guard import Opening
from samref.web.protocol import UNEXPECTED, Coordinate
from samref.web.server import Server

KEPT_S = 300.0
"""Files that a script sent, and masks that it may fetch, are removed after so long."""

KEPT_BYTES = 1024 * 2**20
KEPT_FILES = 1_000
"""Of all scripts together; more are asked to come again."""

AT_ONCE = 2
"""Requests for a mask that are worked on at the same time; the others wait in Gradio's queue."""

REQUEST_BYTES = 2 * 2**20
"""Longest request but for the image: as for the page."""

_MULTIPART_BYTES = 64 * 1024
"""What a form says around the file in it."""

_MASKS = "masks"

_log = logging.getLogger(__name__)

_DECODING = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="samref-script")


T = TypeVar("T")


class ModelLine(TypedDict):
    """A model as scripts are told of it."""

    name: str
    title: str
    ready: bool
    note: str


class CocoRle(TypedDict):
    """COCO's compressed run lengths."""

    size: list[int]
    counts: str


class Answer(TypedDict):
    """A mask as an annotation of COCO, and where it comes from."""

    segmentation: CocoRle
    bbox: list[int]
    area: int
    score: float
    model: str
    seconds: float


_Point = tuple[Coordinate, Coordinate]
_Points = Annotated[list[_Point], Field(max_length=MAX_POINTS)]


class _Said(BaseModel):
    """What a script says about the object, checked in form."""

    model_config = ConfigDict(frozen=True)

    clicks: Annotated[list[_Point | tuple[Coordinate, Coordinate, bool]], Field(max_length=MAX_PROMPTS)]
    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate] | None
    scribbles: Annotated[list[_Points], Field(max_length=MAX_PROMPTS)]
    polygons: Annotated[list[_Points], Field(max_length=MAX_PROMPTS)]


_WANTED = {
    "clicks": "a list of [x, y], or [x, y, false] for what is not part of the object",
    "box": "[x0, y0, x1, y1]",
    "scribbles": "a list of strokes, each a list of [x, y]",
    "polygons": "a list of outlines, each a list of [x, y]",
}


class Scripting:
    """The endpoints over a server, and the folder that files of scripts pass through."""

    def __init__(self, server: Server) -> None:
        """Make the folder, for this user only."""
        self._server = server
        self.folder = Path(tempfile.mkdtemp(prefix="samref-scripts-")).resolve()
        (self.folder / _MASKS).mkdir()

    @property
    def openings(self) -> tuple[Opening, ...]:
        """The addresses of Gradio's that scripts need. Of the files only masks can be read, whose names are secret."""
        upload_bytes = self._server.limits.upload_bytes + _MULTIPART_BYTES
        return (
            Opening("GET", "/config"),
            Opening("GET", "/gradio_api/info"),
            Opening("GET", "/gradio_api/openapi.json"),
            Opening("POST", "/gradio_api/upload", upload_bytes, self._fullness),
            Opening("POST", "/gradio_api/queue/join", REQUEST_BYTES),
            Opening("GET", "/gradio_api/queue/data"),
            Opening("POST", "/gradio_api/call/", REQUEST_BYTES),
            Opening("GET", "/gradio_api/call/"),
            Opening("GET", f"/gradio_api/file={self.folder / _MASKS}/"),
        )

    def add_to(self, page: gr.Blocks) -> None:
        """Add the endpoints to a page whose context is open."""
        api(self.models, api_name="models", concurrency_limit=None)
        api(self.segment, api_name="segment", concurrency_limit=AT_ONCE)
        for block in page.fns[max(page.fns)].inputs:
            vars(block)["async_move_resource_to_block_cache"] = _as_it_lies

    async def models(self) -> list[ModelLine]:
        """The models of this server; those that are ready can be given to /segment, the first is its default.

        Returns:
            List of name, title, ready, and a note: what to know of the model, or why it is not ready.
        """
        return [ModelLine(name=m.name, title=m.title, ready=m.ready, note=m.note) for m in self._server.models]

    async def segment(
        self,
        image: FileData,
        clicks: list[list[float]] | None = None,
        box: list[float] | None = None,
        scribbles: list[list[list[float]]] | None = None,
        polygons: list[list[list[float]]] | None = None,
        model: str | None = None,
    ) -> tuple[FileData, Answer]:
        """The mask of one object in an image: say where it is by clicks, a box, scribbles or polygons.

        Coordinates are pixels of the upright image, x to the right, y down. All prompts are about the same object. The
        image is removed within minutes; nothing of it is kept. People who click on the page go first.

        Parameters:
            image: the image file, uploaded (in Python: handle_file("photo.jpg")); JPEG, PNG, WebP and others.
            clicks: list of [x, y], or [x, y, 0] for a place that is not part of the object.
            box: [x0, y0, x1, y1] around the object.
            scribbles: list of strokes on the object, each a list of [x, y].
            polygons: list of rough outlines of the object, each a list of [x, y].
            model: name of a model of /models; the first of them unless given.

        Returns:
            The mask as a PNG of the image's size, 255 where the object is; fetch it within five minutes.
            The mask as COCO run lengths (segmentation), its bbox [x, y, width, height], area, score, model, seconds.
        """
        try:
            prompts = _prompts_said(clicks, box, scribbles, polygons)
            if model is not None and not isinstance(model, str):
                raise PromptError("The model is said by its name; /models lists those there are.")
            decoded = await _in_thread(partial(self._decoded, image))
            final = await self._server.segment(decoded, model or "", prompts)
            path = await _in_thread(partial(self._written, final))
        except SamrefError as error:
            raise gr.Error(str(error), print_exception=False) from error
        except Exception as error:
            _log.exception("A request of a script failed")
            raise gr.Error(UNEXPECTED, print_exception=False) from error
        chosen = model or self._server.model
        return FileData(path=str(path), orig_name="mask.png", mime_type="image/png"), _answer(final, chosen)

    def sweep(self) -> None:
        """Remove files, and folders without any, that nobody touched for :data:`KEPT_S`."""
        before = time.time() - KEPT_S
        for path, status in self._files():
            if status.st_mtime < before:
                path.unlink(missing_ok=True)
        for folder in (*self.folder.iterdir(), *(self.folder / _MASKS).iterdir()):
            with suppress(OSError):  # it is not empty, or no folder
                if folder.name != _MASKS and folder.stat().st_mtime < before:
                    folder.rmdir()

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """All files; what goes meanwhile is left out."""
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with suppress(FileNotFoundError):
                    path = Path(folder, name)
                    yield path, path.stat()

    def _fullness(self) -> str | None:
        """A sentence when there are too many files."""
        total = 0
        for number, (_, status) in enumerate(self._files(), start=1):
            total += status.st_size
            if number >= KEPT_FILES or total >= KEPT_BYTES:
                return "Scripts have sent more images than this server holds at once. Try again in five minutes."
        return None

    def _decoded(self, said: Any) -> DecodedImage:
        """The image that a script uploaded, as the request names it; nothing else on this machine is read."""
        named = said.get("path") if isinstance(said, Mapping) else None
        if not isinstance(named, str):
            raise ImageError('The image has to be uploaded first; in Python, give handle_file("photo.jpg").')
        try:
            path = Path(named).resolve()
            is_upload = path.is_relative_to(self.folder) and not path.is_relative_to(self.folder / _MASKS)
            data = path.read_bytes() if is_upload else b""
        except (OSError, ValueError):
            data = b""
        if not data:
            raise ImageError("The uploaded image is not here (any more), or it is empty. Upload it again.")
        return decode_image(data, max_pixels=self._server.limits.pixels)

    def _written(self, final: Prediction) -> Path:
        """The mask as a file under a name that nobody can guess."""
        path = self.folder / _MASKS / secrets.token_urlsafe(24) / "mask.png"
        path.parent.mkdir()
        path.write_bytes(encode_png(final.mask.to_mask().view("uint8") * 255))
        return path


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_DECODING, work)


def _answer(final: Prediction, model: str) -> Answer:
    mask = final.mask
    return Answer(
        segmentation=CocoRle(size=[mask.height, mask.width], counts=mask.counts),
        bbox=[int(side) for side in final.window.box_xywh],
        area=mask.area,
        score=round(final.score, 4),
        model=model,
        seconds=round(final.seconds, 4),
    )


def _prompts_said(clicks: Any, box: Any, scribbles: Any, polygons: Any) -> Prompts:
    """What a script says about the object.

    Raises:
        PromptError: with the form that is wanted.
    """
    try:
        said = _Said(clicks=clicks or [], box=box, scribbles=scribbles or [], polygons=polygons or [])
    except ValidationError as error:
        name = str(error.errors(include_url=False)[0]["loc"][0])
        raise PromptError(f"The {name} could not be read: {_WANTED[name]} is wanted, in pixels.") from error
    prompts = prompts_from(said.clicks, said.box, scribbles=said.scribbles, polygons=said.polygons)
    if prompts.is_empty():
        raise PromptError("Say where the object is: give at least one click, box, scribble or polygon.")
    return prompts


async def _as_it_lies(path: str) -> str:
    """Takes the place of Gradio's own, which would fetch an address from elsewhere."""
    if "://" in path:
        raise gr.Error(
            "This server fetches no addresses. Download the image and upload the file.", print_exception=False
        )
    return path
