"""RITM's and FocSAM's protocols on the same object, and the measures that came with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samref.cli.main import main
from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.core.masks import Mask, Rle
from samref.core.oracle import ClickRule
from samref.core.prompts import Click, Prompts
from samref.datasets import ObjectMask
from samref.errors import ModelError
from samref.evaluation.noc import ClickCurve, average_scores, click_curve, score_curves
from samref.inference.device import load_predictor
from samref.inference.predictor import Predictor
from samref.models.registry import build_model
from samref.models.sam import RANDOM
from samref.models.sam.model import SamModel, build_sam, with_multimask
from tests.unit.datasets import miniatures
from tests.unit.evaluation.painter import Canvas, Painting, write_zoo


class Scripted:
    """Answers with the masks it was given, one after the other, and remembers the prompts."""

    def __init__(self, *masks: Mask) -> None:
        self.masks = list(masks)
        self.asked: list[Prompts] = []

    def embed(self, image: Any) -> Canvas:
        raise AssertionError("not needed")

    def predict(self, embedding: Canvas, prompts: Prompts, state: Any) -> Iterator[Painting]:
        self.asked.append(prompts)
        mask = self.masks[min(len(self.asked), len(self.masks)) - 1]
        yield Painting(Rle.from_mask(mask), "refined", len(self.asked))


def rectangle(*bounds: int) -> Mask:
    mask: Mask = np.zeros((24, 32), dtype=np.bool_)
    top, bottom, left, right = bounds
    mask[top:bottom, left:right] = True
    return mask


def label(predictor: Scripted, target: ObjectMask, rule: ClickRule, clicks: int = 3) -> ClickCurve:
    return click_curve(
        predictor,
        Canvas(target.gt.shape),
        target,
        sample_id="zoo/a#1",
        dataset="zoo",
        stage="refined",
        max_clicks=clicks,
        rule=rule,
    )


def test_ignored_pixels_count_nowhere_for_ritm_and_as_background_for_focsam() -> None:
    gt, ignore = rectangle(4, 14, 4, 14), rectangle(14, 20, 4, 14)
    answer = gt | ignore
    ritm, focsam = Scripted(answer), Scripted(answer)
    assert label(ritm, ObjectMask("1", gt, ignore), "ritm").ious[0] == 1.0
    assert label(focsam, ObjectMask("1", gt, ignore), "focsam").ious[0] == pytest.approx(100 / 160)
    second = focsam.asked[1].items[-1]
    assert isinstance(second, Click)
    assert (second.positive, ignore[int(second.y), int(second.x)]) == (False, True)


def test_where_nothing_is_wrong_ritm_clicks_the_corner_and_focsam_asks_again_with_the_same_clicks() -> None:
    gt = rectangle(4, 15, 4, 15)
    ritm, focsam = Scripted(gt), Scripted(gt)
    assert label(ritm, ObjectMask("1", gt, None), "ritm").ious == (1.0, 1.0, 1.0)
    assert ritm.asked[-1].items[1:] == (Click(0, 0, False), Click(0, 0, False))
    assert label(focsam, ObjectMask("1", gt, None), "focsam").ious == (1.0, 1.0, 1.0)
    assert [len(prompts.items) for prompts in focsam.asked] == [1, 1, 1]


def test_an_empty_answer_is_worth_nothing_in_focsams_protocol() -> None:
    gt = rectangle(4, 15, 4, 15)
    assert label(Scripted(rectangle(0, 0, 0, 0)), ObjectMask("1", gt, None), "focsam").ious == (0.0, 0.0, 0.0)


def test_focsams_draws_are_the_same_every_time() -> None:
    gt = rectangle(2, 12, 2, 22)  # a bar has a whole line of deepest pixels
    runs = []
    for _ in range(2):
        predictor = Scripted(rectangle(0, 0, 0, 0))
        label(predictor, ObjectMask("1", gt, None), "focsam")
        runs.append([prompts.items for prompts in predictor.asked])
    assert runs[0] == runs[1]
    assert len({(click.x, click.y) for click in runs[0][-1] if isinstance(click, Click)}) == 3


def curve(*ious: float, encode_s: float = 2.0) -> ClickCurve:
    return ClickCurve("zoo/a#1", "zoo", ious, ious, encode_s, (0.1,) * len(ious))


def test_a_click_does_harm_when_it_lowers_iou_by_more_than_a_point() -> None:
    assert curve(0.9, 0.895, 0.88, 0.7, 0.9, float("nan"), 0.1).harmful_clicks == 2
    assert curve(0.5).harmful_clicks == 0
    scores = score_curves([curve(0.9, 0.8, 0.85), curve(0.5, 0.6, 0.7)], 3)
    assert scores.harmful_rate == pytest.approx(1 / 4)
    assert score_curves([curve(0.5)], 1).harmful_rate == 0


def test_seconds_per_click_are_given_with_and_without_the_encoder() -> None:
    scores = score_curves([curve(0.5, 0.6), curve(0.5, 0.6, encode_s=4.0)], 20)
    assert scores.click_s_mean == pytest.approx(0.1)
    assert scores.amortised_s == pytest.approx(3.0 / 20 + 0.1)
    assert average_scores([scores, scores]).amortised_s == pytest.approx(scores.amortised_s)


def test_failures_are_counted_in_both_ways_and_success_at_the_last_click_is_no_failure_in_one() -> None:
    at_last = curve(*[0.5] * 19, 0.96)
    scores = score_curves([at_last, curve(*[0.5] * 20)], 20)
    assert scores.never[0.95] == 1
    assert scores.at_max[0.95] == 2


@pytest.mark.parametrize(("mode", "expected"), [("single", [1, 1]), ("first-click", [3, 1]), ("always", [3, 3])])
def test_the_mode_says_when_sam_computes_three_masks_and_the_best_ones_logits_go_back(
    mode: Any, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_multimask(build_sam(RANDOM), mode)
    assert isinstance(model, SamModel)
    seen: list[Any] = []
    predict_masks = SamModel.predict_masks

    def listen(self: SamModel, features: Any, prompt: Any, *, multimask: bool) -> Any:
        logits, ious = predict_masks(self, features, prompt, multimask=multimask)
        seen.append((prompt.mask_input, logits, ious))
        return logits, ious

    monkeypatch.setattr(SamModel, "predict_masks", listen)
    rgb = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    predictor = Predictor(model)
    embedding = predictor.embed(DecodedImage(rgb, ImageSize(40, 60), "digest"))
    clicks = (Click(30, 20, True), Click(5, 5, False))
    first = next(iter(predictor.predict(embedding, Prompts(clicks[:1]))))
    next(iter(predictor.predict(embedding, Prompts(clicks), first.state)))
    assert [logits.shape[1] for _, logits, _ in seen] == expected
    _, logits, ious = seen[0]
    best = int(ious[0].argmax())
    assert seen[0][0] is None
    assert seen[1][0].equal(logits[:, best : best + 1])


def test_a_model_without_that_choice_says_so() -> None:
    with pytest.raises(ModelError, match="tiny-random does not choose"):
        with_multimask(build_model("tiny-random"), "single")
    with pytest.raises(ModelError, match="tiny-random does not choose"):
        load_predictor("tiny-random", device="cpu", precision="fp32", multimask="always")
    with pytest.raises(ModelError, match="no multimask mode"):
        with_multimask(build_sam(RANDOM), "twice")  # type: ignore[arg-type]


def run(*arguments: str) -> int:
    try:
        main(["evaluate", *arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_layout_part_and_protocol_stand_in_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    miniatures.write_pascalvoc(tmp_path / "VOC")
    target = tmp_path / "numbers.json"
    common = ["--data", str(tmp_path / "VOC"), "--max-clicks", "2", "--limit-per-dataset", "1", "--json", str(target)]
    options = ["--layout", "pascalvoc", "--split", "train", "--protocol", "focsam", "--model", "sam-random"]
    assert run(*common, *options, "--sam-masks", "best") == 0
    printed = capsys.readouterr().out
    assert "Layout of the data: pascalvoc, part train. Protocol: focsam." in printed
    assert "protocol: focsam, SAM's masks: best" in printed
    written = json.loads(target.read_text("utf-8"))
    assert written["protocol"]["layouts"] == ["pascalvoc"]
    assert written["protocol"]["rule"] == "focsam"
    assert written["protocol"]["sam_masks"] == "best"
    assert written["stages"]["refined"]["objects"][0]["id"].startswith("VOC/2007_000061#")


def test_auto_says_which_layout_it_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    miniatures.write_davis(tmp_path / "DAVIS")
    write_zoo(tmp_path, ("zoo",), records=1)
    assert run("--data", str(tmp_path), "--model", "grabcut", "--max-clicks", "1") == 0
    assert "Layout of the data: davis, folders. Protocol: ritm." in capsys.readouterr().out


def test_segment_anythings_mode_is_named_although_nobody_chose_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_zoo(tmp_path, ("zoo",), records=1)
    common = ["--data", str(tmp_path), "--max-clicks", "1", "--limit-per-dataset", "1"]
    assert run(*common, "--model", "sam-random") == 0
    assert "SAM's masks: first" in capsys.readouterr().out
    assert run(*common, "--model", "tiny-random") == 0
    assert "SAM's masks" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--sam-masks", "single", "--model", "grabcut"], "grabcut has no such choice"),
        (["--sam-masks", "single", "--model", "tiny-random"], "does not choose"),
        (["--layout", "voc", "--model", "grabcut"], "There is no layout 'voc'"),
        (["--layout", "davis", "--model", "grabcut"], "does not look like davis"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused_in_one_sentence(
    options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_zoo(tmp_path, ("zoo",), records=1)
    assert run("--data", str(tmp_path), *options) == 1
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.err.count("\n") == 1
