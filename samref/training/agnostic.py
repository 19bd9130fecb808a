"""A SAM-REF refiner that fits any base: trained on coarse masks alone, never on a base's embedding.

The masks are imitated (:mod:`samref.training.coarse_masks`), recorded from bases (:mod:`samref.training.mask_records`),
or right already. The last kind matters most: a refiner that has seen only wrong masks changes right ones too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from samref.core.prompt_maps import MapFrame, PromptMaps, draw_prompt
from samref.core.prompts import Click, Prompt
from samref.models.layers import resize, to_unit
from samref.models.sam_ref import windows
from samref.models.sam_ref.network import Refined, SamRef
from samref.training import coarse_masks
from samref.training.annotator import BatchAnnotator
from samref.training.dataset import IGNORE, BatchShape
from samref.training.mask_examples import MaskExample, imagined_prompts, mirrored, transposed, with_margin
from samref.training.mask_records import MaskRecord
from samref.training.objectives import Autocast, decayed_groups, iou
from samref.training.recipes import Recipe
from samref.training.refine import HALF, STRIDE, refiner_loss

__all__ = ["AGNOSTIC_RECIPES", "STAY", "AgnosticObjective", "MaskShares", "harm"]

AGNOSTIC_RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="agnostic-refiner",
            part="refiner",
            shapes=(BatchShape(images=8, side=384, whole=0.3, zoomed=0.35, share=1.0),),
            objects=1,
            steps=2500,
            rate=2e-3,
            warmup=100,
            cooldown=0.6,
            pasted=0.1,
            ema=0.998,
            seed=2028,
        ),
        Recipe(
            name="smoke-agnostic",
            part="refiner",
            shapes=(BatchShape(images=2, side=128, whole=0.5, share=1.0),),
            objects=1,
            steps=4,
            rate=1e-3,
            warmup=2,
            seed=2028,
        ),
    )
}
"""Records must have the side of the recipe's scenes."""

STAY = 1.0
"""Weight of :func:`harm` beside the refiner's losses. From the first step on it teaches to change nothing at all, so a
first round of training takes little of it."""


@dataclass(frozen=True, slots=True)
class MaskShares:
    """How often a mask is of which kind; the share of records not given goes to the other wrong ones in proportion.

    Attributes:
        good: right but for what cells cannot show.
        wrong: imitated mistakes.
        recorded: by the name of the records.
    """

    good: float = 0.35
    wrong: float = 0.25
    recorded: tuple[tuple[str, float], ...] = (("tiny", 0.3), ("grabcut", 0.1))


