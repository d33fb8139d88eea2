"""A service decodes under limits, stays after a file that ended its process, and runs no script a second time."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from threading import Thread

import pytest

from data_prep.errors import Reason
from data_prep.runtime.decode_pool import BackgroundPool, DecodeLimits, StartError
from data_prep.runtime.decode_service import DecodeService

_SCRIPT = """
from data_prep.runtime.decode_pool import DecodeLimits
from data_prep.runtime.decode_service import DecodeService

print("begins", flush=True)
print(DecodeService(abs, DecodeLimits(1))(-3), flush=True)
"""


def decode(word: str) -> tuple[str, int]:
    if word == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == "hangs":
        time.sleep(600)
    return word.upper(), os.getpid()


def test_a_file_costs_only_itself_and_processes_stay() -> None:
    service: DecodeService[str, tuple[str, int]] = DecodeService(decode, DecodeLimits(1, file_timeout_seconds=0.5))
    first, again = service("a"), service("b")
    assert first[0] == "A" and first[1] == again[1] != os.getpid()
    assert service("crashes") is Reason.DECODER_CRASHED
    assert service("hangs") is Reason.DECODER_TIMEOUT
    assert service("c")[0] == "C"


def test_several_threads_may_ask() -> None:
    service: DecodeService[str, tuple[str, int]] = DecodeService(decode, DecodeLimits(2))
    found: dict[str, object] = {}
    threads = [Thread(target=lambda word=word: found.update({word: service(word)})) for word in "abcd"]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {word: result[0] for word, result in found.items()} == {word: word.upper() for word in "abcd"}  # type: ignore[index]


def test_threads_that_ask_first_share_one_pool_and_keep_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    script, begun = sys.modules["__main__"], list[object]()

    def slowly(*arguments: object) -> object:
        begun.append(BackgroundPool(*arguments))  # type: ignore[arg-type]
        time.sleep(0.2)
        return begun[-1]

    monkeypatch.setattr("data_prep.runtime.decode_service.BackgroundPool", slowly)
    service: DecodeService[int, int] = DecodeService(abs, DecodeLimits(1))
    threads = [Thread(target=service, args=(-number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(begun) == 1 and sys.modules["__main__"] is script


def test_a_pool_that_could_not_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def submit(self, file: int) -> Future[int]:
            failed: Future[int] = Future()
            failed.set_exception(StartError("no memory"))
            return failed

        def close(self) -> None:
            pass

    service: DecodeService[int, int] = DecodeService(abs, DecodeLimits(1))
    with monkeypatch.context() as patch:
        patch.setattr("data_prep.runtime.decode_service.BackgroundPool", lambda *_: Failing())
        with pytest.raises(StartError):
            service(-3)
    assert service(-3) == 3


def test_a_script_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(_SCRIPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("begins\n3\n", 0), done.stderr
