"""One thing, one name: identifiers, docstrings and documents hold to the words of the field."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

IDENTIFIERS = {
    "confidence": "score",
    "dense prompts": "segnext",
    "emb": "image_embedding",
    "feats": "image_embedding",
    "ground truth": "gt",
    "mask logits": "low_res_logits",
    "picture": "image",
    "pictures": "images",
    "prev mask": "mask_input",
    "prob map": "logits",
    "refocus": "focsam",
}
"""What no module, class, function, argument or variable is called, and the word instead."""

PROSE = {
    "feats": "image embedding",
    "picture": "image",
    "pictures": "images",
    "prev_mask": "mask_input",
    "prob_map": "logits",
}
"""What no docstring, comment or document says, and the word instead."""

EXCEPTIONS = {
    ("docs/glossary.md", "prev_mask"): "its column of words to avoid",
    ("samref/evaluation/bootstrap.py", "confidence"): "of an interval, in statistics",
    **{
        (file, "refocus"): "the paper's verb for what FocSAM's refiner does to an embedding, once per object"
        for file in (
            "samref/export/graphs.py",
            "samref/export/onnx.py",
            "samref/models/focsam/model.py",
            "samref/training/sam_stage.py",
        )
    },
}
"""(file, word): why it may stand there."""

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def words(identifier: str) -> str:
    """The words of a name, blanks between and around: `prevMask`, `PREV_MASK` and `prev_mask` are " prev mask "."""
    return f" {' '.join(part.lower() for part in _PARTS.findall(identifier))} "


def names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that a module gives to something."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name, node.lineno


def modules(root: Path) -> list[Path]:
    return sorted((root / "samref").rglob("*.py"))


def test_the_words_of_a_name_are_found_in_every_style() -> None:
    assert words("prevMask") == words("PREV_MASK") == words("_prev_mask") == " prev mask "
    assert words("DensePromptsNet") == " dense prompts net "


@pytest.mark.parametrize(("avoided", "instead"), IDENTIFIERS.items())
def test_no_identifier_uses_a_word_to_avoid(root: Path, avoided: str, instead: str) -> None:
    found = []
    for path in modules(root):
        place = path.relative_to(root).as_posix()
        given = [*names(ast.parse(path.read_text("utf-8"))), (path.stem, 1)]
        if (place, avoided) not in EXCEPTIONS:
            found += [f"{place}:{line}: {name}" for name, line in given if f" {avoided} " in words(name)]
    assert found == [], f"say {instead}"


@pytest.mark.parametrize(("avoided", "instead"), PROSE.items())
def test_no_prose_uses_a_word_to_avoid(root: Path, avoided: str, instead: str) -> None:
    documents = [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]
    word = re.compile(rf"(?<!<)\b{avoided}\b", re.IGNORECASE)  # HTML has an element called picture
    found = [
        f"{place}:{number}: {line.strip()}"
        for path in [*modules(root), *documents]
        if ((place := path.relative_to(root).as_posix()), avoided) not in EXCEPTIONS
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if word.search(line)
    ]
    assert found == [], f"say {instead}"


def test_every_exception_is_still_needed(root: Path) -> None:
    unneeded = []
    for place, avoided in EXCEPTIONS:
        path = root / place
        if not path.is_file() or avoided.replace(" ", "_") not in path.read_text("utf-8").lower():
            unneeded.append(f"{place}: {avoided}")
    assert unneeded == []
