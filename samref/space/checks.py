"""What has broken Spaces before, looked for before anything is pushed: nine checks, every fault a sentence."""

from __future__ import annotations

import ast
import fnmatch
import hashlib
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from pydantic import ValidationError

from samref.errors import SamrefError, SettingsError, SpaceError
from samref.files import bytes_in_words
from samref.models.checkpoints import CACHE_VARIABLE, WEIGHTS_VARIABLE, verify
from samref.models.registry import SPECS, get_spec
from samref.settings import ENVIRONMENT_PREFIX, Settings
from samref.space.boot import Boot, boot
from samref.space.build import HUB, README_NAME, REQUIREMENTS_NAME, BuiltSpace, front_matter, space_files
from samref.space.manifest import LICENCES, Card, Spacefile, sentences_of

FRONT_MATTER_KEYS = frozenset(
    {
        *("title", "emoji", "colorFrom", "colorTo", "short_description", "sdk", "sdk_version", "python_version"),
        *("app_file", "app_build_command", "app_port", "base_path", "fullWidth", "header", "models", "datasets"),
        *("tags", "thumbnail", "pinned", "license", "hf_oauth", "hf_oauth_scopes", "hf_oauth_expiration_minutes"),
        *("hf_oauth_authorized_org", "disable_embedding", "startup_duration_timeout", "custom_headers"),
        *("preload_from_hub", "suggested_hardware", "suggested_storage"),
    }
)
"""Keys that Hugging Face reads (its Spaces configuration reference, August 2026); others it ignores in silence."""

ZERO_GPU_AS_OF = "August 2026"
ZERO_GPU_TORCH = frozenset({"2.8.0", "2.9.1", "2.10.0", "2.11.0"})
ZERO_GPU_PYTHON = frozenset({"3.12", "3.12.12", "3.10", "3.10.13"})
"""What ZeroGPU runs, by Hugging Face's page on it as of that month."""

OAUTH_GRADIO = Version("6.26")
"""The first Gradio whose log-in works in the frame of a Space."""

PREINSTALLED = frozenset({"gradio", "gradio-client", "spaces", "huggingface-hub"})
"""Installed by Hugging Face in the version it wants; a line of ours would fight with that one."""

NEVER = {"opencv-python": "opencv-python-headless", "opencv-contrib-python": "opencv-python-headless"}
"""Packages that need what a Space does not have, and what to take instead."""

TORCH_INDEX = re.compile(r"--extra-index-url https://download\.pytorch\.org/whl/[a-z0-9]+")
CPU_BUILD = "cpu"
"""Local version of torch's wheels without CUDA."""

PRIVATE_NAMES = (
    *("*.sqlite", "*.sqlite-*", "*.sqlite3", "*.db", "*.db-*", ".env", ".env.*", "*.pem", "*.key", "*.p12", "id_rsa*"),
    *("id_ed25519*", ".netrc", ".git", "*.log", "*.pyc", "*.part", ".ds_store", "secrets.*", "credentials*"),
)
"""What belongs to a person or a machine, by its name in small letters; a database also by its first bytes."""

_PRIVATE = re.compile("|".join(fnmatch.translate(pattern) for pattern in PRIVATE_NAMES))

DATABASE_MAGIC = b"SQLite format 3\x00"

SECRET_SHAPES = {
    "a token of Hugging Face": rb"hf_[A-Za-z0-9]{30,}",
    "an access key of AWS": rb"A(?:KIA|SIA)[0-9A-Z]{16}",
    "a secret key of AWS": rb"aws_secret_access_key\W{1,4}[A-Za-z0-9/+]{40}",
    "a private key": rb"-----BEGIN (?:[A-Z]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----",
    "a token of GitHub": rb"gh[pousr]_[A-Za-z0-9]{36}",
    "a fine-grained token of GitHub": rb"github_pat_[A-Za-z0-9_]{50,}",
    "a key of an AI service": rb"sk-(?<![A-Za-z0-9]sk-)(?:proj-|ant-)?[A-Za-z0-9_-]{32,}",
    "a token of Slack": rb"xox[abposr]-[0-9A-Za-z-]{20,}",
    "a key of Google": rb"AIza[0-9A-Za-z_-]{35}",
    "a password in an address": rb"://[A-Za-z0-9_.-]+:[^\s/@:'\"{}$<>]{6,}@[A-Za-z0-9-]+\.",
}
"""Of secrets as they stand in files. Each begins with letters, by which weights are read through in no time."""

