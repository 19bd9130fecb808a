"""What a Space should be, how that differs from what it is, what it costs, and all of it in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from samref.errors import SpaceError
from samref.files import counted
from samref.space.build import BuiltSpace
from samref.space.hub import Commit, Hub, Present, Runtime, git_digest
from samref.space.manifest import Secret, Spacefile

PRICES_OF = "August 2026"
PRICE_USD_PER_HOUR: Mapping[str, float] = {
    "cpu-basic": 0.0,
    "zero-a10g": 0.0,
    "cpu-upgrade": 0.03,
    "t4-small": 0.40,
    "t4-medium": 0.60,
    "l4x1": 0.80,
    "l4x4": 3.80,
    "a10g-small": 1.00,
    "a10g-large": 1.50,
    "a10g-largex2": 3.00,
    "a10g-largex4": 5.00,
    "l40sx1": 1.80,
    "l40sx4": 8.30,
    "l40sx8": 23.50,
    "a100-large": 2.50,
}
"""Of https://huggingface.co/docs/hub/spaces-gpus, as of :data:`PRICES_OF`; hardware that is not here is asked about."""

NOTE = "Set from Spacefile by `python -m samref space push`."
"""Stands beside each variable that a push set. Only such ones are ever removed; the words must not change."""

SECRET_VARIABLE = "SPACE_SECRET_"  # noqa: S105 - the name of a variable
"""``SPACE_SECRET_X`` holds the value for the secret ``X``: a name of its own, so that no key that happens to be in the
environment, least of all ``HF_TOKEN``, goes to a Space unasked."""

OWN_FILES = frozenset({".gitattributes"})
"""Files that the Hub keeps itself; never deleted."""

PRISTINE = frozenset({".gitattributes", "README.md"})
"""What a Space holds that was just made."""

RUNNING = "RUNNING"
ASLEEP = frozenset({"SLEEPING", "PAUSED", "STOPPED"})
FAILED = frozenset({"BUILD_ERROR", "CONFIG_ERROR", "RUNTIME_ERROR", "NO_APP_FILE", "DELETING"})
ALIVE = frozenset({RUNNING, "RUNNING_BUILDING", "RUNNING_APP_STARTING"})

STAGE_WORDS: Mapping[str, str] = {
    "APP_STARTING": "starting",
    "BUILDING": "building",
    "BUILD_ERROR": "the build has failed",
    "CONFIG_ERROR": "README.md is refused",
    "DELETING": "being deleted",
    "NO_APP_FILE": "there is no app file",
    "PAUSED": "paused",
    "RUNNING": "running",
    "RUNNING_APP_STARTING": "starting, the version before still runs",
    "RUNNING_BUILDING": "building, the version before still runs",
    "RUNTIME_ERROR": "the app has failed",
    "SLEEPING": "asleep",
    "STOPPED": "stopped",
}

MOST_NAMED = 10
"""Files that are named before a push; a dry run names all."""

