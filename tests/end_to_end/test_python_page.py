"""Every Python block of docs/how_to/python.md runs and prints what the page shows below it."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from mae_rad.objectives import MAESettings
from tests.builders.private_builder import write_archive
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.small_predictor import write_predictor
from tests.builders.trained_run import train
from tests.contracts.test_documentation import ROOT

PAGE = ROOT / "docs" / "how_to" / "python.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders that the page names, made small; the working folder of the test."""
    monkeypatch.chdir(tmp_path)
    write_archive(tmp_path / "films", patients=2)
    train(tmp_path / "runs" / "mae", MAESettings())
    write_predictor(tmp_path / "runs" / "fracture")
    films = [film(f"f{i}", noise(40, 30, seed=i), split=("train", "val")[i >= 8], body_part="HAND") for i in range(12)]
    write_public(tmp_path / "public", films)
    return tmp_path


def test_every_block_prints_what_the_page_shows(folder: Path) -> None:
    blocks = re.findall(r"```(python|text)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    printed, compared = "", 0
    for language, text in blocks:
        if language == "text":
            assert printed == text
            printed, compared = "", compared + 1
            continue
        assert not printed, f"the page does not show: {printed}"
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(text, str(PAGE), "exec"), names)
        printed = output.getvalue()
    assert compared >= 6
    assert names["loss"].item() < 0.01
    assert (folder / "films").is_dir()
