"""Every stage of the three papers, run at sizes that take seconds: what learns, what stays, and that it learns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from samref.core.prompts import Click
from samref.errors import CheckpointInvalidError, CheckpointMissingError, TrainingError
from samref.models.focsam import model as refocus_checkpoint
from samref.models.focsam.network import RefinerConfig
from samref.models.sam import RANDOM
from samref.models.sam.model import build_sam
from samref.models.sam_ref.network import Refined
from samref.models.segnext.network import SEGNEXT_CONFIGS, SegNextNet
from samref.training import sam_stage
from samref.training.clicks import SessionPlan
from samref.training.recipes import PAPER_RECIPES, CornerClicks, PaperRecipe, SessionClicks
from samref.training.sam_stage import decode_objects, sam_ref_loss
from samref.training.samples import Draws, SampleBatch, SampleFeed, SampleObjective
from samref.training.segnext_stage import load_mae
from samref.training.stages import Stage, StageFiles, build_stage, find_training_images
from samref.training.trainer import Autocast, Trainer, export_weights

CPU = torch.device("cpu")
PARTS: dict[str, str] = {recipe.part: recipe.name for recipe in reversed(PAPER_RECIPES.values())}
"""One recipe of each part."""


def small(name: str, **changes: Any) -> PaperRecipe:
    """The recipe with short sessions and small batches; nothing else is changed unless told."""
    recipe = PAPER_RECIPES[name]
    clicks: SessionClicks | CornerClicks = CornerClicks(corrections=2)
    if isinstance(recipe.clicks, SessionClicks):
        clicks = replace(recipe.clicks, most=3)
    return replace(recipe, clicks=clicks, batch=2, minimum_area=min(recipe.minimum_area, 20), **changes)


def build(recipe: PaperRecipe, data: Path) -> tuple[Stage, SampleFeed]:
    model = "segnext-random" if recipe.part == "segnext" else "sam-random"
    stage = build_stage(replace(recipe, model=model), StageFiles(), CPU)
    feed = stage.feed(find_training_images(data).records)
    assert isinstance(feed, SampleFeed)
    return stage, feed


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("name", PAPER_RECIPES)
def test_every_recipe_runs_and_only_its_part_changes(name: str, shapes: Path, tmp_path: Path) -> None:
    recipe = small(name, steps=3, warmup=0)
    stage, feed = build(recipe, shapes)
    frozen = {} if stage.sam is None else weights_of(stage.sam.network)
    trained = weights_of(stage.objective.trained)
    Trainer(stage.objective, recipe, feed, tmp_path, CPU, bf16=False, workers=0).run(log_every=1)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all(0 < line["loss"] < 100 and line["skipped"] == 0 for line in lines)
    now = stage.objective.trained.state_dict()
    assert sum(not torch.equal(trained[key], value) for key, value in now.items()) > len(trained) / 3
    if stage.sam is not None:
        for key, value in stage.sam.network.state_dict().items():
            if recipe.part != "sam-decoder" or not key.startswith("mask_decoder."):
                assert torch.equal(frozen[key], value), key


class SameBatch(SampleFeed):
    """The first batch and the first step's draws, again and again."""

    def batch(self, number: int) -> SampleBatch:
        return super().batch(0)

    def learn(
        self, objective: SampleObjective, batch: SampleBatch, step: int, device: torch.device, autocast: Autocast
    ) -> dict[str, float]:
        return super().learn(objective, batch, 0, device, autocast)


FALLS = {"sam-decoder": (3e-4, 0.97), "sam-ref": (1e-2, 0.6), "segnext": (5e-4, 0.8), "focsam": (3e-3, 0.85)}
"""Rate, and the share of the first loss that is left after 16 steps (a random encoder tells a decoder little)."""


@pytest.mark.parametrize("part", FALLS)
def test_the_loss_falls_on_a_batch_seen_again_and_again(part: str, shapes: Path, tmp_path: Path) -> None:
    rate, left = FALLS[part]
    recipe = small(PARTS[part], steps=16, warmup=0, rate=rate, schedule="drops", drops=(), background=0.0)
    short = SessionClicks(most=0) if isinstance(recipe.clicks, SessionClicks) else CornerClicks(corrections=0)
    recipe = replace(recipe, clicks=short)
    stage, feed = build(recipe, shapes)
    same = SameBatch(feed.records, recipe, stage.side, with_pixels=feed.with_pixels)
    Trainer(stage.objective, recipe, same, tmp_path, CPU, bf16=False, workers=0).run(log_every=1)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert min(losses) < left * losses[0], losses


