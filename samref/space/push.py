"""Brings a Space to what ``Spacefile`` and the built folder say, and tells how it is.

The order: look, say what will be done, ask before anything that costs, create, variables, secrets, one commit,
hardware, wait until it runs, one click at the public address. A step is left out where nothing differs, so a push that
was broken off is finished by the same command. docs/adr/0018-pushing-a-space.md gives the reasons.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from samref import __version__
from samref.errors import SpaceError
from samref.files import counted
from samref.space.hub import FOREIGN, Hub, HubError, Present, Runtime
from samref.space.manifest import Secret
from samref.space.plan import (
    ASLEEP,
    FAILED,
    NOTE,
    RUNNING,
    SECRET_VARIABLE,
    Plan,
    Wanted,
    compare,
    foreign_commit,
    in_words,
    is_free,
    make_plan,
    plan_in_words,
    pushed_files,
)

SHORTEST_SOUGHT = 8
"""Characters of a secret from which on it is looked for in the files: shorter ones stand in any text."""

LOG_LINES = 20
MOST_TRIALS = 3
SETTLE_S = 60.0
"""So long after a change the Hub may still tell the stage of before it, where it does not say which commit runs."""

POLL_S = 5.0
TOLD_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Person:
    """Who pushes.

    Attributes:
        given: the environment, for the values of secrets.
        ask: a question to answer with yes or no; no breaks off before anything is changed.
        ask_secret: says which secret is meant, returns what is typed without showing it; raises where nobody is there.
    """

    given: Mapping[str, str]
    ask: Callable[[str], bool]
    ask_secret: Callable[[Secret], str]


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push came to.

    Attributes:
        commit: that the Space holds now.
        address: for everybody.
        click: how the first click there went; "" where nobody waited for it.
    """

    commit: str
    address: str
    click: str


# ---- secrets


def collect_secrets(plan: Plan, wanted: Wanted, person: Person, hub: Hub) -> dict[str, str]:
    """Values by name, of the secrets to set; from here on nothing that ``hub`` says holds them.

    Raises:
        SpaceError: a value is empty, or stands in a file or variable that everybody can read.
    """
    values = {}
    for secret in plan.set_secrets:
        value = person.given.get(SECRET_VARIABLE + secret.name)
        if value is None:
            if not secret.required:
                continue
            value = person.ask_secret(secret)
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
    person: Person,
    *,
    first_click: Callable[[str, bool], object],
    patience_s: float,
    dry_run: bool = False,
    overwrite: bool = False,
    replace: Sequence[str] = (),
) -> Pushed | None:
    """Bring the Space to ``wanted``; None where only the plan was asked for, or a question was answered with no.

    Args:
        hub: the Space.
        wanted: what it should be.
        person: who is asked.
        first_click: opens an address, which may be private, clicks once, and returns how it went.
        patience_s: how long to wait until the Space runs; 0 does not wait.
        dry_run: only tells what would be done.
        overwrite: commit on top of a commit that no push made, too.
        replace: names of secrets to set although the Space has them.

    Raises:
        SpaceError: one sentence that says what to do; a push that was broken off is finished by the same command.
    """
    user = hub.user()
    present = hub.look()
    plan = make_plan(wanted, present, hub, overwrite=overwrite, replace=replace)
    hub.say(f"{user} → {hub.page}, target {wanted.target}:")
    for line in plan_in_words(plan, wanted, present, person.given, hub, whole=dry_run):
        hub.say(f"  {line}")
    if dry_run:
        if plan.costs:
            hub.say(f"It would be asked: {plan.costs}")
        hub.say("Nothing was changed, as this was a dry run.")
        return None
    secrets = collect_secrets(plan, wanted, person, hub)
    if plan.costs and not person.ask(plan.costs):
        hub.say("Nothing was changed.")
        return None
    if present is None:
        hub.create(wanted.sdk, wanted.hardware, None if is_free(wanted) else wanted.sleep_after_s)
        plan, present = _plan_after_creation(hub, wanted, overwrite=overwrite)
    commit = _change(hub, wanted, plan, present, secrets)
    if patience_s <= 0:
        sent = "Sent" if plan.changes else "There was nothing to send"
        hub.say(f"{sent}. `python -m samref space status {hub.space}` tells when it runs.")
        return Pushed(commit, present.address, "")
    wait_until_running(hub, commit, patience_s, changed=plan.changes, committed=plan.commits)
    return Pushed(commit, present.address, _click(hub, present, first_click))


def _change(hub: Hub, wanted: Wanted, plan: Plan, present: Present, secrets: Mapping[str, str]) -> str:
    """Do what the plan says; id of the commit that the Space holds then."""
    for name, value in plan.set_variables.items():
        hub.set_variable(name, value, NOTE)
    for name in plan.remove_variables:
        hub.remove_variable(name)
    whys = {each.name: each.why for each in wanted.secrets}
    for name, value in secrets.items():
        hub.set_secret(name, value, whys[name])
    commit = send_commit(hub, wanted, plan) if plan.commits else present.commits[0].id
    if plan.hardware is not None:
        hub.set_hardware(plan.hardware, None if is_free(wanted) else wanted.sleep_after_s)
    elif plan.sleep_after_s is not None:
        hub.set_sleep(plan.sleep_after_s)
    if plan.restarts:
        hub.restart()
    return commit


