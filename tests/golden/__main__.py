"""Goldens: what the program answered before a change, and where a later checkout answers differently.

    python -m tests.golden record  --checkout OLD --data DEVELOPMENT_DATA --out FOLDER
    python -m tests.golden compare --checkout NEW --data DEVELOPMENT_DATA --goldens FOLDER

Only what outlives a rebuild is spoken to: the server over HTTP (docs/protocol.md), the command line, and
``samref.load_predictor(...).segment``. Everything runs in float32, in one thread, one request at a time. Times, tokens
and random ids are left out or numbered; "picture" and "image" are the same word. ``compare`` prints one row for each
kind of answer, then the first differences, and exits with 1 where there are any; the texts of ``--help`` are shown in
a row of their own that does not fail. ``--only PART`` runs one part: labelling, models, refusals, ...

``folder`` is a data folder that the recorded checkout left behind when it was killed, with drafts half done; the
checkout to compare opens it by its old keys, goes on working in it, and runs the commands that look after it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.golden.answers import ABSENT, Cases, differences, load, reworded, save
from tests.golden.checkout import Checkout
from tests.golden.commands import answer_commands
from tests.golden.folders import go_on, leave_work
from tests.golden.labelling import change_models, label, refuse
from tests.golden.predictor import segment

HARMLESS = ("help",)
SHOWN = 4

DELIBERATE = (
    # What a schema says of a request that no page sends; such an answer brings the view along wherever it can.
    re.compile(r"/error/message: ['\"]The (request|server knows no verb)"),
    re.compile(r"/view: '<absent>' became"),
    # The lists of the workspace come with the first answer to a request, not with each of its stages.
    re.compile(r"/answer/workspace: \{.* became '<absent>'"),
    # The revision at which an annotation changed is that of its event, also after a restart.
    re.compile(r"/view/annotations/revision: "),
)
"""Differences from the recorded version that were meant; they do not count."""


def parts(checkout: Checkout, data: Path, goldens: Path) -> Mapping[str, Callable[[], Cases]]:
    """What is looked at, by name; each may be run alone."""
    return {
        "labelling": lambda: label(checkout, data),
        "models": lambda: change_models(checkout, data),
        "refusals": lambda: refuse(checkout, data),
        "folder": lambda: go_on(checkout, goldens),
        "commands": lambda: answer_commands(checkout, data, goldens),
        "predictor": lambda: segment(checkout),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.golden", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="Development data: <set>/images and <set>/masks.")
    parser.add_argument("--out", "--goldens", dest="goldens", type=Path, required=True)
    parser.add_argument("--only", action="append", default=[])
    given = parser.parse_args()
    goldens = given.goldens.resolve()
    with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
        checkout = Checkout(given.checkout, Path(scratch).resolve())
        goldens.mkdir(parents=True, exist_ok=True)
        if given.action == "record" and (not given.only or "folder" in given.only):
            leave_work(checkout, given.data.resolve(), goldens)
        failed = 0
        for name, answer in parts(checkout, given.data.resolve(), goldens).items():
            if given.only and name not in given.only:
                continue
            began = time.monotonic()
            cases = answer() if given.action == "record" else _guarded(name, answer)
            print(f"# {name}: {len(cases)} cases in {time.monotonic() - began:.0f} s", flush=True)
            if given.action == "record":
                save(goldens / f"{name}.json.gz", cases)
            else:
                failed += _compare(load(goldens / f"{name}.json.gz"), cases)
    return 1 if failed else 0


def _guarded(name: str, answer: Callable[[], Cases]) -> Cases:
    """The answers; where the checkout breaks down, that is one difference more."""
    try:
        return answer()
    except Exception:  # noqa: BLE001 - whatever it is, it is told
        return {f"{name}/broke down": traceback.format_exc()}


def _compare(before: Cases, now: Cases) -> int:
    """Print how the answers compare; how many differ."""
    now = json.loads(json.dumps(now))  # as those of before, which come from a file
    found: dict[str, list[str]] = {}
    meant = 0
    for name in dict.fromkeys([*before, *now]):
        lines = differences(reworded(before.get(name, ABSENT)), reworded(now.get(name, ABSENT)))
        found[name] = [line for line in lines if not any(pattern.search(line) for pattern in DELIBERATE)]
        meant += len(lines) - len(found[name])
    print(f"{meant} differences that were meant")
    rows = dict.fromkeys(name.partition("/")[0] for name in found)
    print(f"{'what':<14}{'cases':>8}{'equal':>8}{'different':>11}")
    for row in rows:
        own = [lines for name, lines in found.items() if name.partition("/")[0] == row]
        wrong = sum(bool(lines) for lines in own)
        note = "  (does not fail)" if row in HARMLESS else ""
        print(f"{row:<14}{len(own):>8}{len(own) - wrong:>8}{wrong:>11}{note}")
    failed = {name: lines for name, lines in found.items() if lines}
    for row in rows:
        for name in [name for name in failed if name.partition("/")[0] == row][:SHOWN]:
            print(f"\n{name}")
            print("\n".join(f"  {line}" for line in failed[name][:SHOWN]))
    print(flush=True)
    return sum(name.partition("/")[0] not in HARMLESS for name in failed)


if __name__ == "__main__":
    sys.exit(main())
