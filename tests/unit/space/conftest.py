"""A Space built of the repository, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from samref.space.build import BuiltSpace, build_space
from samref.space.manifest import SPACEFILE_NAME, Spacefile, load_spacefile


@pytest.fixture(scope="session")
def spacefile(root: Path) -> Spacefile:
    return load_spacefile(root / SPACEFILE_NAME)


@pytest.fixture(scope="session")
def pristine(root: Path, spacefile: Spacefile, tmp_path_factory: pytest.TempPathFactory) -> dict[str, BuiltSpace]:
    """The folder of each target; for reading only."""
    folder = tmp_path_factory.mktemp("spaces")
    return {name: build_space(root, spacefile, name, folder / name) for name in spacefile.targets}
