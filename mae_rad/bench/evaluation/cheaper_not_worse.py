r"""Test whether the cheaper masked autoencoder is not worse than the published one, after pretraining on equal films.

    mae-rad bench cheaper_not_worse --shards PUBLIC --out FOLDER [--films 80000] \
        [--seeds 0 1] [--model vit_tiny] [--tokens 196] [--decoder 192x4x3] [--batch 64] [--side_by_side 1] \
        [--threads 2] [--times 1.8] [--margin 0.03] [--judged_on PUBLIC …] [--set key=value …]

reference     configs/pretrain/mae_reference.yaml: padded square, all hidden patches predicted by self-attention
equal steps   configs/pretrain/mae.yaml: content, a quarter predicted by cross-attention; the same films
equal time    the same for as many steps as fit into the time of the reference: by the processor time per step of
              both, or by the ratio --times, as measured by mae_speed on a GPU

All are trained with every seed and with the same encoder, T, decoder size, batch and learning rate. ``mae-rad compare``
then evaluates linear and attentive probes. Not worse means that the 95 % interval of cheap minus reference, over
patients and runs, lies above -margin. ``--judged_on`` adds shards that are used by the probes only, since a margin of
0.03 needs about a thousand test patients. Commands are printed; finished parts are not repeated.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from data_prep.settings import local_argument
from mae_rad.evaluation.results.rows import Row, is_headline, read_comparison

REFERENCE, STEPS, TIME = "reference", "equal steps", "equal time"


class Training(NamedTuple):
    """One pretraining: variant, seed, optimiser steps."""

    group: str
    seed: int
    steps: int

    @property
    def name(self) -> str:
        """Name of its run folder."""
        return f"{self.group.replace(' ', '-')}-{self.seed}"

    @property
    def config(self) -> str:
        """Name of its config."""
        return "mae_reference" if self.group == REFERENCE else "mae"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, compare and print the differences; returns 0 if not worse is shown for all tasks, else 1."""
    options = _options(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    steps = max(1, options.films // options.batch)
    base = [Training(group, seed, steps) for seed in options.seeds for group in (REFERENCE, STEPS)]
    _train(base, options)
    per_step = {
        group: sum(_seconds(run, options) for run in base if run.group == group) / (steps * len(options.seeds))
        for group in (REFERENCE, STEPS)
    }
    ratio = options.times or per_step[REFERENCE] / per_step[STEPS]
    equal_time = [Training(TIME, seed, round(steps * ratio)) for seed in options.seeds]
    _train(equal_time, options)
    seconds = f"{per_step[REFERENCE]:.2f} reference, {per_step[STEPS]:.2f} cheap"
    print(f"processor seconds per step: {seconds}; equal time is {ratio:.2f} times the steps")
    print(f"steps of {options.batch} films: {steps:,}; in equal time {equal_time[0].steps:,}; seeds {options.seeds}")
    rows = _compare([*base, *equal_time], options)
    return _report(rows, options.margin)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mae-rad bench cheaper_not_worse",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.register("type", Path, local_argument)
    parser.add_argument("--shards", type=Path, required=True, metavar="PUBLIC", help="public folder to train on")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of runs and comparison")
    parser.add_argument(
        "--films", type=int, default=80_000, help="films of a reference run, with repetition (default: 80000)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="seeds of the runs (default: 0 1)")
    parser.add_argument("--model", default="vit_tiny", help="encoder (default: vit_tiny)")
    parser.add_argument("--tokens", type=int, default=196, help="content tokens T (default: 196)")
    parser.add_argument("--decoder", default="192x4x3", help="width x depth x heads of the decoder (default: 192x4x3)")
    parser.add_argument("--batch", type=int, default=64, help="films per step (default: 64)")
    parser.add_argument(
        "--side_by_side", type=int, default=1, help="trainings, and embedding processes, in parallel (default: 1)"
    )
    parser.add_argument("--threads", type=int, default=2, help="arithmetic threads per training (default: 2)")
    parser.add_argument("--times", type=float, help="steps of equal time / equal steps (default: measured)")
    parser.add_argument("--margin", type=float, default=0.03, help="non-inferiority margin of AUROC (default: 0.03)")
    parser.add_argument(
        "--judged_on", type=Path, nargs="*", default=[], help="further public folders, for the probes only"
    )
    parser.add_argument("--set", nargs="*", default=[], help="further settings key=value of all trainings")
    return parser.parse_args(arguments)


def _train(trainings: Sequence[Training], options: argparse.Namespace) -> None:
    waiting = [run for run in trainings if not _record(run, options).exists()]
    running: dict[int, tuple[Training, float]] = {}
    while waiting or running:
        while waiting and len(running) < options.side_by_side:
            run = waiting.pop(0)
            command = _command(run, options)
            print("mae-rad", *command[3:], flush=True)
            with (options.out / f"{run.name}.log").open("w") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log, env=_environment(options))
            running[process.pid] = (run, time.monotonic())
        number, status, usage = os.wait4(-1, 0)
        run, began = running.pop(number)
        if status != 0:
            raise SystemExit(f"training {run.name} failed. See {options.out / f'{run.name}.log'}")
        seconds = {"processor": usage.ru_utime + usage.ru_stime, "wall": time.monotonic() - began}
        _record(run, options).write_text(json.dumps(seconds))


def _command(run: Training, options: argparse.Namespace) -> list[str]:
    width, depth, heads = options.decoder.split("x")
    return [
        sys.executable, "-m", "mae_rad", "pretrain", "--config", run.config,
        f"data.shards=[{options.shards.resolve()}]", f"runtime.run_dir={_run(run, options)}", f"seed={run.seed}",
        "precision=auto", f"encoder.model={options.model}", f"objective.tokens={options.tokens}",
        f"objective.decoder_dim={width}", f"objective.decoder_depth={depth}", f"objective.decoder_heads={heads}",
        f"optimizer.steps={run.steps}", f"optimizer.batch={options.batch}", "optimizer.base_learning_rate=4.0e-3",
        "optimizer.warmup_fraction=0.1", "optimizer.clip_norm=1.0", "runtime.workers=0",
        f"runtime.threads={options.threads}", *options.set,
    ]  # fmt: skip


def _environment(options: argparse.Namespace) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": str(options.threads)}


def _run(run: Training, options: argparse.Namespace) -> Path:
    return Path(options.out).resolve() / "runs" / run.name


def _record(run: Training, options: argparse.Namespace) -> Path:
    return Path(options.out) / f"{run.name}.json"


def _seconds(run: Training, options: argparse.Namespace) -> float:
    return float(json.loads(_record(run, options).read_text())["processor"])


def _compare(trainings: Sequence[Training], options: argparse.Namespace) -> list[Row]:
    config = options.out / "compare.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "shards": [str(folder.resolve()) for folder in (options.shards, *options.judged_on)],
                "random_seeds": [],
                "runtime": {"processes": options.side_by_side},
                "out": str((options.out / "comparison").resolve()),
                "encoders": [{"run": str(_run(run, options)), "group": run.group} for run in trainings],
                "tokens": [options.tokens],
                "pools": ["mean"],
                "probes": ["linear", "attentive"],
                "analyses": [],
                "label_fractions": [1.0],
                "pixel_components": 0,
            }
        )
    )
    command = [sys.executable, "-m", "mae_rad", "compare", "--config", str(config)]
    print("mae-rad", *command[3:], flush=True)
    subprocess.run(command, check=True, env=_environment(options), stdout=subprocess.DEVNULL)
    return read_comparison(options.out / "comparison" / "comparison.parquet")


