"""FocSAM's refiner in tiny sizes; its numbers are compared with the authors' in tests/parity."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samref.core.geometry import ImageSize
from samref.models.focsam.network import (
    FocusBlock,
    FocusRefiner,
    NullKeyAttention,
    PDyReLU,
    RefinerConfig,
    active_cells,
    expanded_boxes,
    object_boxes,
)

M = TypeVar("M", bound=nn.Module)

CONFIG = RefinerConfig(width=8, depth=3, heads=2, mlp_ratio=2.0, window=4)
GRID = 12


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def varied(module: M) -> M:
    """The module with every weight in play (some start at zero or one)."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def cells_of(*boxes: tuple[int, int, int, int]) -> Tensor:
    """Cells marked per image: left, top, right, bottom."""
    cells = torch.zeros(len(boxes), 1, GRID, GRID, dtype=torch.bool)
    for index, (left, top, right, bottom) in enumerate(boxes):
        cells[index, :, top:bottom, left:right] = True
    return cells


def block(*, shifted: bool) -> FocusBlock:
    """Always the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return varied(FocusBlock(CONFIG, shifted=shifted, scales_token=True))


class TestWindow:
    def test_the_box_of_a_mask_ends_behind_its_last_pixel(self) -> None:
        inside = torch.zeros(2, 6, 9, dtype=torch.bool)
        inside[0, 2, 3] = inside[0, 4, 7] = True
        inside[1, 0, 0] = True
        assert object_boxes(inside).tolist() == [[3, 2, 8, 5], [0, 0, 1, 1]]

    def test_an_empty_mask_has_the_whole_frame(self) -> None:
        assert object_boxes(torch.zeros(1, 6, 9, dtype=torch.bool)).tolist() == [[0, 0, 9, 6]]

    def test_a_box_grows_about_its_middle_and_stops_at_the_frame(self) -> None:
        frame = ImageSize(100, 200)
        boxes = torch.tensor([[50, 40, 70, 60], [190, 0, 200, 10]])
        assert expanded_boxes(boxes, 1.0, 1.0, frame).tolist() == boxes.tolist()
        assert expanded_boxes(boxes, 1.5, 2.0, frame).tolist() == [[40, 35, 80, 65], [185, 0, 200, 12]]

    def test_halves_are_rounded_to_the_even_number(self) -> None:
        boxes = torch.tensor([[4, 4, 5, 5], [5, 5, 6, 6]])  # middles 4.5 and 5.5; twice as large 3.5..5.5 and 4.5..6.5
        grown = expanded_boxes(boxes, 2.0, 2.0, ImageSize(20, 20))
        assert grown.tolist() == [[4, 4, 6, 6], [4, 4, 6, 6]]

    @pytest.mark.parametrize("grid", [ImageSize(8, 8), ImageSize(7, 5), ImageSize(64, 64)])
    def test_active_cells_are_the_pooled_rectangle(self, grid: ImageSize) -> None:
        frame, generator = ImageSize(64, 64), torch.Generator().manual_seed(1)
        low = torch.randint(0, 60, (40, 2), generator=generator)
        high = (low + torch.randint(1, 64, (40, 2), generator=generator)).clamp_max(64)
        boxes = torch.cat([low, high], dim=1)
        filled = torch.zeros(40, 1, 64, 64)
        for index, (left, top, right, bottom) in enumerate(boxes.tolist()):
            filled[index, :, top:bottom, left:right] = 1
        expected = F.adaptive_max_pool2d(filled, (grid.height, grid.width)) > 0
        assert torch.equal(active_cells(boxes, frame, grid), expected)


class TestBlock:
    def test_inactive_windows_pass_unchanged_bit_for_bit(self) -> None:
        x, token, cells = noise(1, 8, GRID, GRID), noise(1, 1, 8, seed=1), cells_of((5, 1, 7, 3))
        out, _ = block(shifted=False)(x, token, cells)
        active = torch.zeros(GRID, GRID, dtype=torch.bool)
        active[0:4, 4:8] = True
        assert torch.equal(out[..., ~active], x[..., ~active])
        assert (out != x)[..., active].float().mean() > 0.2  # a ReLU decides

    def test_shifted_windows_begin_half_a_window_later_and_wrap_around(self) -> None:
        x, token = noise(1, 8, GRID, GRID), noise(1, 1, 8, seed=1)
        changed = (block(shifted=True)(x, token, cells_of((0, 0, 1, 1)))[0] != x)[0].any(0)
        rim = torch.tensor([10, 11, 0, 1])
        corners = changed[rim[:, None], rim]
        assert corners.sum() == changed.sum()
        assert all(corners[down : down + 2, right : right + 2].any() for down in (0, 2) for right in (0, 2))

    @pytest.mark.parametrize("shifted", [False, True])
    def test_where_nothing_is_marked_nothing_happens(self, shifted: bool) -> None:
        x, token = noise(2, 8, GRID, GRID), noise(2, 1, 8, seed=1)
        out, after = block(shifted=shifted)(x, token, cells_of((0, 0, 0, 0), (0, 0, 0, 0)))
        assert torch.equal(out, x)
        torch.testing.assert_close(after, token)

    @pytest.mark.parametrize("shifted", [False, True])
    def test_objects_of_a_batch_do_not_see_each_other(self, shifted: bool) -> None:
        x, token = noise(2, 8, GRID, GRID), noise(2, 1, 8, seed=1)
        cells = cells_of((5, 1, 7, 3), (0, 0, 12, 12))
        together = block(shifted=shifted)(x, token, cells)
        for index in range(2):
            one = slice(index, index + 1)
            alone = block(shifted=shifted)(x[one], token[one], cells[one])
            torch.testing.assert_close(together[0][one], alone[0])
            torch.testing.assert_close(together[1][one], alone[1])

    def test_the_token_scale_undoes_what_inactive_windows_dilute(self) -> None:
        x, token, cells = noise(1, 8, GRID, GRID), noise(1, 1, 8, seed=1), cells_of((0, 0, 4, 4))
        fresh = FocusBlock(CONFIG, shifted=False, scales_token=True).eval()
        assert fresh.img2cls is not None
        learnt = fresh.img2cls(token, x[..., :4, :4].flatten(2).transpose(1, 2))
        torch.testing.assert_close(fresh(x, token, cells)[1], learnt)
        last = FocusBlock(CONFIG, shifted=False, scales_token=False).eval()
        last.load_state_dict(fresh.state_dict(), strict=False)
        torch.testing.assert_close(last(x, token, cells)[1], token + (learnt - token) / 9)

    @pytest.mark.parametrize("shifted", [False, True])
    def test_a_grid_that_is_no_multiple_of_the_window_is_padded_with_zeros(self, shifted: bool) -> None:
        x, token = noise(1, 8, 10, 11), noise(1, 1, 8, seed=1)
        cells = cells_of((0, 0, 12, 12))[..., :10, :11]
        padded, padded_token = block(shifted=shifted)(F.pad(x, (0, 1, 0, 2)), token, F.pad(cells, (0, 1, 0, 2)))
        out, after = block(shifted=shifted)(x, token, cells)
        assert out.shape == x.shape
        torch.testing.assert_close(out, padded[..., :10, :11])
        torch.testing.assert_close(after, padded_token)

    @pytest.mark.parametrize("shifted", [False, True])
    def test_its_gradients_are_right(self, shifted: bool) -> None:
        tiny = RefinerConfig(width=4, depth=1, heads=2, mlp_ratio=1.0, window=2)
        made = varied(FocusBlock(tiny, shifted=shifted, scales_token=True)).double()
        x = noise(1, 4, 4, 4).double().requires_grad_()
        token = noise(1, 1, 4, seed=1).double().requires_grad_()
        cells = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
        cells[..., 0, :3] = True
        assert torch.autograd.gradcheck(lambda x, token: made(x, token, cells), (x, token))


class TestAblations:
    def test_without_dynamic_windows_all_of_the_embedding_is_computed_wherever_the_object_is(self) -> None:
        """As the whole refiner is where every window is the object's."""
        torch.manual_seed(0)
        whole = varied(FocusRefiner(CONFIG))
        everywhere = FocusRefiner(replace(CONFIG, dynamic_windows=False)).eval()
        everywhere.load_state_dict(whole.state_dict())
        x, token = noise(1, 8, GRID, GRID), noise(1, 1, 8, seed=1)
        few, all_cells = cells_of((0, 0, 2, 2)), cells_of((0, 0, GRID, GRID))
        torch.testing.assert_close(everywhere(x, token, few), whole(x, token, all_cells))
        assert not torch.allclose(whole(x, token, few), whole(x, token, all_cells))

    def test_without_the_dynamic_relu_there_is_no_token_and_every_weight_is_trained(self) -> None:
        torch.manual_seed(0)
        plain = varied(FocusRefiner(replace(CONFIG, dynamic_relu=False)))
        x, cells = noise(1, 8, GRID, GRID), cells_of((0, 0, 6, 6))
        out = plain(x, noise(1, 1, 8, seed=1), cells)
        assert torch.equal(out, plain(x, noise(1, 1, 8, seed=2), cells))
        out.square().mean().backward()
        assert all(value.grad is not None and value.grad.any() for value in plain.parameters())


