from __future__ import annotations

import json
from pathlib import Path

import pytest

from samref.cli.main import main
from samref.evaluation.run import journal_path
from tests.unit.datasets import miniatures
from tests.unit.evaluation.painter import write_zoo


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(["evaluate", *arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_table_is_printed_and_the_json_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_zoo(tmp_path / "data", ("zoo",))
    target = tmp_path / "numbers.json"
    options = ["--data", str(tmp_path / "data"), "--model", "grabcut", "--max-clicks", "3", "--json", str(target)]
    code, out, err = run(capsys, *options, "--limit-per-dataset", "1", "--prompt", "box", "--stop-at", "0.9")
    assert (code, err) == (0, "")
    assert "mean of data sets" in out
    assert "first prompt: box" in out
    written = json.loads(target.read_text("utf-8"))
    assert written["protocol"]["first_prompt"] == "box"
    assert written["protocol"]["stop_at"] == 0.9


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--data", "{data}/nowhere"], "There is no folder"),
        (["--data", "{data}/zoo/images"], "neither the folders images and masks"),
        (["--data", "{data}", "--json", "{data}"], "cannot be written"),
        (["--data", "{data}", "--json", "{data}/no/such/folder.json"], "cannot be written"),
        (["--data", "{data}", "--html", "{data}"], "cannot be written"),
        (["--data", "{data}", "--html", "{data}/no/such/folder.html"], "cannot be written"),
        (["--data", "{data}", "--html", "-"], "the name of a file"),
        (["--data", "{data}", "--stop-at", "7"], "between 0 and 1"),
    ],
)
def test_what_a_person_can_repair_is_one_sentence_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    write_zoo(tmp_path / "data", ("zoo",), records=1)
    filled = [argument.format(data=tmp_path / "data") for argument in arguments]
    code, out, err = run(capsys, *filled, "--model", "grabcut")
    assert code == 1
    assert out == ""
    assert err.startswith("samref: ")
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_said_and_nothing_is_laid_beside_a_device(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_zoo(tmp_path / "data", ("zoo",), records=1)
    options = ["--data", str(tmp_path / "data"), "--model", "grabcut", "--max-clicks", "1"]
    code, _, err = run(capsys, *options, "--json", "/dev/full")
    assert code == 1
    assert "disk is full" in err
    assert list(Path("/dev").glob("full.*")) == []


def test_a_run_with_other_arguments_is_told_how_to_begin_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_zoo(tmp_path / "data", ("zoo",), records=1)
    target = tmp_path / "numbers.json"
    journal_path(target).write_text('{"model": "tiny", "max_clicks": 9}\n')
    options = ["--data", str(tmp_path / "data"), "--model", "grabcut", "--max-clicks", "1", "--json", str(target)]
    code, out, err = run(capsys, *options)
    assert (code, out) == (1, "")
    assert "max_clicks was 9 and is 1" in err
    assert "--restart" in err
    code, _, err = run(capsys, *options, "--restart")
    assert (code, err) == (0, "")
    assert not journal_path(target).exists()


def test_layout_part_and_protocol_stand_in_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    miniatures.write_pascalvoc(tmp_path / "VOC")
    target = tmp_path / "numbers.json"
    common = ["--data", str(tmp_path / "VOC"), "--max-clicks", "2", "--limit-per-dataset", "1", "--json", str(target)]
    options = ["--layout", "pascalvoc", "--split", "train", "--protocol", "focsam", "--model", "sam-random"]
    code, printed, _ = run(capsys, *common, *options, "--sam-masks", "best")
    assert code == 0
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
    _, out, _ = run(capsys, "--data", str(tmp_path), "--model", "grabcut", "--max-clicks", "1")
    assert "Layout of the data: davis, folders. Protocol: ritm." in out


def test_segment_anythings_mode_is_named_although_nobody_chose_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_zoo(tmp_path, ("zoo",), records=1)
    common = ["--data", str(tmp_path), "--max-clicks", "1", "--limit-per-dataset", "1"]
    assert "SAM's masks: first" in run(capsys, *common, "--model", "sam-random")[1]
    code, out, _ = run(capsys, *common, "--model", "tiny-random")
    assert code == 0
    assert "SAM's masks" not in out


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
    code, _, err = run(capsys, "--data", str(tmp_path), *options)
    assert code == 1
    assert sentence in err
    assert err.count("\n") == 1
