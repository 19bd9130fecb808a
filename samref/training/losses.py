"""Losses of the three papers, per formula (papers' section 0.3), for logits (B, 1, h, w) and labels of that shape.

``valid`` is 1 where a pixel counts. Every loss returns one value per sample (B,) unless its docstring says otherwise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EPS_RITM = 1e-12
EPS_FOCSAM = torch.finfo(torch.float32).eps
_PIXELS = (1, 2, 3)


def normalized_focal_loss(
    logits: Tensor,
    gt: Tensor,
    valid: Tensor,
    *,
    alpha: float = 0.5,
    gamma: float = 2.0,
    eps: float = EPS_RITM,
    eps_in_count: bool = True,
) -> Tensor:
    """NFL of RITM and SegNext (``eps=EPS_RITM``) or of FocSAM (``eps=EPS_FOCSAM, eps_in_count=False``).

    The focal weights are scaled to a mean of one per sample; the scale carries no gradient. A sample without valid
    pixels gives 0.
    """
    terms, count = _focal_terms(logits, gt, valid, alpha, gamma, eps)
    divisor = count.flatten() + eps if eps_in_count else count.flatten().clamp_min(1)
    return terms.sum(dim=_PIXELS) / divisor


def weighted_focal_loss(
    logits: Tensor,
    gt: Tensor,
    valid: Tensor,
    attention: Tensor,
    *,
    alpha: float = 0.5,
    gamma: float = 2.0,
    weight: float = 0.5,
    eps: float = EPS_RITM,
) -> Tensor:
    """WNFL of FocalClick: pixels marked in ``attention`` weigh 1, others ``1 - weight``. One value for the batch."""
    terms, _ = _focal_terms(logits, gt, valid, alpha, gamma, eps)
    importance = weight * attention + (1 - weight)
    return (terms * importance).sum() / (importance.sum() + eps)


def _focal_terms(
    logits: Tensor, gt: Tensor, valid: Tensor, alpha: float, gamma: float, eps: float
) -> tuple[Tensor, Tensor]:
    """What every pixel adds to a normalised focal loss, and how many count in each sample (B, 1, 1, 1)."""
    p_t = torch.where(valid > 0, 1 - (gt - logits.sigmoid()).abs(), torch.ones_like(logits))
    beta = (1 - p_t) ** gamma
    count = valid.sum(dim=_PIXELS, keepdim=True)
    scale = (count / (beta.sum(dim=_PIXELS, keepdim=True) + eps)).detach()
    weight = torch.where(gt > 0.5, alpha, 1 - alpha) * valid
    return -weight * scale * beta * (p_t + eps).clamp(max=1).log(), count


def dice_loss(logits: Tensor, gt: Tensor, valid: Tensor) -> Tensor:
    """Soft Dice with smoothing 1."""
    probability = logits.sigmoid() * valid
    gt = gt * valid
    overlap = (probability * gt).sum(dim=_PIXELS)
    total = probability.sum(dim=_PIXELS) + gt.sum(dim=_PIXELS)
    return 1 - (2 * overlap + 1) / (total + 1)


def binary_cross_entropy(logits: Tensor, gt: Tensor, valid: Tensor) -> Tensor:
    """Mean over the valid pixels."""
    loss = F.binary_cross_entropy_with_logits(logits, gt, reduction="none") * valid
    return loss.sum(dim=_PIXELS) / valid.sum(dim=_PIXELS).clamp_min(1)


def click_loss(logits: Tensor, points_xy: Tensor, labels: Tensor) -> Tensor:
    """FocSAM's click loss: mean over all real clicks of the batch of ``(probability - wanted)²``. One value.

    Args:
        logits: (B, 1, h, w) in the frame that the clicks were given in.
        points_xy: (B, N, 2) clicked pixels (x, y); the value of the pixel itself is taken, nothing is interpolated.
        labels: (B, N) 1 inside, 0 outside, -1 where there is no click (padding). Without any click the loss is 0.

    Source: papers.md 0.3. Deviation: the published code indexes with the height as stride, which is right for square
    frames only; here any frame is.
    """
    height, width = logits.shape[-2:]
    columns = points_xy[..., 0].long().clamp(0, width - 1)
    rows = points_xy[..., 1].long().clamp(0, height - 1)
    at_clicks = logits.flatten(1).gather(1, rows * width + columns).sigmoid()
    real = (labels >= 0).to(logits.dtype)
    off = (at_clicks - labels.to(logits.dtype)) ** 2 * real
    return off.sum() / real.sum().clamp_min(1)


def iou(logits: Tensor, gt: Tensor, valid: Tensor) -> float:
    """Mean IoU of a batch at the threshold 0."""
    pred = (logits > 0) & (valid > 0)
    truth = (gt > 0) & (valid > 0)
    intersection = (pred & truth).flatten(1).sum(1).float()
    return float((intersection / (pred | truth).flatten(1).sum(1).clamp_min(1)).mean())
