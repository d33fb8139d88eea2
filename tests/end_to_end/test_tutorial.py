"""The tutorial runs as it is written, on fewer films and for fewer steps: its shell blocks, then its Python."""

import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.test_documentation import ROOT

PAGE = ROOT / "docs" / "tutorial.md"
FEWER = {
    r"--patients 600": "--patients 24",
    r"--patients 6 ": "--patients 2 ",
    r"(mae-rad shard [^\n]*)": r"\1 runtime.max_reject_fraction=0.5",
    r"(mae-rad pretrain [^\n]*)": r"\1 optimizer.steps=4 optimizer.batch=8",
    r"(mae-rad compare [^\n]*)": r"\1 repetitions=100 min_patients=2 runtime.workers=0",
    r"(mae-rad finetune [^\n]*)": r"\1 optimizer.steps=4 optimizer.batch=8 'evaluation={every: 2, repetitions: 100}'",
    r"(mae-rad predict [^\n|]*)": r"\1 runtime.workers=0 ",
}
"""What the test changes: pattern → replacement; each must occur."""


def _blocks(language: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    return "".join(blocks)


def _script() -> str:
    script = _blocks("sh").replace("\\\n", " ")
    for pattern, replacement in FEWER.items():
        script, count = re.subn(pattern, replacement, script)
        assert count, f"the tutorial no longer has {pattern}"
    return f"set -euo pipefail\n{script}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which the commands of the page were run."""
    folder = tmp_path_factory.mktemp("tutorial")
    command = folder / "bin" / "mae-rad"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m mae_rad "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{command.parent}:/usr/local/bin:/usr/bin:/bin")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("OMP_NUM_THREADS", "1")
        for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK", "WORLD_SIZE"):
            patch.delenv(name, raising=False)  # of a training in this process
        done = subprocess.run(["bash", "-c", _script()], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        yield folder


@pytest.mark.slow
def test_every_command_of_the_tutorial_leaves_what_the_page_says(folder: Path) -> None:
    named = set(re.findall(r"`(tutorial/[\w./]+)`", PAGE.read_text(encoding="utf-8")))
    assert len(named) >= 10
    assert not [name for name in sorted(named) if not (folder / name).exists()]


@pytest.mark.slow
def test_the_python_of_the_tutorial_runs(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _blocks("python")], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    shape, shards, *records = done.stdout.splitlines()
    assert re.fullmatch(r"\(2, \d+\)", shape) and "torch.Size" in shards
    assert len(records) == 2 and all(line.startswith("answered (Finding(label='foreign_object'") for line in records)


@pytest.mark.slow
def test_the_mlflow_server_of_the_tutorial_starts(folder: Path) -> None:
    [line] = [line for line in _blocks("shell").splitlines() if line.startswith("mlflow server")]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", *shlex.split(line), "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        answer = b""
        for _ in range(120):
            time.sleep(1)
            assert server.poll() is None, "the server has ended"
            try:
                answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read()
                break
            except OSError:
                continue
        assert answer == b"OK"
    finally:
        server.terminate()
        server.wait()
