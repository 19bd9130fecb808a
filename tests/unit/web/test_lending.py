"""ZeroGPU: a GPU that is lent for seconds prepares images of big models; whatever fails, the CPU does, and says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.web.test_serve import free_port

ROOT = Path(__file__).parents[3]

BY_THE_CPU = "The CPU prepares this image instead: that takes longer, and clicks are as quick as ever."


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened in a process with the stub, which nothing else shares."""
    folder = tmp_path_factory.mktemp("space")
    environment = {
        **os.environ,
        "SPACES_ZERO_GPU": "true",
        "SYSTEM": "spaces",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'stubs'}",
    }
    program = [sys.executable, "-m", "tests.unit.web.zero_gpu_story", str(folder), str(free_port())]
    done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    story: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return story


def test_the_models_of_the_server_stay_on_the_cpu_whatever_torch_says(told: dict[str, Any]) -> None:
    assert told["believed"]
    assert told["device"] == told["chosen"] == "cpu"
    assert "lent a GPU for seconds only" in told["refused"]
    assert "sam-random on cpu" in told["report"][0]
    assert told["imitated"] == [], "nothing is computed in the thread where torch imitates a GPU"


def test_the_gpu_prepares_an_image_and_the_cpu_answers_clicks(told: dict[str, Any]) -> None:
    assert told["success"]["told"] == {"done": True, "message": ""}
    assert told["success"]["phases"] == ["preparing", "ready"]
    assert told["same"] > 0.995, "embeddings travel in half precision"
    assert told["second"]["told"]["done"]
    assert told["forks"] == 1, "the process is used again"


def test_a_short_time_is_asked_for_in_the_name_of_the_visitor(told: dict[str, Any]) -> None:
    assert max(told["asked"]) <= 8 * 1.5
    assert set(told["visitors"]) == {"a visitor's"}
    assert told["queue"] == 256


def test_what_is_forked_off_leaves_the_database_alone(told: dict[str, Any]) -> None:
    assert told["connections"] == {"child": 0, "here": True}


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("quota", "The GPU time that Hugging Face lends you is used up for now."),
        ("queue_timeout", "No GPU of Hugging Face became free in time."),
        ("death", "The GPU of Hugging Face stopped before it was done."),
        ("tensor", "The GPU of Hugging Face stopped before it was done."),
    ],
)
def test_where_no_gpu_is_lent_the_cpu_prepares_the_image_and_the_page_says_why(
    told: dict[str, Any], fault: str, sentence: str
) -> None:
    assert told[fault]["told"] == {"done": False, "message": f"{sentence} {BY_THE_CPU}"}
    assert told[fault]["phases"] == ["preparing", "ready"]


def test_a_call_that_belongs_to_no_visitor_is_refused(told: dict[str, Any]) -> None:
    assert told["no_context"] == "ZeroGPU quota exceeded"
    assert "does not know your workspace" in told["foreign"]


def test_an_image_that_no_page_asks_for_is_prepared_here_and_the_gpu_is_there_for_the_next(
    told: dict[str, Any],
) -> None:
    assert told["nobody_asks"] == ["preparing", "ready"]
    assert told["again"]["told"]["done"]


def test_scripts_and_descriptions_stay_closed(told: dict[str, Any]) -> None:
    assert told["description"] == 404
