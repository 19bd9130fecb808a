"""Interactive image segmentation: click an object, get its mask, export the labels.

>>> import samref
>>> predictor = samref.load_predictor("tiny")  # doctest: +SKIP
>>> mask = predictor.segment("photo.jpg", clicks=[(320, 240)]).mask.to_mask()  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samref.core.masks import Rle
    from samref.core.prompts import Box, Click, Polygon, Prompts, Scribble
    from samref.inference.device import load_predictor
    from samref.inference.predictor import Predictor
    from samref.models.registry import list_models

__version__ = "0.1.0"

__all__ = [
    "Box",
    "Click",
    "Polygon",
    "Predictor",
    "Prompts",
    "Rle",
    "Scribble",
    "__version__",
    "list_models",
    "load_predictor",
]

_HOMES = {
    "Box": "samref.core.prompts",
    "Click": "samref.core.prompts",
    "Polygon": "samref.core.prompts",
    "Predictor": "samref.inference.predictor",
    "Prompts": "samref.core.prompts",
    "Rle": "samref.core.masks",
    "Scribble": "samref.core.prompts",
    "list_models": "samref.models.registry",
    "load_predictor": "samref.inference.device",
}


def __getattr__(name: str) -> Any:
    """A name of the API when it is first asked for: ``import samref`` loads neither torch nor Gradio."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
