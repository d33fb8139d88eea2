"""Levels of log messages on both command lines."""

import os
import subprocess
import sys

import pytest

MESSAGES = """
import logging
for name in ("data_prep.sharding.run", "mae_rad.training.loop", "other"):
    for level in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger(name), level)(f"{level} of {name}")
"""
DATA_PREP = "import data_prep.cli.main as m; m.build_parser = lambda: exec(MESSAGES) or exit(); m.main([])"
MAE_RAD = "from mae_rad.command_line import run; run(lambda: exec(MESSAGES))"


def _shown(command: str, **environment: str) -> set[str]:
    code = f"MESSAGES = {MESSAGES!r}\n{command}"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
        timeout=120,
    )
    return {line.partition(": ")[2] for line in ended.stderr.splitlines()}


@pytest.mark.parametrize("command", [DATA_PREP, MAE_RAD], ids=["data_prep", "mae_rad"])
def test_own_progress_is_shown_and_only_warnings_of_others(command: str) -> None:
    own = {f"{level} of {name}" for level in ("info", "warning", "error")
           for name in ("data_prep.sharding.run", "mae_rad.training.loop")}  # fmt: skip
    assert _shown(command) == own | {"warning of other", "error of other"}


def test_progress_is_logged_once_for_any_number_of_ranks() -> None:
    shown = _shown(MAE_RAD, RANK="1")
    assert {line for line in shown if line.startswith("info")} == set()
    assert "warning of mae_rad.training.loop" in shown
