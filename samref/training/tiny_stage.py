"""The embedded model's two stages: its base, then the SAM-REF refiner over the finished base (papers.md 1.4)."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samref.core.geometry import Frame, ImageSize
from samref.core.prompt_maps import MapFrame
from samref.core.prompts import Prompts
from samref.datasets.records import IGNORE_ID
from samref.errors import CheckpointInvalidError, CheckpointMissingError
from samref.models.interface import ImageFeatures, PromptBatch
from samref.models.layers import resize, to_unit
from samref.models.sam_ref import step, windows
from samref.models.sam_ref.network import Refined, SamRef
from samref.models.tiny import SPECS
from samref.models.tiny.model import TinyModel
from samref.models.tiny.network import Embedding, TinyNet
from samref.training.clicks import BatchAnnotator
from samref.training.losses import binary_cross_entropy, dice_loss, iou, normalized_focal_loss
from samref.training.recipes import Recipe, SceneRecipe
from samref.training.scenes import SceneLesson
from samref.training.trainer import Trainee

STRIDE = 4
"""Image pixels per low-res cell of the embedded base."""
HALF = 2
"""Image pixels per cell of the label maps that the annotator works on."""


def click_schedule(rng: np.random.Generator) -> list[bool]:
    """Which prompts of an object are learnt from: mostly the first three, sometimes the last two of up to ten."""
    if rng.random() < 0.65:
        return [True, True, True]
    return [True] + [False] * int(rng.integers(1, 8)) + [True, True]


def to_input(rgb: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) to the encoder's [-1, 1]."""
    return to_unit(rgb).contiguous(memory_format=torch.channels_last)


