"""How much the inference room may keep, for how long, and why. The composition root may pass other numbers."""

from __future__ import annotations

__all__ = [
    "CLICKS_PER_ENCODE",
    "EMBEDDING_STORE_BYTES",
    "IDLE_GAP_S",
    "KEPT_STATES",
    "SESSION_IDLE_S",
    "SESSION_STORE_BYTES",
    "SESSION_STORE_COUNT",
]

EMBEDDING_STORE_BYTES = 512 * 2**20
"""Some forty images of the embedded model (5 to 14 MB each, most of it the pixels the local refiner crops)."""

SESSION_STORE_COUNT = 256
"""Drafts in memory at once. Far more than one device can serve; a session dropped here is rebuilt from its log."""

SESSION_STORE_BYTES = 2**30
"""A session of twenty clicks takes about 2 MB with the embedded model and 10 MB with SAM (decoder states)."""

SESSION_IDLE_S = 2 * 60 * 60.0
"""A lunch break. After it the session is rebuilt from its log at the price of one encode."""

KEPT_STATES = 64
"""Decoder states one draft keeps; older steps keep their masks, their states are computed again when needed."""

CLICKS_PER_ENCODE = 4
"""Click stages that may overtake a waiting encode: some 0.5 s on two CPU cores, so that nobody waits for ever."""

IDLE_GAP_S = 8.0
"""A longer pause is not counted as time spent on an object."""