class AgnosticObjective:
    """Trains ``refiner`` on masks of many kinds; its local window is drawn at random around the object or a click.

    Args:
        refiner: without the base's embedding.
        records: recorded masks by name.
        shares: how often which kind.
        crop: side of the detail crop in training, in pixels.
        stay: weight of :func:`harm`.
    """

    map_radius = 2.5

    def __init__(
        self,
        refiner: SamRef,
        records: Mapping[str, Sequence[MaskRecord]],
        shares: MaskShares = MaskShares(),
        crop: int = 256,
        stay: float = STAY,
    ) -> None:
        assert refiner.embedding is None, "a refiner for any base takes no base's embedding"
        self.trained: nn.Module = refiner
        self.refiner = refiner
        self.records = dict(records)
        self.crop = crop
        self.stay = stay
        wrong = {"wrong": shares.wrong} | {name: share for name, share in shares.recorded if name in self.records}
        self.kinds = ["good", *wrong]
        self.weights = np.array([shares.good, *(w * (1 - shares.good) / sum(wrong.values()) for w in wrong.values())])

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        return decayed_groups(self.refiner.parameters(), recipe)

    def backward(
        self,
        rgb: Tensor,
        labels: Tensor,
        half: Tensor,  # noqa: ARG002 - recorded objects bring their own labels
        annotator: BatchAnnotator,  # noqa: ARG002 - masks and prompts do not depend on the refiner
        rng: np.random.Generator,
        autocast: Autocast,
        objects: int,
    ) -> dict[str, float]:
        """See :class:`samref.training.objectives.Objective`."""
        scenes, truths = rgb.permute(0, 2, 3, 1).cpu().numpy(), labels[:, 0].cpu().numpy()
        examples = [self.draw(scenes[index // objects], truth, rng) for index, truth in enumerate(truths)]
        device = rgb.device
        pixels = torch.from_numpy(np.stack([e.rgb for e in examples])).permute(0, 3, 1, 2).to(device)
        marked = torch.from_numpy(np.stack([e.labels for e in examples]))[:, None]
        coarse = torch.from_numpy(np.stack([e.logits for e in examples]))[:, None].to(device)
        # At full size: what a refiner can mend of an outline is a fraction of a cell.
        gt, valid = (marked == 1).float().to(device), (marked != IGNORE).float().to(device)
        side = pixels.shape[-1]
        frame = MapFrame(side, side, scale_xy=(HALF, HALF))
        maps = torch.stack([self._drawn(e.prompts, frame) for e in examples]).to(device)
        with autocast():
            stack = torch.cat([maps, resize(coarse.sigmoid(), (side, side))], dim=1)
            image = self.refiner.global_refiner.image_stem(to_unit(pixels))
            whole: Refined = self.refiner.global_refiner(image, stack, None, coarse)
        corrected = whole.logits.float()
        limit = (side // STRIDE, side // STRIDE)
        inside = (corrected.detach()[:, 0] > 0).cpu().numpy()
        boxes = [self._window(mask, e.prompts, limit, rng) for mask, e in zip(inside, examples, strict=True)]
        local, before, near, seen = self._look_closer(pixels, marked.to(device), corrected, boxes, examples, autocast)
        loss = refiner_loss(whole, coarse, gt, valid) + refiner_loss(local, before, near, seen)
        loss = loss + self.stay * (harm(whole.logits, coarse, gt, valid) + harm(local.logits, before, near, seen))
        torch.autograd.backward(loss)
        gains = {
            "global": _gains(corrected, coarse, gt, valid),
            "local": _gains(local.logits, before, near, seen),
        }
        values = {"loss": float(loss.detach())}
        for kind in {example.kind for example in examples}:
            chosen = [index for index, example in enumerate(examples) if example.kind == kind]
            values |= {f"{stage}_{kind}": float(np.mean([gain[n] for n in chosen])) for stage, gain in gains.items()}
        return values

    def draw(self, rgb: NDArray[np.uint8], labels: NDArray[np.uint8], rng: np.random.Generator) -> MaskExample:
        """An example of a kind drawn by its share: this scene with an imitated mask, or a recorded one."""
        example = self._drawn_example(rgb, labels, rng)
        return with_margin(example, rng) if rng.random() < 0.6 else example

    def _drawn_example(
        self, rgb: NDArray[np.uint8], labels: NDArray[np.uint8], rng: np.random.Generator
    ) -> MaskExample:
        kind = self.kinds[int(rng.choice(len(self.kinds), p=self.weights))]
        if kind in self.records:
            return self._recorded(kind, labels.shape[0], rng)
        low_res = (labels.shape[0] // STRIDE, labels.shape[1] // STRIDE)
        gt = (labels == 1).astype(np.uint8)
        if kind == "good":
            logits = coarse_masks.good_logits(gt, low_res, rng)
        else:
            logits = coarse_masks.perturbed_logits(gt, rgb, low_res, rng)
        return MaskExample(rgb, labels, logits, imagined_prompts(labels, logits, rng), kind)

    def _recorded(self, kind: str, side: int, rng: np.random.Generator) -> MaskExample:
        record = self.records[kind][int(rng.integers(len(self.records[kind])))]
        assert record.labels.shape[0] == side, "records have the side of the recipe's scenes"
        step = int(rng.integers(len(record.logits)))
        logits = record.logits[step].astype(np.float32)
        example = MaskExample(record.rgb, record.labels, logits, record.prompts[step], kind)
        example = mirrored(example) if rng.random() < 0.5 else example
        return transposed(example) if rng.random() < 0.5 else example

    def _drawn(self, prompts: Sequence[Prompt], frame: MapFrame) -> Tensor:
        drawn = np.zeros((2, frame.height, frame.width), dtype=np.uint8)
        planes = PromptMaps(drawn[0], drawn[1], drawn[0], drawn[1])
        for prompt in prompts:
            draw_prompt(planes, prompt, frame, self.refiner.config.click_radius)
        return torch.from_numpy(drawn).float()

    def _window(
        self, mask: NDArray[np.bool_], prompts: Sequence[Prompt], limit: tuple[int, int], rng: np.random.Generator
    ) -> windows.Window:
        """The object carelessly framed, or half of the time a square near the last click, as after a correction."""
        least = self.refiner.config.minimum * limit[0] // 256 + 1
        clicks = [prompt for prompt in prompts if isinstance(prompt, Click)]
        whole = windows.object_window(mask, [], expand=float(rng.uniform(1.1, 1.7)), minimum=least, limit=limit)
        if whole is None:
            return windows.Window(0, 0, limit[1], limit[0])
        if not clicks or rng.random() < 0.5:
            return whole
        half = max(least, max(whole.x1 - whole.x0, whole.y1 - whole.y0) * float(rng.uniform(0.2, 0.7))) / 2
        x, y = (HALF * v / STRIDE + rng.uniform(-0.3, 0.3) * half for v in (clicks[-1].x, clicks[-1].y))
        square = np.zeros(limit, dtype=np.bool_)
        rows, columns = (slice(max(0, int(v - half)), max(1, int(v + half) + 1)) for v in (y, x))
        square[rows, columns] = True
        near = windows.object_window(square, [], expand=1.0, minimum=least, limit=limit)
        return whole if near is None else near

    def _look_closer(
        self,
        pixels: Tensor,
        labels: Tensor,
        logits: Tensor,
        boxes: Sequence[windows.Window],
        examples: Sequence[MaskExample],
        autocast: Autocast,
    ) -> tuple[Refined, Tensor, Tensor, Tensor]:
        """Local refiner on every window; the logits it started from, the truth there and what of it counts."""
        crops, maps = [], []
        for index, (x0, y0, x1, y1) in enumerate(boxes):
            box = (float(x0 * STRIDE), float(y0 * STRIDE), float(x1 * STRIDE), float(y1 * STRIDE))
            crops.append(windows.sample_pixels(pixels[index : index + 1], box, self.crop))
            scale = (self.crop * HALF / (box[2] - box[0]), self.crop * HALF / (box[3] - box[1]))
            frame = MapFrame(self.crop, self.crop, scale_xy=scale, origin_xy=(box[0] / HALF, box[1] / HALF))
            maps.append(self._drawn(examples[index].prompts, frame))
        cells = torch.tensor([tuple(box) for box in boxes], dtype=torch.float32)
        before = windows.sample_window(logits, cells, self.crop // 2)
        probability = windows.sample_window(logits.detach().sigmoid(), cells, self.crop)
        truth = windows.sample_window(labels.float(), cells * STRIDE, self.crop, nearest=True)
        with autocast():
            image = self.refiner.local_refiner.image_stem(to_unit(torch.cat(crops)))
            stack = torch.cat([torch.stack(maps).to(image.device), probability], dim=1)
            refined = self.refiner.local_refiner(image, stack, None, before)
        return refined, before.detach(), (truth == 1).float(), (truth != IGNORE).float()


def harm(after: Tensor, before: Tensor, gt: Tensor, valid: Tensor) -> Tensor:
    """How far pixels that were right are pushed towards wrong, as a share of the object: hinge of margin one.

    The other losses weigh a corrected pixel like a spoilt one; a person does not.
    """
    size = (gt.shape[-2], gt.shape[-1])
    new, old = resize(after.float(), size), resize(before.float(), size)
    sign = 2 * gt - 1
    right = ((old * sign > 0) & (valid > 0)).float()
    least = (old * sign).clamp(0, 1).detach()  # never asked to be surer than before
    spoilt = (right * (least - new * sign).clamp_min(0)).flatten(1).sum(1)
    return (spoilt / gt.flatten(1).sum(1).clamp_min(64)).clamp_max(4).mean()


def _gains(after: Tensor, before: Tensor, gt: Tensor, valid: Tensor) -> list[float]:
    """IoU of every object after less before, at the size of ``gt``."""
    size = (gt.shape[-2], gt.shape[-1])
    new, old = (resize(logits.detach().float(), size) for logits in (after, before))
    ends = [slice(n, n + 1) for n in range(len(gt))]
    return [iou(new[n], gt[n], valid[n]) - iou(old[n], gt[n], valid[n]) for n in ends]
