"""SAM-REF's stage 2: the refiner over a frozen SAM, as the paper describes it (papers.md 1.4).

The clicks before the last one are answered by the very model that is used afterwards (dynamic selector, windows and
all), so that the previous mask looks as it will. The last answer is made here, with gradients: global refiner, then
the local one in a window that is drawn carelessly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samref.core.geometry import Frame, ImageSize
from samref.core.prompt_maps import MapFrame
from samref.core.prompts import Prompts
from samref.models.interface import DecoderState, ImageFeatures, PromptBatch
from samref.models.layers import fit_frame, resize
from samref.models.sam.model import SamModel
from samref.models.sam_ref import step, windows
from samref.models.sam_ref.model import SamRefModel
from samref.models.sam_ref.network import Refined, SamRef
from samref.training.losses import binary_cross_entropy, dice_loss, iou, weighted_focal_loss
from samref.training.recipes import PaperRecipe, SessionClicks
from samref.training.sam_stage import SamSessions, decode_objects, image_embeddings
from samref.training.samples import Draws, Sample, SampleBatch, targets_of
from samref.training.scenes import mostly
from samref.training.trainer import Autocast, Trainee

NEAR = 3
"""Cells around an error that the weighted focal loss looks at (ours: the paper names no weight map)."""
EXPAND = (1.1, 1.6)
CENTRE_JITTER = 0.3
BOUNDARY_SHARE = 0.4
"""Growth of the window, shift of its centre over its side, share of boundary patches (FocalClick's, papers.md 1.4)."""
PATCH_SIDE = (0.3, 0.8)
"""Side of a boundary patch over the object's longer side (ours)."""


def sam_ref_loss(refined: Refined, before: Tensor, gt: Tensor, valid: Tensor) -> Tensor:
    """BCE and Dice for the error head, weighted NFL (near errors) and Dice for the corrected mask; one value.

    Source: papers.md 1.4: the losses are the digest's, their assignment and unit weights ours.

    Args:
        refined: of one refiner, at the size of ``gt``.
        before: logits that were to be corrected.
        gt: float (B, 1, h, w).
        valid: likewise, 1 where a pixel counts.
    """
    wrong = (((before > 0).float() - gt).abs() * valid).detach()
    near = F.max_pool2d(wrong, 2 * NEAR + 1, 1, NEAR)
    error, logits = refined.error.float(), refined.logits.float()
    return (
        binary_cross_entropy(error, wrong, valid).mean()
        + dice_loss(error, wrong, valid).mean()
        + weighted_focal_loss(logits, gt, valid, near)
        + dice_loss(logits, gt, valid).mean()
    )


@dataclass(frozen=True, slots=True)
class _Whole:
    """The global refiner's side of a batch, B objects."""

    refined: Refined
    coarse: Tensor
    injected: Tensor | None


class SamRefObjective(Trainee):
    """Trains the refiner; SAM is frozen, its embeddings may be stored."""

    def __init__(self, sam: SamModel, refiner: SamRef, recipe: PaperRecipe) -> None:
        assert isinstance(recipe.clicks, SessionClicks)
        self.sam = sam
        self.refiner = refiner
        self.session_clicks = recipe.clicks
        self.trained: nn.Module = refiner

    def backward(self, batch: SampleBatch, draws: Draws, device: torch.device, autocast: Autocast) -> dict[str, float]:
        embedding = image_embeddings(self.sam, batch, device, autocast)
        sessions = SamSessions(batch, self.session_clicks, draws)
        finals = [
            self._play_session(sessions, index, embedding[index : index + 1], device)
            for index in range(len(batch.samples))
        ]
        self.refiner.train()
        with torch.no_grad():
            coarse = decode_objects(self.sam, embedding, sessions.clicks, sessions.masks).logits
        with autocast():
            whole = self._look_at_all(batch, sessions, embedding, coarse, device)
        gt, valid = (self._low_res(plane) for plane in targets_of(batch, device))
        chosen = [
            self._window(whole.refined.logits[i, 0].detach(), finals[i], sessions, i, gt[i, 0]) for i in range(len(gt))
        ]
        with autocast():
            local, before = self._look_closer(batch, sessions, whole, chosen, device)
        near, seen = self._labels_inside(batch, chosen, device)
        loss = sam_ref_loss(whole.refined, coarse, gt, valid) + sam_ref_loss(local, before, near, seen)
        torch.autograd.backward(loss)
        return {
            "loss": float(loss.detach()),
            "iou_coarse": iou(coarse, gt, valid),
            "iou_global": iou(whole.refined.logits.detach(), gt, valid),
            "iou_before_local": iou(before, near, seen),
            "iou_local": iou(local.logits.detach(), near, seen),
        }

    def _play_session(
        self, sessions: SamSessions, index: int, embedding: Tensor, device: torch.device
    ) -> Tensor | None:
        """Answer an object's earlier clicks as at test time; give the last click and the last final logits (h, w)."""
        one = sessions.objects[index]
        model = SamRefModel(self.sam, self.refiner, self.sam.spec)
        state, final = DecoderState(), None
        features: ImageFeatures | None = None
        for _ in range(one.plan.earlier):
            self._click(sessions, index, final)
            if features is None:
                features = model.prepare(ImageFeatures(embedding, _pixels(one.sample, device), self._frame(one.sample)))
            said = PromptBatch(Prompts(tuple(one.clicks)), features.frame)
            for output in model.decode(features, said, state):
                answer = output
            state = answer.state
            assert state.final_logits is not None
            final = state.final_logits[0, 0]
        self._click(sessions, index, final)
        if state.low_res_logits is not None:
            sessions.answer(index, state.low_res_logits[0].clone())  # a clone may be used where gradients are
        return final

    def _click(self, sessions: SamSessions, index: int, final: Tensor | None) -> None:
        side = sessions.objects[index].sample.labels.shape
        pred = None if final is None else (resize(final.clone()[None, None], side)[0, 0] > 0).cpu().numpy()
        sessions.click(index, pred)

    def _frame(self, sample: Sample) -> Frame:
        """Clicks are made in the model frame: for them the image is already resized."""
        size = ImageSize(sample.framed.shape[0], sample.framed.shape[1])
        return Frame.letterbox(size, self.sam.config.image_size)

    def _look_at_all(
        self, batch: SampleBatch, sessions: SamSessions, embedding: Tensor, coarse: Tensor, device: torch.device
    ) -> _Whole:
        side = self.sam.config.image_size
        framed = torch.cat([fit_frame(_pixels(sample, device), self._frame(sample)) for sample in batch.samples])
        image = self.refiner.global_refiner.image_stem(framed)
        injected = self.refiner.project(embedding, (image.shape[-2], image.shape[-1]))
        radius, frame = self.refiner.config.click_radius, MapFrame(side, side)
        maps = torch.cat([step.draw_signs(Prompts(tuple(clicks)), frame, radius) for clicks in sessions.clicks])
        refined = step.refine_global(self.refiner, image, maps.to(device), injected, coarse)
        return _Whole(refined, coarse, injected)

    def _low_res(self, plane: Tensor) -> Tensor:
        return mostly(plane, self.refiner.config.low_res_stride).float()

    def _window(
        self, logits: Tensor, final: Tensor | None, sessions: SamSessions, index: int, gt: Tensor
    ) -> windows.Window:
        """The rule's window, grown and shifted at random, or a patch somewhere on the object's boundary."""
        config, one = self.refiner.config, sessions.objects[index]
        rng, stride = one.rng, config.low_res_stride
        limit = windows.covered_cells(self._frame(one.sample), stride)
        truth = (gt > 0).cpu().numpy()
        box = windows.object_window(truth, [], expand=1.0, minimum=1, limit=limit)
        longest = 0 if box is None else max(box.x1 - box.x0, box.y1 - box.y0)
        if longest >= 2 * config.minimum and rng.random() < BOUNDARY_SHARE:
            inner = F.max_pool2d(1 - gt[None, None], 3, 1, 1)[0, 0].cpu().numpy() > 0
            rows, columns = np.nonzero(truth & inner)
            pick = int(rng.integers(rows.size))
            half, x, y = longest * rng.uniform(*PATCH_SIDE) / 2, columns[pick], rows[pick]
            return windows.grown_window((x - half, y - half, x + half, y + half), 1.0, config.minimum, limit)
        newest = one.clicks[-1]
        rule = windows.change_window(
            windows.inside(logits, limit),
            None if final is None else windows.inside(final, limit),
            (newest.x / stride, newest.y / stride),
            expand=float(rng.uniform(*EXPAND)),
            minimum=config.minimum,
            limit=limit,
        )
        rule = rule or box or windows.Window(0, 0, limit[1], limit[0])
        shift_x, shift_y = rng.uniform(-CENTRE_JITTER, CENTRE_JITTER, size=2)
        by_x, by_y = shift_x * (rule.x1 - rule.x0), shift_y * (rule.y1 - rule.y0)
        moved = (rule.x0 + by_x, rule.y0 + by_y, rule.x1 + by_x, rule.y1 + by_y)
        return windows.grown_window(moved, 1.0, config.minimum, limit)

    def _look_closer(
        self,
        batch: SampleBatch,
        sessions: SamSessions,
        whole: _Whole,
        chosen: list[windows.Window],
        device: torch.device,
    ) -> tuple[Refined, Tensor]:
        """The local refiner in every window, and the logits it started from."""
        logits = whole.refined.logits.float()
        closeups = []
        for index, (sample, clicks, window) in enumerate(zip(batch.samples, sessions.clicks, chosen, strict=True)):
            one = slice(index, index + 1)
            features = ImageFeatures(torch.empty(0), _pixels(sample, device), self._frame(sample))
            said = PromptBatch(Prompts(tuple(clicks)), features.frame)
            inside = None if whole.injected is None else whole.injected[one].float()
            config = self.refiner.config
            closeups.append(
                step.look_closer(config, features, said, logits[one], window, embedding=inside, base=self.sam)
            )
        seen = step.together(closeups)
        return step.refine_local(self.refiner, seen), seen.logits.detach()

    def _labels_inside(
        self, batch: SampleBatch, chosen: list[windows.Window], device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Ground truth and valid pixels in the windows, from the image's own pixels, at the local grid."""
        config = self.refiner.config
        found = []
        for sample, window in zip(batch.samples, chosen, strict=True):
            assert sample.pixel_labels is not None, "the feed was made without pixels"
            labels = torch.from_numpy(sample.pixel_labels)[None, None].to(device)
            planes = torch.cat([(labels == 1).float(), (labels != 255).float()], dim=1)
            scale = sample.pixel_labels.shape[1] / sample.framed.shape[1] * config.low_res_stride
            scale_y = sample.pixel_labels.shape[0] / sample.framed.shape[0] * config.low_res_stride
            x0, y0, x1, y1 = window
            box = torch.tensor([[x0 * scale, y0 * scale_y, x1 * scale, y1 * scale_y]])
            found.append(mostly(windows.sample_window(planes, box, config.crop, nearest=True), 2))
        inside = torch.cat(found).float()
        return inside[:, :1], inside[:, 1:]


def _pixels(sample: Sample, device: torch.device) -> Tensor:
    """uint8 (1, 3, H', W')."""
    assert sample.pixels is not None, "the feed was made without pixels"
    return torch.from_numpy(sample.pixels).permute(2, 0, 1)[None].to(device)
