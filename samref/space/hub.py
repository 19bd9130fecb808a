"""Speaks with the Hugging Face Hub about one Space; every fault is one sentence that says what to do next.

Every call goes through :meth:`Hub.ask`: it waits where the Hub says so, tries again what may be repeated, and turns
whatever goes wrong into a :class:`~samref.errors.SpaceError`. Nothing here decides what a Space should be; that is
``samref.space.push``.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import get_session  # type: ignore[attr-defined]  # public, and named late

from samref import __version__
from samref.errors import SpaceError
from samref.files import counted

ANSWER_S = 120.0
"""Longest silence of the Hub within one request; its own library would wait for ever."""

MOST_WAITS = 5
LONGEST_WAIT_S = 600.0
"""How often, and at most how long at a time, a push waits because the Hub says that it is asked too often."""

MOST_REPEATS = 3
"""How often a call is made again after a lost connection or a fault of the Hub's own."""

OVERLOADED = (500, 502, 503, 504)
TOO_MANY_REQUESTS = 429
FOREIGN = (409, 412)
"""Another commit came first: the Hub's answers to a commit whose parent is no longer the newest."""

SPACE_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")

_TOKENS = "https://huggingface.co/settings/tokens"
_BILLING = "https://huggingface.co/settings/billing"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MOST_WORDS = 300
_HIDDEN = "•••"

# The base of the library's own error is that of a lost connection, too: of httpx in its version 1, of httpx2 in 2.
_ConnectionLost: type[Exception] = HfHubHTTPError.__bases__[0]

T = TypeVar("T")

Say = Callable[[str], None]


