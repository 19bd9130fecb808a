from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from samref.cli.main import main
from samref.errors import SamrefError, StorageError, UnknownModelError
from samref.evaluation import compare as comparison
from samref.evaluation.compare import (
    BEGIN,
    CONTENDERS,
    END,
    NOT_LOADED,
    Comparison,
    Row,
    check_marks,
    compare,
    comparison_to_dict,
    comparison_to_markdown,
    put_between_marks,
)
from samref.evaluation.cost import Contender, Cost, Settings
from samref.models.registry import SPECS
from tests.unit.evaluation.painter import write_zoo

COST = Cost(
    loaded=True,
    parameters=2_640_000,
    encode_s=0.5,
    coarse_s=0.02,
    click_s=0.08,
    amortised_s=0.105,
    sat_s=12.25,
    memory_bytes=400 * 2**20,
    gpu_bytes=0,
    device="cpu",
)


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_zoo(folder, ("air", "zoo"), records=1)
    return folder


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Costs are told instead of measured; what was asked for is kept."""
    asked: list[Settings] = []

    def told(contender: Contender, records: object, settings: Settings) -> Cost:
        asked.append(settings)
        if contender.model.startswith("segnext"):
            raise SamrefError("It was killed while it was measured; most likely there is not enough memory for it.")
        return COST if contender.model == "grabcut" else replace(COST, loaded=False)

    monkeypatch.setattr(comparison, "measure_cost", told)
    return asked


def test_costs_come_first_then_quality_where_weights_are(
    zoo: Path, tmp_path: Path, no_processes: list[Settings]
) -> None:
    words: list[str] = []
    chosen = comparison.find_contenders(["grabcut", "sam-vit-b", "segnext-b-sax1"])
    target = tmp_path / "all.json"
    found = compare(zoo, chosen, Settings(max_clicks=2), json_path=target, told=words.append)
    assert words == [*(f"{one.name}: times and memory" for one in chosen), "grabcut: quality"]
    assert [one.max_clicks for one in no_processes] == [2, 2, 2]
    assert [one.report is not None for one in found.rows] == [True, False, False]
    plain = json.loads(json.dumps(comparison_to_dict(found), allow_nan=False))
    assert plain["models"]["grabcut"]["quality"]["objects"] == 4
    assert plain["models"]["sam-vit-b"]["quality"] is None
    assert sorted(path.name for path in tmp_path.glob("all*")) == ["all.grabcut.json", "all.json"]


def test_the_table_says_what_was_not_loaded_and_what_could_not_be_measured(
    zoo: Path, no_processes: list[Settings]
) -> None:
    names = ["grabcut", "sam-vit-b", "sam-ref-vit-b-c32", "segnext-b-sax1"]
    found = compare(zoo, comparison.find_contenders(names), Settings(max_clicks=5, sat_grid=0))
    table = comparison_to_markdown(found, "python -m samref compare")
    lines = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in table.splitlines() if line.startswith("|")}
    widths = {
        len(cells) for name, cells in lines.items() if name in ("model", *(row.contender.title for row in found.rows))
    }
    assert NOT_LOADED in table
    assert table.count(NOT_LOADED) == 3
    assert "not enough memory" in table
    assert "| SAM-REF over ViT-B, C=32 | 20 ms | 60 ms | 3.00 |" in table
    assert widths == {11, 3}
    assert "nan" not in table.lower()


def test_a_zoo_model_that_is_not_listed_can_be_compared_too() -> None:
    (one,) = comparison.find_contenders(["sam-vit-h"])
    assert one.model == "sam-vit-h"
    assert {one.model for one in CONTENDERS} - {"grabcut"} <= set(SPECS)
    with pytest.raises(UnknownModelError, match="tiny-coarse"):
        comparison.find_contenders(["tiny", "nonsense"])
    assert comparison.find_contenders([]) == list(CONTENDERS)


def test_the_table_stands_between_its_marks_and_nothing_else_changes(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text(f"# A\n\n{BEGIN}\nold | table\n{END}\n\nend ü\n", "utf-8")
    for text in ("| a |\n", "| a |\n"):
        put_between_marks(document, text)
        assert document.read_text("utf-8") == f"# A\n\n{BEGIN}\n| a |\n{END}\n\nend ü\n"


@pytest.mark.parametrize("text", ["no marks", BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_document_without_a_place_for_it_is_refused_before_the_run(
    zoo: Path, tmp_path: Path, no_processes: list[Settings], capsys: pytest.CaptureFixture[str], text: str
) -> None:
    document = tmp_path / "README.md"
    document.write_text(text)
    with pytest.raises(StorageError, match="no place for the table"):
        check_marks(document)
    with pytest.raises(SystemExit):
        main(["compare", "--data", str(zoo), "--readme", str(document)])
    assert no_processes == []
    assert capsys.readouterr().err.count("\n") == 1
    assert document.read_text() == text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--data", "{data}/nowhere"], "There is no folder"),
        (["--data", "{data}", "--readme", "{data}/README.md"], "cannot be read"),
        (["--data", "{data}", "--json", "{data}"], "cannot be written"),
        (["--data", "{data}", "--models", "nonsense"], "There is no model"),
    ],
)
def test_what_a_person_can_repair_is_one_sentence(
    zoo: Path, no_processes: list[Settings], capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["compare", *(argument.format(data=zoo) for argument in arguments)])
    assert stop.value.code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("samref: ")
    assert sentence in captured.err
    assert no_processes == []


def test_the_command_writes_table_and_json(
    zoo: Path, tmp_path: Path, no_processes: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    document = tmp_path / "README.md"
    document.write_text(f"{BEGIN}\n{END}\n")
    target = tmp_path / "all.json"
    main_arguments = ["--data", str(zoo), "--models", "grabcut", "--max-clicks", "2", "--sat-grid", "0"]
    with pytest.raises(SystemExit) as stop:
        main(["compare", *main_arguments, "--readme", str(document), "--json", str(target)])
    assert stop.value.code == 0
    table = capsys.readouterr().out
    assert table.strip() in document.read_text()
    assert "python -m samref compare --data data --models grabcut --max-clicks 2" in table
    assert json.loads(target.read_text())["settings"]["max_clicks"] == 2


def test_a_comparison_without_any_cost_still_makes_a_table() -> None:
    rows = tuple(Row(one, None, None, "broken") for one in CONTENDERS)
    table = comparison_to_markdown(Comparison("d", "0", Settings(), {}, rows), "x")
    assert table.count("not measured") == len(CONTENDERS)
