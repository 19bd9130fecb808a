"""The finished result on the start page is what the embedded model answers today, and its files are small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from samref.core.masks import Rle, rle_iou
from samref.errors import ImageError
from samref.web.examples import Showcase, ShowcaseFiles, ShowcaseMask, find_showcase, list_examples
from tests.tools.showcase import IMAGE_BYTES, masks_of, weights_of_model

MAKE_AGAIN = "run: python -m tests.tools.showcase"

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "assets" / "examples"


@pytest.fixture
def files() -> ShowcaseFiles:
    found = find_showcase(ROOT / "assets" / "showcase")
    assert found is not None, MAKE_AGAIN
    return found


def whole(mask: ShowcaseMask, showcase: Showcase) -> Rle:
    """The mask in the frame of the example."""
    x, y, width, height = mask.box
    pixels = Rle.from_counts(height, width, mask.counts).to_mask()
    image = Rle.empty(showcase.height, showcase.width).to_mask().copy()
    image[y : y + height, x : x + width] = pixels
    return Rle.from_mask(image)


def test_the_showcase_is_what_the_embedded_model_answers(files: ShowcaseFiles) -> None:
    showcase = files.showcase
    assert showcase.weights == weights_of_model(), f"the weights are others now; {MAKE_AGAIN}"
    coarse, refined = masks_of((EXAMPLES / showcase.example).read_bytes(), showcase.prompts)
    shown_coarse, shown_refined = whole(showcase.coarse, showcase), whole(showcase.refined, showcase)
    assert rle_iou(coarse, shown_coarse) >= 0.99, MAKE_AGAIN
    assert rle_iou(refined, shown_refined) >= 0.99, MAKE_AGAIN
    assert showcase.iou == pytest.approx(rle_iou(shown_coarse, shown_refined), abs=1e-4)
    differ = shown_coarse.union(shown_refined).area - shown_coarse.intersection(shown_refined).area
    assert showcase.pixels_differ == differ


def test_the_showcase_shows_its_example_in_few_bytes(files: ShowcaseFiles) -> None:
    with Image.open(files.path(files.showcase.image)) as image:
        shown = image.size
    with Image.open(EXAMPLES / files.showcase.example) as example:
        assert shown == example.size == (files.showcase.width, files.showcase.height)
    assert sum(path.stat().st_size for path in map(files.path, (files.showcase.image, "showcase.json"))) <= IMAGE_BYTES


def test_no_other_file_of_the_folder_is_given_out(files: ShowcaseFiles) -> None:
    for name in ("thumbnail.jpg", "../examples/coffee.jpg", "", "hero"):
        with pytest.raises(ImageError):
            files.path(name)


def test_six_hard_examples_come_first_and_say_why() -> None:
    examples = list(list_examples(EXAMPLES).values())
    hard = [one for one in examples if one.hard]
    assert examples[: len(hard)] == hard
    assert {one.hard.hard for one in hard if one.hard} == {"thin", "hair", "glass", "crowd", "low contrast", "tiny"}
    said = json.loads((EXAMPLES / "examples.json").read_text("utf-8"))
    assert [one["name"] for one in said] == [one.name for one in hard]


def test_examples_are_small() -> None:
    sizes = {one.name: one.path.stat().st_size for one in list_examples(EXAMPLES).values()}
    assert {name: size for name, size in sizes.items() if size > 200_000} == {}
    assert sum(sizes.values()) <= 1_500_000
    assert [one.name for one in list_examples(EXAMPLES).values() if max(one.width, one.height) > 1024] == []
