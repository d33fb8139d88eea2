"""Write and read a run folder, and check that a training may resume it.

RUN/
  config.yaml       resolved settings
  run.json          what a resumed run must share: settings that change results, checksums of all that it reads
  checkpoints/      step-0000500/ …, latest.json: see ``save_and_resume.py``
  encoder/          exported encoder: safetensors, preprocessing, model card (if one was trained)
  encoders/         further encoders by name, such as the target of a self-distillation
  rounds/           what an objective made at the start of its newest rounds, such as neighbours
  best.safetensors  best weights so far, with their step and metric (finetuning only, as the next two)
  predictor/        encoder and head: safetensors, calibration, operating points, model card
  evaluation/       tables, pictures and page of the final evaluation
  metrics.jsonl     one line per logged step
  mlflow_run        id of the MLflow run
  samples/          reconstructions of held-out films
  non_finite.json   step and film keys, after a loss or gradient that is not finite
"""

import errno
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import yaml
from PIL import Image

from data_prep.bounded_reading import read_json
from data_prep.runtime.atomic_write import atomic_file, atomic_text, remove_temporary, temporary_paths
from data_prep.runtime.folder_lock import LOCK_FILE, locked
from mae_rad.errors import RunError
from mae_rad.training.settings import TrainingSettings

NON_FINITE_FILE = "non_finite.json"
RUN_FILES = {
    "config.yaml", "run.json", "checkpoints", "encoder", "metrics.jsonl", "mlflow_run", "samples", LOCK_FILE,
    NON_FINITE_FILE, "best.safetensors", "predictor", "evaluation", "encoders", "rounds",
}  # fmt: skip

S = TypeVar("S", bound=TrainingSettings)

_log = logging.getLogger(__name__)


