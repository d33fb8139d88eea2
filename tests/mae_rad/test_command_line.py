"""A command reports an error of the user in one line, and of an unexpected error nothing identifying."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from mae_rad.command_line import run
from mae_rad.errors import RunError
from tests.builders.tiny_run import ROOT


@pytest.fixture(autouse=True)
def _keep_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def _fail(error: BaseException) -> None:
    raise error


def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: _fail(RunError("the folder is full; empty it"))) == 2
    assert capsys.readouterr().err == "error: the folder is full; empty it\n"


def test_an_unexpected_error_quotes_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    secret = Path("/archive/MUSTER^MARIA")
    assert run(lambda: secret.read_text() and None) == 1
    told = capsys.readouterr().err
    assert "MUSTER" not in told
    assert "FileNotFoundError at mae_rad/" in told
    assert "MAE_RAD_DEBUG=1" in told


def test_a_traceback_is_shown_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_DEBUG", "1")
    with pytest.raises(ValueError, match="42"):
        run(lambda: _fail(ValueError("42")))


def test_an_interruption_is_130() -> None:
    assert run(lambda: _fail(KeyboardInterrupt())) == 130


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_of_a_queue_closes_what_is_open_and_shows_in_the_exit_code(number: signal.Signals) -> None:
    script = """
import os, sys
from mae_rad.command_line import run
def action():
    try:
        os.kill(os.getpid(), int(sys.argv[1]))
    finally:
        print("closed")
sys.exit(run(action))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(int(number))], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 128 + number
    assert done.stdout == "closed\n"


def test_a_killed_loader_process_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: _fail(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "))) == 1
    assert "a process that reads films was killed" in capsys.readouterr().err


def test_a_cut_connection_to_a_loader_process_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    class Cut(Dataset[int]):
        def __getitem__(self, index: int) -> int:
            raise ConnectionResetError(104, "Connection reset by peer")

    assert run(lambda: next(iter(DataLoader(Cut(), sampler=[0])))) == 1
    assert "a process that reads films was killed" in capsys.readouterr().err
    assert run(lambda: _fail(ConnectionResetError(104, "of another program"))) == 1
    assert "was killed" not in capsys.readouterr().err


def test_a_command_that_makes_no_pseudonyms_does_not_have_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", "of this project")
    seen: list[str | None] = []
    assert run(lambda: seen.append(os.environ.get("MAE_RAD_KEY"))) == 0
    assert run(lambda: seen.append(os.environ.get("MAE_RAD_KEY")), needs_secret=True) == 0
    assert seen == [None, "of this project"]
    assert os.environ["MAE_RAD_KEY"] == "of this project"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 2.00 GiB for an array"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: error code 12"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_memory_that_is_short_is_told(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise error

    assert run(fail) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: this machine or its GPU has run out of memory. Give smaller batches")


def test_another_system_error_is_not_memory(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise OSError(13, "Permission denied")

    assert run(fail) == 1 and "memory" not in capsys.readouterr().err
