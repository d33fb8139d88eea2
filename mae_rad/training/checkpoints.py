"""Checkpoints of a run: complete or absent, the newest few kept, a damaged one skipped.

checkpoints/
  step-0000500/     what DeepSpeed wrote, and complete.json: step, ZeRO stage, ranks, bytes and SHA-256 of every file
  latest.json       the newest
  .partial-…/       one that was being written when the run stopped; the next removes it
  .universal-…/     a copy for other ranks, while it is loaded

No name of these two comes twice: on a network disk another host may take a name for the folder that it meant a moment
ago, and an earlier start of the run, not yet dead, may still write there.
"""

import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.runtime.atomic_write import atomic_text
from mae_rad.errors import RunError
from mae_rad.training.deepspeed_engine import Engine, Ranks, gather_over_ranks, on_first_rank
from mae_rad.training.universal_checkpoint import convert_checkpoint

_COMPLETE = "complete.json"
_PARTIAL = ".partial-"
_UNIVERSAL = ".universal-"
_SPARE = 1.05
"""Room that a checkpoint is given, over the size of the one before."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Placement:
    """How a checkpoint is spread over files."""

    zero_stage: int
    world: int

    def fits(self, other: "Placement") -> bool:
        """Whether ranks placed like ``other`` read it as it is: stage 0 keeps everything in one file."""
        return self.zero_stage == other.zero_stage and (self.zero_stage == 0 or self.world == other.world)

    def converts_to(self, other: "Placement") -> bool:
        """Whether DeepSpeed converts it for ranks placed like ``other``."""
        return {self.zero_stage, other.zero_stage} in ({1}, {2}, {1, 2}, {3})


@dataclass(frozen=True)
class Saved:
    """A complete checkpoint: its folder's name, the steps it has taken, how it is spread."""

    tag: str
    step: int
    placement: Placement


