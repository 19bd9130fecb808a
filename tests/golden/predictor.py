"""The predictor of a checkout, asked in a process of its own: ``samref.load_predictor(name).segment(...)``."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.golden.answers import Cases
    from tests.golden.checkout import Checkout

MODELS = ("tiny", "tiny-random", "sam-random", "sam-ref-random", "segnext-random", "focsam-random")


def segment(checkout: Checkout) -> Cases:
    """Every prompt kind by every model that is here, on the bundled examples."""
    done = checkout.run("-P", str(Path(__file__).resolve()), str(checkout.folder))
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])
    cases: Cases = {name: checkout.canon().clean(value) for name, value in json.loads(done.stdout).items()}
    return cases


def _answers(folder: Path) -> dict[str, Any]:
    """What the ``samref`` on this process's path answers."""
    import numpy as np
    from PIL import Image

    import samref

    assert Path(samref.__file__).is_relative_to(folder), f"{samref.__file__} is not of {folder}"
    found: dict[str, Any] = {}
    examples = sorted((folder / "assets/examples").glob("*.jpg"))
    for model in MODELS:
        predictor = samref.load_predictor(model, precision="fp32", device="cpu")
        for path in examples if model == "tiny" else examples[:2]:
            with Image.open(path) as image:
                rgb = image.convert("RGB")
            width, height = rgb.size
            rough = np.zeros((height, width), dtype=np.bool_)
            rough[height // 4 : height // 2, width // 3 : width // 2] = True
            middle, corner = (width / 2, height / 2), (3, 4, False)
            box = (width / 4, height / 4, width * 0.7, height * 0.9)
            stroke = [(width / 3, height / 3), (width / 2, height / 2), (width / 2, height * 0.6)]
            outline = [(width * 0.3, height * 0.3), (width * 0.7, height * 0.35), (width / 2, height * 0.8)]
            asked: dict[str, tuple[Any, dict[str, Any]]] = {
                "click": (path, {"clicks": [middle]}),
                "clicks": (path, {"clicks": [middle, corner, (width * 0.6, height * 0.55)]}),
                "box": (path, {"box": box}),
                "box and click": (path, {"box": box, "clicks": [corner]}),
                "scribble": (path, {"scribbles": [stroke]}),
                "polygon": (path, {"polygons": [outline]}),
                "mask": (path, {"mask": rough}),
                "mask and click": (path, {"mask": rough, "clicks": [middle]}),
                "everything": (path, {"box": box, "scribbles": [stroke], "polygons": [outline], "clicks": [corner]}),
                "bytes": (path.read_bytes(), {"clicks": [middle]}),
                "Pillow": (rgb, {"clicks": [middle]}),
                "array": (np.asarray(rgb)[::2], {"clicks": [(5, 6)]}),
                "grey array": (np.asarray(rgb.convert("L")), {"clicks": [middle]}),
                "nothing": (path, {}),
                "outside": (path, {"clicks": [(width, 0)]}),
                "empty box": (path, {"box": (5, 5, 5, 9)}),
                "mask of another size": (path, {"mask": rough[1:]}),
                "no file": (folder / "nope.jpg", {"clicks": [middle]}),
                "no image": (b"text", {"clicks": [middle]}),
                "odd array": (np.zeros((3, 3), dtype=np.float32), {"clicks": [middle]}),
            }
            for name, (given, prompts) in asked.items():
                found[f"predictor/{model} {path.stem} {name}"] = _one(partial(predictor.segment, given, **prompts))
    found["predictor/no such model"] = _one(lambda: samref.load_predictor("nope"))
    found["predictor/no such precision"] = _one(lambda: samref.load_predictor("tiny", precision="fp7"))
    found["predictor/weights not here"] = _one(lambda: samref.load_predictor("sam-vit-b"))
    return found


def _one(ask: Callable[[], Any]) -> Any:
    """The mask's run lengths (long ones as their digest), or the sentence of a refusal."""
    try:
        given = ask()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        return {"error": str(error)}
    rle = given.mask.to_coco()
    counts = rle["counts"] if isinstance(rle["counts"], str) else rle["counts"].decode()
    return {
        "size": list(rle["size"]),
        "counts": hashlib.sha256(counts.encode()).hexdigest(),
        "area": int(given.mask.area),
        "score": float(given.score),
        "stage": str(given.stage),
    }


if __name__ == "__main__":
    text = io.StringIO()
    json.dump(_answers(Path(sys.argv[1])), text)
    print(text.getvalue())
