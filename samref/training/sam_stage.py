"""Objectives over Segment Anything: its mask decoder alone, FocSAM's refiner through it, SAM-REF's refiner over it.

The decoder is stage 1 of SAM-REF and of FocSAM, a refiner the stage 2 (papers.md 1.4 and 3.5). The decoder sees every
object with its own number of clicks: objects are grouped by it, because a padding point would be one more token that
the others attend to, and the answer would depend on who else is in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from samref.core.geometry import Frame, ImageSize
from samref.core.oracle import FocsamAnnotator
from samref.core.prompt_maps import MapFrame
from samref.core.prompts import Click, Prompts
from samref.errors import TrainingError
from samref.models.focsam.model import SingleMask, decode_single_mask
from samref.models.focsam.network import FocusRefiner, active_cells, expanded_boxes, object_boxes
from samref.models.interface import DecoderState, ImageFeatures, ImageInput, PromptBatch
from samref.models.layers import fit_frame, resize
from samref.models.sam import SPECS
from samref.models.sam.model import SamModel, build_sam
from samref.models.sam.network import SAM_CONFIGS
from samref.models.sam_ref import step as refiner_step
from samref.models.sam_ref import windows
from samref.models.sam_ref.model import SamRefModel
from samref.models.sam_ref.network import Refined, SamRef
from samref.training.clicks import SessionPlan, plan_session
from samref.training.losses import (
    EPS_FOCSAM,
    binary_cross_entropy,
    click_loss,
    dice_loss,
    iou,
    normalized_focal_loss,
    weighted_focal_loss,
)
from samref.training.recipes import PaperRecipe, SessionClicks
from samref.training.samples import Draws, Sample, SampleBatch, targets_of
from samref.training.scenes import mostly
from samref.training.trainer import Autocast, Trainee

GROWTH = (1.0, 1.4)
"""Of the coarse mask's box in FocSAM's training, per axis, drawn anew for each use."""
NEAR = 3
"""Cells around an error that the weighted focal loss looks at (ours: the paper names no weight map)."""
EXPAND = (1.1, 1.6)
CENTRE_JITTER = 0.3
BOUNDARY_SHARE = 0.4
"""Growth of the window, shift of its centre over its side, share of boundary patches (FocalClick's, papers.md 1.4)."""
PATCH_SIDE = (0.3, 0.8)
"""Side of a boundary patch over the object's longer side (ours)."""


def load_frozen_sam(name: str, checkpoint: Path | None, device: torch.device) -> SamModel:
    """A SAM of that name that answers with its single mask."""
    if name not in SAM_CONFIGS:
        raise TrainingError(f"{name[:60]!r} is not a Segment Anything model. There are: {', '.join(SAM_CONFIGS)}.")
    sam = build_sam(SPECS[name], "single", checkpoint=checkpoint)
    return sam.to(device, torch.float32)


def image_embeddings(sam: SamModel, batch: SampleBatch, device: torch.device, autocast: Autocast) -> Tensor:
    """(B, C, h, w) float32: the stored ones, or else the frozen encoder's."""
    stored = [sample.embedding for sample in batch.samples]
    if all(embedding is not None for embedding in stored):
        return torch.stack([e for e in stored if e is not None]).to(device, torch.float32)
    images = []
    for sample in batch.samples:
        size = ImageSize(sample.framed.shape[0], sample.framed.shape[1])
        frame = Frame.letterbox(size, sam.config.image_size)
        images.append(sam.preprocess(ImageInput(torch.from_numpy(sample.framed), frame)))
    with torch.no_grad(), autocast():
        embedding: Tensor = sam.network.image_encoder(torch.cat(images).to(sam.dtype))
    return embedding.float()


def decode_objects(
    sam: SamModel, image_embedding: Tensor, clicks: list[list[Click]], masks: list[Tensor | None]
) -> SingleMask:
    """SAM's single mask for each object, gradients flowing into whatever asks for them.

    ``image_embedding`` (B, C, h, w) has one row an object; ``masks`` are (1, h, w) logits of each object's previous
    answer.
    """
    groups: dict[tuple[int, bool], list[int]] = {}
    for index, (own, mask) in enumerate(zip(clicks, masks, strict=True)):
        groups.setdefault((len(own), mask is not None), []).append(index)
    logits: dict[int, Tensor] = {}
    tokens: dict[int, Tensor] = {}
    device = image_embedding.device
    for (_, has_mask), members in groups.items():
        points = torch.tensor([[(c.x, c.y) for c in clicks[i]] for i in members], dtype=torch.float32, device=device)
        labels = torch.tensor([[int(c.positive) for c in clicks[i]] for i in members], device=device)
        given = torch.stack([m for i in members if (m := masks[i]) is not None]) if has_mask else None
        sparse, dense = sam.network.prompt_encoder(points=(points, labels), boxes=None, masks=given)
        answer = decode_single_mask(sam.network.mask_decoder, image_embedding[members], sam.image_pe, sparse, dense)
        for place, index in enumerate(members):
            logits[index], tokens[index] = answer.logits[place], answer.token[place]
    order = range(len(clicks))
    return SingleMask(torch.stack([logits[i] for i in order]), torch.stack([tokens[i] for i in order]))


@dataclass(slots=True)
class _Object:
    """What one simulated person has said about an object and was answered."""

    sample: Sample
    plan: SessionPlan
    rng: np.random.Generator
    annotator: FocsamAnnotator
    clicks: list[Click] = field(default_factory=list)
    mask: Tensor | None = None


class SamSessions:
    """The objects of a batch, clicked on by simulated people (papers.md 3.5).

    How many clicks, and at which of them FocSAM refocuses, is drawn once for all objects of one data set in the batch.

    Attributes:
        objects: in the order of the batch.
        steps: most earlier clicks of any of them.
    """

    def __init__(self, batch: SampleBatch, recipe: SessionClicks, draws: Draws) -> None:
        names = sorted({sample.data_set for sample in batch.samples})
        plans = {name: plan_session(recipe, name, draws.of_data_set(batch.number, name)) for name in names}
        self.objects: list[_Object] = []
        for sample in batch.samples:
            rng = draws.of(sample)
            annotator = FocsamAnnotator(sample.labels == 1, rng, recipe.spread)
            self.objects.append(_Object(sample, plans[sample.data_set], rng, annotator))
        self.steps = max(one.plan.earlier for one in self.objects)

    @property
    def clicks(self) -> list[list[Click]]:
        return [one.clicks for one in self.objects]

    @property
    def masks(self) -> list[Tensor | None]:
        return [one.mask for one in self.objects]

    def active(self, step: int) -> list[int]:
        """Objects that have an earlier click at ``step`` (from 0)."""
        return [index for index, one in enumerate(self.objects) if one.plan.earlier > step]

    def click(self, index: int, pred: NDArray[np.bool_] | None) -> None:
        """One more click of an object on its mask so far (None: nothing was answered yet)."""
        one = self.objects[index]
        click = one.annotator.click(np.zeros(one.sample.labels.shape, dtype=np.bool_) if pred is None else pred)
        if click is not None:  # where nothing is wrong, the same clicks are answered again
            one.clicks.append(click)

    def click_on_answer(self, index: int) -> None:
        """One more click, on the answer that the object was last given."""
        mask, side = self.objects[index].mask, self.objects[index].sample.labels.shape
        self.click(index, None if mask is None else (resize(mask[None].float(), side)[0, 0] > 0).cpu().numpy())

    def decode(self, sam: SamModel, embedding: Tensor, chosen: list[int], *, keep: bool = False) -> SingleMask:
        """The answers about some of the objects; ``embedding`` is of all, and kept answers are what is clicked on."""
        answer = decode_objects(
            sam, embedding[chosen], [self.clicks[i] for i in chosen], [self.masks[i] for i in chosen]
        )
        if keep:
            for place, index in enumerate(chosen):
                self.answer(index, answer.logits[place])
        return answer

    def answer(self, index: int, logits: Tensor) -> None:
        """(1, h, w) logits: what the object's next click is about, and SAM's next mask prompt."""
        self.objects[index].mask = logits.detach()


def session_loss(recipe: PaperRecipe, sessions: SamSessions, logits: Tensor, gt: Tensor, valid: Tensor) -> Tensor:
    """The losses that a recipe names, of logits (B, 1, S, S) after the last clicks; one value."""
    loss = torch.zeros(len(logits), device=logits.device)
    if "nfl" in recipe.losses:
        loss = loss + normalized_focal_loss(logits, gt, valid, eps=EPS_FOCSAM, eps_in_count=False)
    if "dice" in recipe.losses:
        loss = loss + dice_loss(logits, gt, valid)
    total = loss.mean()
    return total + click_loss(logits, *click_tensors(sessions, logits.device)) if "click" in recipe.losses else total


def click_tensors(sessions: SamSessions, device: torch.device) -> tuple[Tensor, Tensor]:
    """All clicks so far: (B, N, 2) pixels (x, y) and (B, N) labels with -1 as padding."""
    rows = [
        torch.tensor([(c.x, c.y, c.positive) for c in own], dtype=torch.float32).reshape(len(own), 3)
        for own in sessions.clicks
    ]
    padded = pad_sequence(rows, batch_first=True, padding_value=-1.0).to(device)
    return padded[..., :2], padded[..., 2].long()


class SamObjective(Trainee):
    """What learns from clicks on a frozen SAM, whose embeddings may be stored."""

    def __init__(self, sam: SamModel, trained: nn.Module, recipe: PaperRecipe) -> None:
        assert isinstance(recipe.clicks, SessionClicks)
        self.sam = sam
        self.trained = trained
        self.recipe = recipe
        self.session_clicks = recipe.clicks


class SamDecoderObjective(SamObjective):
    """Trains the mask decoder on the click after a simulated session; the session itself leaves no gradient.

    Token 0 gives the only mask, as FocSAM and SAM-REF use it; the IoU head and the other mask tokens keep what they
    have. SAM's decoder runs in float32 (bfloat16 cannot tell two neighbouring pixels of a 1024 frame apart), so mixed
    precision concerns the encoder only.
    """

    def __init__(self, sam: SamModel, recipe: PaperRecipe) -> None:
        super().__init__(sam, sam.network.mask_decoder.requires_grad_(True), recipe)

    def backward(self, batch: SampleBatch, draws: Draws, device: torch.device, autocast: Autocast) -> dict[str, float]:
        embedding = image_embeddings(self.sam, batch, device, autocast)
        gt, valid = targets_of(batch, device)
        sessions = SamSessions(batch, self.session_clicks, draws)
        for step in range(sessions.steps):
            active = sessions.active(step)
            for index in active:
                sessions.click_on_answer(index)
            with torch.no_grad():
                sessions.decode(self.sam, embedding, active, keep=True)
        for index in range(len(sessions.objects)):
            sessions.click_on_answer(index)
        low_res_logits = decode_objects(self.sam, embedding, sessions.clicks, sessions.masks).logits
        logits = resize(low_res_logits, gt.shape[-2:])
        loss = session_loss(self.recipe, sessions, logits, gt, valid)
        torch.autograd.backward(loss)
        return {"loss": float(loss.detach()), "iou": iou(logits.detach(), gt, valid)}


class FocusObjective(SamObjective):
    """A session with one refocusing: ``r`` ordinary steps, the refiner, ``n - r`` steps from the new embedding.

    All of that is without gradient; then the step of the refocusing and the last one run again with it. The loss is on
    the mask after n + 1 clicks, and its gradient goes through the frozen decoder into the refiner.
    """

    def __init__(self, sam: SamModel, refiner: FocusRefiner, recipe: PaperRecipe) -> None:
        super().__init__(sam, refiner, recipe)
        self.refiner = refiner

    def backward(self, batch: SampleBatch, draws: Draws, device: torch.device, autocast: Autocast) -> dict[str, float]:
        embedding = image_embeddings(self.sam, batch, device, autocast)
        gt, valid = targets_of(batch, device)
        sessions = SamSessions(batch, self.session_clicks, draws)
        # One pair of growths for each step of the longest session, and one for the step that is learnt from.
        growths = draws.of_step().uniform(*GROWTH, size=(self.session_clicks.most + 2, 2))
        current = embedding.clone()
        coarse_clicks: list[Any] = [None] * len(sessions.objects)
        coarse_masks: list[Tensor | None] = [None] * len(sessions.objects)
        self.refiner.eval()
        for step in range(sessions.steps + 1):
            active = [i for i, one in enumerate(sessions.objects) if one.plan.earlier >= step]
            for index in active:
                sessions.click_on_answer(index)
            now = [i for i in active if sessions.objects[i].plan.refine == step]
            for index in now:
                coarse_clicks[index] = list(sessions.clicks[index])
                coarse_masks[index] = sessions.masks[index]
            earlier = sessions.active(step)
            if not earlier:
                continue
            with torch.no_grad():
                refocusing = [i for i in now if i in earlier]
                if refocusing:
                    coarse = sessions.decode(self.sam, embedding, refocusing)
                    current[refocusing] = self._refocus(embedding[refocusing], coarse, growths[step], autocast)
                sessions.decode(self.sam, current, earlier, keep=True)
        self.refiner.train()
        with torch.no_grad():
            coarse = decode_objects(self.sam, embedding, coarse_clicks, coarse_masks)
        refocused = self._refocus(embedding, coarse, growths[-1], autocast)
        logits = resize(decode_objects(self.sam, refocused, sessions.clicks, sessions.masks).logits, gt.shape[-2:])
        loss = session_loss(self.recipe, sessions, logits, gt, valid)
        torch.autograd.backward(loss)
        before = resize(coarse.logits, gt.shape[-2:])
        return {
            "loss": float(loss.detach()),
            "iou_coarse": iou(before, gt, valid),
            "iou": iou(logits.detach(), gt, valid),
        }

    def _refocus(self, embedding: Tensor, coarse: SingleMask, growth: Any, autocast: Autocast) -> Tensor:
        side = self.sam.config.image_size
        frame = ImageSize(side, side)
        boxes = object_boxes(resize(coarse.logits.detach(), (side, side))[:, 0] > 0)
        grown = expanded_boxes(boxes, float(growth[0]), float(growth[1]), frame)
        cells = active_cells(grown, frame, ImageSize(*embedding.shape[-2:]))
        with autocast():
            refocused: Tensor = self.refiner(embedding, coarse.token.detach(), cells)
        return refocused.float()


def sam_ref_loss(refined: Refined, before: Tensor, gt: Tensor, valid: Tensor) -> Tensor:
    """BCE and Dice for the error head, weighted NFL (near errors) and Dice for the corrected mask; one value.

    Source: papers.md 1.4: the losses are the digest's, their assignment and unit weights ours.

    ``before`` are the logits that were to be corrected; all are (B, 1, h, w).
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


class SamRefObjective(SamObjective):
    """Trains SAM-REF's refiner as the paper describes it (papers.md 1.4).

    The clicks before the last one are answered by the very model that is used afterwards (dynamic selector, windows and
    all), so that the previous mask looks as it will. The last answer is made here, with gradients: global refiner, then
    the local one in a window that is drawn carelessly.
    """

    def __init__(self, sam: SamModel, refiner: SamRef, recipe: PaperRecipe) -> None:
        super().__init__(sam, refiner, recipe)
        self.refiner = refiner

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
            whole, injected = self._look_at_all(batch, sessions, embedding, coarse, device)
        gt, valid = (self._low_res(plane) for plane in targets_of(batch, device))
        chosen = [self._window(whole.logits[i, 0].detach(), finals[i], sessions, i, gt[i, 0]) for i in range(len(gt))]
        with autocast():
            local, before = self._look_closer(batch, sessions, whole.logits.float(), injected, chosen, device)
        near, seen = self._labels_inside(batch, chosen, device)
        loss = sam_ref_loss(whole, coarse, gt, valid) + sam_ref_loss(local, before, near, seen)
        torch.autograd.backward(loss)
        return {
            "loss": float(loss.detach()),
            "iou_coarse": iou(coarse, gt, valid),
            "iou_global": iou(whole.logits.detach(), gt, valid),
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
    ) -> tuple[Refined, Tensor | None]:
        """The global refiner over the whole frame, and the embedding it was given, in the low-res frame."""
        side = self.sam.config.image_size
        framed = torch.cat([fit_frame(_pixels(sample, device), self._frame(sample)) for sample in batch.samples])
        image = self.refiner.global_refiner.image_stem(framed)
        injected = self.refiner.project(embedding, (image.shape[-2], image.shape[-1]))
        radius, frame = self.refiner.config.click_radius, MapFrame(side, side)
        maps = torch.cat([refiner_step.draw_signs(Prompts(tuple(clicks)), frame, radius) for clicks in sessions.clicks])
        return refiner_step.refine_global(self.refiner, image, maps.to(device), injected, coarse), injected

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
        logits: Tensor,
        injected: Tensor | None,
        chosen: list[windows.Window],
        device: torch.device,
    ) -> tuple[Refined, Tensor]:
        """The local refiner in every window, and the logits it started from."""
        closeups = []
        for index, (sample, clicks, window) in enumerate(zip(batch.samples, sessions.clicks, chosen, strict=True)):
            one = slice(index, index + 1)
            features = ImageFeatures(torch.empty(0), _pixels(sample, device), self._frame(sample))
            said = PromptBatch(Prompts(tuple(clicks)), features.frame)
            inside = None if injected is None else injected[one].float()
            config = self.refiner.config
            closeups.append(
                refiner_step.look_closer(config, features, said, logits[one], window, embedding=inside, base=self.sam)
            )
        seen = refiner_step.together(closeups)
        return refiner_step.refine_local(self.refiner, seen), seen.logits.detach()

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
