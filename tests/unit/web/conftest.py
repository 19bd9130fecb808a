"""The parts of the page's server with the seeded random model: small, real, nothing downloaded."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samref.inference.device import load_predictor
from samref.inference.engine import LocalEngine
from samref.inference.predictor import Predictor
from samref.labels.store import ProjectStore
from samref.web import server as web
from samref.web.examples import list_examples
from samref.web.server import Limits, ModelEntry, Surroundings

MODELS = (
    ModelEntry("tiny-random", "Random", ready=True),
    ModelEntry("sam-vit-h", "SAM ViT-H", ready=False, note="Not on this machine yet."),
)


def png(seed: int = 0, width: int = 96, height: int = 72) -> bytes:
    """An image with something to see in it."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    disk = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (height / 4) ** 2
    rgb = np.where(disk[..., None], (200, 80, 40), (40, 90, 160)) + generator.integers(0, 20, (height, width, 3))
    buffer = io.BytesIO()
    Image.fromarray(rgb.astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


@dataclass(slots=True)
class Server:
    """One life of the server over a data folder."""

    folder: Path
    examples_folder: Path
    predictor: Predictor
    limits: Limits = field(default_factory=lambda: Limits(upload_bytes=200_000, pixels=1_000_000, sessions=8))
    store: ProjectStore = field(init=False)
    engine: LocalEngine = field(init=False)
    verbs: web.Server = field(init=False)

    def __post_init__(self) -> None:
        self.store = ProjectStore(self.folder / "samref.sqlite")
        self.engine = LocalEngine(lambda _: self.predictor, "tiny-random")
        surroundings = Surroundings(
            models=lambda: MODELS,
            keeping=lambda: {"folder": None, "demo_days": 0, "read_only": None},
            version="0.0.0",
        )
        examples = list_examples(self.examples_folder)
        self.verbs = web.Server(self.store, self.engine, examples, surroundings, self.limits, model="tiny-random")

    def newcomer(self) -> str:
        """The token of a new workspace."""
        return self.store.create_workspace().token

    def add_image(self, token: str | None, data: bytes, name: str) -> str:
        """Put an image into a workspace; its digest."""
        return self.verbs.add_image(self.verbs.find(token), data, name).digest

    async def send(self, payload: Any) -> list[dict[str, Any]]:
        """All answers to a request."""
        return [json.loads(text) async for text in self.verbs.send(payload)]

    def close(self) -> None:
        self.engine.close()
        self.store.close()

    def restarted(self) -> Server:
        """Another life over the same folder, as after ``kill -9``: nothing in memory survives."""
        self.close()
        return Server(self.folder, self.examples_folder, self.predictor, self.limits)


@dataclass(slots=True)
class Page:
    """A page load as the server sees it: numbers its requests and remembers what it was told."""

    server: Server
    tab: str
    token: str | None = None
    image: str | None = None
    seq: int = 0
    revision: int = 0
    known_annotations: int = 0
    known_workspace: int = 0
    workspace: dict[str, Any] = field(default_factory=dict)
    view: dict[str, Any] = field(default_factory=dict)
    annotations: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def ask(self, verb: str, **arguments: Any) -> list[dict[str, Any]]:
        """Send one request and take in all answers."""
        answers = await self.server.send(self.request(verb, **arguments))
        for answer in answers:
            self.take(answer)
        return answers

    async def view_of(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """The final view of a request that must succeed."""
        answers = await self.ask(verb, **arguments)
        assert answers, f"{verb} was not answered"
        assert answers[-1]["kind"] == "view", answers[-1]
        assert answers[-1]["final"]
        assert isinstance(answers[-1]["view"], dict)
        return answers[-1]["view"]

    async def error_of(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """The error of a request that must be refused."""
        answers = await self.ask(verb, **arguments)
        assert answers[-1]["kind"] == "error", answers[-1]
        assert isinstance(answers[-1]["error"], dict)
        return answers[-1]["error"]

    def request(self, verb: str, **arguments: Any) -> dict[str, Any]:
        self.seq += 1
        known = {"annotations": self.known_annotations, "workspace": self.known_workspace}
        fields = {"v": 1, "seq": self.seq, "tab": self.tab, "token": self.token, "verb": verb, "image": self.image}
        return {**fields, "revision": self.revision, "known": known, **arguments}

    def take(self, answer: dict[str, Any]) -> None:
        if workspace := answer.get("workspace"):
            self.workspace, self.token = workspace, workspace["token"]
            self.known_workspace = workspace["revision"]
        if view := answer.get("view"):
            self.view, self.revision, self.image = view, view["revision"], view["image"]["digest"]
            if changes := view.get("annotations"):
                known = self.annotations | {entry["id"]: entry for entry in changes["changed"]}
                self.annotations = {identifier: known[identifier] for identifier in changes["order"]}
                self.known_annotations = changes["revision"]


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return load_predictor("tiny-random", device="cpu", precision="fp32")


@pytest.fixture
def server(tmp_path: Path, predictor: Predictor) -> Iterator[Server]:
    examples = tmp_path / "examples"
    examples.mkdir()
    (examples / "red_disk.png").write_bytes(png(7))
    (examples / "CREDITS.md").write_text("not an image", encoding="utf-8")
    started = Server(tmp_path / "data", examples, predictor)
    yield started
    started.close()
