"""What happens inside the stages, step by step: what is decoded from which embedding, and when gradients flow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from samref.core.prompts import Click
from samref.models.sam import RANDOM
from samref.models.sam.model import build_sam
from samref.models.sam_ref.network import Refined
from samref.training import focsam_stage, sam_sessions
from samref.training.clicks import SessionPlan
from samref.training.feed import find_training_images
from samref.training.paper_recipes import PAPER_RECIPES, CornerClicks, PaperRecipe, SessionClicks
from samref.training.sam_ref_stage import sam_ref_loss
from samref.training.sam_sessions import decode_objects
from samref.training.samples import Draws, SampleFeed
from samref.training.stages import Stage, StageFiles, build_stage

CPU = torch.device("cpu")


def no_cast() -> torch.autocast:
    return torch.autocast("cpu", enabled=False)


def build(recipe: PaperRecipe, data: Path) -> tuple[Stage, SampleFeed]:
    model = "segnext-random" if recipe.part == "segnext" else "sam-random"
    stage = build_stage(recipe, StageFiles(), CPU, model=model)
    return stage, SampleFeed(find_training_images(data).records, recipe, stage.side, with_pixels=stage.with_pixels)


def test_objects_decoded_together_are_answered_as_each_alone() -> None:
    """With different numbers of clicks, with and without a mask prompt, in any order."""
    sam = build_sam(RANDOM, "single")
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(4, *sam.image_pe.shape[1:], generator=generator)
    clicks = [
        [Click(9, 9)],
        [Click(30, 40), Click(99, 80, False)],
        [Click(200, 20)],
        [Click(5, 250, False), Click(7, 7)],
    ]
    masks: list[Tensor | None] = [None, torch.randn(1, 64, 64, generator=generator), None, None]
    together = decode_objects(sam, embedding, clicks, masks)
    for index in range(4):
        alone = decode_objects(sam, embedding[index : index + 1], clicks[index : index + 1], masks[index : index + 1])
        torch.testing.assert_close(together.logits[index], alone.logits[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together.token[index], alone.token[0], rtol=1e-4, atol=1e-4)


def test_focsam_refocuses_at_the_drawn_step_and_again_with_gradient(
    shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(PAPER_RECIPES["focsam-refiner"], batch=1, augmentation="none")
    stage, feed = build(recipe, shapes)
    objective = stage.objective
    assert isinstance(objective, focsam_stage.FocusObjective)
    assert stage.sam is not None
    batch = feed.batch(0)
    own = sam_sessions.image_embeddings(stage.sam, batch, CPU, no_cast)
    told: list[tuple[Any, ...]] = []
    inner, refocus = decode_objects, objective._refocus

    def spy_decode(sam: Any, embedding: Tensor, clicks: Any, masks: Any) -> Any:
        told.append(("decode", torch.equal(embedding, own), len(clicks[0]), masks[0] is not None))
        return inner(sam, embedding, clicks, masks)

    def spy_refocus(*arguments: Any) -> Tensor:
        told.append(("refocus", torch.is_grad_enabled()))
        return refocus(*arguments)

    monkeypatch.setattr(sam_sessions, "plan_session", lambda *_: SessionPlan(earlier=3, refine=1))
    monkeypatch.setattr(focsam_stage, "decode_objects", spy_decode)
    monkeypatch.setattr(objective, "_refocus", spy_refocus)
    objective.backward(batch, Draws(0, 0), CPU, no_cast)
    assert told == [
        ("decode", True, 1, False),  # an ordinary step
        ("decode", True, 2, True),  # the coarse mask of the refine step
        ("refocus", False),
        ("decode", False, 2, True),
        ("decode", False, 3, True),
        ("decode", True, 2, True),  # now with gradient: the refine step again, and the last one
        ("refocus", True),
        ("decode", False, 4, True),
    ]


def test_objects_of_one_data_set_share_the_length_of_their_session(shapes: Path) -> None:
    """FocSAM draws n and r once per data set and batch; other batches and data sets have draws of their own."""
    recipe = replace(PAPER_RECIPES["focsam-refiner"], batch=8, augmentation="none")
    feed = SampleFeed(find_training_images(shapes).records, recipe, 64)
    assert isinstance(recipe.clicks, SessionClicks)
    lengths: dict[str, list[SessionPlan]] = {}
    for number in range(40):
        batch = feed.batch(number)
        plans: dict[str, set[SessionPlan]] = {}
        for one in sam_sessions.SamSessions(batch, recipe.clicks, Draws(recipe.seed, 0)).objects:
            plans.setdefault(one.sample.data_set, set()).add(one.plan)
        for name, own in plans.items():
            assert len(own) == 1
            lengths.setdefault(name, []).extend(own)
    coco, lvis = (np.mean([p.earlier for p in lengths[name]]) for name in sorted(lengths))
    assert len(set(lengths[sorted(lengths)[1]])) > 5
    assert coco == pytest.approx(1.5, abs=0.9)
    assert lvis == pytest.approx(6.4, abs=2.5)


def test_segnext_encodes_once_and_corrects_without_gradient_in_eval_mode(
    shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(PAPER_RECIPES["segnext-sax1"], batch=2, minimum_area=20, clicks=CornerClicks(corrections=3))
    stage, feed = build(recipe, shapes)
    net: Any = stage.objective.trained
    told: list[tuple[Any, ...]] = []
    embed, decode = net.embed, net.decode

    def spy_embed(prepared: Tensor) -> Tensor:
        told.append(("embed", net.training, torch.is_grad_enabled()))
        out: Tensor = embed(prepared)
        return out

    def spy_decode(embedding: Tensor, maps: Tensor) -> Tensor:
        told.append(("decode", net.training, torch.is_grad_enabled(), bool(maps[:, 0].any())))
        out: Tensor = decode(embedding, maps)
        return out

    monkeypatch.setattr(net, "embed", spy_embed)
    monkeypatch.setattr(net, "decode", spy_decode)
    step = next(s for s in range(50) if int(Draws(0, s).of_step().integers(4)) == 2)
    stage.objective.backward(feed.batch(0), Draws(0, step), CPU, no_cast)
    assert told == [
        ("embed", True, True),
        ("decode", False, False, False),
        ("decode", False, False, True),
        ("decode", True, True, True),
    ]


def test_sam_refs_loss_wants_errors_marked_and_masks_right() -> None:
    gt = torch.zeros(1, 1, 32, 32)
    gt[..., 8:24, 8:24] = 1
    valid = torch.ones_like(gt)
    before = torch.where(torch.roll(gt, 4, -1) > 0, 5.0, -5.0)
    wrong = ((before > 0).float() - gt).abs()
    right = Refined(torch.where(wrong > 0, 8.0, -8.0), torch.where(gt > 0, 8.0, -8.0))
    silent = Refined(torch.full_like(gt, -8.0), before)
    marks_all = Refined(torch.full_like(gt, 8.0), right.logits)
    losses = [float(sam_ref_loss(refined, before, gt, valid)) for refined in (right, marks_all, silent)]
    assert losses[0] < 0.05
    assert min(losses[1:]) > 1
    assert float(sam_ref_loss(silent, before, gt, 1 - wrong)) < 1.1  # what is not valid is no mistake


def test_windows_of_the_local_refiner_stay_inside_the_image(shapes: Path) -> None:
    recipe = replace(PAPER_RECIPES["sam-ref-64"], batch=2)
    stage, feed = build(recipe, shapes)
    objective: Any = stage.objective
    logits, rng = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)), np.random.default_rng(0)
    batch = feed.batch(0)
    sessions = sam_sessions.SamSessions(batch, objective.session_clicks, Draws(0, 0))
    sizes = set()
    for index, sample in enumerate(batch.samples):
        sessions.click(index, None)
        sessions.objects[index].rng = rng
        gt = objective._low_res(torch.from_numpy((sample.labels == 1).astype(np.float32))[None, None])[0, 0]
        rows, columns = -(-sample.framed.shape[0] // 4), -(-sample.framed.shape[1] // 4)
        for final in [None, torch.randn(64, 64), torch.full((64, 64), -1.0)] * 20:
            window = objective._window(logits, final, sessions, index, gt)
            assert 0 <= window.x0 < window.x1 <= columns
            assert 0 <= window.y0 < window.y1 <= rows
            assert window.x1 - window.x0 >= objective.refiner.config.minimum
            sizes.add(window.x1 - window.x0)
    assert len(sizes) > 5