def _plan_after_creation(hub: Hub, wanted: Wanted, *, overwrite: bool) -> tuple[Plan, Present]:
    present = hub.look()
    if present is None:
        raise SpaceError(
            f"{hub.space} exists, but this token may not see it. Use a token of its owner, or choose another name."
        )
    return make_plan(wanted, present, hub, overwrite=overwrite, replace=()), present


def _click(hub: Hub, present: Present, first_click: Callable[[str, bool], object]) -> str:
    if not present.address:
        raise SpaceError(f"The Hub does not tell the address of {hub.space}. Open {hub.page} and click once yourself.")
    words = str(first_click(present.address, present.is_private))
    hub.say(f"{present.address}: {words}")
    return words


# ---- the commit


def digest_of(files: Mapping[str, str]) -> str:
    """One digest of all paths and contents."""
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()


def send_commit(hub: Hub, wanted: Wanted, plan: Plan) -> str:
    """Commit what differs, exactly once, also where the connection is lost in between; id of the commit.

    Raises:
        SpaceError: another commit came first, or the Hub left a file out.
    """
    assert plan.parent is not None
    digest = digest_of(wanted.files)
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
        except HubError as fault:
            arrived = _after_a_fault(hub, fault, plan.parent, digest)
            if arrived is not None:
                made = arrived
                break
            if trial == MOST_TRIALS:
                raise
            hub.say("The commit did not arrive; sending it again.")
    there = hub.files(made)
    add, change, delete = compare(wanted, there)
    if add or change or delete:
        name = [*add, *change, *delete][0]
        raise SpaceError(
            f"After the commit {made[:7]} the Space does not hold what was built; {name} differs. See whether a "
            f".gitignore on {hub.page}/tree/main names it."
        )
    hub.say(f"Committed {counted(len(changed) + len(plan.delete), 'file')} as {made[:7]}.")
    return made


def _after_a_fault(hub: Hub, fault: HubError, parent: str, digest: str) -> str | None:
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
    if pushed_files(commits[0]) == digest and len(commits) > 1 and commits[1].id == parent:
        hub.say("The Hub's answer was lost, but the commit is there.")
        return commits[0].id
    raise foreign_commit(hub, commits[0]) from fault


# ---- waiting


def wait_until_running(hub: Hub, commit: str, patience_s: float, *, changed: bool, committed: bool) -> None:
    """Return as soon as the Space runs ``commit``, telling each new stage.

    Where something was just ``changed``, the Hub may still tell of before; where that was a commit (``committed``), the
    commit that it names tells which.

    Raises:
        SpaceError: it failed (its last log lines were said), it stopped, or it takes longer than ``patience_s``.
    """
    started = hub.clock()
    last, moved, told_s = "", False, 0.0
    while True:
        now = hub.runtime()
        passed = hub.clock() - started
        if now.stage != last or passed >= told_s + TOLD_EVERY_S:
            hub.say(f"{passed:4.0f} s  {in_words(now.stage)}")
            moved = moved or now.stage != last != ""
            last, told_s = now.stage, passed
        settled = (committed and now.commit == commit) or not changed or moved or passed >= SETTLE_S
        on_its_hardware = now.hardware is None or now.wanted_hardware in (None, now.hardware)
        if now.stage == RUNNING and settled and on_its_hardware and now.commit in (None, commit):
            return
        if now.stage in FAILED and settled:
            raise _failure(hub, now)
        if now.stage in ASLEEP and settled:
            raise SpaceError(
                f"The Space is {in_words(now.stage)}. Start it at {hub.page}/settings, where it also says why, and "
                "push again: nothing is sent twice."
            )
        if passed >= patience_s:
            older = "" if now.commit in (None, commit) else f", of the older commit {now.commit[:7]}"
            raise SpaceError(
                f"After {patience_s / 60:.0f} minutes the Space is still {in_words(now.stage)}{older}. Look at "
                f"{hub.page}?logs=build; the same command waits on, and nothing is sent twice."
            )
        hub.sleep(POLL_S)


def _failure(hub: Hub, now: Runtime) -> SpaceError:
    is_build = now.stage != "RUNTIME_ERROR"
    try:
        lines = hub.last_log_lines(LOG_LINES, build=is_build)
    except HubError as fault:
        lines = [str(fault)]
    for line in lines:
        hub.say(f"  | {line}")
    said = f" ({now.error})" if now.error else ""
    shown = "Its last log lines are above, all of them" if lines else "Its log is empty so far; it will be"
    return SpaceError(
        f"The Space does not run: {in_words(now.stage)}{hub.without_secrets(said)}. {shown} at "
        f"{hub.page}?logs={'build' if is_build else 'container'}. Mend what they name and push again."
    )