SHORTEST_SECRET = 8
"""A value in the environment that is shorter would be found in any file."""

WEIGHTS = "assets/weights"
MODEL_CARD = f"{WEIGHTS}/README.md"
CREDITS = "assets/examples/CREDITS.md"


@dataclass(frozen=True)
class Case:
    """One built folder, and what it was made of.

    Attributes:
        root: the repository.
        spacefile: of it.
        built: the folder, for one target.
    """

    root: Path
    spacefile: Spacefile
    built: BuiltSpace

    @property
    def folder(self) -> Path:
        return self.built.folder

    @property
    def is_zero_gpu(self) -> bool:
        return self.spacefile.target(self.built.target).is_zero_gpu

    @cached_property
    def project(self) -> dict[str, Any]:
        """``[project]`` of ``pyproject.toml``."""
        found: dict[str, Any] = tomllib.loads((self.root / "pyproject.toml").read_text("utf-8"))["project"]
        return found

    @cached_property
    def own(self) -> list[Requirement]:
        """What samref needs to run."""
        return [Requirement(line) for line in _lines((self.root / "requirements.txt").read_text("utf-8"))]

    @cached_property
    def ranges(self) -> dict[str, SpecifierSet]:
        """The versions that samref runs with, by package, those of its extras included."""
        extras = [Requirement(line) for each in self.project["optional-dependencies"].values() for line in each]
        return {canonicalize_name(each.name): each.specifier for each in (*extras, *self.own)}

    @cached_property
    def requirements(self) -> str:
        """``requirements.txt`` of the folder."""
        return (self.folder / REQUIREMENTS_NAME).read_text("utf-8")

    @cached_property
    def torch(self) -> Version | None:
        """The exact version of torch in it."""
        lines = [line for line in _lines(self.requirements) if line.startswith("torch==")]
        return _pinned(Requirement(lines[-1])) if lines else None

    @cached_property
    def front(self) -> dict[str, Any]:
        """What Hugging Face reads at the top of ``README.md``; nothing where it cannot."""
        parts = (self.folder / README_NAME).read_text("utf-8").split("---\n", 2)
        try:
            found = yaml.safe_load(parts[1]) if len(parts) == 3 and parts[0] == "" else None
        except yaml.YAMLError:
            found = None
        return found if isinstance(found, dict) else {}

    def code(self, word: str) -> Iterator[tuple[str, ast.Module]]:
        """Each Python file of the folder in which ``word`` stands, by its name."""
        for path in sorted(self.folder.rglob("*.py")):
            data = path.read_bytes()
            if word.encode() in data:
                yield path.relative_to(self.folder).as_posix(), ast.parse(data)

    @cached_property
    def started(self) -> Boot | SpaceError:
        """What came of a start behind walls."""
        try:
            return boot(self.root, self.built, self.spacefile, zero_gpu=self.is_zero_gpu)
        except SpaceError as error:
            return error


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has broken a Space.

    Attributes:
        says: what holds when it finds nothing, as a sentence.
        find: faults, each a sentence that says what to do.
        starts: whether the folder is started for it.
    """

    says: str
    find: Callable[[Case], Iterator[str]]
    starts: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check came to."""

    says: str
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: bool = False


def check_space(root: Path, spacefile: Spacefile, built: BuiltSpace, *, boots: bool = True) -> Iterator[Outcome]:
    """The outcome of every check on ``built``, as they are made; without ``boots`` nothing is started.

    The files of the folder are read, not what is known about how they were made.
    """
    case = Case(root, spacefile, built)
    for check in CHECKS:
        if check.starts and not boots:
            yield Outcome(check.says, left_out=True)
            continue
        faults = tuple(check.find(case))
        notes: tuple[str, ...] = ()
        if check.find is boot_faults and isinstance(case.started, Boot):
            notes = (f"{case.started.click}", *case.started.walls)
        yield Outcome(check.says, faults, notes)


# ---- 1 and 2: what people and Hugging Face see


