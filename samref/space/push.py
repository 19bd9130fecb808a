"""Brings a Space to what ``Spacefile`` and the built folder say, and tells how it is.

The order: look, say what will be done, ask before anything that costs, create, variables, secrets, one commit,
hardware, wait until it runs, one click at the public address. A step is left out where nothing differs, so a push that
was broken off is finished by the same command. docs/adr/0018-pushing-a-space.md gives the reasons.
"""

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
