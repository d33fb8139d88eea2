"""A service decodes under limits, stays after a file that ended its process, and runs no script a second time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

from data_prep.errors import Reason
from data_prep.runtime.decode_pool import DecodeLimits
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


def test_a_script_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(_SCRIPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("begins\n3\n", 0), done.stderr