_FILES_LINE = re.compile(r"^samref-files: ([0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a Space should be.

    Attributes:
        sleep_after_s: None leaves it as it is.
        files: SHA-256 by posix path in ``folder``.
    """

    target: str
    sdk: str
    hardware: str
    sleep_after_s: int | None
    variables: Mapping[str, str]
    secrets: Sequence[Secret]
    folder: Path
    files: Mapping[str, str]

    @classmethod
    def from_build(cls, spacefile: Spacefile, built: BuiltSpace) -> Wanted:
        """What the manifest says, with the files of a folder that was built of it."""
        target = spacefile.target(built.target)
        return cls(
            built.target,
            spacefile.build.sdk,
            target.hardware,
            target.sleep_after,
            spacefile.variables_of(built.target),
            spacefile.secrets,
            built.folder,
            built.files,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What a push will do, nothing where nothing differs."""

    parent: str | None
    creates: bool
    set_variables: Mapping[str, str]
    remove_variables: Sequence[str]
    set_secrets: Sequence[Secret]
    add: Sequence[str]
    change: Sequence[str]
    delete: Sequence[str]
    hardware: str | None
    sleep_after_s: int | None
    restarts: bool
    costs: str
    remarks: Sequence[str] = field(default=())

    @property
    def commits(self) -> bool:
        """Whether any file differs."""
        return bool(self.add or self.change or self.delete)

    @property
    def changes(self) -> bool:
        """Whether anything at all is done to the Space."""
        return bool(
            self.creates
            or self.commits
            or self.set_variables
            or self.remove_variables
            or self.set_secrets
            or self.hardware
            or self.sleep_after_s is not None
            or self.restarts
        )


# ---- what differs


def make_plan(wanted: Wanted, present: Present | None, hub: Hub, *, overwrite: bool, replace: Sequence[str]) -> Plan:
    """How ``present``, None where there is no Space yet, becomes ``wanted``.

    With ``overwrite``, on top of a commit that no push made, too. Secrets named in ``replace`` are set although the
    Space has them.

    Raises:
        SpaceError: somebody else changed the Space, or a name in ``replace`` is of no secret.
    """
    strangers = sorted(set(replace) - {each.name for each in wanted.secrets})
    if strangers:
        raise SpaceError(f"Spacefile names no secret {strangers[0]}; name it there first.")
    if present is None:
        return Plan(
            None,
            True,
            wanted.variables,
            (),
            tuple(wanted.secrets),
            sorted(wanted.files),
            (),
            (),
            None,
            None,
            False,
            _costs(wanted, None),
        )
    head = present.commits[0]
    if not overwrite and not pushed_files(head) and not _is_pristine(present):
        raise foreign_commit(hub, head)
    add, change, delete = compare(wanted, present.files)
    now = present.runtime
    hardware = wanted.hardware if (now.wanted_hardware or now.hardware or "cpu-basic") != wanted.hardware else None
    sleeps = wanted.sleep_after_s if wanted.sleep_after_s != now.sleep_after_s and not is_free(wanted) else None
    ours = {name for name, each in present.variables.items() if each.note == NOTE}
    unknown = sorted(present.variables.keys() - wanted.variables.keys() - ours)
    unknown_secrets = sorted(present.secrets - {each.name for each in wanted.secrets})
    remarks = [f"leave the variable {name} alone: no push has set it" for name in unknown]
    remarks += [f"leave the secret {name} alone: Spacefile does not name it" for name in unknown_secrets]
    if not pushed_files(head) and not _is_pristine(present):
        remarks.append(f"overwrite what the commit {head.id[:7]} by {head.author} changed; history keeps it")
    return Plan(
        head.id,
        False,
        {name: value for name, value in wanted.variables.items() if _value(present, name) != value},
        sorted(ours - wanted.variables.keys()),
        tuple(each for each in wanted.secrets if each.name not in present.secrets or each.name in replace),
        add,
        change,
        delete,
        hardware,
        sleeps,
        now.stage in ASLEEP or (now.stage in FAILED and not (add or change or delete)),
        _costs(wanted, now),
        remarks,
    )


def _value(present: Present, name: str) -> str | None:
    found = present.variables.get(name)
    return None if found is None else found.value


def compare(wanted: Wanted, there: Mapping[str, str]) -> tuple[list[str], list[str], list[str]]:
    """Paths to add, to change and to delete, where files of these digests are there now."""
    add = sorted(wanted.files.keys() - there.keys())
    change = sorted(
        path
        for path in wanted.files.keys() & there.keys()
        if there[path] not in (wanted.files[path], git_digest((wanted.folder / path).read_bytes()))
    )
    return add, change, sorted(there.keys() - wanted.files.keys() - OWN_FILES)


def pushed_files(commit: Commit) -> str | None:
    """Digest of the files that a push committed; None where the commit is not one of ours."""
    found = _FILES_LINE.search(commit.message)
    return found[1] if found else None


def _is_pristine(present: Present) -> bool:
    return len(present.commits) == 1 and present.files.keys() <= PRISTINE


def foreign_commit(hub: Hub, commit: Commit) -> SpaceError:
    """The refusal to write over somebody else's commit."""
    return SpaceError(
        f"{hub.space} was changed by something else: the commit {commit.id[:7]} “{commit.title}” by {commit.author}, "
        f"{commit.made_at:%Y-%m-%d %H:%M}. Nothing was committed. Look at it at {hub.page}/commit/{commit.id}, take "
        "over what you want to keep, and push with --overwrite to build on top of it."
    )


# ---- what it costs


def is_free(wanted: Wanted) -> bool:
    """Whether its hardware costs nothing, so that Hugging Face says itself when it sleeps."""
    return PRICE_USD_PER_HOUR.get(wanted.hardware) == 0.0


def price_in_words(hardware: str) -> str:
    """What an hour costs, as far as it is known here."""
    price = PRICE_USD_PER_HOUR.get(hardware)
    if price is None:
        return f"{hardware} at a price that is not known here (https://huggingface.co/docs/hub/spaces-gpus)"
    return (
        f"{hardware} at {price:.2f} $ an hour while it runs (prices of {PRICES_OF})" if price else f"{hardware}, free"
    )


def _costs(wanted: Wanted, now: Runtime | None) -> str:
    """The question to ask before a push from which on more is paid than now; "" where there is none."""
    if is_free(wanted):
        return ""
    asked = price_in_words(wanted.hardware)
    if now is None or now.stage not in ALIVE or now.hardware != wanted.hardware:
        return f"From this push on the Space runs on {asked}. Go on?"
    if wanted.sleep_after_s is not None and _endless(wanted.sleep_after_s) > _endless(now.sleep_after_s):
        return f"The Space will stay awake longer without visitors, on {asked}. Go on?"
    return ""


def _endless(seconds: int | None) -> float:
    return float("inf") if seconds is None or seconds < 0 else float(seconds)


def sleep_in_words(seconds: int | None) -> str:
    """When a Space sleeps."""
    if seconds is None:
        return "by the rule of its hardware"
    if seconds < 0:
        return "never"
    return (
        f"after {seconds / 3600:g} h without visitors"
        if seconds >= 3600
        else f"after {seconds / 60:g} min without visitors"
    )


# ---- what is said of a plan


def plan_in_words(
    plan: Plan, wanted: Wanted, present: Present | None, given: Mapping[str, str], hub: Hub, *, whole: bool
) -> list[str]:
    """One line for each thing that will be done, and for what is left alone; no value of a secret is in it.

    Unless the ``whole`` of it is wanted, only the first files are named.
    """
    lines = []
    if plan.creates:
        lines.append(f"create {hub.space} ({wanted.sdk}) on {price_in_words(wanted.hardware)}")
    for name, value in plan.set_variables.items():
        was = None if present is None else _value(present, name)
        lines.append(f"set the variable {name} to {value!r}" + ("" if was is None else f" (now {was!r})"))
    lines += [f"remove the variable {name}, which an earlier push set" for name in plan.remove_variables]
    for secret in plan.set_secrets:
        if SECRET_VARIABLE + secret.name in given:
            lines.append(f"set the secret {secret.name} from {SECRET_VARIABLE}{secret.name}")
        elif secret.required:
            lines.append(f"ask for the secret {secret.name} and set it: {secret.why}")
        else:
            lines.append(
                f"go without the secret {secret.name}, which {SECRET_VARIABLE}{secret.name} would set: {secret.why}"
            )
    for verb, paths in (("add", plan.add), ("change", plan.change), ("delete", plan.delete)):
        named = paths if whole or len(paths) <= MOST_NAMED else paths[:MOST_NAMED]
        lines += [f"{verb} {path}" for path in named]
        lines += [f"{verb} {len(paths) - len(named)} files more"] if len(named) < len(paths) else []
    if plan.commits:
        count = counted(len(plan.add) + len(plan.change) + len(plan.delete), "file")
        lines.append(f"commit {count} at once" + (f", on top of {plan.parent[:7]}" if plan.parent else ""))
    else:
        lines.append("commit nothing: the files are those of this build")
    if plan.hardware is not None:
        now = present.runtime.hardware if present else None
        lines.append(f"ask for {price_in_words(plan.hardware)}, instead of {now or 'none'}")
    if plan.sleep_after_s is not None:
        lines.append(f"sleep {sleep_in_words(plan.sleep_after_s)}")
    if plan.restarts and present is not None:
        lines.append(f"start it ({in_words(present.runtime.stage)} now)")
    lines += plan.remarks
    return lines


def in_words(stage: str) -> str:
    """The Hub's word for a stage, in plain words."""
    return STAGE_WORDS.get(stage, stage)


# ---- status


def status_in_words(hub: Hub, wanted: Wanted) -> list[str]:
    """How the Space is, and where it differs from ``wanted``; changes nothing.

    Raises:
        SpaceError: there is no such Space.
    """
    hub.user()
    present = hub.look()
    if present is None:
        raise SpaceError(f"There is no Space {hub.space} yet; make it with: python -m samref space push {hub.space}")
    now, head = present.runtime, present.commits[0]
    running = "" if now.commit in (None, head.id) else f" (of the older commit {now.commit[:7]})"
    lines = [
        f"{hub.page}, target {wanted.target}",
        f"stage      {in_words(now.stage)}{running}" + (f": {now.error}" if now.error else ""),
        f"address    {present.address or 'not told'}" + (" (private)" if present.is_private else ""),
        f"hardware   {price_in_words(now.hardware) if now.hardware else 'none yet'}",
        f"sleeps     {sleep_in_words(now.sleep_after_s)}",
        f"commit     {head.id[:7]} “{head.title}” by {head.author}, {head.made_at:%Y-%m-%d %H:%M}"
        + ("" if pushed_files(head) or _is_pristine(present) else "; no push made it, so the next push is refused"),
    ]
    if now.stage in ASLEEP:
        lines[1] += "; the next visitor wakes it" if now.stage == "SLEEPING" else "; a push starts it"
    if now.wanted_hardware not in (None, now.hardware):
        lines[3] += f"; {now.wanted_hardware} is asked for"
    if wanted.hardware != (now.wanted_hardware or now.hardware):
        lines[3] += f"; Spacefile says {wanted.hardware}"
    for name, value in wanted.variables.items():
        was = _value(present, name)
        lines.append(
            f"variable   {name}={value!r}"
            + ("" if was == value else " is missing there" if was is None else f", but {was!r} there")
        )
    lines += [
        f"variable   {name}={each.value!r} is there only"
        for name, each in sorted(present.variables.items())
        if name not in wanted.variables
    ]
    for secret in wanted.secrets:
        there = "set" if secret.name in present.secrets else "missing" + (", required" if secret.required else "")
        lines.append(f"secret     {secret.name} {there} ({secret.why})")
    lines += [
        f"secret     {name} is there only" for name in sorted(present.secrets - {each.name for each in wanted.secrets})
    ]
    add, change, delete = compare(wanted, present.files)
    lines += [f"file       {path} is missing there" for path in add]
    lines += [f"file       {path} differs" for path in change]
    lines += [f"file       {path} is there only" for path in delete]
    if not (add or change or delete):
        lines.append(f"files      all {len(wanted.files)} are those of a fresh build")
    return [hub.without_secrets(line) for line in lines]
