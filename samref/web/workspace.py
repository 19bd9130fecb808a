"""Workspaces: what one browser holds. Everything lasting is in the store; open images are kept ready in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage, decode_image, decode_stored_image
from samref.core.prompts import MAX_POINTS, MAX_PROMPTS
from samref.errors import ImageError, ModelError, SessionError, UnknownModelError
from samref.labels.events import AnnotationsImported
from samref.labels.formats import Export, build_export
from samref.labels.formats.coco import CocoImport, import_coco
from samref.labels.queries import ImageSummary
from samref.labels.store import ProjectStore
from samref.web.examples import Examples
from samref.web.open_image import OpenImage, OpenImages

__all__ = ["ModelEntry", "UnknownWorkspaceError", "Workspace", "Workspaces", "image_to_wire"]

_IMPORTING = ThreadPoolExecutor(1, thread_name_prefix="samref-import")
"""One import at a time on this server, and none in a thread that a click may need; others wait for their turn."""

_EXPORTING = ThreadPoolExecutor(2, thread_name_prefix="samref-export")
"""The same for exports, of which a large one takes half a gigabyte."""


class UnknownWorkspaceError(SessionError):
    """No workspace has that token."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A line of the model picker."""

    name: str
    title: str
    ready: bool
    note: str = ""


class Workspaces:
    """All workspaces of this server, found by their tokens."""

    def __init__(
        self,
        store: ProjectStore,
        open_images: OpenImages,
        examples: Examples,
        *,
        models: Callable[[], Sequence[ModelEntry]],
        keeping: Callable[[], Mapping[str, Any]],
        version: str,
        upload_bytes: int,
        pixels: int,
    ) -> None:
        """Bring the parts together.

        Args:
            store: everything lasting.
            open_images: the images in memory.
            examples: the bundled images.
            models: what the model picker shows, asked anew each time (weights may be fetched meanwhile).
            keeping: what the page says about how work is kept (see docs/protocol.md), asked anew each time.
            version: of samref.
            upload_bytes: largest file.
            pixels: largest image.
        """
        self.store = store
        self.open_images = open_images
        self.pixels = pixels
        self._examples = examples
        self._models = models
        self._keeping = keeping
        self._version = version
        self._upload_bytes = upload_bytes

    def find(self, token: str | None) -> Workspace:
        """The workspace that ``token`` opens.

        Raises:
            UnknownWorkspaceError: none has that token.
        """
        workspace_id = None if token is None else self.store.find_workspace(token)
        if token is None or workspace_id is None:
            raise UnknownWorkspaceError(
                "This server does not know your workspace: it was a demo's and has expired, nothing was ever done in "
                "it, or the server keeps its data elsewhere now. Start anew to go on; the key stays under 'Your work'."
            )
        return Workspace(workspace_id, token, self)

    def find_or_create(self, token: str | None) -> Workspace:
        """The workspace that ``token`` opens, or a new one when there is no token.

        Raises:
            UnknownWorkspaceError: none has that token.
            StorageError: a new one cannot be written.
        """
        if token is not None:
            return self.find(token)
        made = self.store.create_workspace()
        return Workspace(made.id, made.token, self)

    def usable_model(self, name: str) -> str:
        """``name``, when the model picker offers it.

        Raises:
            UnknownModelError: there is no such model.
            ModelError: its weights are not here.
        """
        for entry in self._models():
            if entry.name == name:
                if not entry.ready:
                    raise ModelError(entry.note or f"The model {name} cannot be used on this machine yet.")
                return name
        raise UnknownModelError(f"There is no model {name[:80]!r}. Choose one of the list.")

    def furniture(self) -> dict[str, Any]:
        """What is the same for all workspaces, as the page is told."""
        return {
            "examples": [example.to_wire() for example in self._examples],
            "models": [
                {"name": entry.name, "title": entry.title, "ready": entry.ready, "note": entry.note}
                for entry in self._models()
            ],
            "limits": {
                "upload_bytes": self._upload_bytes,
                "pixels": self.pixels,
                "prompts": MAX_PROMPTS,
                "points": MAX_POINTS,
            },
            "keeping": dict(self._keeping()),
            "version": self._version,
        }


