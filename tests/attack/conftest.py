"""One server for the measures that do not kill it, and the table of figures at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.client import Person
from tests.attack.figures import Figures
from tests.attack.server import AttackedServer
from tests.attack.size import FULL

FULL_TIMEOUT_S = 3 * 3600

_FIGURES = pytest.StashKey[Figures]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.attack)
            if FULL:
                item.add_marker(pytest.mark.timeout(FULL_TIMEOUT_S))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash.get(_FIGURES, None)
    if figures is not None and figures.measures:
        terminalreporter.section(f"attack, {'full' if FULL else 'default'} size")
        for line in figures.table():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """Where the measures put their figures."""
    return pytestconfig.stash.setdefault(_FIGURES, Figures())


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedServer]:
    """A server that runs all the time."""
    server = AttackedServer(tmp_path_factory.mktemp("attacked"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _newcomer(served: AttackedServer) -> Iterator[Person]:
    """Somebody with a new workspace, until the test is over."""
    person = Person(served.url)
    person.hello()
    yield person
    person.close()


@pytest.fixture
def owner(served: AttackedServer) -> Iterator[Person]:
    """Somebody whose workspace nobody else may see or change."""
    yield from _newcomer(served)


@pytest.fixture
def stranger(served: AttackedServer) -> Iterator[Person]:
    """Somebody else."""
    yield from _newcomer(served)