class HubError(SpaceError):
    """The Hub refused a call, or was not reached.

    Attributes:
        status: of the HTTP answer; None where no answer came, so that the call may have taken effect or not.
    """

    def __init__(self, sentence: str, status: int | None) -> None:
        super().__init__(sentence)
        self.status = status

    @property
    def leaves_open(self) -> bool:
        """Whether the call may have taken effect all the same."""
        return self.status is None or self.status in OVERLOADED


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of a Space."""

    id: str
    title: str
    message: str
    author: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Variable:
    """A public variable of a Space and the Hub's note on it."""

    value: str
    note: str


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a Space does just now.

    Attributes:
        stage: the Hub's word, such as RUNNING or BUILD_ERROR.
        hardware: what it runs on; None before the first start.
        wanted_hardware: what was asked for.
        sleep_after_s: seconds without a visitor; None where it is the hardware's own rule, -1 for never.
        commit: what runs; None where the Hub does not say.
        error: the Hub's own words about what failed, or "".
    """

    stage: str
    hardware: str | None
    wanted_hardware: str | None
    sleep_after_s: int | None
    commit: str | None
    error: str


@dataclass(frozen=True, slots=True)
class Present:
    """What a Space is now.

    Attributes:
        commits: newest first.
        files: digests by posix path: SHA-256 of a large file, git's SHA-1 of any other.
        secrets: names; nobody can read the values.
    """

    commits: tuple[Commit, ...]
    files: Mapping[str, str]
    variables: Mapping[str, Variable]
    secrets: frozenset[str]
    runtime: Runtime
    address: str
    is_private: bool


class Hub:
    """One Space on the Hub.

    Args:
        api: where the Hub is, and the token.
        space: owner/name.
        say: told about waits, one line each.
        sleep: waits that many seconds.
        clock: seconds since some moment.
    """

    def __init__(
        self,
        api: HfApi,
        space: str,
        say: Say,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not SPACE_NAME.fullmatch(space):
            raise SpaceError(f"“{clean(space)}” is not the name of a Space. Give OWNER/NAME, as in anna/samref.")
        self.api = api
        self.space = space
        self.sleep = sleep
        self.clock = clock
        self._say = say
        self._hidden: set[str] = set()
        self._user = ""

    @property
    def token(self) -> str:
        """The token that all is asked with, "" where there is none."""
        return str(self.api.token or get_token() or "")

    @property
    def page(self) -> str:
        """Address of the Space's page on the Hub."""
        return f"{self.api.endpoint}/spaces/{self.space}"

    def say(self, line: str) -> None:
        """Tell one line; no secret's value is in it."""
        self._say(self.without_secrets(line))

    def hide(self, value: str) -> None:
        """Let ``value`` never stand in anything that is said."""
        self._hidden.add(value)

    def without_secrets(self, text: str) -> str:
        """``text`` with every hidden value replaced by dots."""
        for value in sorted(self._hidden, key=len, reverse=True):
            text = text.replace(value, _HIDDEN)
        return text

    # ---- reading

    def user(self) -> str:
        """The name behind the token, which may write."""
        who: Mapping[str, Any] = self.ask("asking who you are", self.api.whoami)
        self._user = str(who.get("name", ""))
        token = (who.get("auth") or {}).get("accessToken") or {}
        if token.get("role") == "read":
            raise HubError(
                f"The token of {self._user} may only read. Make one that may write at {_TOKENS} and log in with it: "
                "hf auth login --force",
                403,
            )
        return self._user

    def look(self) -> Present | None:
        """All that can be known of the Space, or None where there is none yet."""
        try:
            info = self.ask("looking at the Space", lambda: self.api.space_info(self.space))
        except HubError as fault:
            if fault.status == 404:
                return None
            raise
        commits = self.commits()
        if not commits:
            raise SpaceError(f"The Hub names no commit of {self.space}. See what is wrong with it at {self.page}.")
        variables = self.ask("reading its variables", lambda: self.api.get_space_variables(self.space))
        secrets = self.ask("reading the names of its secrets", lambda: self.api.get_space_secrets(self.space))
        host = info.host or (f"https://{info.subdomain}.hf.space" if info.subdomain else "")
        return Present(
            commits,
            self.files(),
            {name: Variable(each.value, each.description or "") for name, each in variables.items()},
            frozenset(secrets),
            self.runtime(),
            host if not host or "://" in host else f"https://{host}",
            bool(info.private),
        )

    def commits(self) -> tuple[Commit, ...]:
        """Newest first."""
        found = self.ask(
            "reading its commits", lambda: self.api.list_repo_commits(self.space, repo_type=constants.REPO_TYPE_SPACE)
        )
        return tuple(
            Commit(
                each.commit_id,
                clean(each.title),
                each.message or "",
                clean(", ".join(each.authors)) or "somebody",
                each.created_at,
            )
            for each in found
        )

    def files(self, revision: str | None = None) -> Mapping[str, str]:
        """Digests by path: SHA-256 of a large file, git's SHA-1 of any other."""
        found = self.ask(
            "reading its files",
            lambda: list(
                self.api.list_repo_tree(
                    self.space, recursive=True, revision=revision, repo_type=constants.REPO_TYPE_SPACE
                )
            ),
        )
        return {
            each.path: each.lfs.sha256 if each.lfs else each.blob_id for each in found if isinstance(each, RepoFile)
        }

    def runtime(self) -> Runtime:
        """What the Space does just now."""
        found = self.ask("asking what it does", lambda: self.api.get_space_runtime(self.space))
        raw: Mapping[str, Any] = found.raw
        return Runtime(
            _word(found.stage) or "",
            _word(found.hardware),
            _word(found.requested_hardware),
            found.sleep_time,
            raw.get("sha"),
            clean(str(raw.get("errorMessage") or "")),
        )

    def last_log_lines(self, most: int, *, build: bool) -> list[str]:
        """The end of the log of the build, or of the run."""
        lines = self.ask(
            "reading its log", lambda: list(self.api.fetch_space_logs(self.space, build=build, follow=False))
        )
        told = [clean(line) for text in lines for line in text.splitlines()]
        return [line.rstrip() for line in told if line.strip()][-most:]

    # ---- writing

    def create(self, sdk: str, hardware: str, sleep_after_s: int | None) -> None:
        """Make the Space; where there is one already, nothing happens."""
        self.ask(
            f"creating {self.space}",
            lambda: self.api.create_repo(
                self.space,
                repo_type=constants.REPO_TYPE_SPACE,
                exist_ok=True,
                space_sdk=sdk,
                space_hardware=hardware,  # type: ignore[arg-type]  # a string by its documentation
                space_sleep_time=sleep_after_s,
            ),
        )

    def set_variable(self, name: str, value: str, note: str) -> None:
        """Add a variable, or change it."""
        self.ask(
            f"setting the variable {name}",
            lambda: self.api.add_space_variable(self.space, name, value, description=note),
        )

    def remove_variable(self, name: str) -> None:
        """Take a variable away."""
        self.ask(f"removing the variable {name}", lambda: self.api.delete_space_variable(self.space, name))

    def set_secret(self, name: str, value: str, note: str) -> None:
        """Add a secret, or change it; its value is in this one request and in nothing that is said or logged."""
        self.hide(value)
        if constants.HF_DEBUG:
            raise SpaceError(
                "HF_DEBUG is set, so the Hub's library would write secrets into its log; nothing was sent. Unset it "
                "and push again."
            )
        self.ask(
            f"setting the secret {name}", lambda: self.api.add_space_secret(self.space, name, value, description=note)
        )

    def set_hardware(self, hardware: str, sleep_after_s: int | None) -> None:
        """Ask for other hardware."""
        self.ask(
            f"asking for the hardware {hardware}",
            lambda: self.api.request_space_hardware(
                self.space,
                hardware,  # type: ignore[arg-type]  # a string by its documentation
                sleep_time=sleep_after_s,
            ),
        )

    def set_sleep(self, seconds: int) -> None:
        """Let the Space sleep after so many seconds without a visitor."""
        self.ask("setting when it sleeps", lambda: self.api.set_space_sleep_time(self.space, seconds))

    def restart(self) -> None:
        """Start the Space again, also from sleep or pause."""
        self.ask("restarting it", lambda: self.api.restart_space(self.space))

    def commit(
        self, folder: Path, add: Sequence[str], delete: Sequence[str], parent: str, title: str, text: str
    ) -> str:
        """Change files in one commit on top of ``parent``; its id.

        Raises:
            HubError: of a ``status`` in :data:`FOREIGN` where another commit came first, and one that
                :attr:`HubError.leaves_open` where the commit may have arrived.
        """
        operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
            *(CommitOperationAdd(path, str(folder / path)) for path in add),
            *(CommitOperationDelete(path, is_folder=False) for path in delete),
        ]
        changes = counted(len(operations), "file")
        with _one_upload_path(), warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            made = self.ask(
                f"committing {changes}",
                lambda: self.api.create_commit(
                    self.space,
                    operations,
                    commit_message=title,
                    commit_description=text,
                    repo_type=constants.REPO_TYPE_SPACE,
                    parent_commit=parent,
                ),
                repeats=0,
            )
        for each in [each for each in told if issubclass(each.category, UserWarning)]:
            self.say(f"The Hub's library says: {clean(str(each.message))}")
        return str(made.oid)

    # ---- the one door

    def ask(self, doing: str, call: Callable[[], T], *, repeats: int = MOST_REPEATS) -> T:
        """What ``call`` answers.

        Args:
            doing: what the call does, as the end of "while …".
            call: a call of the Hub's library.
            repeats: how often it is made again after a lost connection or a fault of the Hub's own.

        Raises:
            HubError: the Hub refused, or was not reached.
        """
        waits = 0
        for trial in count(1):
            get_session().timeout = ANSWER_S
            try:
                return call()
            except (HfHubHTTPError, RuntimeError, _ConnectionLost) as error:
                cause = _http_cause(error)
                if cause is None:
                    raise
                status = _status(cause)
                if status == TOO_MANY_REQUESTS and isinstance(cause, HfHubHTTPError):
                    waits += 1
                    self._wait_as_told(doing, cause, waits)
                    continue
                if trial <= repeats and (status is None or status in OVERLOADED):
                    self.sleep(float(2 ** (trial - 1)))
                    continue
                raise self._fault(doing, status, cause) from self._untold(error)
            except LocalTokenNotFoundError as error:
                raise HubError(
                    f"There is no token for the Hub on this machine. Make one that may write at {_TOKENS} and log in "
                    "with it: hf auth login",
                    401,
                ) from error
            except OfflineModeIsEnabled as error:
                raise SpaceError("HF_HUB_OFFLINE is set, so nothing can be sent. Unset it and try again.") from error
            except (ValueError, KeyError) as error:
                raise self._unreadable(doing, error) from self._untold(error)
        raise AssertionError("the loop ends by an answer or a fault")

    def _wait_as_told(self, doing: str, error: HfHubHTTPError, waits: int) -> None:
        seconds = _seconds_to_wait(error.response.headers)
        if waits > MOST_WAITS or seconds > LONGEST_WAIT_S:
            again = "some minutes" if seconds <= LONGEST_WAIT_S else f"{seconds / 60:.0f} minutes"
            raise HubError(
                f"The Hub is asked too often (while {doing}). Run the same command again in {again}: what is done "
                "already is not done again.",
                TOO_MANY_REQUESTS,
            ) from self._untold(error)
        self.say(f"The Hub is asked too often: waiting {seconds:.0f} s, as it says ({waits} of {MOST_WAITS}).")
        self.sleep(seconds)

    def _fault(self, doing: str, status: int | None, error: Exception) -> HubError:
        if status is None:
            sentence = (
                f"The connection to the Hub was lost (while {doing}). See whether {self.api.endpoint} can be reached "
                "from here, and run the same command again: what is done already is not done again."
            )
        else:
            sentence = self._sentence(status, doing, error)
        return HubError(self.without_secrets(sentence), status)

    def _sentence(self, status: int, doing: str, error: Exception) -> str:
        owner, name = self.space.split("/")
        told = clean(str(getattr(error, "server_message", None) or ""))
        quoted = f" The Hub says: {told}" if told else ""
        if status == 401:
            return (
                f"The Hub does not know the token (while {doing}). Make one that may write at {_TOKENS} and log in "
                "with it: hf auth login --force (a token in HF_TOKEN goes before it)."
            )
        if status == 402:
            return (
                f"The Hub wants to be paid for {doing}. Add a means of payment at {_BILLING}, or choose hardware that "
                f"costs nothing: --target zerogpu needs no subscription.{quoted}"
            )
        if status == 403:
            user = self._user or "this token's owner"
            return (
                f"{user} may not do this on {self.space} (while {doing}). Use a token that may write there "
                f"({_TOKENS}), ask {owner} for the right to, or push to {self._user or 'your own name'}/{name}."
                f"{quoted}"
            )
        if status == 404:
            return (
                f"The Hub finds no Space {self.space} that {self._user or 'this token'} may see (while {doing}). See "
                f"whether owner and name are right.{quoted}"
            )
        if status in FOREIGN:
            return f"The Hub refuses as something else came first (while {doing}). Run the same command again.{quoted}"
        if status == 413:
            return f"The Hub takes no request that large (while {doing}). Make the files in Spacefile fewer or smaller."
        if status in OVERLOADED:
            return (
                f"The Hub has a fault of its own, {status} (while {doing}). See https://status.huggingface.co, and run "
                "the same command again later: what is done already is not done again."
            )
        return f"The Hub refuses with {status} (while {doing}). Mend what it names and try again.{quoted}"

    def _unreadable(self, doing: str, error: Exception) -> SpaceError:
        if isinstance(error, json.JSONDecodeError | KeyError):
            return HubError(
                f"The Hub's answer cannot be read (while {doing}). Where HF_ENDPOINT is set, see that it is a Hub, and "
                "update huggingface_hub.",
                None,
            )
        told = self.without_secrets(clean(str(error)))
        return SpaceError(f"The Hub refuses (while {doing}). Mend what it names and try again. The Hub says: {told}")

    def _untold(self, error: BaseException) -> BaseException | None:
        """The cause to keep beside a sentence: none where its text holds a secret."""
        texts = [str(error), *(str(each) for each in (error.__cause__, error.__context__) if each is not None)]
        return None if any(value in text for value in self._hidden for text in texts) else error


