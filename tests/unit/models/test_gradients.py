"""Analytic against numeric gradients, in double precision on a few cells, of every layer that is ours to train."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call

from samref.models.layers import ResBlock, downsample, randomize, resize
from samref.models.sam_ref import windows
from samref.models.sam_ref.network import FusionRefiner, SamRef, SamRefConfig
from samref.models.tiny.network import AttentionBlock, Embedding, EncoderConfig, MobileNetV2, TinyConfig, TinyNet

TINY = TinyConfig(image_size=32, encoder=EncoderConfig(0.02), context=4, widths=(2, 4, 4), heads=2, blocks=1)


def doubled(module: nn.Module, seed: int = 0) -> nn.Module:
    randomize(module, seed)
    return module.double().eval()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def check(function: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Numeric and analytic gradient along random directions agree (gradcheck's fast mode), or for few numbers, all."""
    few = sum(value.numel() for value in inputs) <= 200
    assert gradcheck(function, inputs, fast_mode=not few, atol=1e-6, rtol=1e-4)


def check_module(module: nn.Module, call: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Gradients of the inputs, then of every parameter of ``module``; ``call(run, *inputs)`` gives one tensor."""
    check(lambda *given: call(module, *given), *inputs)
    names, values = zip(*module.named_parameters(), strict=True)
    fixed = [value.detach() for value in inputs]

    def of_parameters(*parameters: Tensor) -> Tensor:
        own = dict(zip(names, parameters, strict=True))
        return call(lambda *given, **named: functional_call(module, own, given, named), *fixed)

    check(of_parameters, *(value.detach().clone().requires_grad_() for value in values))


def test_a_wrong_gradient_would_be_found() -> None:
    class Halved(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x * x

        @staticmethod
        def backward(ctx: object, *gradients: Tensor) -> Tensor:
            return gradients[0]

    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        check(Halved.apply, drawn(3))


@pytest.mark.parametrize("bias", [True, False])
def test_a_residual_block_passes_gradients_to_input_and_weights(bias: bool) -> None:
    check_module(doubled(ResBlock(2, bias=bias)), lambda run, x: run(x), drawn(1, 2, 4, 3))


def test_downsampling_with_group_norm_passes_gradients_to_input_and_weights() -> None:
    check_module(doubled(downsample(2, 3)), lambda run, x: run(x), drawn(2, 2, 5, 6))


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (3, 5), (1, 2)])
def test_attention_passes_gradients_on_even_odd_and_flat_grids(rows: int, columns: int) -> None:
    check_module(doubled(AttentionBlock(4, heads=2)), lambda run, x: run(x), drawn(1, 4, rows, columns))


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("second_stride", [1, 2])
def test_the_refiner_passes_gradients_from_mask_and_error_map_with_and_without_an_embedding(
    residual: bool, second_stride: int
) -> None:
    refiner = doubled(FusionRefiner(4, 1, second_stride, residual_detail=residual))
    side = 4 * second_stride
    image, maps, mask = drawn(1, 4, 2, 2), drawn(1, 3, side, side), drawn(1, 1, 2, 2)

    def both(run: Callable[..., tuple[Tensor, Tensor]], *given: Tensor) -> Tensor:
        *rest, mask = given
        error, logits = run(rest[0], rest[1], rest[2] if len(rest) == 3 else None, mask)
        return torch.cat([error, logits])

    check_module(refiner, both, image, maps, drawn(1, 4, 2, 2, seed=5), mask)
    check(lambda *given: both(refiner, *given), image, maps, mask)


def test_gradients_of_stem_and_projection_reach_image_and_embedding() -> None:
    refiner = SamRef(SamRefConfig(width=4, global_blocks=1, local_blocks=1, embedding_channels=3))
    doubled(refiner)
    check(refiner.global_refiner.image_stem, drawn(1, 3, 8, 8))

    def project(embedding: Tensor) -> Tensor:
        projected = refiner.project(embedding, (4, 6))
        assert projected is not None
        return projected

    check(project, drawn(1, 3, 2, 3))


def test_gradients_of_the_coarse_decoder_reach_image_maps_previous_mask_and_weights() -> None:
    decoder = doubled(TinyNet(TINY)).decoder
    inputs = (drawn(1, 2, 4, 8), drawn(1, 4, 2, 4), drawn(1, 4, 1, 2), drawn(1, 5, 8, 16), drawn(1, 1, 4, 8))
    flag = torch.ones(1, 1, 1, 1, dtype=torch.float64)

    def answer(run: Callable[..., Tensor], level4: Tensor, level8: Tensor, level16: Tensor, *rest: Tensor) -> Tensor:
        return run(Embedding(level4, level8, level16), *rest, flag)

    assert isinstance(decoder, nn.Module)
    check_module(decoder, answer, *inputs)


def test_gradients_of_encoder_and_neck_reach_the_image() -> None:
    net = doubled(TinyNet(TINY))
    assert isinstance(net, TinyNet)
    check(lambda image: torch.cat([level.flatten() for level in net.embed(image)]), drawn(1, 3, 16, 32))


def test_gradients_of_the_encoder_reach_its_weights() -> None:
    encoder = doubled(MobileNetV2(EncoderConfig(0.02)), seed=3)
    check_module(encoder, lambda run, x: torch.cat([level.flatten() for level in run(x)]), drawn(1, 3, 16, 16))


def test_gradients_pass_through_resizing_up_and_down() -> None:
    check(lambda x: resize(x, (7, 3)), drawn(1, 2, 4, 5))
    check(lambda x: resize(x, (4, 5)), drawn(1, 2, 4, 5))


@pytest.mark.parametrize("box", [(0.0, 0.0, 6.0, 5.0), (1.5, 0.25, 4.0, 4.5), (-1.0, -2.0, 3.0, 7.0)])
def test_gradients_pass_through_window_sampling_within_and_beyond_the_rim(
    box: tuple[float, float, float, float],
) -> None:
    """The samples are linear in the source, so a long step is exact, and float32 inside does not blur it."""
    source = drawn(1, 2, 5, 6)
    boxes = torch.tensor([box])
    assert gradcheck(lambda x: windows.sample_window(x, boxes, 4), (source,), eps=0.25, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("grid", [2, 3, 9])
def test_gradients_of_pasting_reach_canvas_and_patch_growing_or_shrinking(grid: int) -> None:
    window = windows.Window(1, 2, 5, 5)
    canvas, patch = drawn(1, 1, 6, 7), drawn(1, 1, grid, grid)
    check(lambda a, b: windows.paste(a, window, b), canvas, patch)
    (gradient,) = torch.autograd.grad(windows.paste(canvas, window, patch).sum(), canvas)
    rows, columns = window.slices
    inside = torch.zeros_like(canvas, dtype=torch.bool)
    inside[..., rows, columns] = True
    assert torch.equal(gradient, (~inside).double()), "what was pasted over has no say"
