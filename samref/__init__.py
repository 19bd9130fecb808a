"""Interactive image segmentation: click an object, get its mask, export the labels.

>>> import samref
>>> predictor = samref.load_predictor("tiny")  # doctest: +SKIP
>>> mask = predictor.segment("photo.jpg", clicks=[(320, 240)]).mask.to_mask()  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samref.inference.device import load_predictor as load_predictor

__version__ = "0.1.0"

__all__ = ["__version__", "load_predictor"]


def __getattr__(name: str) -> Any:
    """``load_predictor`` when it is first asked for: the labelling half of the package works without torch."""
    if name == "load_predictor":
        from samref.inference.device import load_predictor

        return load_predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