@pytest.mark.parametrize("part", PARTS)
def test_mixed_precision_starts_with_nearly_the_same_loss(part: str, shapes: Path, tmp_path: Path) -> None:
    losses = {}
    for bf16 in (False, True):
        recipe = small(PARTS[part], steps=1, warmup=0, background=0.0)
        recipe = replace(recipe, clicks=SessionClicks(most=0) if part != "segnext" else CornerClicks(corrections=0))
        stage, feed = build(recipe, shapes)
        trainer = Trainer(stage.objective, recipe, feed, tmp_path / str(bf16), CPU, bf16, workers=0)
        losses[bf16] = trainer._train_step(trainer._batches())["loss"]
        assert all(p.dtype == torch.float32 for p in trainer.trained.parameters())
    assert losses[True] == pytest.approx(losses[False], rel=0.05)
    assert losses[True] != losses[False]


def test_accumulated_samples_equal_one_big_batch_of_them(shapes: Path, tmp_path: Path) -> None:
    """Groups of clicks and losses per object: but for the number of clicks nothing depends on who is in the batch."""
    found = {}
    three = SessionClicks(most=3, decay=(), other_decay=1e9)  # always all of them
    for batch, accumulate in ((4, 1), (2, 2)):
        recipe = replace(small("sam-ref-decoder", steps=1, warmup=0), batch=batch, clicks=three)
        stage, feed = build(recipe, shapes)
        out = tmp_path / str(batch)
        trainer = Trainer(stage.objective, recipe, feed, out, CPU, False, accumulate=accumulate, workers=0)
        values = trainer._train_step(trainer._batches())
        found[batch] = {name: p.grad for name, p in stage.objective.trained.named_parameters()}, values["loss"]
    (big, loss), (parts, loss_of_parts) = found[4], found[2]
    assert loss_of_parts == pytest.approx(loss, rel=1e-4)
    scale = max(float(g.abs().max()) for g in big.values() if g is not None)
    for name, gradient in big.items():
        other = parts[name]
        assert (gradient is None) == (other is None)
        if gradient is not None and other is not None:
            assert float((gradient - other).abs().max()) < 1e-4 * scale, name


def test_a_stage_resumed_ends_in_the_same_weights(shapes: Path, tmp_path: Path) -> None:
    """SegNext has dropout, so torch's own random numbers must come back as well."""

    def trainer(out: Path, steps: int) -> Trainer:
        recipe = small("segnext-sax1", steps=steps)
        stage, feed = build(recipe, shapes)
        return Trainer(stage.objective, recipe, feed, out, CPU, bf16=False, workers=0)

    through = trainer(tmp_path / "a", 3)
    through.run()
    trainer(tmp_path / "b", 2).run()
    torch.rand(5)
    again = trainer(tmp_path / "b", 3)
    assert again.step == 2
    again.run()
    for name, value in through.trained.state_dict().items():
        assert torch.equal(again.trained.state_dict()[name], value), name


