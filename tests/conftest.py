"""A budget of minutes for slow tests: when it is spent no further test starts, and what did not run is listed."""

import time

import pytest

OUT_OF_TIME = "the minutes of --minutes are spent"
_BEGUN = time.monotonic()


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