class TestParts:
    def test_a_query_may_attend_to_nothing(self) -> None:
        attention = NullKeyAttention(4, 2)
        query, pixels = noise(1, 1, 4), noise(1, 6, 4, seed=1)
        with torch.no_grad():
            for name in ("q_proj", "k_proj"):
                getattr(attention, name).weight.zero_()
            attention.q_proj.bias.fill_(1)
            attention.k_proj.bias.fill_(-100)  # every pixel is unlike the query
            torch.testing.assert_close(attention(query, pixels)[0, 0], attention.proj.bias)
            attention.k_proj.bias.zero_()  # as like as the null key: seven equal shares, one of them zero
            mean = attention.v_proj(pixels).sum(1, keepdim=True) / 7
            torch.testing.assert_close(attention(query, pixels), attention.proj(mean))

    def test_p_dyrelu_is_the_larger_of_its_two_lines(self) -> None:
        activation = varied(PDyReLU(4))
        x, token = noise(2, 5, 4), noise(2, 1, 4, seed=1)
        likeness = (x * token).sum(-1, keepdim=True)

        def line(u: Tensor, name: str) -> Tensor:
            scale, bias = getattr(activation, f"{name}_scale"), getattr(activation, f"{name}_bias")
            slope_shift = getattr(activation, f"{name}_mlp")(u) * scale.exp() + bias
            slope, shift = slope_shift.split(4, -1)
            value: Tensor = slope * x + shift
            return value

        expected = torch.maximum(line(likeness, "pixel"), line(x.mean(1, keepdim=True), "channel"))
        torch.testing.assert_close(activation(x, token), expected)

    def test_p_dyrelu_has_right_gradients(self) -> None:
        activation = varied(PDyReLU(3)).double()
        given = noise(1, 4, 3).double().requires_grad_(), noise(1, 1, 3, seed=1).double().requires_grad_()
        assert torch.autograd.gradcheck(activation, given)


