"""Kill a shard command at random moments, run it again, and compare every byte with an uninterrupted run.

    python -m tests.benchmarks.sharding.kills [--kills 50] [--patients 60] [--seed 0]

Three ways in turn: the whole process group (a lost machine), the command alone (its workers must end with it, and the
same command is run at once), and one of its workers (the command itself must go on). Three of four kills come within
0.3 s of the first shard that a command finishes. Every fifth time the command that goes on is killed too. Then the
bytes for 1, 2 and 4 workers are compared.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from tests.builders.private_builder import write_archive

GROUP, COMMAND, WORKER = "group", "command", "worker"
_ROOT = Path(__file__).parents[3]


def finish(command: Sequence[str], public: Path) -> Path:
    """Run ``command`` (PUBLIC in it stands for ``public``) to its end."""
    words, environment = _words(command, public)
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"the undisturbed run ended with {done.returncode}: {done.stderr}")
    return public


def kill(command: Sequence[str], public: Path, seconds: float, way: str = GROUP, *, writing: bool = False) -> None:
    """Run ``command`` and kill it, or a part of it, after ``seconds``; ``writing``: after it has finished a shard."""
    shards = _finished(public)
    words, environment = _words(command, public)
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(words, env=environment, stdout=quiet, stderr=quiet, start_new_session=True)
    while writing and process.poll() is None and _finished(public) == shards:
        time.sleep(0.002)
    time.sleep(seconds)
    _kill(process, way)
    process.wait()


def _finished(public: Path) -> int:
    return len(list(public.glob("*-*.json")))


def _words(command: Sequence[str], public: Path) -> tuple[list[str], dict[str, str]]:
    words = [str(public) if word == "PUBLIC" else word for word in command]
    return [sys.executable, "-m", "data_prep", *words], {**os.environ, "PYTHONPATH": str(_ROOT)}


def _kill(process: "subprocess.Popen[bytes]", way: str) -> None:
    if process.poll() is not None:
        return
    if way == GROUP:
        os.killpg(process.pid, signal.SIGKILL)
    elif way == COMMAND:
        process.kill()
    elif workers := _workers(process.pid):
        os.kill(random.choice(workers), signal.SIGKILL)


def _workers(parent: int) -> list[int]:
    """Processes of the command, less the one that tracks its resources."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = path.read_text().rpartition(")")[2].split()
            words = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(after_name[1]) == parent and b"spawn_main" in words:
            found.append(int(path.parent.name))
    return found


def _stage(public: Path) -> str:
    if not public.exists():
        return "0 before the folder"
    if (public / "dataset.json").exists():
        return "4 published"
    parts = len(list(public.glob(".*.part")))
    if not _finished(public):
        return "1 before the first shard"
    return "3 in the middle of a file" if parts else "2 between two files"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--patients", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    os.environ["MAE_RAD_KEY"] = "a secret that is long enough"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_archive(folder / "archive", args.patients)
        scan([folder / "archive"], folder / "private", ScanSettings(workers=1))
        command = ["shard", str(folder / "private"), "--out", "PUBLIC", "max_side=64", "films_per_shard=4"]
        command += ["runtime.workers=2", "runtime.max_reject_fraction=1"]
        start = time.perf_counter()
        whole = finish(command, folder / "whole")
        seconds = time.perf_counter() - start
        expected = {path.name: path.read_bytes() for path in whole.iterdir()}
        films = pq.read_table(whole / "index.parquet").num_rows
        print(f"baseline: {films} films in {len(list(whole.glob('*.tar')))} shards, {seconds:.1f} s, nobody disturbs")
        found: Counter[str] = Counter()
        stages: Counter[str] = Counter()
        for number in range(args.kills):
            way = (GROUP, COMMAND, WORKER)[number % 3]
            for again in range(2 if number % 5 == 0 else 1):
                writing = (number + again) % 4 > 0  # the start takes longer than the writing
                moment = draw.uniform(0, 0.3) if writing else draw.uniform(0, seconds)
                kill(command, folder / "killed", moment, way, writing=writing)
                stages[_stage(folder / "killed")] += 1
            public = finish(command, folder / "killed")
            same = {path.name: path.read_bytes() for path in public.iterdir()} == expected
            found[f"{way}: {'same bytes' if same else 'OTHER BYTES'}"] += 1
            if not same:
                print(f"kill {number} ({way} after {moment:.2f} s): other bytes")
            shutil.rmtree(public)
        for line, count in sorted(found.items()):
            print(f"{line:<30}{count:>5}")
        print("how far the command had come when it was killed:")
        for stage, count in sorted(stages.items()):
            print(f"  {stage:<28}{count:>5}")
        same = sum(count for line, count in found.items() if line.endswith("same bytes"))
        print(f"ratio: {same} of {args.kills}")
        failed = same != args.kills
        for workers in (1, 2, 4):
            command[-2] = f"runtime.workers={workers}"
            start = time.perf_counter()
            public = finish(command, folder / f"workers{workers}")
            equal = {path.name: path.read_bytes() for path in public.iterdir()} == expected
            failed |= not equal
            told = "same bytes" if equal else "OTHER BYTES"
            print(f"{workers} workers: {told}, {time.perf_counter() - start:.1f} s")
    sys.exit(failed)


if __name__ == "__main__":
    main()
