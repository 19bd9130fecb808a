"""Device and precision are chosen by name, by the environment, or by a measurement."""

from __future__ import annotations

import pytest
import torch

import samref
from samref.errors import ModelError, UnknownModelError
from samref.inference import device

CPU = torch.device("cpu")


def test_precision_by_name_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device.PRECISION_VARIABLE, "bf16")
    assert device.choose_precision("fp32", CPU) is torch.float32
    assert device.choose_precision("auto", CPU) is torch.bfloat16


@pytest.mark.parametrize(("single_s", "half_s", "expected"), [(1.0, 0.5, True), (1.0, 0.95, False), (0.5, 1.0, False)])
def test_bf16_is_taken_on_a_cpu_only_when_it_is_measured_to_be_faster(
    monkeypatch: pytest.MonkeyPatch, single_s: float, half_s: float, expected: bool
) -> None:
    monkeypatch.delenv(device.PRECISION_VARIABLE, raising=False)
    monkeypatch.setattr(device, "_cpu_has_bf16", lambda: True)
    monkeypatch.setattr(device, "_probe", lambda dtype: half_s if dtype is torch.bfloat16 else single_s)
    monkeypatch.setattr(device, "_seconds", lambda probe: probe)
    monkeypatch.setattr(device, "_warm_up", lambda *probes: None)
    device._bf16_pays_on_cpu.cache_clear()
    try:
        chosen = device.choose_precision("auto", CPU)
    finally:
        device._bf16_pays_on_cpu.cache_clear()
    assert chosen is (torch.bfloat16 if expected else torch.float32)


def test_bf16_is_not_even_tried_on_a_cpu_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(device.PRECISION_VARIABLE, raising=False)
    monkeypatch.setattr(device, "_cpu_has_bf16", lambda: False)
    monkeypatch.setattr(device, "_probe", lambda dtype: pytest.fail("measured"))
    device._bf16_pays_on_cpu.cache_clear()
    try:
        assert device.choose_precision("auto", CPU) is torch.float32
    finally:
        device._bf16_pays_on_cpu.cache_clear()


def test_the_measurement_runs_on_this_machine() -> None:
    device._bf16_pays_on_cpu.cache_clear()
    assert device._bf16_pays_on_cpu() in (True, False)
    assert device._bf16_pays_on_cpu.cache_info().currsize == 1


def test_a_gpu_gets_single_precision_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(device.PRECISION_VARIABLE, raising=False)
    assert device.choose_precision("auto", torch.device("cuda")) is torch.float32
    assert device.choose_precision("bf16", torch.device("cuda")) is torch.bfloat16


def test_unknown_names_are_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="'abacus'"):
        device.choose_device("abacus")
    with pytest.raises(ModelError, match="'fp8'"):
        device.choose_precision("fp8", CPU)
    monkeypatch.setenv(device.PRECISION_VARIABLE, "int4")
    with pytest.raises(ModelError, match="SAMREF_PRECISION"):
        device.choose_precision("auto", CPU)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelError, match="cuda:99"):
        device.choose_device("cuda:99")


def test_load_predictor_is_at_the_front_door() -> None:
    predictor = samref.load_predictor("tiny-random", device="cpu", precision="fp32")
    assert predictor.spec.name == "tiny-random"
    assert (predictor.device, predictor.dtype) == (CPU, torch.float32)
    with pytest.raises(UnknownModelError):
        samref.load_predictor("gigantic", device="cpu", precision="fp32")


def test_where_a_gpu_is_lent_for_seconds_the_device_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.choose_device("auto").type == device.choose_device("cpu").type == "cpu"
    with pytest.raises(ModelError, match="lent a GPU for seconds only, so 'cuda'"):
        device.choose_device("cuda")
