"""What happens on ZeroGPU, told as JSON by a process of its own; see test_lending.py."""

import spaces  # first, as in app.py  # isort: skip

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import gradio as gr
import httpx
import numpy as np
import torch

from samref.core.images import decode_image
from samref.core.masks import Rle
from samref.core.prompts import Click, Prompts
from samref.errors import ModelError
from samref.inference import engine as engine_module
from samref.inference import zero_gpu
from samref.inference.device import choose_device, load_predictor
from samref.serve import build
from samref.settings import Settings
from samref.web.page import Page
from tests.unit.web.conftest import png

TOKEN_OF_VISITOR = "a visitor's"


class Visitor:
    """One page load, over HTTP."""

    def __init__(self, http: httpx.Client) -> None:
        self.http, self.seq = http, 0
        self.token = str(self.send("hello", token=None)[0]["workspace"]["token"])

    def send(self, verb: str, **more: Any) -> list[dict[str, Any]]:
        return list(self.answers(verb, **more))

    def answers(self, verb: str, **more: Any) -> Iterator[dict[str, Any]]:
        self.seq += 1
        said = {"v": 1, "seq": self.seq, "tab": "t", "verb": verb, "revision": 99, **more}
        said.setdefault("token", getattr(self, "token", None))
        with self.http.stream("POST", "samref/send", json=said) as response:
            for line in response.iter_lines():
                yield json.loads(line)

    def upload(self, seed: int) -> str:
        headers = {"X-Samref-Token": self.token, "X-Samref-Filename": f"{seed}.png"}
        return str(self.http.post("samref/images", headers=headers, content=png(seed)).json()["digest"])

    def ask_gpu(self, gpu: dict[str, Any], token: str | None = None) -> dict[str, Any]:
        """What static/gpu.js does."""
        session = f"s{time.monotonic_ns()}"
        body = {
            "data": [token or self.token, gpu["image"], gpu["model"]],
            "fn_index": gpu["function"],
            "session_hash": session,
        }
        headers = {"X-IP-Token": TOKEN_OF_VISITOR}
        self.http.post("gradio_api/queue/join", json=body, headers=headers).raise_for_status()
        with self.http.stream("GET", "gradio_api/queue/data", params={"session_hash": session}) as response:
            for line in response.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if message.get("msg") == "process_completed":
                    return dict(message["output"])
        raise AssertionError("the event did not end")

    def open(self, seed: int) -> dict[str, Any]:
        """Open a new image and do what the page does; gives what was told, and how the answers went."""
        digest = self.upload(seed)
        told, phases = None, []
        for answer in self.answers("open", image=digest):
            phases.append(answer["view"]["phase"])
            if told is None and "gpu" in answer:
                told = self.ask_gpu(answer["gpu"])
        return {"told": told and told.get("data", [None])[0], "phases": phases, "digest": digest}


@contextmanager
def served(folder: Path, port: int) -> Iterator[tuple[Page, httpx.Client]]:
    settings = Settings.from_environment(
        os.environ, host="127.0.0.1", model="sam-random", precision="fp32", data_folder=str(folder), port=str(port)
    )
    page = Page(build)
    page.launch(settings=settings, prevent_thread_lock=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            yield page, http
    finally:
        page.close(verbose=False)


def without_context() -> str:
    """The title of the error of a call that belongs to no event of the queue."""
    titles: list[str] = []

    def call() -> None:
        try:
            zero_gpu.encode_on_gpu("sam-random", np.zeros((8, 8, 3), np.uint8))
        except gr.Error as error:
            titles.append(error.title)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return titles[0]


def mask_of(answers: list[dict[str, Any]]) -> Any:
    mask = answers[-1]["view"]["draft"]["mask"]
    x, y, width, height = mask["box"]
    whole = np.zeros((72, 96), np.bool_)
    whole[y : y + height, x : x + width] = Rle.from_counts(height, width, mask["counts"]).to_mask()
    return whole


def story(folder: Path, port: int) -> dict[str, Any]:
    told: dict[str, Any] = {}
    engine_module.BRING_S = 60.0  # a busy machine is no reason to give up
    zero_gpu.DEVICE = "cpu"  # there is none in the forked process either
    gpu = mock.patch.object(zero_gpu.ZeroGpu, "is_for", lambda _, model: model == "sam-random")
    with gpu, served(folder, port) as (page, http):
        behind: Any = page._behind
        visitor = Visitor(http)
        told["report"] = list(behind.report())
        told["imitated"] = spaces.imitated[:]
        told["believed"] = torch.cuda.is_available()
        told["device"] = str(behind.engine.predictor("sam-random").device)
        told["chosen"] = choose_device("auto").type
        try:
            choose_device("cuda")
        except ModelError as error:
            told["refused"] = str(error)
        told["queue"] = page._queue.max_size
        told["description"] = http.get("gradio_api/info").status_code

        pool = behind.store.database._engine.pool
        spaces.look = lambda: behind.store.database._engine.pool.checkedin()  # noqa: PLW0108 - the pool of that process
        told["success"] = visitor.open(1)
        told["connections"] = {"child": spaces.seen[0], "here": behind.store.database._engine.pool is pool}
        spaces.look = None
        click = {"type": "click", "x": 48, "y": 36}
        by_gpu = mask_of(visitor.send("prompt", image=told["success"]["digest"], prompts=[click]))
        cpu = load_predictor("sam-random", precision="fp32")
        *_, here = cpu.predict(cpu.embed(decode_image(png(1))), Prompts((Click(48, 36),)))
        told["same"] = float((by_gpu == here.mask.to_mask()).mean())
        told["second"] = visitor.open(2)
        told["forks"], told["asked"], told["visitors"] = spaces.forks, spaces.asked_s[:], spaces.visitors[:]

        spaces.left_s = 5.0
        told["quota"] = visitor.open(3)
        spaces.left_s = 300.0
        spaces.no_gpu_becomes_free = True
        told["queue_timeout"] = visitor.open(4)
        spaces.no_gpu_becomes_free = False
        spaces.forget_workers()
        spaces.dies = True
        told["death"] = visitor.open(5)
        spaces.dies = False
        with mock.patch.object(zero_gpu, "_to_half", lambda tensor: tensor):
            told["tensor"] = visitor.open(6)
            spaces.forget_workers()
        told["no_context"] = without_context()
        digest = visitor.upload(7)
        foreign = {"image": digest, "model": "sam-random", "function": 0}
        told["foreign"] = visitor.ask_gpu(foreign, token="nobody's")["error"]
        with mock.patch.object(engine_module, "BRING_S", 0.3):
            told["nobody_asks"] = [a["view"]["phase"] for a in visitor.answers("open", image=digest)]
        told["again"] = visitor.open(8)
    return told


if __name__ == "__main__":
    print(json.dumps(story(Path(sys.argv[1]), int(sys.argv[2]))))