class BaseObjective(Trainee):
    """Stage 1: encoder (its later stages), neck and coarse decoder; NFL + Dice at every prompt."""

    def __init__(self, net: TinyNet) -> None:
        self.trained = self.net = net
        self.map_radius = net.config.click_radius / net.config.map_stride

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        assert isinstance(recipe, SceneRecipe)
        encoder = self.net.encoder
        for module in (encoder.stem, *encoder.stages[: recipe.frozen_stages]):
            module.requires_grad_(False)
        neck = self.net.neck
        pretrained = [
            p for m in (encoder, neck.aspp, neck.pooled, neck.merge) for p in m.parameters() if p.requires_grad
        ]
        known = {id(p) for p in encoder.parameters()} | {id(p) for p in pretrained}
        fresh = [p for p in self.net.parameters() if id(p) not in known]
        return [
            *recipe.parameter_groups(fresh),
            {"params": pretrained, "lr": recipe.rate * recipe.encoder_rate, "weight_decay": 0.0},
        ]

    def backward(self, lesson: SceneLesson) -> dict[str, float]:
        rgb, half, annotator, autocast = lesson.rgb, lesson.half, lesson.annotator, lesson.autocast
        with autocast():
            embedding = self.net.embed(to_input(rgb))
        leaves = [level.detach().requires_grad_() for level in embedding]
        gt, valid = half[:, :1], half[:, 1:]
        count, _, height, width = gt.shape
        mask_input = torch.zeros(count, 1, height // 2, width // 2, device=rgb.device)
        has_mask = torch.zeros(count, 1, 1, 1, device=rgb.device)
        learnt = click_schedule(lesson.rng)
        values: dict[str, float] = {}
        for number, learn in enumerate(learnt):
            maps = torch.from_numpy(annotator.maps).to(rgb.device).float()
            with torch.set_grad_enabled(learn), autocast():
                shared = Embedding(*(leaf.repeat_interleave(lesson.objects, dim=0) for leaf in leaves))
                low_res_logits = self.net.decoder(shared, maps, mask_input, has_mask).float()
                logits = resize(low_res_logits, (height, width))
            if learn:
                loss = normalized_focal_loss(logits, gt, valid).mean() + dice_loss(logits, gt, valid).mean()
                torch.autograd.backward(loss / sum(learnt))
                name = f"{number + 1}" if number < 3 and len(learnt) == 3 else ("1" if number == 0 else "late")
                values[f"loss{name}"] = float(loss.detach())
                values[f"iou{name}"] = iou(logits.detach(), gt, valid)
            mask_input, has_mask = low_res_logits.detach(), torch.ones_like(has_mask)
            if number + 1 < len(learnt):
                annotator.correct(logits.detach().cpu())
        torch.autograd.backward(list(embedding), [leaf.grad for leaf in leaves])
        return values


def load_backbone(net: TinyNet, path: Path) -> None:
    """Initialise encoder and context block from a table of folded MobileNetV2 / DeepLab convolutions.

    The npz has ``opNN.weight`` and ``opNN.bias`` in the order the layers run (out, in/groups, kh, kw).
    """
    if not path.is_file():
        raise CheckpointMissingError(f"There is no pretrained backbone at {path}.")
    encoder = net.encoder.convolutions()
    context = [net.neck.aspp, net.neck.pooled, net.neck.merge]
    try:
        with np.load(path, allow_pickle=False) as table, torch.no_grad():
            has_context = f"op{len(encoder) + 3:02d}.weight" in table
            for index, layer in enumerate(encoder + (context if has_context else [])):
                weight, bias = (table[f"op{index:02d}.{part}"].astype(np.float32) for part in ("weight", "bias"))
                if weight.shape != tuple(layer.weight.shape):
                    raise CheckpointInvalidError(
                        f"{path}: layer {index} is {weight.shape}, the encoder needs {tuple(layer.weight.shape)}."
                    )
                assert layer.bias is not None
                layer.weight.copy_(torch.from_numpy(weight))
                layer.bias.copy_(torch.from_numpy(bias))
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointInvalidError(f"{path} is not a table of backbone layers.") from error


def refiner_loss(refined: Refined, before: Tensor, gt: Tensor, valid: Tensor) -> Tensor:
    """BCE for the error head, NFL and Dice for the corrected mask.

    Tried and left: Dice for the error head (where errors can hardly be foretold it is best served by marking too much),
    and NFL weighted near errors or along the true outline (both reward changing pixels that are more often right).

    Every object counts by how good its mask already was (its IoU): where the base has not understood what is meant, a
    refiner with a fraction of its training can only guess.

    All at the size of ``gt``; ``before`` are the logits that were to be corrected.
    """
    size = (gt.shape[-2], gt.shape[-1])
    error, logits = resize(refined.error.float(), size), resize(refined.logits.float(), size)
    start = (resize(before, size) > 0).float()
    wrong = ((start - gt).abs() * valid).detach()
    met = (start * gt * valid).flatten(1).sum(1)
    share = met / (met + wrong.flatten(1).sum(1)).clamp_min(1)
    each = (
        binary_cross_entropy(error, wrong, valid)
        + normalized_focal_loss(logits, gt, valid)
        + dice_loss(logits, gt, valid)
    )
    return (share * each).sum() / share.sum().clamp_min(1)


class RefinerObjective(Trainee):
    """Trains ``refiner`` on the masks of ``base``; both see the prompts of the same simulated person."""

    def __init__(self, base: TinyNet, refiner: SamRef) -> None:
        self.base = base.eval().requires_grad_(False)
        self.magnifier = TinyModel(self.base, SPECS["tiny"])
        self.trained: nn.Module = refiner
        self.refiner = refiner
        self.map_radius = base.config.click_radius / base.config.map_stride

    def backward(self, lesson: SceneLesson) -> dict[str, float]:
        rgb, half, annotator, autocast = lesson.rgb, lesson.half, lesson.annotator, lesson.autocast
        gt, valid = half[:, :1], half[:, 1:]
        count, _, height, width = gt.shape
        low_res = (height * HALF // STRIDE, width * HALF // STRIDE)
        with torch.no_grad(), autocast():
            embedding = self.base.embed(to_input(rgb))
        with autocast():
            image_parts = [self.refiner.global_refiner.image_stem(to_unit(rgb))]
            projected = self.refiner.project(embedding.level16, low_res)
        if projected is not None:
            image_parts.append(projected)
        leaves = [part.detach().requires_grad_() for part in image_parts]
        shared = Embedding(*(level.repeat_interleave(lesson.objects, dim=0) for level in embedding))
        drawn = torch.zeros(count, 2, *rgb.shape[-2:], device=rgb.device)
        mask_input = torch.zeros(count, 1, *low_res, device=rgb.device)
        has_mask = torch.zeros(count, 1, 1, 1, device=rgb.device)
        learnt = click_schedule(lesson.rng)
        values: dict[str, float] = {}
        for number, learn in enumerate(learnt):
            with torch.no_grad(), autocast():
                maps = torch.from_numpy(annotator.maps).to(rgb.device).float()
                coarse = self.base.decoder(shared, maps, mask_input, has_mask).float()
            self._draw(drawn, annotator)
            with torch.set_grad_enabled(learn), autocast():
                parts = [leaf.repeat_interleave(lesson.objects, dim=0) for leaf in leaves]
                injected = parts[1] if len(parts) > 1 else None
                whole = step.refine_global(self.refiner, parts[0], drawn, injected, coarse)
                global_logits = whole.logits.float()
                chosen = self._windows(global_logits.detach(), annotator, lesson.rng)
                seen = self._look_closer(lesson, global_logits, injected, chosen)
                local = step.refine_local(self.refiner, seen)
            if learn:
                cells = torch.tensor(chosen, dtype=torch.float32) * STRIDE
                closer = windows.sample_window(lesson.labels.float(), cells, self.refiner.config.crop, nearest=True)
                near, counts = (closer == 1).float(), (closer != IGNORE_ID).float()
                before = seen.logits.detach()
                loss = refiner_loss(whole, coarse, gt, valid) + refiner_loss(local, before, near, counts)
                torch.autograd.backward(loss / sum(learnt))
                values[f"loss{number + 1 if number < 3 else 'late'}"] = float(loss.detach())
            corrected, patches = whole.logits.detach().float(), local.logits.detach().float()
            final = self._composed(corrected, patches, chosen, STRIDE)
            fine = self._composed(resize(corrected, (height, width)), patches, chosen, HALF)
            name = number + 1 if len(learnt) == 3 else ("late" if number + 1 == len(learnt) else None)
            if name is not None:
                values[f"coarse{name}"] = iou(resize(coarse, (height, width)), gt, valid)
                values[f"global{name}"] = iou(resize(corrected, (height, width)), gt, valid)
                values[f"final{name}"] = iou(fine, gt, valid)
            mask_input = final if self.refiner.config.feedback == "final" else coarse
            has_mask = torch.ones_like(has_mask)
            if number + 1 < len(learnt):
                annotator.correct(fine.cpu())
        torch.autograd.backward(image_parts, [leaf.grad for leaf in leaves])
        return values

    def _draw(self, drawn: Tensor, annotator: BatchAnnotator) -> None:
        """Clicks and strokes of everybody in the model frame (cheap: one more prompt each time)."""
        frame = MapFrame(drawn.shape[-2], drawn.shape[-1], scale_xy=(HALF, HALF))
        for index, prompts in enumerate(annotator.prompts):
            newest = step.draw_signs(Prompts(tuple(prompts[-1:])), frame, self.refiner.config.click_radius)
            drawn[index] = torch.maximum(drawn[index], newest[0].to(drawn.device))

    def _windows(self, logits: Tensor, annotator: BatchAnnotator, rng: np.random.Generator) -> list[windows.Window]:
        """The object window of every mask, carelessly grown; all of the frame when there is nothing."""
        config = self.refiner.config
        limit = (logits.shape[-2], logits.shape[-1])
        chosen = []
        for mask, prompts in zip((logits[:, 0] > 0).cpu().numpy(), annotator.prompts, strict=True):
            clicks = Prompts(tuple(prompts)).clicks
            points = [(HALF * click.x / STRIDE, HALF * click.y / STRIDE) for click in clicks if click.positive]
            expand = float(rng.uniform(1.15, 1.7))
            window = windows.object_window(mask, points, expand=expand, minimum=config.minimum, limit=limit)
            chosen.append(window or windows.Window(0, 0, limit[1], limit[0]))
        return chosen

    def _look_closer(
        self, lesson: SceneLesson, logits: Tensor, injected: Tensor | None, chosen: list[windows.Window]
    ) -> step.Closeup:
        """What the local refiner sees in every window: as in use, the base's own closer look."""
        annotator = lesson.annotator
        height, width = lesson.rgb.shape[-2:]
        framed = ImageSize(height, width)
        frame = Frame(ImageSize(height // HALF, width // HALF), framed, framed)  # prompts lie on the halved labels
        seen = []
        for index, window in enumerate(chosen):
            one = slice(index, index + 1)
            image = lesson.rgb[index // lesson.objects][None]
            features = ImageFeatures(torch.empty(0), image, frame)
            rough = torch.from_numpy(annotator.maps[one, 4:5]).to(image.device).float()
            said = PromptBatch(
                Prompts(tuple(annotator.prompts[index])).mapped(frame.to_model, HALF),
                frame,
                F.avg_pool2d(2 * rough - 1, STRIDE // HALF) if rough.any() else None,
            )
            inside = None if injected is None else injected[one]
            config = self.refiner.config
            seen.append(
                step.look_closer(config, features, said, logits[one], window, embedding=inside, base=self.magnifier)
            )
        return step.together(seen)

    @staticmethod
    def _composed(canvas: Tensor, patches: Tensor, chosen: list[windows.Window], pixels_per_cell: int) -> Tensor:
        factor = STRIDE // pixels_per_cell
        pasted = [
            windows.paste(canvas[i : i + 1], windows.Window(*(cell * factor for cell in window)), patches[i : i + 1])
            for i, window in enumerate(chosen)
        ]
        return torch.cat(pasted)