def manifest_faults(case: Case) -> Iterator[str]:
    """Front matter that is not what the Spacefile says, and variables that the server would not take."""
    wanted = front_matter(case.spacefile, case.built.target, case.built.space)
    if not case.front:
        yield f"{README_NAME} has no front matter that Hugging Face could read. Build the folder anew."
        return
    for key in case.front:
        if key not in FRONT_MATTER_KEYS:
            yield f"{README_NAME}: Hugging Face knows no key {key}, and would ignore it in silence. Take it out."
    for key in sorted(wanted.keys() | case.front.keys()):
        if wanted.get(key) != case.front.get(key) and (key in wanted or key in FRONT_MATTER_KEYS):
            yield (
                f"{README_NAME}: {key} is {case.front.get(key)!r}, and the Spacefile says {wanted.get(key)!r}. "
                "Build the folder anew."
            )
    variables = case.spacefile.variables_of(case.built.target)
    known = {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in variables:
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known | {CACHE_VARIABLE, WEIGHTS_VARIABLE}:
            yield f"Spacefile: variables.{name} is no setting of samref. Mend its spelling, or take it out."
    try:
        settings = Settings.from_environment({"SYSTEM": "spaces", **variables})
    except SettingsError as error:
        yield f"Spacefile: variables: {error}"
    else:
        if settings.model != case.spacefile.model:
            yield (
                f"Spacefile: model is {case.spacefile.model}, but the server opens images with {settings.model}. "
                f"Set the variable {ENVIRONMENT_PREFIX}MODEL, or mend model."
            )


def card_faults(case: Case) -> Iterator[str]:
    """A card that Hugging Face refuses or shows wrongly."""
    values = {key: value for key, value in case.front.items() if key in Card.model_fields and key != "thumbnail"}
    try:
        card = Card.model_validate(values)
    except ValidationError as error:
        yield from sentences_of(README_NAME, error)
        return
    thumbnail = case.spacefile.space.thumbnail
    if thumbnail is not None and not (case.folder / thumbnail).is_file():
        yield f"Spacefile: the thumbnail {thumbnail} is not in the folder. Add it, or take the key out."
    licence = case.folder / "LICENSE"
    if not licence.is_file():
        yield "There is no LICENSE in the folder. Add it to files.include."
    elif LICENCES[card.license] not in licence.read_text("utf-8"):
        yield f"LICENSE is not the text of {card.license}. Mend one of the two."
    if card.license != str(case.project["license"]).lower():
        yield f"The card says {card.license} and pyproject.toml {case.project['license']}. Mend one of the two."


# ---- 3 and 4: versions


def version_faults(case: Case) -> Iterator[str]:
    """Versions of Gradio, Python and torch that do not go together, or not with samref."""
    build = case.spacefile.build
    gradio = case.ranges["gradio"]
    if build.sdk_version not in gradio:
        yield f"build.sdk_version is {build.sdk_version}, and samref runs with gradio{gradio}. Take one of these."
    if case.spacefile.oauth.enabled and Version(build.sdk_version) < OAUTH_GRADIO:
        yield f"oauth is on, and needs Gradio {OAUTH_GRADIO} or newer; build.sdk_version is {build.sdk_version}."
    wanted = SpecifierSet(case.project["requires-python"])
    if build.python_version not in wanted:
        yield f"build.python_version is {build.python_version}, and samref wants Python {wanted}. Take one of these."
    if not case.is_zero_gpu:
        return
    table = f"by its table of {ZERO_GPU_AS_OF}"
    if build.python_version not in ZERO_GPU_PYTHON:
        offered = ", ".join(sorted(ZERO_GPU_PYTHON))
        yield f"ZeroGPU does not run Python {build.python_version} {table}. Take one of {offered}."
    torch = case.torch
    if torch is not None and str(torch) not in ZERO_GPU_TORCH:
        offered = ", ".join(sorted(ZERO_GPU_TORCH, key=Version))
        yield f"ZeroGPU does not run torch {torch} {table}. Take one of {offered}."


def requirement_faults(case: Case) -> Iterator[str]:
    """Lines of ``requirements.txt`` that break the build of a Space, or make it another one next month."""
    source = case.spacefile.target(case.built.target).requirements
    named = set()
    for line in _lines(case.requirements):
        if line.startswith("-"):
            if TORCH_INDEX.fullmatch(line) is None:
                yield f"{source}: {line!r} is an option, and only torch's own index may be added by one."
            continue
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            yield f"{source}: {line!r} is no requirement. Write it as name==version."
            continue
        named.add(canonicalize_name(requirement.name))
        yield from _requirement_faults(case, source, requirement)
    missing = sorted({canonicalize_name(each.name) for each in case.own} - PREINSTALLED - named)
    if missing:
        yield f"{source} lacks {', '.join(missing)}, without which samref does not run. Add an exact version of each."
    torch = case.torch
    is_cpu = case.spacefile.target(case.built.target).hardware.startswith("cpu")
    if torch is not None and is_cpu != (torch.local == CPU_BUILD):
        public = torch.public
        yield (
            f"{source}: torch {torch} brings CUDA along, larger by gigabytes. Take torch=={public}+{CPU_BUILD} from "
            "torch's own index."
            if is_cpu
            else f"{source}: torch {torch} cannot use a GPU. Take torch=={public}."
        )


def _requirement_faults(case: Case, source: str, requirement: Requirement) -> Iterator[str]:
    name, pin = canonicalize_name(requirement.name), _pinned(requirement)
    if name in PREINSTALLED:
        yield f"{source} names {name}, which Hugging Face installs itself; the two would fight. Take it out."
    elif name in NEVER:
        yield f"{source} names {name}, which needs a window system. Take {NEVER[name]}."
    elif name not in case.ranges:
        yield f"{source} names {name}, which samref does not use. Take it out."
    elif pin is None:
        yield f"{source}: {requirement} is no exact version, so the Space changes by itself. Write {name}==version."
    elif pin.public not in case.ranges[name]:
        yield f"{source}: {requirement} lies outside of what samref runs with ({name}{case.ranges[name]}). Mend it."


def _pinned(requirement: Requirement) -> Version | None:
    """The one version that a requirement takes, if it is one."""
    pins = [each.version for each in requirement.specifier if each.operator == "==" and not each.version.endswith(".*")]
    return Version(pins[0]) if len(pins) == 1 else None


def _lines(requirements: str) -> list[str]:
    """Without comments and empty ones."""
    return [line for each in requirements.splitlines() if (line := re.sub(r"(^|\s)#.*", "", each).strip())]


# ---- 5: files


def file_faults(case: Case) -> Iterator[str]:
    """Files that do not belong into the folder, are too large, or are missing from it."""
    limits = case.spacefile.files
    wanted = space_files(case.root, case.spacefile, case.built.target).keys()
    found = {path.relative_to(case.folder).as_posix(): path for path in case.folder.rglob("*") if not path.is_dir()}
    for name in sorted(found.keys() - wanted):
        yield f"{name} is in the folder, and files.include does not take it. Remove it."
    for name in sorted(wanted - found.keys()):
        yield f"{name} is missing from the folder. Build it anew."
    values = [os.environ[each.name] for each in case.spacefile.secrets if each.name in os.environ]
    total = 0
    for name, path in sorted(found.items()):
        data = path.read_bytes()
        total += len(data)
        if len(data) > limits.max_file_mb * 1e6:
            size = bytes_in_words(len(data))
            yield f"{name} has {size}, and a file may have {limits.max_file_mb:g} MB. Leave it out."
        if any(_PRIVATE.match(part) for part in name.lower().split("/")) or data.startswith(DATABASE_MAGIC):
            yield f"{name} is private by its name or kind, and would be public. Leave it out with files.exclude."
        for what, shape in SECRET_SHAPES.items():
            if re.search(shape, data):
                yield f"{name} holds what looks like {what}. Remove it, and have it revoked where it was made."
        for value in values:
            if len(value) >= SHORTEST_SECRET and value.encode() in data:
                yield f"{name} holds the value of a secret of the Spacefile. Remove it, and have it revoked."
    if total > limits.max_total_mb * 1e6:
        yield (
            f"The folder has {bytes_in_words(total)}, and {limits.max_total_mb:g} MB are allowed. Leave something out, "
            "or raise files.max_total_mb."
        )
    yield from _weights_faults(case)
    yield from _example_faults(case)


def _weights_faults(case: Case) -> Iterator[str]:
    """Weights that are not there, not the right ones, or of nobody knows whom."""
    spec = get_spec(case.spacefile.model) if case.spacefile.model in SPECS else None
    if spec is None:
        yield f"Spacefile: model is {case.spacefile.model!r}, which samref does not have. Mend it."
        return
    for checkpoint in spec.checkpoints:
        if not checkpoint.comes_with_samref:
            yield f"Spacefile: the weights of {spec.name} do not come with samref. Take a model whose weights do."
            continue
        try:
            verify(case.folder / WEIGHTS / checkpoint.file_name, checkpoint)
        except SamrefError as error:
            yield f"{WEIGHTS}/{checkpoint.file_name}: {error}"
    if not spec.licence:
        yield f"The weights of {spec.name} have no licence. Say it in their specification."
    card = case.folder / MODEL_CARD
    text = card.read_text("utf-8") if card.is_file() else ""
    if spec.licence not in text:
        yield f"{MODEL_CARD} does not say that {spec.name} is under {spec.licence}. Add the model card to the folder."
    known = {each.sha256 for other in SPECS.values() for each in other.checkpoints}
    for path in sorted(case.folder.rglob("*.safetensors")):
        if hashlib.sha256(path.read_bytes()).hexdigest() not in known:
            name = path.relative_to(case.folder).as_posix()
            yield f"{name} is of no model that samref knows, so nobody can say under which licence it is. Leave it out."


def _example_faults(case: Case) -> Iterator[str]:
    """Examples without a credit, and credits without an example."""
    named = {example.file: example for example in case.spacefile.examples}
    folder = PurePosixPath(CREDITS).parent
    path = case.folder / CREDITS
    text = path.read_text("utf-8") if path.is_file() else ""
    for image in sorted((case.folder / folder).glob("*")):
        name = (folder / image.name).as_posix()
        if image.is_file() and image.suffix not in (".md", ".json") and name not in named:
            yield f"{name} has no entry in examples of the Spacefile, which says whose it is. Add one, or leave it out."
    for name in named:
        if not (case.folder / name).is_file():
            yield f"examples names {name}, which is not in the folder. Mend the name."
        if PurePosixPath(name).name not in text:
            yield f"{CREDITS} does not name {PurePosixPath(name).name}. Add its row."


# ---- 6: ZeroGPU


def zero_gpu_faults(case: Case) -> Iterator[str]:
    """Why ZeroGPU would not start this, or charge its visitors too much."""
    if not case.is_zero_gpu:
        return
    app = case.spacefile.build.app_file
    program = ast.parse((case.folder / app).read_bytes())
    first = next((name for name in _imported(program) if name not in sys.stdlib_module_names), None)
    if first != "spaces":
        yield f"{app} imports {first} before spaces, which must come before anything that could touch CUDA. Swap them."
    functions = [found for file, tree in case.code("GPU") for found in _gpu_functions(file, tree)]
    if not functions:
        yield "No function is decorated with spaces.GPU, and ZeroGPU stops a Space without one. Decorate the encoder."
    seconds = case.spacefile.target(case.built.target).gpu_seconds
    if seconds is None:
        yield f"targets.{case.built.target}.gpu_seconds is missing: it says what one call may take. Add it."
    for function in functions:
        if function.is_coroutine:
            yield f"{function.where} is a coroutine, which ZeroGPU cannot run. Make it a plain function."
        if function.duration is None:
            yield f"{function.where} asks for no duration, so 60 s are charged before it runs. Name the seconds."
        elif seconds is not None and function.duration != seconds:
            yield (
                f"{function.where} asks for {function.duration} s, and targets.{case.built.target}.gpu_seconds says "
                f"{seconds}. Mend one of the two."
            )


@dataclass(frozen=True, slots=True)
class _GpuFunction:
    where: str
    is_coroutine: bool
    duration: float | None


def _imported(tree: ast.Module) -> list[str]:
    """Top-level packages in the order in which a module imports them, those under ``if`` and ``try`` included."""
    found: list[tuple[int, str]] = []
    pending: list[ast.AST] = [tree]
    while pending:
        for node in ast.iter_child_nodes(pending.pop()):
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name.partition(".")[0]) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
                found.append((node.lineno, node.module.partition(".")[0]))
            elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                pending.append(node)
    return [name for _, name in sorted(found)]