def _report(rows: Sequence[Row], margin: float) -> int:
    """Print the differences to the reference and the values of single runs; returns 1 if any is not shown, else 0."""
    shown = [row for row in rows if is_headline(row) and row.metric in ("auroc", "macro_auroc")]
    print(f"\n{'task':18}{'probe':11}{'arm':13}{'cheap - reference, 95 %':31}{'not worse by ' + str(margin):21}runs")
    failures = compared = 0
    for row in shown:
        pair = {row.encoder, row.reference}
        arm = next((arm for arm in (STEPS, TIME) if pair == {REFERENCE, arm}), None)
        if row.difference is None or arm is None:
            continue
        value, low, high = row.difference
        if row.encoder == REFERENCE:  # compare subtracts what is named later
            value, low, high = -value, -high, -low
        compared += 1
        is_not_worse = low > -margin
        failures += not is_not_worse
        text, verdict = f"{value:+.3f} [{low:+.3f}, {high:+.3f}]", "yes" if is_not_worse else "not shown"
        runs = "; ".join(f"{group} {_runs(shown, row, group)}" for group in (arm, REFERENCE))
        print(f"{row.task:18}{row.probe:11}{arm:13}{text:31}{verdict:21}{runs}")
    return int(failures > 0 or not compared)


def _runs(rows: Sequence[Row], of: Row, group: str) -> str:
    """Format the values of the single runs behind a difference, which show the spread over seeds."""
    return " ".join(
        f"{row.interval.value:.3f}"
        for row in rows
        if row.reference is None
        and row.encoder.startswith(group.replace(" ", "-") + "-")
        and (row.task, row.probe, row.metric) == (of.task, of.probe, of.metric)
    )