class TestRefiner:
    def test_every_second_block_is_shifted_and_all_but_the_last_scale_the_token(self) -> None:
        blocks = list(FocusRefiner(CONFIG).blocks)
        assert [made.shift for made in blocks] == [0, 2, 0]
        assert [made.cls_scale_proj is not None for made in blocks] == [True, True, False]

    def test_the_released_size_has_the_parameters_it_should(self) -> None:
        with torch.device("meta"):
            refiner = FocusRefiner()
        assert len(refiner.blocks) == 12
        counts = {
            part: sum(p.numel() for p in getattr(refiner.blocks[0], part).parameters())
            for part in ("img2cls", "cls2img")
        }
        assert counts == {"img2cls": 790_784, "cls2img": 1_314_587}
        assert sum(p.numel() for p in refiner.parameters()) == 25_396_058

    def test_every_weight_is_learnt(self) -> None:
        refiner = varied(FocusRefiner(CONFIG))
        refiner(noise(1, 8, GRID, GRID), noise(1, 1, 8, seed=1), cells_of((3, 3, 9, 6))).square().mean().backward()
        still = [name for name, p in refiner.named_parameters() if p.grad is None or float(p.grad.abs().max()) == 0]
        assert still == []

    def test_what_the_object_does_not_touch_is_only_projected(self) -> None:
        refiner = varied(FocusRefiner(CONFIG))
        x = noise(1, 8, GRID, GRID)
        out = refiner(x, noise(1, 1, 8, seed=1), cells_of((5, 5, 6, 6)))
        untouched = torch.ones(GRID, GRID, dtype=torch.bool)
        untouched[4:8, 4:8] = False  # the window of even blocks; those of the odd one begin at 2 and 6
        assert torch.equal(out[..., untouched], refiner.embed_proj(x)[..., untouched]) is False
        untouched[2:6, 2:6] = False
        assert torch.equal(out[..., untouched], refiner.embed_proj(x)[..., untouched])

    def test_its_arguments_stay_as_they_were(self) -> None:
        refiner = varied(FocusRefiner(CONFIG))
        given = noise(1, 8, GRID, GRID), noise(1, 1, 8, seed=1), cells_of((3, 3, 9, 6))
        before = [value.clone() for value in given]
        with torch.no_grad():
            first, second = refiner(*given), refiner(*given)
        assert torch.equal(first, second)
        assert all(torch.equal(a, b) for a, b in zip(before, given, strict=True))

    def test_only_active_windows_are_computed(self) -> None:
        refiner = varied(FocusRefiner(CONFIG))
        counts: list[int] = []
        for made in refiner.blocks:
            assert isinstance(made, FocusBlock)
            made.cls2img.register_forward_hook(lambda *call: counts.append(len(call[2])))
        for box, expected in (((0, 0, 12, 12), [9, 9, 9]), ((4, 4, 8, 8), [1, 4, 1]), ((5, 5, 6, 6), [1, 1, 1])):
            counts.clear()
            refiner(noise(1, 8, GRID, GRID), noise(1, 1, 8, seed=1), cells_of(box))
            assert counts == expected
