"""The command line: every command's answer, the files it writes, and what it says to wrong arguments."""

from __future__ import annotations

import json
import shlex
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from tests.golden.answers import Canon, Cases
from tests.golden.checkout import Checkout, sentences
from tests.golden.folders import unpacked

COMMANDS = {
    "serve": (),
    "backup": (),
    "workspaces": ("list", "export", "check", "key", "restore", "recover"),
    "segment": (),
    "models": ("list", "fetch", "verify"),
    "export": (),
    "evaluate": (),
    "compare": (),
    "latency": (),
    "train": (),
    "precompute": (),
    "refiner": ("masks", "train", "check", "ablate"),
}


class _Commands:
    """Runs commands and keeps what they answered."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self.canon: Canon = checkout.canon()
        self.cases: Cases = {}

    def run(self, row: str, line: str, *files: Path, only_shape: bool = False) -> None:
        """Run a command line, and read the files it should have written."""
        done = self.checkout.run("-m", "samref", *shlex.split(line))
        said = sentences(done, self.canon)
        if only_shape and not done.returncode:
            said["out"] = [_numberless(text) for text in said["out"]]
        written = {self.canon.text(str(path)): _content(self.canon, path) for path in files}
        name = f"{row}/{self.canon.text(line)}"
        while name in self.cases:
            name += ", again"
        self.cases[name] = {**said, **({"files": written} if files else {})}


def _numberless(text: str) -> str:
    return " ".join("N" if any(c.isdigit() for c in word) else word for word in text.split())


def _content(canon: Canon, path: Path) -> Any:
    if path.is_dir():
        found = sorted(str(entry.relative_to(path)) for entry in path.rglob("*") if entry.is_file())
        return canon.prose("\n".join(found))
    return canon.file(path.name, path.read_bytes()) if path.exists() else "not there"


def answer_commands(checkout: Checkout, data: Path, goldens: Path) -> Cases:
    """All commands, one after the other."""
    commands = _Commands(checkout)
    for command, own in COMMANDS.items():
        for line in (command, *(f"{command} {name}" for name in own)):
            commands.run("help", f"{line} --help")
    commands.run("help", "--help")
    _models(commands)
    _segment(commands)
    _measure(commands, data)
    _keep(commands, goldens)
    _mistakes(commands, data)
    return commands.cases


def _models(commands: _Commands) -> None:
    for line in ("list", "verify tiny", "verify sam-random", "verify", "verify nope", "fetch tiny", "fetch nope"):
        commands.run("models", f"models {line}")
    out = commands.checkout.scratch / "onnx"
    commands.run("onnx", f"export tiny --out {out}", out, only_shape=True)
    description = json.loads((out / "model.json").read_text()) if (out / "model.json").exists() else None
    commands.cases["onnx/model.json"] = commands.canon.clean(description)


def _segment(commands: _Commands) -> None:
    example = commands.checkout.folder / "assets/examples"
    mask, text = commands.checkout.scratch / "mask.png", commands.checkout.scratch / "mask.json"
    for prompts in (
        "--click 300,200",
        "--click 300,200 --click 10,10,- --stage coarse",
        "--box 100,50,400,350",
        "--scribble '120,200;200,220;260,260' --click 30,30,-",
        "--polygon '120,60;380,80;300,330'",
        "--polygon '5,5;40,5;5,40,-' --click 250,200 --model sam-ref-random",
        "--click 250,200 --model segnext-random",
        "--click 250,200 --model focsam-random",
        "--box 10,10,200,200 --model segnext-random",
    ):
        for photo in ("coffee.jpg", "chelsea.jpg"):
            commands.run("segment", f"segment {example / photo} {prompts} -o {mask} --json {text}", mask, text)
            mask.unlink(missing_ok=True)
            text.unlink(missing_ok=True)


def _measure(commands: _Commands, data: Path) -> None:
    few = commands.checkout.scratch / "few"
    for dataset in ("balloon", "coco_subset", "pets128", "sd_saliency900"):
        shutil.copytree(data / dataset, few / dataset)
    out = commands.checkout.scratch / "report.json"
    for options in (
        "--limit-per-dataset 4 --stage both --max-clicks 5",
        "--limit-per-dataset 3 --prompt box --max-clicks 3",
        "--limit-per-dataset 3 --prompt scribble --max-clicks 3 --seed 4 --stop-at 0.9",
        "--limit-per-dataset 3 --protocol focsam --max-clicks 5 --stage coarse",
        "--limit-per-dataset 2 --model grabcut --max-clicks 2",
        "--limit-per-dataset 2 --model sam-ref-random --max-clicks 2 --stage both",
        "--limit-per-dataset 2 --model sam-random --max-clicks 2 --sam-masks best",
        "--limit-per-dataset 2 --model segnext-random --max-clicks 3",
        "--limit-per-dataset 2 --model focsam-random --max-clicks 3 --stage both",
    ):
        commands.run("evaluate", f"evaluate --data {few} {options} --json {out}", out, only_shape=True)
        out.unlink(missing_ok=True)
    count = "--images" if "images <int" in str(commands.cases["help/latency --help"]) else "--pictures"
    done = commands.checkout.run("-m", "samref", *f"latency --data {few} {count} 1 --stage coarse".split())
    said = sentences(done, commands.canon)
    commands.cases["evaluate/latency"] = {**said, "out": [_numberless(text) for text in said["out"]]}


def _keep(commands: _Commands, goldens: Path) -> None:
    """The commands that look after a data folder."""
    scratch = commands.checkout.scratch
    data, out = unpacked(goldens, scratch / "looked-after"), scratch / "out.zip"
    backup, again, other = scratch / "backup", scratch / "again", scratch / "restored"
    for line, *files in (
        (f"workspaces list --data {data}",),
        (f"workspaces check --data {data}",),
        (f"workspaces export 1 -o {out} --data {data}", out),
        (f"workspaces export 2 -o {out} --images --data {data}", out),
        (f"workspaces export 99 -o {out} --data {data}",),
        (f"workspaces key 1 --data {data}",),
        (f"workspaces key 99 --data {data}",),
        (f"backup {backup} --data {data}", backup),
        (f"backup {backup} --data {data}", backup),
        (f"workspaces check --data {backup}",),
        (f"workspaces restore {backup} --data {other}", other),
        (f"workspaces restore {backup} --data {data}", data),
        (f"workspaces export 1 -o {again} --data {other}", again),
        (f"workspaces restore {scratch / 'nope'} --data {other}",),
    ):
        commands.run("folder commands", line, *files)
    for name, damage in {"torn": _tear, "lost": _lose, "short": _shorten}.items():
        folder = unpacked(goldens, scratch / name)
        damage(folder)
        commands.run("folder commands", f"workspaces check --data {folder}")
        commands.run("folder commands", f"backup {scratch / name / 'backup'} --data {folder}")
        commands.run("folder commands", f"workspaces recover --data {folder}")
        for line in ("list", "check", f"export 1 -o {out}"):
            commands.run("folder commands", f"workspaces {line} --data {folder}", *([out] if "export" in line else []))
            out.unlink(missing_ok=True)


def _database(folder: Path) -> Path:
    database = next(folder.glob("*.sqlite"))
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return database


def _tear(folder: Path) -> None:
    """Some pages in the middle of the database are nonsense, an image file is cut off, another one is gone."""
    database = _database(folder)
    content = bytearray(database.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 3 * 4096] = b"\x5a" * (3 * 4096)
    database.write_bytes(content)
    images = sorted(path for path in folder.rglob("*") if path.is_file() and len(path.stem) == 64)
    images[0].write_bytes(images[0].read_bytes()[:100])
    images[1].unlink()


def _lose(folder: Path) -> None:
    for path in folder.glob("*.sqlite*"):
        path.unlink()


def _shorten(folder: Path) -> None:
    database = _database(folder)
    database.write_bytes(database.read_bytes()[: database.stat().st_size * 2 // 3])


def _mistakes(commands: _Commands, data: Path) -> None:
    photo = commands.checkout.folder / "assets/examples/coffee.jpg"
    scratch = commands.checkout.scratch
    for line in (
        "",
        "nope",
        "serve --port 99999",
        "serve --port x",
        "serve --precision fp7 --port 0",
        "serve --model nope --port 0",
        "serve --device nope --port 0",
        "serve --nope",
        "backup",
        "workspaces",
        "workspaces export",
        "workspaces export x -o y",
        f"workspaces list --data {scratch / 'nothing'}",
        f"workspaces check --data {scratch / 'nothing'}",
        f"workspaces recover --data {scratch / 'nothing'}",
        f"backup {scratch / 'b'} --data {scratch / 'nothing'}",
        "models nope",
        "export nope --out x",
        f"export sam-vit-b --out {scratch / 'x'}",
        f"export segnext-random --out {scratch / 'x'}",
        "export tiny",
        "segment",
        f"segment {photo}",
        f"segment {photo} --click 1",
        f"segment {photo} --click a,b",
        f"segment {photo} --click 9999,3",
        f"segment {photo} --box 1,2,3",
        f"segment {photo} --box 5,5,5,5",
        f"segment {photo} --scribble 1;2",
        f"segment {photo} --polygon 1,1;2,2",
        f"segment {photo} --click 5,5 --stage nope",
        f"segment {photo} --click 5,5 --model nope",
        f"segment {photo} --click 5,5 --model sam-vit-b",
        f"segment {photo} --click 5,5 --device nope",
        f"segment {photo} --click 5,5 --precision nope",
        f"segment {photo} --click 5,5 --checkpoint {scratch / 'nope'}",
        f"segment {photo} --click 5,5 -o {scratch / 'no/where.png'}",
        f"segment {scratch / 'nope.jpg'} --click 5,5",
        f"segment {commands.checkout.folder / 'app.py'} --click 5,5",
        "evaluate",
        f"evaluate --data {scratch / 'nothing'}",
        f"evaluate --data {scratch}",
        f"evaluate --data {data / 'balloon'} --model nope",
        f"evaluate --data {data / 'balloon'} --model sam-vit-b",
        f"evaluate --data {data / 'balloon'} --layout nope",
        f"evaluate --data {data / 'balloon'} --layout davis",
        f"evaluate --data {data / 'balloon'} --split nope",
        f"evaluate --data {data / 'balloon'} --stage nope",
        f"evaluate --data {data / 'balloon'} --max-clicks 0",
        f"evaluate --data {data / 'balloon'} --stop-at 3",
        f"evaluate --data {data / 'balloon'} --sam-masks best",
        f"evaluate --data {data / 'balloon'} --json {scratch / 'no/where.json'}",
        f"evaluate --data {data / 'balloon'} --model sam-random --prompt scribble",
        "compare",
        f"compare --data {scratch / 'nothing'}",
        "latency",
        f"latency --data {scratch / 'nothing'}",
        f"latency --data {data / 'balloon'} --model nope",
        "train",
        f"train --data {scratch / 'nothing'} --out {scratch / 'run'}",
        "precompute",
        "refiner",
        "refiner train",
        "refiner nope",
    ):
        commands.run("mistakes", line, only_shape=True)  # a few of them are none, and answer with times
