"""The loop itself, over a model of a few weights: accumulation, several processes, kills, full disks, states."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from samref.errors import StorageError, TrainingError
from samref.training.trainer import Trainer
from tests.unit.training.line import LINE, LineFeed, LineFit

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[3]


def line_trainer(out: Path, batch: int = 2, accumulate: int = 1, steps: int = 5, clip: float | None = None) -> Trainer:
    recipe = replace(LINE, steps=steps, batch=batch, clip=clip)
    return Trainer(LineFit(), recipe, LineFeed(recipe), out, CPU, bf16=False, accumulate=accumulate, workers=0)


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.trained.parameters()])


def last_gradients(trainer: Trainer) -> torch.Tensor:
    """Of the last step; Adam's weights would hide a wrong scale."""
    return torch.cat([p.grad.flatten() for p in trainer.trained.parameters() if p.grad is not None])


@pytest.mark.parametrize("clip", [None, 0.5])
def test_accumulated_batches_equal_one_big_batch(tmp_path: Path, clip: float | None) -> None:
    big = line_trainer(tmp_path / "a", batch=6, clip=clip)
    small = line_trainer(tmp_path / "b", batch=2, accumulate=3, clip=clip)
    start = weights(big).clone()
    big.run()
    small.run()
    torch.testing.assert_close(weights(small), weights(big), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(last_gradients(small), last_gradients(big), rtol=1e-4, atol=1e-6)
    assert (weights(big) - start).abs().max() > 1e-3


@pytest.mark.slow
def test_two_processes_equal_one_on_the_joint_batch(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="several processes need accelerate")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    environment |= {"WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-m", "tests.unit.training.line", str(tmp_path / "two")]
    both = [subprocess.Popen(program, cwd=ROOT, env={**environment, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]
    assert [process.wait(timeout=240) for process in both] == [0, 0]
    one = line_trainer(tmp_path / "one", batch=4)
    one.run()
    for rank in "01":
        told = torch.load(tmp_path / f"two-{rank}.pt", weights_only=True)
        torch.testing.assert_close(told["weights"], weights(one), rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(told["gradients"], last_gradients(one), rtol=1e-4, atol=1e-6)
    state = torch.load(tmp_path / "two" / "state.pt", weights_only=True)
    assert state["step"] == 5


def _free_port() -> str:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.mark.slow
def test_a_killed_run_started_again_ends_in_the_same_weights(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.unit.training.line", str(tmp_path / "killed"), "--slowly"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(program, cwd=ROOT, env=environment)
    deadline = time.monotonic() + 200
    while not (tmp_path / "killed" / "state.pt").exists():
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    half = torch.load(tmp_path / "killed" / "state.pt", weights_only=True)["step"]
    assert 0 < half < 5
    again = line_trainer(tmp_path / "killed")
    assert again.step == half
    again.run()
    through = line_trainer(tmp_path / "through")
    through.run()
    assert torch.equal(weights(again), weights(through))


def test_the_log_of_steps_that_are_done_again_is_cut(tmp_path: Path) -> None:
    """A kill between two saves leaves lines about steps that the state knows nothing of, and half a line."""
    line_trainer(tmp_path, steps=3).run(log_every=1)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "loss": 9}\n{"step": 5, "lo')
    line_trainer(tmp_path, steps=5).run(log_every=1)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5]


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """As on a full disk: the kernel refuses to let any file grow beyond ``size``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_old_state_and_says_so(tmp_path: Path) -> None:
    line_trainer(tmp_path, steps=2).run()
    kept = (tmp_path / "state.pt").read_bytes()
    longer = line_trainer(tmp_path, steps=4)
    with (
        files_up_to(len(kept) // 2),
        pytest.raises(StorageError, match=r"disk is full.* what was saved before is untouched"),
    ):
        longer.run(log_every=10)
    assert (tmp_path / "state.pt").read_bytes() == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.pt"]
    line_trainer(tmp_path, steps=4).run()
    assert line_trainer(tmp_path, steps=4).step == 4


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_with_the_step_and_keeps_the_last_state(tmp_path: Path, what: str) -> None:
    line_trainer(tmp_path, steps=3).run()
    kept = (tmp_path / "state.pt").read_bytes()
    broken = line_trainer(tmp_path, steps=6)
    assert isinstance(broken.objective, LineFit)
    broken.objective.breaks = what
    before = weights(broken).clone()
    with pytest.raises(TrainingError, match=f"{what} is not finite at step 3"):
        broken.run()
    assert (tmp_path / "state.pt").read_bytes() == kept
    assert torch.equal(weights(broken), before)


def test_states_of_other_runs_are_refused(tmp_path: Path) -> None:
    line_trainer(tmp_path, steps=1).run()
    other = replace(LINE, name="other")
    with pytest.raises(TrainingError, match="'line', not of 'other'"):
        Trainer(LineFit(), other, LineFeed(other), tmp_path, CPU)
    over_another = replace(LINE, model="sam-vit-h")
    with pytest.raises(TrainingError, match="over tiny-line, not over sam-vit-h"):
        Trainer(LineFit(), over_another, LineFeed(over_another), tmp_path, CPU)
    with pytest.raises(TrainingError, match="other sizes"):
        Trainer(LineFit(width=3), LINE, LineFeed(LINE), tmp_path, CPU)
    (tmp_path / "state.pt").write_bytes(b"half a fi")
    with pytest.raises(TrainingError, match="not a state of a training run"):
        line_trainer(tmp_path)


def test_a_state_written_before_there_were_paper_recipes_still_loads(tmp_path: Path) -> None:
    """The keys of a long run's state: recipe, step, seconds, trained, averaged, optimizer and nothing else."""
    trainer = line_trainer(tmp_path, steps=2)
    trainer.run()
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert set(state) == {"recipe", "step", "seconds", "trained", "averaged", "optimizer"}
    state["recipe"] = json.dumps({"name": "line"})
    torch.save(state, tmp_path / "state.pt")
    assert line_trainer(tmp_path).step == 2


def test_the_rates_of_the_papers_rise_and_fall_as_published() -> None:
    poly = replace(LINE, warmup=1500, warmup_from=1e-6, steps=160_000, schedule="poly")
    assert poly.rate_factor(0) == pytest.approx(1e-6)
    assert poly.rate_factor(1499) == 1
    assert poly.rate_factor((160_000 + 1500) // 2) == pytest.approx(0.5)
    assert poly.rate_factor(160_000) == 0
    drops = replace(LINE, warmup=0, schedule="drops", drops=(100, 180))
    assert [drops.rate_factor(step) for step in (0, 99, 100, 180)] == pytest.approx([1, 1, 0.1, 0.01])
