"""A budget of minutes for slow tests: when it is spent no further test starts, and what did not run is listed.

Besides, what makes many tests cheaper: an empty MLflow store that is made once, and checks without worker processes.
"""

import os
import sys
import time

import pytest

OUT_OF_TIME = "the minutes of --minutes are spent"
_BEGUN = time.monotonic()


@pytest.fixture(scope="session", autouse=True)
def _copied_stores() -> None:
    if "torch" in sys.modules:  # a test of trainings is among those of this session
        from tests.builders.empty_store import copy_instead_of_migrating

        copy_instead_of_migrating()


@pytest.fixture(scope="session", autouse=True)
def _own_run_secret(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Trainings of tests, also those in processes of their own, leave no secret in the home folder."""
    os.environ["MAE_RAD_RUN_SECRET"] = str(tmp_path_factory.mktemp("secret") / "run_secret")


@pytest.fixture
def checks_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """``verify`` and ``audit`` start no processes, which would take most of the time."""
    for module in ("verify", "audit"):
        monkeypatch.setattr(f"data_prep.verification.{module}.process_count", lambda workers, tasks: 1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--minutes", type=float, default=None, metavar="M", help="start no test after M minutes (default: no limit)"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    minutes = item.config.getoption("--minutes")
    if minutes is not None and time.monotonic() - _BEGUN > 60 * minutes:
        pytest.skip(OUT_OF_TIME)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", ())
    left = [report.nodeid for report in skipped if OUT_OF_TIME in str(report.longrepr)]
    if left:
        terminalreporter.section(f"{len(left)} tests did not run: {OUT_OF_TIME}")
        for name in left:
            terminalreporter.line(name)