def connect(space: str, say: Say, *, endpoint: str | None = None, token: str | None = None) -> Hub:
    """A Space on the Hub, by the token of ``hf auth login`` or ``HF_TOKEN`` unless one is given."""
    api = HfApi(endpoint=endpoint, token=token, library_name="samref", library_version=__version__)
    return Hub(api, space, say)


def git_digest(data: bytes) -> str:
    """What git calls a file of that content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def clean(text: str) -> str:
    """A stranger's words on one line, without what would steer a terminal, and not endless."""
    line = " ".join(_CONTROL.sub(" ", text.replace("\n", " ").replace("\t", " ")).split())
    return line if len(line) <= _MOST_WORDS else f"{line[:_MOST_WORDS]} …"


def _word(value: Any) -> str | None:
    """A word of the library's own kind, or one that it does not know yet, as a string."""
    return None if value is None else str(getattr(value, "value", value))


def _http_cause(error: BaseException) -> Exception | None:
    """The refusal or the lost connection behind an error: the library wraps those of an upload."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, _ConnectionLost):
        cause = cause.__cause__
    return cause


def _status(error: Exception) -> int | None:
    """Status of the answer, None where none came; a Space that may not be seen is a Space that is not there."""
    if isinstance(error, RepositoryNotFoundError):
        return 404
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def _seconds_to_wait(headers: Mapping[str, str]) -> float:
    """From ``Retry-After`` (seconds or a date), else from ``RateLimit``, else half a minute."""
    told = headers.get("retry-after", "").strip()
    if told.isdigit():
        return float(told)
    if told:
        try:
            moment = parsedate_to_datetime(told)
        except ValueError:
            moment = None
        if moment is not None:
            return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())
    reset = re.search(r";\s*t\s*=\s*(\d+)", headers.get("ratelimit", ""))
    return float(reset[1]) if reset else 30.0


@contextmanager
def _one_upload_path() -> Iterator[None]:
    """Large files go to the Hub by plain HTTP, as they do where ``HF_HUB_DISABLE_XET`` is set.

    The library would otherwise use a second program of its own, whose faults are not those of HTTP and which no test
    here can stand in for.
    """
    before = constants.HF_HUB_DISABLE_XET
    constants.HF_HUB_DISABLE_XET = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before