def _gpu_functions(file: str, tree: ast.Module) -> Iterator[_GpuFunction]:
    """Functions that are decorated with ``spaces.GPU``, and those that are handed to it."""
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    pairs: list[tuple[ast.FunctionDef | ast.AsyncFunctionDef, ast.expr]] = [
        (function, decorator)
        for function in functions.values()
        for decorator in function.decorator_list
        if _is_gpu(decorator)
    ]
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and _is_gpu(call.func):
            handed = [functions[each.id] for each in call.args if isinstance(each, ast.Name) and each.id in functions]
            pairs += [(function, call.func if isinstance(call.func, ast.Call) else call) for function in handed]
    for function, decorator in pairs:
        where = f"{file}: {function.name}"
        yield _GpuFunction(where, isinstance(function, ast.AsyncFunctionDef), _duration(decorator, constants))


def _is_gpu(node: ast.expr) -> bool:
    """Whether an expression is ``spaces.GPU`` or a call of it."""
    if isinstance(node, ast.Call):
        return _is_gpu(node.func)
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
    return name == "GPU"


def _duration(decorator: ast.expr, constants: dict[str, Any]) -> float | None:
    given = decorator.keywords if isinstance(decorator, ast.Call) else []
    value = next((each.value for each in given if each.arg == "duration"), None)
    found = constants.get(value.id) if isinstance(value, ast.Name) else getattr(value, "value", None)
    return float(found) if isinstance(found, int | float) else None


