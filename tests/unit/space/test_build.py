"""The folder of a Space is a pure function of the repository: the same bytes, names and modes each time."""

from __future__ import annotations

import hashlib
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from samref.errors import SpaceError
from samref.space.build import BuiltSpace, build_space, front_matter, readme_of
from samref.space.checks import check_space
from samref.space.manifest import Spacefile, load_spacefile
from tests.unit.space.spacefiles import changed, put

TARGETS = ["cpu", "gpu", "zerogpu"]


def _seen(folder: Path) -> dict[str, tuple[int, str]]:
    """Mode and digest of everything below ``folder``, in the order in which it is listed after sorting."""
    return {
        path.relative_to(folder).as_posix(): (
            stat.S_IMODE(path.lstat().st_mode),
            "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.rglob("*"))
    }


def _front(readme: str) -> dict[str, object]:
    _, head, _ = readme.split("---\n", 2)
    found = yaml.safe_load(head)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def small(root: Path, tmp_path: Path) -> Path:
    """A repository with the Spacefile and what it names by name, and little else."""
    folder = tmp_path / "small"
    for name in ("Spacefile", "LICENSE", "app.py", "samref/py.typed", "samref/__init__.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, folder / name)
    for name in ("space", "assets/examples", "assets/showcase", "samref/web/static", "samref/evaluation/report"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize("target", TARGETS)
def test_building_twice_gives_the_same_bytes_names_and_modes(
    root: Path, spacefile: Spacefile, pristine: dict[str, BuiltSpace], tmp_path: Path, target: str
) -> None:
    again = build_space(root, spacefile, target, tmp_path / "again")
    assert again.files == pristine[target].files
    assert _seen(again.folder) == _seen(pristine[target].folder)


def test_another_copy_of_the_repository_gives_the_same_folder(small: Path, tmp_path: Path) -> None:
    """Modes, times, links to the copy, compiled files and the order of the disk do not come through."""
    other = tmp_path / "other place" / "copy"
    shutil.copytree(small, other)
    for path in other.rglob("*"):
        path.chmod(0o700)
    cache = other / "samref" / "__pycache__"
    cache.mkdir()
    (cache / "__init__.cpython-311.pyc").write_bytes(b"compiled")
    (cache / "left_behind.py").write_text("")
    spacefile = load_spacefile(small / "Spacefile")
    one, two = (build_space(each, spacefile, "cpu", tmp_path / name) for each, name in ((small, "a"), (other, "b")))
    assert _seen(one.folder) == _seen(two.folder)
    assert {mode for mode, _ in _seen(two.folder).values()} == {0o644, 0o755}


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_said_of_a_built_folder_is_true(pristine: dict[str, BuiltSpace], target: str) -> None:
    built = pristine[target]
    seen = {name: digest for name, (_, digest) in _seen(built.folder).items() if digest}
    assert dict(built.files) == seen
    assert built.size_bytes == sum((built.folder / name).stat().st_size for name in seen)
    assert list(built.files) == sorted(built.files)


@pytest.mark.parametrize("target", TARGETS)
def test_the_front_matter_is_the_spacefile(spacefile: Spacefile, pristine: dict[str, BuiltSpace], target: str) -> None:
    readme = (pristine[target].folder / "README.md").read_text("utf-8")
    front = _front(readme)
    assert front == front_matter(spacefile, target)
    card, build = spacefile.space, spacefile.build
    wanted = {
        "title": card.title,
        "emoji": card.emoji,
        "colorFrom": card.colorFrom,
        "colorTo": card.colorTo,
        "sdk": "gradio",
        "sdk_version": build.sdk_version,
        "python_version": build.python_version,
        "app_file": "app.py",
        "short_description": card.short_description,
        "license": card.license,
        "tags": list(card.tags),
        "header": card.header,
        "pinned": card.pinned,
        "startup_duration_timeout": "10m",
        "custom_headers": dict(build.custom_headers),
    }
    assert {key: front.get(key) for key in wanted} == wanted
    assert front.keys() - wanted.keys() <= {"suggested_hardware", "models"}
    assert front.get("suggested_hardware") == {"cpu": "cpu-basic", "gpu": "t4-small"}.get(target)
    assert not [key for key in front if key.startswith("hf_oauth")], "signing in is off"


def test_the_thumbnail_is_a_whole_address_of_the_space_it_is_for(
    root: Path, spacefile: Spacefile, tmp_path: Path
) -> None:
    built = build_space(root, spacefile, "cpu", tmp_path / "out", "ana/samref")
    front = _front((built.folder / "README.md").read_text("utf-8"))
    address = "https://huggingface.co/spaces/ana/samref/resolve/main/"
    assert str(front["thumbnail"]).startswith(address)
    assert str(front["thumbnail"]).removeprefix(address) in built.files
    assert [fault for outcome in check_space(root, spacefile, built, boots=False) for fault in outcome.faults] == []


def test_signing_in_stands_in_the_front_matter_once_it_is_on(root: Path, tmp_path: Path) -> None:
    on = changed(root, tmp_path, put("oauth", value={"enabled": True, "authorized_org": "team"}))
    front = front_matter(on, "cpu")
    assert front["hf_oauth"] is True
    assert front["hf_oauth_scopes"] == ["openid", "profile"]
    assert front["hf_oauth_expiration_minutes"] == 480
    assert front["hf_oauth_authorized_org"] == "team"


@pytest.mark.parametrize("target", TARGETS)
def test_the_readme_credits_every_example_and_links_to_files_that_are_there(
    spacefile: Spacefile, pristine: dict[str, BuiltSpace], target: str
) -> None:
    built = pristine[target]
    readme = (built.folder / "README.md").read_text("utf-8")
    for example in spacefile.examples:
        assert f"]({example.file}): {example.credit}; {example.licence}" in readme
    linked = {part.partition(")")[0] for part in readme.split("](")[1:]}
    assert [name for name in linked if name not in built.files] == []


@pytest.mark.parametrize("target", TARGETS)
def test_the_requirements_are_those_of_the_target(
    root: Path, spacefile: Spacefile, pristine: dict[str, BuiltSpace], target: str
) -> None:
    built = pristine[target].folder / "requirements.txt"
    assert built.read_bytes() == (root / spacefile.targets[target].requirements).read_bytes()


def test_every_file_of_the_program_that_git_keeps_is_in_the_folder(root: Path, pristine: dict[str, BuiltSpace]) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--", "app.py", "LICENSE", "samref", "assets"], cwd=root, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("no git repository")
    missing = [name for name in listed.stdout.splitlines() if (root / name).is_file()]
    missing = [name for name in missing if name not in pristine["cpu"].files]
    assert missing == [], "add a pattern to files.include of the Spacefile, or name it in files.exclude and here"


def test_the_folder_is_small(pristine: dict[str, BuiltSpace]) -> None:
    built = pristine["cpu"]
    lazily = sum((built.folder / name).stat().st_size for name in built.files if "/static/local/" in name)
    assert built.size_bytes - lazily < 25e6


@pytest.mark.parametrize("kind", ["file", "full", "link"])
def test_a_folder_that_is_there_is_not_written_over(small: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    elif kind == "full":
        out.mkdir()
        (out / "mine").write_text("mine")
    else:
        out.symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SpaceError, match="is there already and not an empty folder"):
        build_space(small, load_spacefile(small / "Spacefile"), "cpu", out)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_is_filled(small: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    built = build_space(small, load_spacefile(small / "Spacefile"), "cpu", tmp_path / "out")
    assert (built.folder / "app.py").is_file()


def test_a_link_is_refused_wherever_it_leads(small: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.py"
    secret.write_text("TOKEN = 1")
    (small / "samref" / "linked.py").symlink_to(secret)
    with pytest.raises(SpaceError, match=r"samref/linked.py is a link"):
        build_space(small, load_spacefile(small / "Spacefile"), "cpu", tmp_path / "out")


def test_everything_that_is_named_and_not_there_is_said_at_once(small: Path, tmp_path: Path) -> None:
    (small / "space" / "cpu.txt").unlink()
    (small / "space" / "README.md.in").unlink()
    (small / "LICENSE").unlink()
    (small / "app.py").unlink()
    with pytest.raises(SpaceError) as caught:
        build_space(small, load_spacefile(small / "Spacefile"), "cpu", tmp_path / "out")
    said = str(caught.value)
    for name in ("space/cpu.txt is named", "space/README.md.in is named", "names LICENSE,", "names app.py,"):
        assert name in said
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(".out*")) == []


def test_the_repositorys_own_readme_cannot_slip_in(small: Path, tmp_path: Path) -> None:
    (small / "README.md").write_text("# The repository")
    with_it = changed(small, tmp_path, lambda values: values["files"]["include"].append("README.md"))
    with pytest.raises(SpaceError, match=r"README.md is made for each target"):
        build_space(small, with_it, "cpu", tmp_path / "out")


def test_a_template_that_asks_for_something_else_is_a_sentence(spacefile: Spacefile) -> None:
    with pytest.raises(SpaceError, match=r"may ask for \$target and \$examples"):
        readme_of(spacefile, "cpu", "costs $price")
    assert readme_of(spacefile, "cpu", "costs $$5, $target").endswith("costs $5, cpu")
