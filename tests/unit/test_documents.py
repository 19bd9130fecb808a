from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REFERENCE = re.compile(r"`(samref/[\w/]+\.py):(\w+)`")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs"]


def _documents(root: Path) -> list[Path]:
    found: list[Path] = []
    for name in DOCUMENTS:
        path = root / name
        found += sorted(path.rglob("*.md")) if path.is_dir() else [path]
    return found


def _names(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_every_symbol_that_the_papers_table_names_exists(root: Path) -> None:
    references = REFERENCE.findall((root / "docs" / "papers.md").read_text("utf-8"))
    assert references
    missing = [f"{file}:{name}" for file, name in references if name not in _names(root / file)]
    assert missing == []


def test_every_link_between_documents_leads_somewhere(root: Path) -> None:
    broken = [
        f"{document.relative_to(root)}: {target}"
        for document in _documents(root)
        for target in LINK.findall(document.read_text("utf-8"))
        if not (document.parent / target).exists()
    ]
    assert broken == []


def test_every_decision_record_is_in_the_list(root: Path) -> None:
    folder = root / "docs" / "adr"
    listed = (folder / "README.md").read_text("utf-8")
    assert [path.name for path in sorted(folder.glob("0*.md")) if path.name not in listed] == []


def test_every_example_photo_is_credited(root: Path, examples_dir: Path) -> None:
    credited = (examples_dir / "CREDITS.md").read_text("utf-8")
    photos = sorted(path.name for path in examples_dir.iterdir() if path.suffix != ".md")
    assert photos
    assert [name for name in photos if f"| {name} |" not in credited] == []


def test_the_readme_lists_every_key_of_the_page(root: Path) -> None:
    source = (root / "samref" / "web" / "static" / "shortcuts.js").read_text("utf-8")
    texts = re.findall(r'\btext: "([^"]+)"', source.split("SHORTCUTS =")[1].split("]);")[0])
    assert texts
    table = (root / "README.md").read_text("utf-8").split("<!-- keys -->")[1].split("<!-- /keys -->")[0]
    assert re.findall(r"^\| (?:`|arrows).*\| (.+) \|$", table, re.MULTILINE) == texts


@pytest.mark.slow
def test_the_python_lines_of_the_readme_run(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(root)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[1:]] == ["coarse", "refined"]
    assert "(400, 600)" in printed[0]
