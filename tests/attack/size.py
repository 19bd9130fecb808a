"""How much is attacked: little by default, everything when asked for."""

from __future__ import annotations

import os
import random

__all__ = ["FULL", "seeded", "sized"]

FULL = os.environ.get("SAMREF_ATTACK") == "full"


def sized(default: int, full: int) -> int:
    """A number of tries: small inside ``make test``, large with ``make attack``."""
    return full if FULL else default


def seeded(name: str) -> random.Random:
    """Chance that can be repeated; SAMREF_ATTACK_SEED chooses another one."""
    return random.Random(f"{name} {os.environ.get('SAMREF_ATTACK_SEED', '1')}")
