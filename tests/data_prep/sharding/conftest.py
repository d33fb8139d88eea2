"""Folders of the module's fixture ``made``: its private one, and a copy of its public one to change."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def private(made: Path) -> Path:
    return made / "private"


@pytest.fixture
def public(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "public", tmp_path / "public"))
