"""Brings a Space to what ``Spacefile`` and the built folder say, and tells how the two differ.

The order: look, say what will be done, ask before anything that costs, create, variables, secrets, one commit, hardware,
wait until it runs, one click at the public address. Each step is left out where nothing differs, so a push that was
broken off is finished by the same command. docs/adr/0018-pushing-a-space.md gives the reasons.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from samref import __version__
from samref.errors import SpaceError
from samref.files import counted
from samref.space.hub import FOREIGN, Commit, Hub, HubFault, Present, Runtime, Say, Variable, digests

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

SHORTEST_SOUGHT = 8
"""Characters of a secret from which on it is looked for in the files: shorter ones stand in any text."""

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

LOG_LINES = 20
MOST_TRIALS = 3
SETTLE_S = 60.0
"""So long after a change the Hub may still tell the stage of before it, where it does not say which commit runs."""

POLL_S = 5.0

_FILES_LINE = re.compile(r"^samref-files: ([0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class WantedSecret:
    """A secret that the app can use; its value is nowhere in the project."""

    name: str
    why: str
    required: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a Space should be.

    Attributes:
        sleep_after_s: None leaves it as it is.
        files: posix paths in ``folder``.
    """

    target: str
    sdk: str
    hardware: str
    sleep_after_s: int | None
    variables: Mapping[str, str]
    secrets: Sequence[WantedSecret]
    folder: Path
    files: Sequence[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a push will do, nothing where nothing differs."""

    parent: str | None
    creates: bool
    set_variables: Mapping[str, str]
    remove_variables: Sequence[str]
    set_secrets: Sequence[WantedSecret]
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


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push came to; None and "" where it was not waited for."""

    commit: str
    address: str
    click: str


# ---- what differs


def make_plan(wanted: Wanted, present: Present | None, hub: Hub, *, overwrite: bool, replace: Sequence[str]) -> Plan:
    """How ``present`` becomes ``wanted``.

    Args:
        overwrite: commit on top of a commit that no push made.
        replace: names of secrets to set although the Space has them.

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
    if not overwrite and not _pushed(head) and not _is_pristine(present):
        raise foreign_commit(hub, head)
    add, change, delete = _compare(wanted, present.files)
    now = present.runtime
    hardware = wanted.hardware if (now.wanted_hardware or now.hardware or "cpu-basic") != wanted.hardware else None
    sleeps = wanted.sleep_after_s if wanted.sleep_after_s != now.sleep_after_s and not _is_free(wanted) else None
    ours = {name for name, each in present.variables.items() if each.note == NOTE}
    unknown = sorted(present.variables.keys() - wanted.variables.keys() - ours)
    unknown_secrets = sorted(present.secrets - {each.name for each in wanted.secrets})
    remarks = [f"leave the variable {name} alone: no push has set it" for name in unknown]
    remarks += [f"leave the secret {name} alone: Spacefile does not name it" for name in unknown_secrets]
    if not _pushed(head) and not _is_pristine(present):
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
        now.stage in ASLEEP,
        _costs(wanted, now),
        remarks,
    )


def _value(present: Present, name: str) -> str | None:
    found: Variable | None = present.variables.get(name)
    return None if found is None else found.value


def _compare(wanted: Wanted, there: Mapping[str, str]) -> tuple[list[str], list[str], list[str]]:
    """Paths to add, to change and to delete."""
    add = sorted(set(wanted.files) - there.keys())
    change = sorted(path for path in wanted.files if path in there and there[path] not in digests(wanted.folder / path))
    return add, change, sorted(there.keys() - set(wanted.files) - OWN_FILES)


def _pushed(commit: Commit) -> str | None:
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


def _is_free(wanted: Wanted) -> bool:
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
    if _is_free(wanted):
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
    """After what time without visitors a Space sleeps."""
    if seconds is None:
        return "as its hardware does"
    if seconds < 0:
        return "never"
    return f"after {seconds / 3600:g} h" if seconds >= 3600 else f"after {seconds / 60:g} min"


# ---- what is said of a plan


def plan_in_words(plan: Plan, wanted: Wanted, present: Present | None, given: Mapping[str, str], hub: Hub) -> list[str]:
    """One line for each thing that will be done, and for what is left alone; no value of a secret is in it."""
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
                f"go without the secret {secret.name} ({secret.why}); {SECRET_VARIABLE}{secret.name} would set it"
            )
    lines += [f"add {path}" for path in plan.add]
    lines += [f"change {path}" for path in plan.change]
    lines += [f"delete {path}" for path in plan.delete]
    lines.append(
        f"all this in one commit on {plan.parent[:7]}"
        if plan.commits and plan.parent
        else "all this in one commit"
        if plan.commits
        else "no commit: the files are those of this build"
    )
    if plan.hardware is not None:
        now = present.runtime.hardware if present else None
        lines.append(f"ask for {price_in_words(plan.hardware)}, instead of {now or 'none'}")
    if plan.sleep_after_s is not None:
        lines.append(f"let it sleep {sleep_in_words(plan.sleep_after_s)} without visitors")
    if plan.restarts and present is not None:
        lines.append(f"start it: it is {in_words(present.runtime.stage)}")
    lines += plan.remarks
    return lines


def in_words(stage: str) -> str:
    """The Hub's word for a stage, in plain words."""
    return STAGE_WORDS.get(stage, stage)


# ---- secrets


def collect_secrets(
    plan: Plan, wanted: Wanted, given: Mapping[str, str], ask_secret: Callable[[str], str], hub: Hub
) -> dict[str, str]:
    """Values by name, of the secrets to set.

    Args:
        given: the environment.
        ask_secret: shows a question, returns what is typed without showing it; raises where nobody can be asked.

    Raises:
        SpaceError: a value is empty, or stands in a file or variable that everybody can read.
    """
    values = {}
    for secret in plan.set_secrets:
        value = given.get(SECRET_VARIABLE + secret.name)
        if value is None:
            if not secret.required:
                continue
            value = ask_secret(f"Secret {secret.name} ({secret.why})")
        if not value:
            raise SpaceError(f"The value for the secret {secret.name} is empty. Nothing was sent.")
        hub.hide(value)
        values[secret.name] = value
    for name, value in values.items():
        where = _where_it_stands(value, wanted)
        if where:
            raise SpaceError(
                f"The value of the secret {name} stands in {where}, which everybody could read. Take it out, and make "
                "a new secret if that was ever published. Nothing was sent."
            )
    return values


def _where_it_stands(value: str, wanted: Wanted) -> str:
    if len(value) < SHORTEST_SOUGHT:
        return ""
    for name, public in wanted.variables.items():
        if value in public:
            return f"the variable {name}"
    sought = value.encode()
    return next((path for path in wanted.files if sought in (wanted.folder / path).read_bytes()), "")


# ---- push


def push(
    hub: Hub,
    wanted: Wanted,
    *,
    given: Mapping[str, str],
    ask: Callable[[str], bool],
    ask_secret: Callable[[str], str],
    first_click: Callable[[str], str],
    patience_s: float,
    dry_run: bool = False,
    overwrite: bool = False,
    replace: Sequence[str] = (),
) -> Pushed | None:
    """Bring the Space to ``wanted``; None where only the plan was asked for, or a question was answered with no.

    Args:
        given: the environment, for the values of secrets.
        ask: asks a person; False breaks off before anything is changed.
        first_click: opens an address, clicks once, and says how it went.
        patience_s: how long to wait until the Space runs; 0 does not wait.

    Raises:
        SpaceError: one sentence that says what to do; a push that was broken off is finished by the same command.
    """
    user = hub.user()
    present = hub.look()
    plan = make_plan(wanted, present, hub, overwrite=overwrite, replace=replace)
    hub.say(f"{user} → {hub.page}, target {wanted.target}:")
    for line in plan_in_words(plan, wanted, present, given, hub):
        hub.say(f"  {line}")
    if dry_run:
        if plan.costs:
            hub.say(f"It would be asked: {plan.costs}")
        hub.say("Nothing was changed, as this was a dry run.")
        return None
    secrets = collect_secrets(plan, wanted, given, ask_secret, hub)
    if plan.costs and not ask(plan.costs):
        hub.say("Nothing was changed.")
        return None
    if plan.creates:
        hub.create(wanted.sdk, wanted.hardware, None if _is_free(wanted) else wanted.sleep_after_s)
        plan, present = _plan_after_creation(hub, wanted, overwrite=overwrite)
    assert present is not None
    whys = {each.name: each.why for each in wanted.secrets}
    for name, value in plan.set_variables.items():
        hub.set_variable(name, value, NOTE)
    for name in plan.remove_variables:
        hub.remove_variable(name)
    for name, value in secrets.items():
        hub.set_secret(name, value, whys[name])
    commit = send_commit(hub, wanted, plan) if plan.commits else present.commits[0].id
    if plan.hardware is not None:
        hub.set_hardware(plan.hardware, None if _is_free(wanted) else wanted.sleep_after_s)
    elif plan.sleep_after_s is not None:
        hub.set_sleep(plan.sleep_after_s)
    if plan.restarts:
        hub.restart()
    if patience_s <= 0:
        hub.say(f"Sent. `python -m samref space status {hub.space}` tells when it runs.")
        return Pushed(commit, present.address, "")
    wait_until_running(hub, commit, patience_s, changed=plan.changes)
    return Pushed(commit, present.address, _click(hub, present, first_click))


def _plan_after_creation(hub: Hub, wanted: Wanted, *, overwrite: bool) -> tuple[Plan, Present]:
    present = hub.look()
    if present is None:
        raise SpaceError(
            f"{hub.space} exists, but this token may not see it. Use a token of its owner, or choose another name."
        )
    return make_plan(wanted, present, hub, overwrite=overwrite, replace=()), present


def _click(hub: Hub, present: Present, first_click: Callable[[str], str]) -> str:
    if present.is_private:
        hub.say("The Space is private, so the click from outside is left out; open it yourself.")
        return ""
    if not present.address:
        raise SpaceError(f"The Hub does not tell the address of {hub.space}. Open {hub.page} and click once yourself.")
    words = first_click(present.address)
    hub.say(f"{present.address}: {words}")
    return words


# ---- the commit


def digest_of(wanted: Wanted) -> str:
    """One digest of all paths and contents."""
    found = {path: digests(wanted.folder / path)[1] for path in sorted(wanted.files)}
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def send_commit(hub: Hub, wanted: Wanted, plan: Plan) -> str:
    """Commit what differs, exactly once, also where the connection is lost in between; id of the commit.

    Raises:
        SpaceError: another commit came first, or the Hub left a file out.
    """
    assert plan.parent is not None
    digest = digest_of(wanted)
    title = f"samref {__version__}, target {wanted.target}"
    text = (
        "Made by `python -m samref space push`. Change the project and push again: a change made here stops the next "
        f"push.\n\nsamref-target: {wanted.target}\nsamref-files: {digest}"
    )
    changed = [*plan.add, *plan.change]
    for trial in range(1, MOST_TRIALS + 1):
        try:
            made = hub.commit(wanted.folder, changed, plan.delete, plan.parent, title, text)
            break
        except HubFault as fault:
            arrived = _after_a_fault(hub, fault, plan.parent, digest)
            if arrived is not None:
                made = arrived
                break
            if trial == MOST_TRIALS:
                raise
            hub.say("The commit did not arrive; sending it again.")
    there = hub.files(made)
    add, change, delete = _compare(wanted, there)
    if add or change or delete:
        name = [*add, *change, *delete][0]
        raise SpaceError(
            f"After the commit {made[:7]} the Space does not hold what was built; {name} differs. See whether a "
            f".gitignore on {hub.page}/tree/main names it."
        )
    hub.say(f"Committed {counted(len(changed) + len(plan.delete), 'file')} as {made[:7]}.")
    return made


def _after_a_fault(hub: Hub, fault: HubFault, parent: str, digest: str) -> str | None:
    """Id of our commit where it arrived all the same; None where it did not and may be sent again.

    Raises:
        SpaceError: another commit came first, or the Hub refused this one.
    """
    if fault.status not in FOREIGN and not fault.leaves_open:
        raise fault
    commits = hub.commits()
    if commits[0].id == parent:
        if fault.status in FOREIGN:
            raise fault
        return None
    if _pushed(commits[0]) == digest and len(commits) > 1 and commits[1].id == parent:
        hub.say("The Hub's answer was lost, but the commit is there.")
        return commits[0].id
    raise foreign_commit(hub, commits[0]) from fault


# ---- waiting


def wait_until_running(hub: Hub, commit: str, patience_s: float, *, changed: bool) -> None:
    """Return as soon as the Space runs ``commit``, telling each new stage.

    Args:
        changed: something was just changed, so that the Hub may still tell of before.

    Raises:
        SpaceError: it failed (its last log lines were said), it stopped, or it takes longer than ``patience_s``.
    """
    started = time.monotonic()
    waited = 0.0  # the sum of the waits, so that it also passes where sleeping is only played
    last, moved = "", False
    while True:
        now = hub.runtime()
        passed = max(waited, time.monotonic() - started)
        if now.stage != last:
            hub.say(f"{passed:4.0f} s  {in_words(now.stage)}")
            moved = moved or bool(last)
            last = now.stage
        settled = now.commit == commit or not changed or moved or passed >= SETTLE_S
        on_its_hardware = now.hardware is None or now.wanted_hardware in (None, now.hardware)
        if now.stage == RUNNING and on_its_hardware and (now.commit == commit or (now.commit is None and settled)):
            return
        if now.stage in FAILED and settled:
            raise _failure(hub, now)
        if now.stage in ASLEEP and settled:
            raise SpaceError(
                f"The Space is {in_words(now.stage)}. Start it at {hub.page}/settings, where it also says why, and "
                "push again: nothing is sent twice."
            )
        if passed >= patience_s:
            raise SpaceError(
                f"After {patience_s / 60:.0f} minutes the Space is still {in_words(now.stage)}. Look at "
                f"{hub.page}?logs=build; the same command waits on, and nothing is sent twice."
            )
        hub.sleep(POLL_S)
        waited += POLL_S


def _failure(hub: Hub, now: Runtime) -> SpaceError:
    is_build = now.stage != "RUNTIME_ERROR"
    try:
        lines = hub.last_log_lines(LOG_LINES, build=is_build)
    except HubFault as fault:
        lines = [str(fault)]
    for line in lines:
        hub.say(f"  | {line}")
    said = f" ({now.error})" if now.error else ""
    return SpaceError(
        f"The Space does not run: {in_words(now.stage)}{hub.without_secrets(said)}. Its last log lines are above, all "
        f"of them at {hub.page}?logs={'build' if is_build else 'container'}. Mend what they name and push again."
    )


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
        f"sleeps     {sleep_in_words(now.sleep_after_s)} without visitors",
        f"commit     {head.id[:7]} “{head.title}” by {head.author}, {head.made_at:%Y-%m-%d %H:%M}"
        + ("" if _pushed(head) or _is_pristine(present) else ": not of a push, which would be refused"),
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
    add, change, delete = _compare(wanted, present.files)
    lines += [f"file       {path} is missing there" for path in add]
    lines += [f"file       {path} differs" for path in change]
    lines += [f"file       {path} is there only" for path in delete]
    if not (add or change or delete):
        lines.append(f"files      all {len(wanted.files)} are those of a fresh build")
    return [hub.without_secrets(line) for line in lines]
