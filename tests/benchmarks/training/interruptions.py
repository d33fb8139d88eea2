"""Interrupt trainings at random moments, resume them with the same command, and compare the weights bit for bit.

    python -m tests.benchmarks.training.interruptions [--interruptions 50] [--ranks 2] [--steps 24] [--zero-stage 0] \\
        [--seed 0]

Five ways in turn: SIGKILL of one rank (the others must notice and end by themselves), of all, SIGTERM or SIGUSR1 of all
(they must save and leave with 75), and SIGKILL of all while a checkpoint is being written. The training is the
real command; only its processes are forked from one that has imported torch and DeepSpeed, and its model is tiny.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import load_file

from mae_rad.training.preemption import REQUEUE
from tests.builders.processes.warm_ranks import WarmRanks
from tests.builders.shard_builder import film, hexed, noise, write_public
from tests.builders.tiny_run import arguments

ONE, ALL, TERM, USR1, WRITING = "SIGKILL of one rank", "SIGKILL of all", "SIGTERM", "SIGUSR1", "SIGKILL in writing"
WAYS = (ONE, ALL, TERM, WRITING, USR1)
NOTICED = 70.0
"""Seconds within which all ranks must have ended after an interruption: of a rank that is killed before it met the
others these learn only by their time-out of 20 seconds, and torch tries twice."""


def interrupt(training: WarmRanks, way: str, run: Path, draw: random.Random, longest: float) -> bool:
    """Interrupt in ``way`` at a random moment; False where the training ended before."""
    moment = time.monotonic() + draw.uniform(0, longest)
    checkpoints = run / "checkpoints"
    while any(training.running(rank) for rank in range(len(training.pids))):
        if time.monotonic() >= moment and (way != WRITING or any(checkpoints.glob(".partial-*"))):
            if way == ONE:
                training.kill(signal.SIGKILL, [draw.randrange(len(training.pids))])
            elif way in (TERM, USR1):
                training.kill(signal.SIGTERM if way == TERM else signal.SIGUSR1)
            else:
                if way == WRITING:
                    time.sleep(draw.uniform(0, 0.004))
                training.kill(signal.SIGKILL)
            return True
        time.sleep(0.0005 if way == WRITING else 0.005)
    return False


def step_of(run: Path) -> int:
    return max((int(path.name[5:]) for path in (run / "checkpoints").glob("step-*")), default=0)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "encoder" / "encoder.safetensors")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interruptions", type=int, default=50)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--zero-stage", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        films = [film(f"f{i}", noise(120, 100, seed=i), study=hexed("study", i // 2)) for i in range(20)]
        public = write_public(folder / "public", films)

        def start(run: Path) -> WarmRanks:
            words = arguments(public, run, options.steps, f"runtime.zero_stage={options.zero_stage}")
            return WarmRanks(words, options.ranks, folder / f"{run.name}.log")

        began = time.monotonic()
        whole = start(folder / "whole")
        assert set(whole.wait(300)) == {0}, whole.log.read_text()
        seconds = time.monotonic() - began
        assert (folder / "whole" / "encoder").exists(), whole.log.read_text()
        expected = weights(folder / "whole")
        print(f"undisturbed: {options.steps} steps on {options.ranks} ranks in {seconds:.1f} s", flush=True)

        done, codes, slowest = Counter[str](), Counter[str](), Counter[str]()
        runs = equal = 0
        while sum(done.values()) < options.interruptions:
            run = folder / f"run{runs}"
            number = 0
            while not (run / "encoder" / "encoder.safetensors").exists():
                way = WAYS[sum(done.values()) % len(WAYS)]
                training, began = start(run), time.monotonic()
                if sum(done.values()) < options.interruptions and interrupt(training, way, run, draw, seconds * 0.9):
                    told = time.monotonic()
                    ended = training.wait(NOTICED)
                    taken = time.monotonic() - told
                    done[way] += 1
                    slowest[way] = max(slowest[way], taken)  # type: ignore[assignment]
                    codes[f"{way}: exit codes {sorted(set(ended))}"] += 1
                    number += 1
                    print(f"{sum(done.values()):3} {way:<22} step {step_of(run):3}  {ended}  {taken:.1f} s", flush=True)
                else:
                    assert set(training.wait(300)) == {0}, training.log.read_text()
                    seconds = min(seconds, time.monotonic() - began)
            found = weights(run)
            same = found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)
            runs, equal = runs + 1, equal + same
            print(f"run {runs}: {number} interruptions, weights {'equal' if same else 'DIFFER'}", flush=True)
            shutil.rmtree(run)
        print(f"\n{'interruption':<24}{'times':>6}{'longest until all had ended':>30}")
        for way in WAYS:
            print(f"{way:<24}{done[way]:>6}{slowest[way]:>28.1f} s")
        for line, count in sorted(codes.items()):
            print(f"  {line}: {count}")
        print(f"ratio: {equal} of {runs} runs with {sum(done.values())} interruptions equal the undisturbed one")
        left = codes[f"{TERM}: exit codes [{REQUEUE}]"] + codes[f"{USR1}: exit codes [{REQUEUE}]"]
        print(f"signals answered by saving and exit code {REQUEUE}: {left} of {done[TERM] + done[USR1]}")
        return int(equal != runs)


if __name__ == "__main__":
    sys.exit(main())
