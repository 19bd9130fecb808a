"""Each of the nine checks finds what it is for, and finds nothing in the repository as it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from samref.errors import SpaceError
from samref.space import checks
from samref.space.boot import Boot
from samref.space.build import BuiltSpace, build_space
from samref.space.checks import CHECKS, Case, check_space
from samref.space.first_click import FirstClick
from samref.space.manifest import Spacefile
from tests.unit.space.spacefiles import Change, changed, put

QUICK = FirstClick(page_s=3.0, open_s=0.5, coarse_s=0.1, refined_s=0.3, pixels=1000)
FRAMED = {
    "content-security-policy": "default-src 'self'; frame-ancestors https://huggingface.co https://*.hf.space",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "cross-origin",
}
WELL = Boot(QUICK, FRAMED, ())

Place = Callable[..., Case]


@pytest.fixture
def place(root: Path, spacefile: Spacefile, pristine: dict[str, BuiltSpace], tmp_path: Path) -> Place:
    """A built folder of a target, to be broken."""

    def make(target: str = "cpu", change: Change | None = None, *, started: Boot | SpaceError = WELL) -> Case:
        folder = tmp_path / "folder"
        if change is None:
            shutil.copytree(
                pristine[target].folder, folder, copy_function=os.link
            )  # whoever changes a file makes it anew
            case = Case(root, spacefile, replace(pristine[target], folder=folder))
        else:
            other = changed(root, tmp_path, change)
            case = Case(root, other, build_space(root, other, target, folder))
        case.__dict__["started"] = started  # what a start came to, without starting
        return case

    return make


def edit(case: Case, name: str, change: Callable[[str], str]) -> None:
    add(case, name, change((case.folder / name).read_text("utf-8")).encode())


def add(case: Case, name: str, data: bytes) -> None:
    path = case.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def found(case: Case) -> list[str]:
    return [fault for check in CHECKS for fault in check.find(case)]


def test_there_are_nine(root: Path) -> None:
    assert len(CHECKS) == 9
    assert all(check.says.endswith(".") for check in CHECKS)
    assert len({check.find for check in CHECKS}) == 9


@pytest.mark.parametrize("target", ["cpu", "gpu", "zerogpu"])
def test_the_repository_as_it_is_passes(place: Place, target: str) -> None:
    assert found(place(target)) == []


# ---- 1 front matter, variables


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("pinned: false", "pined: false", "Hugging Face knows no key pined, and would ignore it in silence."),
        ("pinned: false", "hardware: t4-small", "Hugging Face knows no key hardware"),
        ("colorTo: green", "colorTo: blue", "colorTo is 'blue', and the Spacefile says 'green'."),
        ("python_version: '3.12'", "python_version: 3.12", "python_version is 3.12, and the Spacefile says '3.12'."),
        ("sdk: gradio\n", "", "sdk is None, and the Spacefile says 'gradio'."),
        ("---\n", "", "has no front matter that Hugging Face could read"),
        ("title:", "title: [", "has no front matter that Hugging Face could read"),
    ],
)
def test_front_matter_that_is_not_the_spacefiles_is_found(place: Place, old: str, new: str, sentence: str) -> None:
    case = place()
    edit(case, "README.md", lambda text: text.replace(old, new, 1))
    assert any(sentence in fault for fault in checks.manifest_faults(case))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SAMREF_DEMO_DAY", "7", "variables.SAMREF_DEMO_DAY is no setting of samref."),
        ("SAMREF_DEMO_DAYS", "-1", "SAMREF_DEMO_DAYS is '-1', but 0 (keep for good) or more is needed."),
        ("SAMREF_MODEL", "sam-vit-b", "model is tiny, but the server opens images with sam-vit-b."),
    ],
)
def test_a_variable_that_the_server_would_not_take_is_found(place: Place, name: str, value: str, sentence: str) -> None:
    case = place(change=put("variables", name, value=value))
    assert any(sentence in fault for fault in checks.manifest_faults(case))


# ---- 2 card


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("colorFrom", "orange", "colorFrom is 'orange', but 'red', 'yellow', "),
        ("short_description", "x" * 61, "short_description has 61 characters, and at most 60 are taken."),
        ("emoji", "🎯🎯", "emoji is '🎯🎯', but exactly one emoji is needed."),
        ("license", "beer", "license is 'beer', but one of agpl-3.0, apache-2.0"),
        ("license", "mit", "LICENSE is not the text of mit."),
    ],
)
def test_a_card_that_hugging_face_refuses_is_found(place: Place, key: str, value: str, sentence: str) -> None:
    case = place()

    def change(text: str) -> str:
        _, head, body = text.split("---\n", 2)
        front = {**yaml.safe_load(head), key: value}
        return f"---\n{yaml.safe_dump(front, allow_unicode=True, width=1000)}---\n{body}"

    edit(case, "README.md", change)
    assert any(sentence in fault for fault in checks.card_faults(case))


def test_a_thumbnail_that_is_not_there_is_found(place: Place) -> None:
    case = place()
    thumbnail = str(case.spacefile.space.thumbnail)
    (case.folder / thumbnail).unlink()
    assert any(f"the thumbnail {thumbnail} is not in the folder." in fault for fault in checks.card_faults(case))


def test_a_folder_without_licence_is_found(place: Place) -> None:
    case = place()
    (case.folder / "LICENSE").unlink()
    assert list(checks.card_faults(case)) == ["There is no LICENSE in the folder. Add it to files.include."]


# ---- 3 versions


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (put("build", "sdk_version", value="5.49.1"), "sdk_version is 5.49.1, and samref runs with gradio"),
        (put("build", "sdk_version", value="7.0.0"), "sdk_version is 7.0.0, and samref runs with gradio"),
        (put("build", "python_version", value="3.10"), "python_version is 3.10, and samref wants Python >=3.11."),
        (put("build", "python_version", value="3.13"), "ZeroGPU does not run Python 3.13 by its table of"),
    ],
)
def test_versions_that_do_not_go_together_are_found(place: Place, change: Change, sentence: str) -> None:
    assert any(sentence in fault for fault in checks.version_faults(place("zerogpu", change)))


def test_signing_in_needs_a_gradio_that_can_do_it(place: Place) -> None:
    def change(values: dict[str, dict[str, object]]) -> None:
        values["oauth"]["enabled"] = True
        values["build"]["sdk_version"] = "6.25.0"

    assert any(
        "oauth is on, and needs Gradio 6.26 or newer" in fault for fault in checks.version_faults(place(change=change))
    )


def test_a_torch_that_zero_gpu_does_not_run_is_found_there_and_nowhere_else(place: Place) -> None:
    case = place("zerogpu")
    edit(case, "requirements.txt", lambda text: text.replace("torch==2.11.0", "torch==2.13.0"))
    (fault,) = checks.version_faults(case)
    assert fault.startswith("ZeroGPU does not run torch 2.13.0 by its table of")
    assert "2.9.1, 2.10.0, 2.11.0" in fault, "in the order of versions"
    assert list(checks.version_faults(replace(case, built=replace(case.built, target="gpu")))) == []


# ---- 4 requirements


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("gradio==6.31.0", "names gradio, which Hugging Face installs itself"),
        ("Huggingface_Hub==2.4.0", "names huggingface-hub, which Hugging Face installs itself"),
        ("spaces", "names spaces, which Hugging Face installs itself"),
        ("opencv-python==5.0.0.93", "names opencv-python, which needs a window system. Take opencv-python-headless."),
        ("numpy==1.24.0", "numpy==1.24.0 lies outside of what samref runs with (numpy"),
        ("numpy>=2", "numpy>=2 is no exact version"),
        ("numpy==2.*", "numpy==2.* is no exact version"),
        ("left-pad==1.0", "names left-pad, which samref does not use."),
        ("--extra-index-url https://example.org/simple", "is an option, and only torch's own index may be added"),
        ("-e .", "is an option, and only torch's own index may be added"),
        ("numpy = 2", "'numpy = 2' is no requirement."),
    ],
)
def test_a_line_that_breaks_the_build_is_found(place: Place, line: str, sentence: str) -> None:
    case = place()
    edit(case, "requirements.txt", lambda text: f"{text}\n{line}  # why not\n")
    assert any(sentence in fault for fault in checks.requirement_faults(case))


def test_a_requirement_that_is_missing_is_found(place: Place) -> None:
    case = place()
    edit(case, "requirements.txt", lambda text: text.replace("sqlalchemy", "# sqlalchemy"))
    (fault,) = checks.requirement_faults(case)
    assert "lacks sqlalchemy, without which samref does not run." in fault


def test_a_torch_for_the_wrong_machine_is_found(place: Place) -> None:
    case = place()
    edit(case, "requirements.txt", lambda text: text.replace("+cpu", ""))
    (fault,) = checks.requirement_faults(case)
    assert "torch 2.13.0 brings CUDA along, larger by gigabytes. Take torch==2.13.0+cpu" in fault
    on_gpu = replace(case, built=replace(case.built, target="gpu"))
    edit(on_gpu, "requirements.txt", lambda text: text.replace("torch==2.13.0", "torch==2.13.0+cpu"))
    (fault,) = checks.requirement_faults(on_gpu)
    assert "torch 2.13.0+cpu cannot use a GPU. Take torch==2.13.0." in fault


# ---- 5 files

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGH"

SECRETS = {
    "a token of Hugging Face": f"token = 'hf_{_LETTERS}'",
    "an access key of AWS": "AKIA" + "IOSFODNN7EXAMPLE",
    "a secret key of AWS": "aws_secret_access_key = " + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "a private key": "-----BEGIN " + "RSA PRIVATE KEY-----",
    "a token of GitHub": f"ghp_{_LETTERS}12",
    "a fine-grained token of GitHub": f"github_pat_{_LETTERS}{_LETTERS}",
    "a key of an AI service": f"sk-proj-{_LETTERS}",
    "a token of Slack": "xoxb-" + "123456789012-abcdefghij",
    "a key of Google": f"AIza{_LETTERS}1",
    "a password in an address": "postgresql://labels:" + "correct-horse@db.example.org/labels",
}


def test_every_shape_of_a_secret_is_tried() -> None:
    assert SECRETS.keys() == checks.SECRET_SHAPES.keys()


@pytest.mark.parametrize("what", SECRETS)
def test_a_secret_in_a_file_is_found_and_not_repeated(place: Place, what: str) -> None:
    case = place()
    edit(case, "samref/settings.py", lambda text: f"{text}\n# {SECRETS[what]}\n")
    (fault,) = checks.file_faults(case)
    assert fault == (
        f"samref/settings.py holds what looks like {what}. Remove it, and have it revoked where it was made."
    )


def test_the_value_of_a_secret_in_the_environment_is_found_and_not_repeated(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "no shape at all")
    case = place()
    edit(case, "samref/settings.py", lambda text: f"{text}\n# no shape at all\n")
    (fault,) = checks.file_faults(case)
    assert fault.startswith("samref/settings.py holds the value of a secret")
    assert "no shape" not in fault


@pytest.mark.parametrize(
    "name",
    [
        *("samref.sqlite", "samref/labels/samref.sqlite-wal", "labels.db", ".env", "samref/.env.local", "key.pem"),
        *(".git/config", "server.log", "samref/__pycache__/x.pyc", "id_rsa"),
    ],
)
def test_private_files_are_found(place: Place, name: str) -> None:
    case = place()
    add(case, name, b"x")
    faults = list(checks.file_faults(case))
    assert any(fault.startswith(f"{name} is in the folder, and files.include does not take it.") for fault in faults)
    assert any(fault.startswith(f"{name} is private by its name or kind") for fault in faults)


def test_an_upload_and_a_database_by_another_name_are_found(place: Place) -> None:
    case = place()
    add(case, "uploads/person.jpg", b"\xff\xd8")
    add(case, "assets/weights/README.txt", b"SQLite format 3\x00 and more")
    faults = list(checks.file_faults(case))
    assert any(fault.startswith("uploads/person.jpg is in the folder, and files.include does not") for fault in faults)
    assert any(fault.startswith("assets/weights/README.txt is private by its name or kind") for fault in faults)


def test_files_that_are_too_large_are_found(place: Place) -> None:
    case = place(change=put("files", "max_total_mb", value=14))
    add(case, "samref/py.typed", bytes(10_500_000))
    faults = list(checks.file_faults(case))
    assert "samref/py.typed has 10.5 MB, and a file may have 10 MB. Leave it out." in faults
    assert any("14 MB are allowed." in fault for fault in faults)


@pytest.mark.parametrize("how", ["missing", "damaged", "cut"])
def test_weights_that_are_not_the_right_ones_are_found(place: Place, how: str) -> None:
    case = place()
    path = case.folder / "assets/weights/tiny-refiner.safetensors"
    data = path.read_bytes()
    path.unlink()
    if how != "missing":
        path.write_bytes(data[:-1] if how == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    assert any(fault.startswith("assets/weights/tiny-refiner.safetensors: ") for fault in checks.file_faults(case))


def test_weights_of_no_known_model_are_found(place: Place) -> None:
    case = place()
    add(case, "assets/weights/borrowed.safetensors", b"x")
    assert any("borrowed.safetensors is of no model that samref knows" in fault for fault in checks.file_faults(case))


def test_a_model_whose_weights_do_not_come_along_is_found(place: Place) -> None:
    case = place(change=put("model", value="sam-vit-b"))
    assert any("the weights of sam-vit-b do not come with samref" in fault for fault in checks.file_faults(case))
    case = replace(case, spacefile=case.spacefile.model_copy(update={"model": "nobody"}))
    assert any("model is 'nobody', which samref does not have" in fault for fault in checks.file_faults(case))


def test_weights_without_a_licence_are_found(place: Place) -> None:
    case = place()
    (case.folder / "assets/weights/README.md").unlink()
    assert any("does not say that tiny is under Apache-2.0" in fault for fault in checks.file_faults(case))


def test_examples_without_a_credit_are_found(place: Place) -> None:
    case = place()
    add(case, "assets/examples/borrowed.jpg", b"\xff\xd8")
    edit(case, "assets/examples/CREDITS.md", lambda text: text.replace("coffee.jpg", "tea.jpg"))
    (case.folder / "assets/examples/rocket.jpg").unlink()
    faults = list(checks.file_faults(case))
    assert any(fault.startswith("assets/examples/borrowed.jpg has no entry in examples") for fault in faults)
    assert any(fault == "assets/examples/CREDITS.md does not name coffee.jpg. Add its row." for fault in faults)
    assert any(fault.startswith("examples names assets/examples/rocket.jpg, which is not") for fault in faults)


# ---- 6 ZeroGPU

SOUND = '''"""An app."""
import os
import sys
if os.environ.get("SPACES_ZERO_GPU"):
    import spaces
import torch
SECONDS = 6
@spaces.GPU(duration=SECONDS)
def encode(image): ...
'''


def _on_zero_gpu(case: Case, app: str) -> list[str]:
    """Faults of a folder whose only program is ``app``."""
    for path in list(case.folder.rglob("*.py")):
        path.unlink()
    add(case, "app.py", app.encode())
    return list(checks.zero_gpu_faults(case))


def test_a_sound_program_passes_on_zero_gpu(place: Place) -> None:
    assert _on_zero_gpu(place("zerogpu"), SOUND) == []


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("import os\n", "import os\nimport numpy\n", "app.py imports numpy before spaces"),
        ("    import spaces\n", "    pass\n", "app.py imports torch before spaces"),
        ("    import spaces\n", "    def late(): import spaces\n", "app.py imports torch before spaces"),
        ("@spaces.GPU(duration=SECONDS)\n", "", "No function is decorated with spaces.GPU"),
        ("def encode", "async def encode", "app.py: encode is a coroutine, which ZeroGPU cannot run."),
        ("(duration=SECONDS)", "", "app.py: encode asks for no duration, so 60 s are charged before it runs."),
        ("(duration=SECONDS)", "()", "app.py: encode asks for no duration"),
        ("SECONDS = 6", "SECONDS = 60", "app.py: encode asks for 60.0 s, and targets.zerogpu.gpu_seconds says 6."),
    ],
)
def test_what_zero_gpu_would_refuse_is_found(place: Place, old: str, new: str, sentence: str) -> None:
    assert old in SOUND
    faults = _on_zero_gpu(place("zerogpu"), SOUND.replace(old, new))
    assert any(fault.startswith(sentence) for fault in faults), faults


def test_a_function_that_is_handed_to_the_decorator_counts(place: Place) -> None:
    handed = SOUND.replace("@spaces.GPU(duration=SECONDS)\n", "") + "on_gpu = spaces.GPU(duration=9)(encode)\n"
    faults = _on_zero_gpu(place("zerogpu"), handed)
    assert faults == ["app.py: encode asks for 9.0 s, and targets.zerogpu.gpu_seconds says 6. Mend one of the two."]


def test_zero_gpu_needs_seconds_in_the_spacefile(place: Place) -> None:
    faults = _on_zero_gpu(place("zerogpu", put("targets", "zerogpu", "gpu_seconds", value=None)), SOUND)
    assert faults == ["targets.zerogpu.gpu_seconds is missing: it says what one call may take. Add it."]


def test_other_machines_do_not_care(place: Place) -> None:
    assert _on_zero_gpu(place("gpu"), "import torch\n") == []


# ---- 7, 8 and 9 a start


def test_a_folder_that_does_not_start_is_found_once(place: Place) -> None:
    case = place(started=SpaceError("The program ended with status 1."))
    assert found(case) == ["The program ended with status 1."]


def test_a_start_or_a_click_that_takes_too_long_is_found(place: Place) -> None:
    late = replace(WELL, click=replace(QUICK, page_s=61.0, refined_s=5.5))
    faults = list(checks.boot_faults(place(started=late)))
    assert len(faults) == 2
    assert faults[0].startswith("The page came after 61.0 s, and check.boot_seconds grants 60.")
    assert faults[1].startswith("The first click took 5.5 s, and check.first_click_seconds grants 5.")


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        ({"x-frame-options": "SAMEORIGIN"}, "The page forbids frames by X-Frame-Options"),
        (
            {"content-security-policy": "frame-ancestors 'self'"},
            "may not be shown in a frame of https://huggingface.co",
        ),
        ({"cross-origin-embedder-policy": "unsafe-none"}, "sets cross-origin-embedder-policy on the page around"),
        ({"cross-origin-resource-policy": "same-origin"}, "sets cross-origin-resource-policy on the page around"),
        ({"set-cookie": "session=1; SameSite=Lax"}, "The page counts on a cookie"),
    ],
)
def test_a_page_that_stays_empty_in_a_frame_is_found(place: Place, headers: dict[str, str], sentence: str) -> None:
    (fault,) = checks.frame_faults(place(started=replace(WELL, headers={**FRAMED, **headers})))
    assert sentence in fault


def test_a_secret_without_which_nothing_starts_is_found(place: Place) -> None:
    secret = {"name": "HF_TOKEN", "why": "so", "required": True}
    case = place(change=put("secrets", value=[secret]))
    edit(case, "app.py", lambda text: f"import os\nTOKEN = os.environ['HF_TOKEN']\n{text}")
    faults = list(checks.secret_faults(case))
    assert faults[0].startswith("The secret HF_TOKEN is required, and who duplicates the Space does not have it.")
    assert faults[1] == "app.py line 2 fails without the secret HF_TOKEN. Ask for it with .get()."


def test_without_a_start_the_checks_that_need_one_are_left_out(
    root: Path, spacefile: Spacefile, pristine: dict[str, BuiltSpace]
) -> None:
    outcomes = list(check_space(root, spacefile, pristine["cpu"], boots=False))
    assert [outcome.left_out for outcome in outcomes] == [check.starts for check in CHECKS]
    assert sum(check.starts for check in CHECKS) == 2