@dataclass(frozen=True, slots=True)
class Workspace:
    """One workspace in the hands of whoever has its token. Its methods may block; call them in a thread."""

    id: int
    token: str
    _all: Workspaces

    def to_wire(self, known: int) -> dict[str, Any] | None:
        """The workspace as the page is told; None when nothing changed since revision ``known``."""
        revision = self._all.store.workspace_revision(self.id)
        if revision <= known:
            return None
        return {
            "token": self.token,
            "revision": revision,
            "classes": [{"id": c.id, "name": c.name, "colour": c.colour} for c in self._all.store.classes(self.id)],
            "images": [image_to_wire(image) for image in self._all.store.images(self.id)],
            **self._all.furniture(),
        }

    # ---- images

    def add_image(self, data: bytes, file_name: str) -> ImageSummary:
        """Put an image into the workspace; it is checked and decoded first.

        Raises:
            ImageError: it cannot be used.
            StorageError: there is no room for it.
        """
        size = decode_image(data, max_pixels=self._all.pixels).size
        digest = self._all.store.add_image(self.id, data, file_name, size)
        return self.image(digest)

    def image(self, digest: str) -> ImageSummary:
        """An image of this workspace.

        Raises:
            ImageError: the workspace does not hold it.
        """
        for image in self._all.store.images(self.id):
            if image.digest == digest:
                return image
        raise ImageError("This workspace does not hold that image. Open it again from its file.")

    def decode(self, digest: str) -> DecodedImage:
        """The pixels of an image of this workspace.

        Raises:
            ImageError: the workspace does not hold it.
        """
        self.image(digest)
        return decode_stored_image(self._all.store.image_bytes(self.id, digest))

    async def open(self, digest: str) -> OpenImage:
        """An image ready to be worked on: from memory, or rebuilt from its log.

        Raises:
            ImageError: the workspace does not hold it.
        """
        return await self._all.open_images.open(self.id, digest, lambda: self.decode(digest))

    def prefetch(self, digest: str) -> None:
        """Have an image encoded while nothing else is to do.

        Raises:
            ImageError: the workspace does not hold it.
        """
        self.image(digest)
        self._all.open_images.prefetch(digest, lambda: self.decode(digest))

    # ---- classes

    def add_class(self, name: str, colour: str | None) -> None:
        """Add a class.

        Raises:
            LabelError: the name or colour cannot be used.
        """
        self._all.store.add_class(self.id, name, colour)

    def change_class(self, class_id: int, name: str | None, colour: str | None) -> None:
        """Give a class another name or colour.

        Raises:
            LabelError: there is no such class, or the name or colour cannot be used.
        """
        self._all.store.change_class(self.id, class_id, name=name, colour=colour)

    def remove_class(self, class_id: int) -> None:
        """Remove a class.

        Raises:
            LabelError: there is no such class, or it is used.
        """
        self._all.store.remove_class(self.id, class_id)

    # ---- labels in and out

    async def export(self, kind: str, digest: str | None) -> Export:
        """The labels of all images, or of one, as a file.

        Raises:
            LabelError: there is no such format.
            ImageError: the workspace does not hold that image.
        """
        return await asyncio.get_running_loop().run_in_executor(_EXPORTING, self._export, kind, digest)

    def _export(self, kind: str, digest: str | None) -> Export:
        if digest is not None:
            self.image(digest)
        return build_export(self._all.store.project(self.id, None if digest is None else {digest}), kind)

    async def import_coco(self, data: bytes) -> CocoImport:
        """Add the annotations of a COCO file to the images it names; all of them or none.

        Raises:
            ImportFormatError: the file does not say what it should.
            StorageError: the disk is full or cannot be written.
        """
        found = await asyncio.get_running_loop().run_in_executor(_IMPORTING, self._import, data)
        for digest, items in found.annotations.items():
            await self._all.open_images.absorb(self.id, digest, AnnotationsImported(items))
        return found

    def _import(self, data: bytes) -> CocoImport:
        store = self._all.store
        found = import_coco(data, store.project(self.id))
        store.import_annotations(self.id, found.new_classes, found.annotations)
        return found


def image_to_wire(image: ImageSummary) -> dict[str, Any]:
    """A line of the list of images, as the page is told."""
    size: ImageSize = image.size
    return {
        "digest": image.digest,
        "file_name": image.file_name,
        "width": size.width,
        "height": size.height,
        "annotations": image.annotations,
    }
