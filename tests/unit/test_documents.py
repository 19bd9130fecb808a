"""The documents hold what they say: links lead somewhere, symbols and commands exist, tables are those of the code.

``SAMREF_DOCUMENTS=write pytest tests/unit/test_documents.py`` writes the tables that are made from the code anew.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic.fields import FieldInfo

from samref.cli.main import COMMANDS, build_app
from samref.models.registry import SPECS
from samref.settings import ENVIRONMENT_PREFIX, Settings, flag_of
from samref.training.recipes import RECIPES
from samref.web.protocol import AnyRequest, Known, Request

REFERENCE = re.compile(r"`(samref/[\w/]+\.py):(\w+)`")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(?:#([\w-]+))?")
COMMAND = re.compile(r"^ *python -m samref ((?:[^\\\n]|\\\n)+)", re.MULTILINE)
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "assets/weights/README.md"]


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


# ---- tables that are made from the code


def _settings_table() -> str:
    rows = ["| flag | variable | default | what |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        if field.default_factory is not None:
            default = "the user's own data folder"
        elif isinstance(field.default, bool):
            default = "on" if field.default else "off"
        else:
            default = f"`{field.default}`" if field.default != "" else ""
        rows.append(f"| `{flag_of(name)}` | `{ENVIRONMENT_PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def _common_table() -> str:
    rows = ["| field | meaning |", "|---|---|"]
    for name, field in Request.model_fields.items():
        if field.annotation is Known:
            rows += [f"| `{name}.{inner}` | {about.description} |" for inner, about in Known.model_fields.items()]
        else:
            rows.append(f"| `{name}` | {field.description} |")
    return "\n".join(rows)


def _request_table() -> str:
    rows = ["| verb | arguments | does |", "|---|---|---|"]
    for kind in get_args(AnyRequest):
        verb = get_args(kind.model_fields["verb"].annotation)[0]
        own = {name: field for name, field in kind.model_fields.items() if name not in (*Request.model_fields, "verb")}
        arguments = ", ".join(_argument(name, field) for name, field in own.items())
        image = "an open image" if kind.is_about_image else ""
        said = "; ".join(part for part in (image, arguments) if part) or "–"
        rows.append(f"| `{verb}` | {said} | {' '.join((kind.__doc__ or '').split())} |")
    return "\n".join(rows)


def _argument(name: str, field: FieldInfo) -> str:
    text = f"`{name}`" if field.is_required() else f"optional `{name}`"
    return f"{text} ({field.description})" if field.description else text


TABLES: Mapping[str, tuple[str, Callable[[], str]]] = {
    "settings": ("docs/server.md", _settings_table),
    "fields": ("docs/protocol.md", _common_table),
    "requests": ("docs/protocol.md", _request_table),
}
"""By the name of the marks ``<!-- name -->`` and ``<!-- /name -->``: the document, and what makes the table."""


@pytest.mark.parametrize("name", TABLES)
def test_a_table_made_from_the_code_says_what_the_code_says(root: Path, name: str) -> None:
    file, make = TABLES[name]
    path, begin, end = root / file, f"<!-- {name} -->", f"<!-- /{name} -->"
    before, between, after = re.split(f"{begin}|{end}", path.read_text("utf-8"))
    made = f"\n{make()}\n"
    if os.environ.get("SAMREF_DOCUMENTS") == "write":
        path.write_text(f"{before}{begin}{made}{end}{after}", "utf-8")
    else:
        assert between == made, "write it anew with SAMREF_DOCUMENTS=write"


# ---- what documents point at


def test_every_symbol_that_the_papers_table_names_exists(root: Path) -> None:
    references = REFERENCE.findall((root / "docs" / "papers.md").read_text("utf-8"))
    assert references
    missing = [f"{file}:{name}" for file, name in references if name not in _names(root / file)]
    assert missing == []


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_between_documents_leads_somewhere(root: Path) -> None:
    broken = []
    for document in _documents(root):
        for target, anchor in LINK.findall(document.read_text("utf-8")):
            path = document.parent / target
            if not path.exists() or (anchor and anchor not in _anchors(path)):
                broken.append(f"{document.relative_to(root)}: {target} {anchor}")
    assert broken == []


def test_every_file_of_the_code_that_a_document_names_exists(root: Path) -> None:
    missing = [
        f"{document.relative_to(root)}: {file}"
        for document in _documents(root)
        for file in re.findall(r"(?<![\w/])(?:samref|tests)/[\w/]+\.(?:py|json|js)\b", document.read_text("utf-8"))
        if not (root / file).exists()
    ]
    assert missing == []


def test_every_decision_record_is_in_the_list(root: Path) -> None:
    folder = root / "docs" / "adr"
    listed = (folder / "README.md").read_text("utf-8")
    assert [path.name for path in sorted(folder.glob("0*.md")) if path.name not in listed] == []


def test_every_dependency_has_its_reason(root: Path) -> None:
    lines = (root / "requirements.txt").read_text("utf-8").splitlines()
    wanted = [re.match(r"([\w-]+)(.*)", line) for line in lines if line and not line.startswith("#")]
    record = (root / "docs" / "adr" / "0003-run-time-dependencies.md").read_text("utf-8")
    given = re.findall(r"^\| ([\w-]+) \| `([^`]+)` \|", record, re.MULTILINE)
    assert sorted(given) == sorted((found[1], found[2]) for found in wanted if found)


def test_every_example_image_is_credited(root: Path, examples_dir: Path) -> None:
    credited = (examples_dir / "CREDITS.md").read_text("utf-8")
    images = sorted(path.name for path in examples_dir.iterdir() if path.suffix not in (".md", ".json"))
    assert images
    assert [name for name in images if f"| {name} |" not in credited] == []


def test_the_list_of_keys_is_that_of_the_page(root: Path) -> None:
    source = (root / "samref" / "web" / "static" / "shortcuts.js").read_text("utf-8")
    texts = re.findall(r'\btext: "([^"]+)"', source.split("SHORTCUTS =")[1].split("]);")[0])
    assert texts
    table = (root / "docs" / "using.md").read_text("utf-8").split("<!-- keys -->")[1].split("<!-- /keys -->")[0]
    assert re.findall(r"^\| (?:`|arrows).*\| (.+) \|$", table, re.MULTILINE) == texts


def test_every_recipe_and_every_model_is_explained(root: Path) -> None:
    training, using = ((root / "docs" / name).read_text("utf-8") for name in ("training.md", "using.md"))
    assert [name for name in RECIPES if f"`{name}`" not in training] == []
    assert [name for name, spec in SPECS.items() if spec.purpose == "use" and f"`{name}`" not in using] == []


# ---- what documents tell people to type


def _command_lines(root: Path) -> Iterator[tuple[str, list[str]]]:
    for document in _documents(root):
        for line in COMMAND.findall(document.read_text("utf-8")):
            yield document.relative_to(root).as_posix(), shlex.split(line.replace("\\\n", " "), comments=True)


def test_every_command_of_the_documents_has_the_options_it_is_given(root: Path) -> None:
    lines = list(_command_lines(root))
    assert {words[0] for _, words in lines} == set(COMMANDS), "each command stands in a document, and no other"
    faults = []
    for document, words in lines:
        command: Any = typer.main.get_command(build_app(words[0]))
        rest = list(words)
        while rest and (inner := getattr(command, "commands", {}).get(rest[0])):
            command, rest = inner, rest[1:]
        options = (each for parameter in command.params for each in (*parameter.opts, *parameter.secondary_opts))
        known = {*options, "--help"}
        given = [word for word in rest if re.match(r"-{1,2}[a-z]", word)]
        if getattr(command, "commands", None) and "--help" not in given:
            faults.append(f"{document}: {' '.join(words)} names no command")
        faults += [f"{document}: {' '.join(words[:2])} has no {word}" for word in given if word not in known]
    assert faults == []


@pytest.mark.slow
@pytest.mark.parametrize("document", ["README.md", "docs/using.md"])
def test_the_python_lines_of_a_document_run(
    root: Path, document: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (root / document).read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(root)
    exec(compile(code, document, "exec"), {})
    first, *stages = capsys.readouterr().out.splitlines()
    assert "(400, 600)" in first
    assert [line.split()[0] for line in stages] == (["coarse", "refined"] if "stage" in code else [])