def test_mae_weights_start_the_encoder_and_others_are_refused(tmp_path: Path) -> None:
    config = SEGNEXT_CONFIGS["segnext-random"]
    net, other = SegNextNet(config), SegNextNet(config)
    positions = other.backbone.pos_embed.detach()
    weights = {key: value for key, value in other.backbone.state_dict().items() if not key.startswith("fc_norm")}
    weights |= {"cls_token": torch.zeros(1, 1, config.width), "norm.weight": torch.ones(config.width)}
    torch.save({"model": weights}, tmp_path / "mae.pth")
    load_mae(net, tmp_path / "mae.pth")
    name = "blocks.1.attn.qkv.weight"
    assert torch.equal(net.backbone.state_dict()[name], weights[name])
    assert torch.equal(net.backbone.pos_embed, positions)
    coarse = torch.nn.functional.avg_pool2d(positions[:, 1:].transpose(1, 2).reshape(1, -1, 8, 8), 2)
    weights["pos_embed"] = torch.cat([positions[:, :1], coarse.flatten(2).transpose(1, 2)], dim=1)
    torch.save({"model": weights}, tmp_path / "coarse.pth")
    load_mae(net, tmp_path / "coarse.pth")
    assert net.backbone.pos_embed.shape == positions.shape
    with pytest.raises(CheckpointMissingError):
        load_mae(net, tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("nothing")
    with pytest.raises(CheckpointInvalidError, match="MAE"):
        load_mae(net, tmp_path / "text.pth")
    del weights[name]
    torch.save({"model": weights}, tmp_path / "part.pth")
    with pytest.raises(CheckpointInvalidError, match=r"blocks.1.attn.qkv.weight"):
        load_mae(net, tmp_path / "part.pth")


def test_a_recipe_over_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(TrainingError, match="not a Segment Anything model"):
        build_stage(replace(PAPER_RECIPES["sam-ref-64"], model="segnext-random"), StageFiles(), CPU)
    with pytest.raises(TrainingError, match="not a SegNext model"):
        build_stage(replace(PAPER_RECIPES["segnext-sax1"], model="sam-random"), StageFiles(), CPU)


@pytest.mark.parametrize(
    ("name", "switch"), [("focsam-refiner-dwin", "dynamic_relu"), ("focsam-refiner-pdyrelu", "dynamic_windows")]
)
def test_a_file_of_an_ablation_says_which_refiner_it_holds(
    name: str, switch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = build_stage(replace(PAPER_RECIPES[name], model="sam-random"), StageFiles(), CPU)
    path = tmp_path / "own.safetensors"
    export_weights(stage.to_export(), path, stage.about_export(), torch.float32)
    config = refocus_checkpoint._config_of(path)
    assert [config.dynamic_windows, config.dynamic_relu].count(False) == 1
    assert not getattr(config, switch)
    whole = build_stage(replace(PAPER_RECIPES["focsam-refiner"], model="sam-random"), StageFiles(), CPU)
    assert whole.about_export() == {}
    export_weights(whole.to_export(), path, {}, torch.float32)
    assert refocus_checkpoint._config_of(path) == RefinerConfig()
    for odd in ("[]", "no JSON", '{"depth": false}', '{"dynamic_relu": 3}'):
        export_weights(whole.to_export(), path, {"focsam_refiner": odd}, torch.float32)
        with pytest.raises(CheckpointInvalidError, match="which FocSAM refiner it holds"):
            refocus_checkpoint._config_of(path)


def test_the_numbers_of_the_papers_are_as_published() -> None:
    """A second writing-down, from papers.md 1.4, 2.3 and 3.5."""
    decoder, refiner = PAPER_RECIPES["focsam-decoder"], PAPER_RECIPES["focsam-refiner"]
    assert (decoder.steps, refiner.steps, decoder.batch * decoder.processes) == (320_000, 160_000, 16)
    assert (decoder.losses, refiner.losses) == (("nfl",), ("nfl", "click"))
    for recipe in (decoder, refiner, PAPER_RECIPES["sam-ref-decoder"], PAPER_RECIPES["sam-ref-64"]):
        assert (recipe.optimizer, recipe.rate, recipe.weight_decay, recipe.betas) == ("adamw", 1e-4, 0.05, (0.9, 0.999))
        assert (recipe.warmup, recipe.warmup_from, recipe.schedule) == (1500, 1e-6, "poly")
        assert isinstance(recipe.clicks, SessionClicks)
        assert [recipe.clicks.decay_of(n) for n in ("COCO2017", "lvis_v1", "mine")] == [0.6, 0.9, 0.6]
        assert [recipe.clicks.refine_decay_of(n) for n in ("coco", "LVIS")] == [0.6, 0.35]
    assert PAPER_RECIPES["sam-ref-64"].steps == PAPER_RECIPES["sam-ref-32"].steps == 80_000
    for recipe in (PAPER_RECIPES["segnext-sax1"], PAPER_RECIPES["segnext-sax2"]):
        assert (recipe.batch, recipe.processes, recipe.steps) == (4, 4, 100 * 1_875)
        assert (recipe.optimizer, recipe.rate) == ("adam", 5e-5)
        assert [recipe.rate_factor(s) for s in (0, 93_749, 93_750, 168_750)] == pytest.approx([1, 1, 0.1, 0.01])
        assert (recipe.minimum_area, recipe.background) == (1000, 0.05)
    fine = PAPER_RECIPES["segnext-sax2-hqseg"]
    assert (fine.batch * fine.processes, fine.steps, fine.drops) == (12, 30_000 // 12, ())
    assert all(recipe.source for recipe in PAPER_RECIPES.values())


# ---- step by step: what is decoded from which embedding, and when gradients flow


def no_cast() -> torch.autocast:
    return torch.autocast("cpu", enabled=False)


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
    assert isinstance(objective, sam_stage.FocusObjective)
    assert stage.sam is not None
    batch = feed.batch(0)
    own = sam_stage.image_embeddings(stage.sam, batch, CPU, no_cast)
    told: list[tuple[Any, ...]] = []
    inner, refocus = decode_objects, objective._refocus

    def spy_decode(sam: Any, embedding: Tensor, clicks: Any, masks: Any) -> Any:
        told.append(("decode", torch.equal(embedding, own), len(clicks[0]), masks[0] is not None))
        return inner(sam, embedding, clicks, masks)

    def spy_refocus(*arguments: Any) -> Tensor:
        told.append(("refocus", torch.is_grad_enabled()))
        return refocus(*arguments)

    monkeypatch.setattr(sam_stage, "plan_session", lambda *_: SessionPlan(earlier=3, refine=1))
    monkeypatch.setattr(sam_stage, "decode_objects", spy_decode)
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
        for one in sam_stage.SamSessions(batch, recipe.clicks, Draws(recipe.seed, 0)).objects:
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
    objective: Any = stage.objective
    net = objective.net
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
    objective.backward(feed.batch(0), Draws(0, step), CPU, no_cast)
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
    sessions = sam_stage.SamSessions(batch, objective.session_clicks, Draws(0, 0))
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