def logged_metrics(path: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield step and metrics of each line of a ``metrics.jsonl``, in order; lines that cannot be read end it.

    Args:
        path: the file; one that does not exist has no lines.
    """
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                values = json.loads(line)
                yield values.pop("step"), values
            except (ValueError, KeyError, AttributeError):
                return


class RunFolder:
    """The folder of a run.

    Args:
        settings: settings of the run.
        dataset_sha256: checksum of its shards.
        inputs: what else it reads → SHA-256.
        joined: what is recorded of the shard folders beside their checksum.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        dataset_sha256: str,
        inputs: Mapping[str, str] | None = None,
        joined: Mapping[str, str] | None = None,
    ) -> None:
        self.path = settings.runtime.run_dir
        self.checkpoints = self.path / "checkpoints"
        self.encoder = self.path / "encoder"
        self.encoders = self.path / "encoders"
        self.rounds = self.path / "rounds"
        self.best = self.path / "best.safetensors"
        self.predictor = self.path / "predictor"
        self.evaluation = self.path / "evaluation"
        self.samples = self.path / "samples"
        self.metrics = self.path / "metrics.jsonl"
        self._unwritten: list[str] = []
        self._reported: set[str] = set()
        self._settings = settings
        self._lock_stack = ExitStack()
        self._identity: dict[str, Any] = {
            "settings": settings.results(), "dataset_sha256": dataset_sha256, **(joined or {}),
            "inputs": dict(inputs or {}),
        }  # fmt: skip

    def check(self) -> None:
        """Check that the folder belongs to this run.

        Raises:
            RunError: it holds other files, or what it reads or settings that change results differ from the recorded
                ones.
        """
        path = self.path / "run.json"
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"runtime.run_dir is a file: {self.path}. Give a new or empty folder.")
        if self.path.exists() and (
            other := {entry.name for entry in self.path.iterdir()}
            - RUN_FILES
            - {path.name for path in temporary_paths(self.path, *RUN_FILES)}
        ):
            raise RunError(f"{self.path} holds other files ({min(other)}, …). Give a new or empty runtime.run_dir.")
        if not any(self.checkpoints.glob("step-*")):
            return  # without a checkpoint it may start again with any settings
        try:
            recorded: dict[str, Any] = read_json(path)
            began_with, _ = recorded["dataset_sha256"], recorded["settings"]["optimizer"]["steps"]
        except (OSError, ValueError, KeyError, TypeError):
            raise RunError(f"{path} is damaged, so the run cannot resume. Give a new runtime.run_dir.") from None
        if began_with != self._identity["dataset_sha256"]:
            raise RunError(
                f"{self.path} was started on other shards. Give the same data.shards (and data.generations,"
                " if they have grown), or a new runtime.run_dir."
            )
        self._check_inputs(recorded.get("inputs", {}))
        now, chosen = self._settings.optimizer, self._settings.model_dump(mode="json", exclude_defaults=True)
        began, done = recorded["settings"], _newest_step(self.path)
        if _segments(began["optimizer"], now.steps, done) == now.segments:  # resumed or extended
            began["optimizer"] |= {"steps": now.steps} | ({"segments": list(now.segments)} if now.segments else {})
        differing = list_differences(began, json.loads(json.dumps(self._identity["settings"])), chosen)
        others = [line for line in differing if not line.startswith(("optimizer.steps ", "optimizer.segments "))]
        if began["optimizer"]["steps"] < now.steps and not others:
            raise RunError(
                f"{self.path} has taken {done} of {began['optimizer']['steps']} steps, and only a finished run can be"
                f" extended. Finish it with optimizer.steps={began['optimizer']['steps']}, or give a new"
                " runtime.run_dir."
            )
        if differing:
            raise RunError(
                f"{self.path} was started with other settings: {'; '.join(differing)}."
                " Settings that change results are fixed: set the earlier values, or give a new runtime.run_dir."
            )

    def _check_inputs(self, recorded: Mapping[str, str]) -> None:
        """Refuse other inputs than the recorded ones; those that only one start was given are kept as they are."""
        inputs = self._identity["inputs"]
        if changed := [name for name in inputs if recorded.get(name, inputs[name]) != inputs[name]]:
            raise RunError(
                f"{self.path} was started with other {' and '.join(changed)}: the checksum in run.json differs."
                " Give those with which it was started, or a new runtime.run_dir."
            )
        self._identity["inputs"] = {**recorded, **inputs}

    def begin(self) -> None:
        """Create the folder, lock it and write the settings.

        Raises:
            RunError: another process uses this folder.
        """
        self.samples.mkdir(parents=True, exist_ok=True)
        self._lock()
        remove_temporary(self.path, *RUN_FILES)
        self.checkpoints.mkdir(exist_ok=True)
        for folder in (self.samples, self.checkpoints, self.evaluation, self.rounds):
            if folder.is_dir():
                remove_temporary(folder)
        if not any(self.checkpoints.glob("step-*")):
            self._forget_earlier_training()
        resolved = yaml.safe_dump(self._settings.model_dump(mode="json"), sort_keys=False)
        atomic_text(self.path / "config.yaml", resolved)
        atomic_text(self.path / "run.json", json.dumps(self._identity, indent=1))

    def _forget_earlier_training(self) -> None:
        """Remove what a training left that ended before its first checkpoint, perhaps another one.

        Its MLflow run keeps what it received; the training that begins now gets one of its own.
        """
        for file in (self.best, self.path / "mlflow_run", self.path / NON_FINITE_FILE, *self.samples.glob("*.png")):
            file.unlink(missing_ok=True)
        for folder in (self.evaluation, self.rounds):
            shutil.rmtree(folder, ignore_errors=True)

    def release(self) -> None:
        """Release the lock of the folder."""
        self._lock_stack.close()

    def _lock(self) -> None:
        try:
            self._lock_stack.enter_context(locked(self.path))
        except BlockingIOError:
            raise RunError(
                f"another process trains in {self.path}. Wait until it ends, or give another runtime.run_dir."
            ) from None

    def tracking_id(self) -> str | None:
        """Read the id of the MLflow run of this folder; None before the first one."""
        path = self.path / "mlflow_run"
        return path.read_text(encoding="utf-8").strip() if path.exists() else None

    def write_tracking_id(self, run_id: str) -> None:
        """Record the id of the MLflow run, so that a resumed training continues it."""
        atomic_text(self.path / "mlflow_run", run_id)

    def truncate_metrics(self, step: int) -> None:
        """Remove the metrics that a resumed training writes again, and an incomplete last line.

        These are the lines after ``step``, and lines of ``step`` without a loss, which an evaluation wrote.
        """
        if not self.metrics.exists():
            return
        kept = 0
        with self.metrics.open("rb+") as file:
            for line in file:
                if _is_after(line, step):
                    break
                kept += len(line)
            file.truncate(kept)  # unlike a copy, this works on a full disk

    def logged(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield step and metrics of each logged line, as :func:`logged_metrics`."""
        return logged_metrics(self.metrics)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Append a line of metrics; lines that cannot be written are kept in memory and written with a later one.

        Args:
            step: optimiser steps taken.
            values: metric → value; those that are not finite are left out.
        """
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._unwritten.append(json.dumps({"step": step, "time": round(time.time(), 3)} | finite) + "\n")
        self._try("metrics", self._write_metrics)

    def write_picture(self, step: int, picture: Image.Image) -> None:
        """Write ``samples/step-….png``; on a full disk the picture is left out."""

        def write() -> None:
            with atomic_file(self.samples / f"step-{step:07d}.png") as file:
                picture.save(file, format="png")

        self._try("a picture", write)

    def write_non_finite(self, quantity: str, step: int, films: list[list[str]]) -> None:
        """Write ``non_finite.json``.

        Args:
            quantity: ``the loss`` or ``the gradient``.
            step: optimiser step, counted from 0.
            films: film keys of each rank.
        """
        fault = {"not_finite": quantity, "step": step, "films_by_rank": films}
        self._try("the fault", lambda: atomic_text(self.path / NON_FINITE_FILE, json.dumps(fault, indent=1)))

    def _write_metrics(self) -> None:
        text = "".join(self._unwritten).encode()
        with self.metrics.open("ab", buffering=0) as file:  # a buffer would be flushed again before the truncation
            before = file.tell()
            try:
                written = file.write(text)
                if written != len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(before)
                raise
        self._unwritten.clear()

    def _try(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            if what not in self._reported:
                self._reported.add(what)
                _log.warning("%s cannot be written (%s); training continues", what, error.strerror)


def unfinished_settings(run_dir: Path) -> dict[str, Any]:
    """Read the recorded settings of a run that can be resumed.

    Args:
        run_dir: run folder.

    Returns:
        Setting → value; empty without a checkpoint.
    """
    if not any((run_dir / "checkpoints").glob("step-*")):
        return {}
    try:
        recorded: dict[str, Any] = read_json(run_dir / "run.json")["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # check() reports it
    return recorded


def continue_segments(settings: S) -> S:
    """Fill in the earlier segments of a run that is resumed, or that has finished and is extended to more steps.

    Args:
        settings: settings of the run, as the user gave them.

    Returns:
        The settings with ``optimizer.segments``; unchanged for a new run, and where :meth:`RunFolder.check` refuses.
    """
    began, optimizer = unfinished_settings(settings.runtime.run_dir).get("optimizer"), settings.optimizer
    segments = _segments(began, optimizer.steps, _newest_step(settings.runtime.run_dir)) if began else None
    if not segments or optimizer.segments not in {(), segments}:
        return settings
    return settings.model_copy(update={"optimizer": optimizer.model_copy(update={"segments": segments})})


def _segments(began: Mapping[str, Any], steps: int, done: int) -> tuple[int, ...] | None:
    """Segments of a run that goes on to ``steps`` after ``done`` of them; None where it cannot.

    Args:
        began: recorded settings of its optimiser.
        steps: steps of the whole run.
        done: steps of the newest checkpoint.
    """
    ends = (*began.get("segments", ()), began["steps"])
    if steps == ends[-1]:
        return ends[:-1]
    return ends[: ends.index(done) + 1] if done in ends and done < steps else None


def _newest_step(run_dir: Path) -> int:
    """Optimiser steps of the newest checkpoint, damaged or not."""
    steps = (path.name.removeprefix("step-") for path in (run_dir / "checkpoints").glob("step-*"))
    return max((int(text) for text in steps if text.isdigit()), default=0)


def _is_after(line: bytes, step: int) -> bool:
    """Whether a line of metrics belongs to a later step, or is incomplete or left as zeros by a crash."""
    try:
        values = json.loads(line)
        return not line.endswith(b"\n") or values["step"] > step or (values["step"] == step and "loss" not in values)
    except ValueError:
        return True


def list_differences(before: Any, now: Any, chosen: Any, name: str = "") -> list[str]:
    """List the differing settings.

    Args:
        before: recorded settings.
        now: settings of this start.
        chosen: those of them that the user gave; a setting that is new in this version counts only if it is set.
        name: dotted name of the group.

    Returns:
        A text per setting: its name, what it was and what it is.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        chosen = chosen if isinstance(chosen, dict) else {}
        return [
            line
            for key in sorted(before.keys() | (now.keys() & chosen.keys()))
            for line in list_differences(
                before.get(key), now.get(key), chosen.get(key), f"{name}.{key}" if name else key
            )
        ]
    return [] if before == now else [f"{name} was {before!r} and is {now!r}"]