class Checkpoints:
    """The checkpoints of one run folder; every method is a collective call."""

    def __init__(self, folder: Path, ranks: Ranks, zero_stage: int, keep: int) -> None:
        self.folder = folder
        self.placement = Placement(zero_stage, ranks.world)
        self._ranks, self._keep = ranks, keep

    def newest(self) -> Saved | None:
        """The newest checkpoint whose files are what was written; None where none was written yet.

        Raises:
            RunError: there are checkpoints, but all are damaged.
        """
        tags = on_first_rank(self._ranks, lambda: sorted((p.name for p in self.folder.glob("step-*")), reverse=True))
        for tag in tags:
            record = on_first_rank(self._ranks, lambda tag=tag: _record(self.folder / tag))  # type: ignore[misc]
            fault = self._damage(tag, record)
            if record is not None and fault is None:
                return Saved(tag, int(record["step"]), Placement(int(record["zero_stage"]), int(record["world"])))
            if self._ranks.first:
                _log.warning("checkpoint %s is damaged (%s): the one before it is taken", tag, fault)
        if tags:
            raise RunError(f"every checkpoint in {self.folder} is damaged; give a new runtime.run_dir to begin anew")
        return None

    def save(self, engine: Engine, step: int, *, last: bool = False) -> None:
        """Write the checkpoint after ``step`` steps, then delete all but the newest ones.

        Where it cannot be written the training goes on and the one before stays, unless it is the ``last``.

        Raises:
            RunError: the last one cannot be written.
        """
        partial = on_first_rank(self._ranks, lambda: self._fresh(_PARTIAL))
        fault = on_first_rank(self._ranks, lambda: _fault(self._look_for_room)) or self._write(engine, step, partial)
        if fault:
            on_first_rank(self._ranks, lambda: self._give_up(partial, step, fault, last=last))

    @contextmanager
    def readable(self, saved: Saved | None) -> Iterator[Path]:
        """The folder to load ``saved`` from; where it is partitioned for other ranks, a converted copy, for this while.

        Raises:
            RunError: it cannot be converted.
        """
        if saved is None or saved.placement.fits(self.placement):
            yield self.folder
            return
        if not saved.placement.converts_to(self.placement):
            stage = saved.placement.zero_stage
            raise RunError(
                f"checkpoint {saved.tag} was saved with runtime.zero_stage={stage} and cannot be read with"
                f" {self.placement.zero_stage}: only 1 and 2 convert into each other; go on with {stage}, on any ranks"
            )
        copy = on_first_rank(self._ranks, lambda: self._fresh(_UNIVERSAL))
        on_first_rank(self._ranks, self._sweep)
        try:
            convert_checkpoint(self.folder / saved.tag, copy / saved.tag, self._ranks)
            yield copy
        finally:
            if self._ranks.first:
                shutil.rmtree(copy, ignore_errors=True)

    def _damage(self, tag: str, record: dict[str, Any] | None) -> str | None:
        if record is None:
            return f"{_COMPLETE} is missing or damaged"
        names = sorted(record["files"])[self._ranks.rank :: self._ranks.world]
        own = next((name for name in names if _seal(self.folder / tag / name) != record["files"][name]), None)
        faulty = [name for name in gather_over_ranks(own) if name]
        return f"{faulty[0]} is not what was written" if faulty else None

    def _fresh(self, kind: str) -> Path:
        return self.folder / f"{kind}{secrets.token_hex(4)}"

    def _sweep(self) -> None:
        for left in (path for kind in (_PARTIAL, _UNIVERSAL) for path in self.folder.glob(f"{kind}*")):
            shutil.rmtree(left, ignore_errors=True)

    def _look_for_room(self) -> None:
        self._sweep()
        sizes = [
            sum(file.stat().st_size for file in p.rglob("*") if file.is_file()) for p in self.folder.glob("step-*")
        ]
        free = shutil.disk_usage(self.folder).free
        needed = int(max(sizes, default=0) * _SPARE)
        if needed > free:
            raise OSError(errno.ENOSPC, f"it needs {needed / 2**30:.1f} GiB and finds {free / 2**30:.1f} GiB")

    def _write(self, engine: Engine, step: int, partial: Path) -> str | None:
        """Write, seal and name the checkpoint; on all ranks the fault of the first that could not."""
        fault = engine.save(self.folder, partial.name, {"step": step})
        sealed: dict[str, list[Any]] = {}
        fault = fault or _fault(lambda: sealed.update(self._seal(partial)))
        parts = gather_over_ranks((fault, sealed))
        files = {name: seal for _, part in parts for name, seal in part.items()}
        fault = next((f"rank {rank}: {found}" for rank, (found, _) in enumerate(parts) if found), None)
        return fault or on_first_rank(self._ranks, lambda: _fault(lambda: self._commit(partial, step, files)))

    def _give_up(self, partial: Path, step: int, fault: str, *, last: bool) -> None:
        shutil.rmtree(partial, ignore_errors=True)
        text = f"the checkpoint of step {step} cannot be written ({fault})"
        if last:
            raise RunError(f"{text}; make room in {self.folder} and start the same command again")
        _log.warning("%s: the training goes on and the one before stays; make room in %s", text, self.folder)

    def _seal(self, partial: Path) -> dict[str, list[Any]]:
        """Bring the files that this rank wrote to the disk, and tell their sizes and checksums."""
        sealed = {}
        for path in sorted(partial.rglob("*")):
            if path.is_file() and _writer(path.name) == self._ranks.rank:
                _flush(path)
                seal = _seal(path)
                if seal is None:
                    raise OSError(errno.EIO, "what was written cannot be read back")
                sealed[path.relative_to(partial).as_posix()] = seal
        return sealed

    def _commit(self, partial: Path, step: int, files: dict[str, list[Any]]) -> None:
        tag = f"step-{step:07d}"
        where = {"zero_stage": self.placement.zero_stage, "world": self.placement.world}
        atomic_text(partial / _COMPLETE, json.dumps({"step": step, **where, "files": files}, indent=1))
        _flush(partial)
        shutil.rmtree(self.folder / tag, ignore_errors=True)  # a damaged one that was skipped
        partial.rename(self.folder / tag)
        _flush(self.folder)
        atomic_text(self.folder / "latest.json", json.dumps({"tag": tag, **where}))
        for old in sorted(path for path in self.folder.glob("step-*") if path.name <= tag)[: -self._keep]:
            try:
                shutil.rmtree(old)
            except OSError as error:  # somebody reads it on a network disk; the next checkpoint tries again
                _log.warning("the old checkpoint %s stays for now (%s)", old.name, error.strerror)


def _fault(action: Callable[[], None]) -> str | None:
    """Why ``action`` failed on the disk; None where it did not."""
    try:
        action()
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((folder / _COMPLETE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and {"step", "zero_stage", "world", "files"} <= record.keys() else None


def _writer(name: str) -> int:
    """The rank that wrote a file of DeepSpeed: ZeRO's parts carry it in their names, rank 0 wrote the rest."""
    part = name.partition("zero_pp_rank_")[2].partition("_")[0]
    return int(part) if part.isdigit() else 0


def _seal(path: Path) -> list[Any] | None:
    try:
        with path.open("rb") as file:
            return [os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()]
    except OSError:
        return None


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
