"""Stage 2: the SAM-REF refiner over a finished, frozen base (papers.md 1.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from samref.core.prompt_maps import MapFrame, PromptMaps, draw_prompt
from samref.core.prompts import Box, Polygon
from samref.models.layers import resize, to_unit
from samref.models.sam_ref import windows
from samref.models.sam_ref.network import Refined, SamRef
from samref.models.tiny.network import Embedding, TinyNet
from samref.training.clicks import BatchAnnotator
from samref.training.losses import binary_cross_entropy, dice_loss, normalized_focal_loss
from samref.training.objectives import Autocast, Trainee, click_schedule, iou, to_input

STRIDE = 4
"""Image pixels per low-res cell of the embedded base."""
HALF = 2
"""Image pixels per cell of the label maps that the annotator works on."""


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


@dataclass(frozen=True, slots=True)
class _Scene:
    """A batch on its way through the refiner; N = B images x K objects."""

    pixels: Tensor
    objects: int
    labels: Tensor
    half: Tensor


class RefinerObjective(Trainee):
    """Trains ``refiner`` on the masks of ``base``; both see the prompts of the same simulated person."""

    def __init__(self, base: TinyNet, refiner: SamRef) -> None:
        self.base = base.eval().requires_grad_(False)
        self.trained: nn.Module = refiner
        self.refiner = refiner
        self.map_radius = base.config.click_radius / base.config.map_stride

    def backward(
        self,
        rgb: Tensor,
        labels: Tensor,
        half: Tensor,
        annotator: BatchAnnotator,
        rng: np.random.Generator,
        autocast: Autocast,
        objects: int,
    ) -> dict[str, float]:
        scene = _Scene(rgb, objects, labels, half)
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
        shared = Embedding(*(level.repeat_interleave(objects, dim=0) for level in embedding))
        drawn = np.zeros((count, 2, *rgb.shape[-2:]), dtype=np.uint8)
        mask_input = torch.zeros(count, 1, *low_res, device=rgb.device)
        has_mask = torch.zeros(count, 1, 1, 1, device=rgb.device)
        learnt = click_schedule(rng)
        feed_final = rng.random() < 0.5
        values: dict[str, float] = {}
        for step, learn in enumerate(learnt):
            with torch.no_grad(), autocast():
                maps = torch.from_numpy(annotator.maps).to(rgb.device).float()
                coarse = self.base.decoder(shared, maps, mask_input, has_mask).float()
            self._draw(drawn, annotator, MapFrame(rgb.shape[-2], rgb.shape[-1], scale_xy=(HALF, HALF)))
            with torch.set_grad_enabled(learn):
                parts = [leaf.repeat_interleave(objects, dim=0) for leaf in leaves]
                injected = parts[1] if len(parts) > 1 else None
                with autocast():
                    probability = resize(coarse.sigmoid(), (rgb.shape[-2], rgb.shape[-1]))
                    stack = torch.cat([torch.from_numpy(drawn).to(rgb.device).float(), probability], dim=1)
                    whole = self.refiner.global_refiner(parts[0], stack, injected, coarse)
                chosen = self._windows(whole.logits.detach(), rng)
                local, before, closer = self._look_closer(scene, annotator, whole.logits, injected, chosen, autocast)
            if learn:
                near = (closer == 1).float()
                seen = (closer != 255).float()
                loss = refiner_loss(whole, coarse, gt, valid) + refiner_loss(local, before, near, seen)
                torch.autograd.backward(loss / sum(learnt))
                values[f"loss{step + 1 if step < 3 else 'late'}"] = float(loss.detach())
            corrected, patches = whole.logits.detach().float(), local.logits.detach().float()
            final = self._composed(corrected, patches, chosen, STRIDE)
            fine = self._composed(resize(corrected, (height, width)), patches, chosen, HALF)
            name = step + 1 if len(learnt) == 3 else ("late" if step + 1 == len(learnt) else None)
            if name is not None:
                values[f"coarse{name}"] = iou(resize(coarse, (height, width)), gt, valid)
                values[f"global{name}"] = iou(resize(corrected, (height, width)), gt, valid)
                values[f"final{name}"] = iou(fine, gt, valid)
            mask_input, has_mask = final if feed_final else coarse, torch.ones_like(has_mask)
            if step + 1 < len(learnt):
                annotator.correct(fine.cpu())
        torch.autograd.backward(image_parts, [leaf.grad for leaf in leaves])
        return values

    def _draw(self, drawn: np.ndarray[Any, np.dtype[np.uint8]], annotator: BatchAnnotator, frame: MapFrame) -> None:
        """Clicks and strokes of everybody, drawn anew in the model frame (cheap: one more prompt each time)."""
        for index, prompts in enumerate(annotator.prompts):
            if prompts and not isinstance(prompts[-1], Box | Polygon):
                planes = PromptMaps(drawn[index, 0], drawn[index, 1], drawn[index, 0], drawn[index, 1])
                draw_prompt(planes, prompts[-1], frame, self.refiner.config.click_radius)

    def _windows(self, logits: Tensor, rng: np.random.Generator) -> list[windows.Window]:
        """The object window of every mask, carelessly: other growth, moved a little; all of the frame when empty."""
        config = self.refiner.config
        limit = (logits.shape[-2], logits.shape[-1])
        chosen = []
        for mask in (logits[:, 0] > 0).cpu().numpy():
            expand = float(rng.uniform(1.15, 1.7))
            window = windows.object_window(mask, [], expand=expand, minimum=config.minimum, limit=limit)
            if window is None:
                window = windows.Window(0, 0, limit[1], limit[0])
            chosen.append(window)
        return chosen

    def _look_closer(
        self,
        scene: _Scene,
        annotator: BatchAnnotator,
        logits: Tensor,
        injected: Tensor | None,
        chosen: list[windows.Window],
        autocast: Autocast,
    ) -> tuple[Refined, Tensor, Tensor]:
        """Local refiner on every window; also the logits it started from and the labels there (crop frame)."""
        config = self.refiner.config
        cells = torch.tensor(chosen, dtype=torch.float32)
        crops, maps = [], []
        for index, window in enumerate(chosen):
            box = tuple(float(cell * STRIDE) for cell in window)
            x0, y0, x1, y1 = box
            whole = scene.pixels[index // scene.objects][None]
            crops.append(windows.sample_pixels(whole, (x0, y0, x1, y1), config.crop))
            frame = MapFrame(
                config.crop,
                config.crop,
                scale_xy=(config.crop * HALF / (x1 - x0), config.crop * HALF / (y1 - y0)),
                origin_xy=(x0 / HALF, y0 / HALF),
            )
            drawn = np.zeros((2, config.crop, config.crop), dtype=np.uint8)
            for prompt in annotator.prompts[index]:
                if not isinstance(prompt, Box | Polygon):
                    draw_prompt(PromptMaps(drawn[0], drawn[1], drawn[0], drawn[1]), prompt, frame, config.click_radius)
            maps.append(torch.from_numpy(drawn))
        before = windows.sample_window(logits.float(), cells, config.local_grid)
        probability = windows.sample_window(logits.detach().float().sigmoid(), cells, config.crop)
        embedding = None if injected is None else windows.sample_window(injected.float(), cells, config.local_grid)
        labels = windows.sample_window(scene.labels.float(), cells * STRIDE, config.crop, nearest=True)
        with autocast():
            image = self.refiner.local_refiner.image_stem(to_unit(torch.cat(crops)))
            stack = torch.cat([torch.stack(maps).to(image.device).float(), probability], dim=1)
            refined = self.refiner.local_refiner(image, stack, embedding, before)
        return refined, before.detach(), labels

    @staticmethod
    def _composed(canvas: Tensor, patches: Tensor, chosen: list[windows.Window], pixels_per_cell: int) -> Tensor:
        factor = STRIDE // pixels_per_cell
        pasted = [
            windows.paste(canvas[i : i + 1], windows.Window(*(cell * factor for cell in window)), patches[i : i + 1])
            for i, window in enumerate(chosen)
        ]
        return torch.cat(pasted)
