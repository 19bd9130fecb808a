"""Has a GPU that is lent for seconds prepare the image a page has open; the CPU does where that fails.

The GPU is lent to a visitor, and who that is travels with events of Gradio's queue alone. So the page itself asks for
it there, once for each image, when an answer tells it to (``gpu``); clicks stay with our own routes. Whatever comes of
it, the page is told: nothing falls back in silence.
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import gradio as gr
from gradio.events import api
from typing_extensions import TypedDict

from samref.core.images import DecodedImage
from samref.errors import RequestError, SamrefError
from samref.inference.engine import LocalEngine
from samref.inference.predictor import Embedding, Predictor
from samref.web.guard import Opening
from samref.web.server import Server

REQUEST_BYTES = 4 * 1024
AT_ONCE = 4
"""Images that are on their way to a GPU at the same time."""

MOST_PIXELS = 25_000_000
"""Larger images take longer to travel than a CPU's encoder takes longer."""

_THE_CPU = "The CPU prepares this image instead: that takes longer, and clicks are as quick as ever."

SENTENCES = {
    "ZeroGPU quota exceeded": "The GPU time that Hugging Face lends you is used up for now.",
    "ZeroGPU pending credits exceeded": "The GPU time that Hugging Face lends you is used up for now.",
    "ZeroGPU illegal duration": "Hugging Face lends no GPU for as long as this model needs.",
    "ZeroGPU queue timeout": "No GPU of Hugging Face became free in time.",
    "ZeroGPU client error": "No GPU of Hugging Face became free in time.",
    "ZeroGPU worker error": "The GPU of Hugging Face stopped before it was done.",
}
"""What is said, by the title of the error of the package ``spaces``."""

_OTHER = "The GPU of Hugging Face could not be used."
_TOO_LARGE = "This image is too large to be sent to the GPU of Hugging Face."

_log = logging.getLogger(__name__)


class LentGpu(Protocol):
    """A GPU that others own."""

    def is_for(self, model: str) -> bool:
        """Whether it makes that model's embeddings."""
        ...

    def encode(self, predictor: Predictor, image: DecodedImage) -> Embedding:
        """An embedding, made there; blocks. A ``gradio.Error`` says by its title why there is none."""
        ...


class Told(TypedDict):
    """What the page is told: whether the GPU did it, and a sentence where it did not."""

    done: bool
    message: str


class Lending:
    """The event through which pages have their images prepared."""

    server: Server
    """Set once it is there: it is told about this."""

    def __init__(self, engine: LocalEngine, gpu: LentGpu) -> None:
        self._engine = engine
        self._gpu = gpu
        self._function = -1

    @property
    def openings(self) -> tuple[Opening, ...]:
        """The addresses of Gradio's that the page needs for it."""
        return (
            Opening("POST", "/gradio_api/queue/join", REQUEST_BYTES),
            Opening("GET", "/gradio_api/queue/data"),
        )

    def add_to(self, page: gr.Blocks) -> None:
        """Add the event to a page whose context is open; it stands in no description."""
        api(self.prepare, api_name="prepare", api_visibility="private", concurrency_limit=AT_ONCE)
        self._function = max(page.fns)

    def to_wire(self, digest: str, model: str) -> Mapping[str, Any] | None:
        """What a page needs to ask for an embedding that is waited for; None where none is."""
        if not self._engine.is_wanted_from_elsewhere(digest, model):
            return None
        return {"image": digest, "model": model, "function": self._function}

    async def prepare(self, token: str, digest: str, model: str) -> Told:
        """Have the GPU encode an image of a workspace, if somebody waits for that."""
        if not all(isinstance(said, str) for said in (token, digest, model)):
            raise gr.Error(str(RequestError("The request could not be read.")), print_exception=False)
        try:
            workspace_id, _ = await asyncio.to_thread(self.server.image, token, digest)
        except SamrefError as error:
            raise gr.Error(str(error), print_exception=False) from error
        if not self._engine.begin_elsewhere(digest, model):
            return Told(done=False, message="")  # another tab asks already, or the CPU is at it
        try:
            fault = await self._made(workspace_id, digest, model)
        finally:
            self._engine.end_elsewhere(digest, model)
        return Told(done=not fault, message=f"{fault} {_THE_CPU}" if fault else "")

    async def _made(self, workspace_id: int, digest: str, model: str) -> str:
        """Make the embedding and keep it; a sentence where that failed."""
        try:
            predictor = await asyncio.to_thread(self._engine.predictor, model)
            image = await asyncio.to_thread(self.server.decode, workspace_id, digest)
            if image.size.pixels > MOST_PIXELS:
                return _TOO_LARGE
            # The thread has this event's context, in which ``spaces`` finds the visitor.
            embedding = await asyncio.to_thread(partial(self._gpu.encode, predictor, image))
        except gr.Error as error:
            _log.info("No GPU for an image: %s: %s", error.title, error.message)
            return SENTENCES.get(error.title, _OTHER)
        except SamrefError as error:
            return str(error)
        except Exception:  # noqa: BLE001 - the last line of defence: logged with its traceback, told to the page
            _log.exception("The GPU that is lent failed")
            return _OTHER
        self._engine.put_embedding(embedding)
        return ""
