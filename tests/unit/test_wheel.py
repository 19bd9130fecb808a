"""The distribution: built from a copy, installed outside the repository, and used from another folder."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import tomllib
import zipfile
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

START_S = 120

PARTS = ("LICENSE", "README.md", "assets", "pyproject.toml", "requirements.txt", "samref")


def test_every_runtime_requirement_has_an_upper_bound(root: Path) -> None:
    requirements = [Requirement(line) for line in requirement_lines(root)]
    assert [each.name for each in requirements if "<" not in str(each.specifier)] == []
    assert "torchvision" not in [each.name for each in requirements]


def requirement_lines(root: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in (root / "requirements.txt").read_text("utf-8").splitlines())
    return [line for line in lines if line]


def test_every_folder_with_code_is_a_package_of_the_distribution(root: Path) -> None:
    packages = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    folders = {".".join(path.parent.relative_to(root).parts) for path in (root / "samref").rglob("*.py")}
    assert packages == sorted(folders | {"samref.assets"})


@pytest.fixture(scope="module")
def built(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made of the source distribution, which is made of a copy of the repository; without network."""
    folder = tmp_path_factory.mktemp("distribution")
    source = folder / "source"
    source.mkdir()
    for name in PARTS:
        if (root / name).is_dir():
            shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(root / name, source / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(source)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(built: Path) -> Path:
    """A folder outside the repository that holds samref and nothing else."""
    target = built.parent / "installed"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*command, str(built)], check=True)
    return target


@pytest.fixture
def environment(installed: Path, tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SAMREF_", "GRADIO_"))}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(installed), sysconfig.get_path("purelib")]),
        "PATH": os.pathsep.join([str(installed / "bin"), os.environ["PATH"]]),
        "SAMREF_DATA_FOLDER": str(tmp_path / "data"),
        "SAMREF_PRECISION": "fp32",
        "NO_PROXY": "127.0.0.1,localhost",
    }


@pytest.mark.slow
def test_the_wheel_holds_all_code_and_all_assets(root: Path, built: Path) -> None:
    inside = set(zipfile.ZipFile(built).namelist())
    skipped = ("__pycache__", ".pyi")
    for folder, place in ((root / "samref", "samref"), (root / "assets", "samref/assets")):
        files = [path for path in folder.rglob("*") if path.is_file() and not any(s in str(path) for s in skipped)]
        assert [path for path in files if f"{place}/{path.relative_to(folder).as_posix()}" not in inside] == []


@pytest.mark.slow
def test_the_wheel_requires_what_requirements_txt_names(root: Path, installed: Path) -> None:
    (metadata,) = importlib.metadata.distributions(path=[str(installed)])
    required = [Requirement(each) for each in metadata.requires or []]
    wanted = {str(Requirement(line)) for line in requirement_lines(root)}
    assert {str(each) for each in required if each.marker is None} == wanted
    assert {"evaluate", "onnx", "postgres", "train"} <= set(metadata.metadata.get_all("Provides-Extra") or [])


PROGRAM = """
import pathlib, samref
assert pathlib.Path(samref.__file__).is_relative_to({installed!r}), samref.__file__
answer = samref.load_predictor("tiny").segment({photo!r}, clicks=[samref.Click(300, 180)])
print(answer.mask.area)
"""


@pytest.mark.slow
def test_an_installed_samref_segments_from_any_folder(
    installed: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    photo = installed / "samref" / "assets" / "examples" / "coffee.jpg"
    area = run(sys.executable, "-c", PROGRAM.format(installed=str(installed), photo=str(photo))).strip()
    said = run("samref", "segment", str(photo), "--click", "300,180", "-o", "mask.png")
    assert said.startswith(f"{area} of 240000 pixels")
    assert (tmp_path / "mask.png").is_file()


@pytest.mark.slow
def test_an_installed_samref_serves_the_page_with_its_examples(environment: dict[str, str], tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "log"
    with log.open("w") as file:
        server = subprocess.Popen(
            ["samref", "serve", "--port", str(port)], cwd=tmp_path, env=environment, stdout=file, stderr=file
        )
    try:
        deadline = time.monotonic() + START_S
        while "Ready after" not in log.read_text():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        assert "Self-test: tiny on" in log.read_text()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            assert client.get("/").status_code == 200
            assert client.get("/samref/examples/coffee.jpg").status_code == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