# ---- 7, 8 and 9: the folder, started


def boot_faults(case: Case) -> Iterator[str]:
    """Why the folder does not start behind walls, or not quickly enough."""
    started = case.started
    if isinstance(started, SpaceError):
        yield str(started)
        return
    granted, click = case.spacefile.check, started.click
    if click.page_s > granted.boot_seconds:
        yield (
            f"The page came after {click.page_s:.1f} s, and check.boot_seconds grants {granted.boot_seconds:g}. "
            "Find out what takes so long."
        )
    if click.refined_s > granted.first_click_seconds:
        yield (
            f"The first click took {click.refined_s:.1f} s, and check.first_click_seconds grants "
            f"{granted.first_click_seconds:g}. Find out what takes so long."
        )


def frame_faults(case: Case) -> Iterator[str]:
    """Why the page would stay empty in the frame that Hugging Face shows it in."""
    if isinstance(case.started, SpaceError):
        return
    headers = case.started.headers
    if "x-frame-options" in headers:
        yield "The page forbids frames by X-Frame-Options, and a Space is shown in one. Set SAMREF_FRAME_ANCESTORS."
    policy = headers.get("content-security-policy", "")
    ancestors = next((each.split()[1:] for each in policy.split(";") if each.split()[:1] == ["frame-ancestors"]), ["*"])
    if HUB not in ancestors and "*" not in ancestors:
        yield f"The page may not be shown in a frame of {HUB}. Set SAMREF_FRAME_ANCESTORS."
    for name, value in case.spacefile.build.custom_headers.items():
        if headers.get(name) != value:
            yield (
                f"build.custom_headers sets {name} on the page around the frame, and the page inside says "
                f"{headers.get(name)!r} instead of {value!r}, so it would stay empty or without threads. Take it out, "
                "or have the server send it."
            )
    if "samesite=lax" in headers.get("set-cookie", "").lower():
        yield "The page counts on a cookie, which browsers keep from pages in foreign frames. Keep it elsewhere."


def secret_faults(case: Case) -> Iterator[str]:
    """Secrets without which the Space would not start: who duplicates it does not have them."""
    for secret in case.spacefile.secrets:
        if secret.required:
            yield (
                f"The secret {secret.name} is required, and who duplicates the Space does not have it. Start without "
                "it, and say what is off."
            )
        for file, tree in case.code(secret.name):
            for node in ast.walk(tree):
                if (
                    isinstance(node, ast.Subscript)
                    and isinstance(node.value, ast.Attribute)
                    and node.value.attr == "environ"
                    and isinstance(node.slice, ast.Constant)
                    and node.slice.value == secret.name
                    and isinstance(node.ctx, ast.Load)
                ):
                    yield f"{file} line {node.lineno} fails without the secret {secret.name}. Ask for it with .get()."


CHECKS: Sequence[Check] = (
    Check("The front matter is what the Spacefile says, and every variable is a setting.", manifest_faults),
    Check("The card keeps Hugging Face's rules, and the licence is there.", card_faults),
    Check("Gradio, Python and torch go together, and with samref.", version_faults),
    Check("The requirements are exact, within samref's ranges, and none that Hugging Face brings.", requirement_faults),
    Check("The folder holds what it should, nothing private, nothing too large, and the right weights.", file_faults),
    Check("ZeroGPU finds spaces first, and plain functions that name their seconds.", zero_gpu_faults),
    Check(
        "It starts with read-only code, an empty home and no network; a click is answered.",
        boot_faults,
        starts=True,
    ),
    Check("The page may be shown in the frame of Hugging Face.", frame_faults, starts=True),
    Check("It starts without a single secret.", secret_faults),
)
