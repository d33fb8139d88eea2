"""Write and read the checkpoints of a run: complete or absent, the newest few kept, damaged ones skipped.

checkpoints/
  step-0000500/     files of DeepSpeed, and complete.json: step, ZeRO stage, ranks, bytes and SHA-256 of all files, seal
  latest.json       name of the newest
  .partial-…/       a checkpoint whose writing was interrupted; the next one removes it
  .universal-…/     a copy converted for another number of ranks, while it is loaded

Names of the last two are never reused: on a network disk another host may still cache the earlier folder of a name, and
an earlier process of the run may still write to it.

Loading a checkpoint can run code that it holds: without a seal of the user none is loaded, see ``checkpoint_seal.py``.
"""

import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.bounded_reading import open_regular, read_json
from data_prep.runtime.atomic_write import atomic_text, sync_folder, sync_path
from mae_rad.errors import RunError
from mae_rad.training.checkpoint_seal import has_valid_seal, sealed, secret_path
from mae_rad.training.deepspeed_engine import Engine, Ranks, gather_over_ranks, on_first_rank
from mae_rad.training.universal_checkpoint import convert_checkpoint

_COMPLETE = "complete.json"
_PARTIAL = ".partial-"
_UNIVERSAL = ".universal-"
_SIZE_FACTOR = 1.05
"""Free space required for a checkpoint, relative to the largest existing one."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Placement:
    """ZeRO stage and number of ranks that a checkpoint is partitioned for."""

    zero_stage: int
    world: int

    def fits(self, other: "Placement") -> bool:
        """Whether it loads without conversion under ``other``; stage 0 writes one file for any number of ranks."""
        return self.zero_stage == other.zero_stage and (self.zero_stage == 0 or self.world == other.world)

    def converts_to(self, other: "Placement") -> bool:
        """Whether DeepSpeed can convert it for ``other``."""
        return {self.zero_stage, other.zero_stage} in ({1}, {2}, {1, 2}, {3})


@dataclass(frozen=True)
class Saved:
    """A complete checkpoint: name of its folder, optimiser steps taken, partition."""

    tag: str
    step: int
    placement: Placement


class Checkpoints:
    """The checkpoints of one run folder; every method is a collective call."""

    def __init__(self, folder: Path, ranks: Ranks, zero_stage: int, keep: int, *, trusted: bool = False) -> None:
        self.folder = folder
        self.placement = Placement(zero_stage, ranks.world)
        self._ranks, self._keep, self._trusted = ranks, keep, trusted

    def newest(self) -> Saved | None:
        """Return the newest undamaged checkpoint, or None where none was written yet.

        Raises:
            RunError: all checkpoints are damaged, or the newest undamaged one bears no seal of this user.
        """
        tags = on_first_rank(self._ranks, lambda: sorted((p.name for p in self.folder.glob("step-*")), reverse=True))
        for tag in tags:
            record = on_first_rank(self._ranks, lambda tag=tag: read_record(self.folder / tag))  # type: ignore[misc]
            fault = self._find_damage(tag, record)
            if record is not None and fault is None:
                on_first_rank(self._ranks, lambda record=record: check_seal(self.folder, record, self._trusted))  # type: ignore[misc]
                return Saved(tag, int(record["step"]), Placement(int(record["zero_stage"]), int(record["world"])))
            if self._ranks.first:
                _log.warning("checkpoint %s is damaged (%s): the previous one is used", tag, fault)
        if tags:
            raise RunError(f"every checkpoint in {self.folder} is damaged. Give a new runtime.run_dir to start again.")
        return None

    def save(self, engine: Engine, step: int, *, last: bool = False) -> None:
        """Write a checkpoint, then delete all but the newest ones.

        If it cannot be written, training continues and the previous one is kept, unless ``last`` is set.

        Args:
            engine: model and optimiser to save.
            step: optimiser steps taken.
            last: training ends after this checkpoint.

        Raises:
            RunError: the last checkpoint cannot be written.
        """
        partial = on_first_rank(self._ranks, lambda: self._new_path(_PARTIAL))
        fault = on_first_rank(self._ranks, lambda: _fault(self._check_free_space)) or self._write(engine, step, partial)
        if fault:
            on_first_rank(self._ranks, lambda: self._report_failure(partial, step, fault, last=last))

    @contextmanager
    def loadable_folder(self, saved: Saved | None) -> Iterator[Path]:
        """Yield the folder to load a checkpoint from: a temporary converted copy if it is partitioned for other ranks.

        Args:
            saved: checkpoint to load, or None.

        Raises:
            RunError: it cannot be converted.
        """
        if saved is None or saved.placement.fits(self.placement):
            yield self.folder
            return
        if not saved.placement.converts_to(self.placement):
            stage = saved.placement.zero_stage
            raise RunError(
                f"checkpoint {saved.tag} was saved with runtime.zero_stage={stage} and cannot be loaded with"
                f" {self.placement.zero_stage}: only 1 and 2 convert into each other. Set runtime.zero_stage={stage};"
                " the number of ranks may change."
            )
        copy = on_first_rank(self._ranks, lambda: self._new_path(_UNIVERSAL))
        on_first_rank(self._ranks, self._remove_leftovers)
        try:
            convert_checkpoint(self.folder / saved.tag, copy / saved.tag, self._ranks)
            yield copy
        finally:
            if self._ranks.first:
                shutil.rmtree(copy, ignore_errors=True)

    def _find_damage(self, tag: str, record: dict[str, Any] | None) -> str | None:
        if record is None:
            return f"{_COMPLETE} is missing or damaged"
        folder = self.folder / tag
        present = on_first_rank(self._ranks, lambda: _file_names(folder))
        if present != set(record["files"]):
            return "it does not hold the files that it was written with"
        names = sorted(record["files"])[self._ranks.rank :: self._ranks.world]
        damaged = next((name for name in names if _size_and_hash(folder / name) != record["files"][name]), None)
        faulty = [name for name in gather_over_ranks(damaged) if name]
        return f"{faulty[0]} has changed since it was written" if faulty else None

    def _new_path(self, kind: str) -> Path:
        return self.folder / f"{kind}{secrets.token_hex(4)}"

    def _remove_leftovers(self) -> None:
        for leftover in (path for kind in (_PARTIAL, _UNIVERSAL) for path in self.folder.glob(f"{kind}*")):
            shutil.rmtree(leftover, ignore_errors=True)

    def _check_free_space(self) -> None:
        self._remove_leftovers()
        sizes = [
            sum(file.stat().st_size for file in p.rglob("*") if file.is_file()) for p in self.folder.glob("step-*")
        ]
        free = shutil.disk_usage(self.folder).free
        needed = int(max(sizes, default=0) * _SIZE_FACTOR)
        if needed > free:
            raise OSError(errno.ENOSPC, f"it needs {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free")

    def _write(self, engine: Engine, step: int, partial: Path) -> str | None:
        """Write, hash and rename a checkpoint; returns the first error of any rank, on all ranks."""
        fault = engine.save(self.folder, partial.name, {"step": step})
        hashes: dict[str, list[Any]] = {}
        fault = fault or _fault(lambda: hashes.update(self._flush_and_hash(partial)))
        parts = gather_over_ranks((fault, hashes))
        files = {name: entry for _, part in parts for name, entry in part.items()}
        fault = next((f"rank {rank}: {reason}" for rank, (reason, _) in enumerate(parts) if reason), None)
        return fault or on_first_rank(self._ranks, lambda: _fault(lambda: self._commit(partial, step, files)))

    def _report_failure(self, partial: Path, step: int, fault: str, *, last: bool) -> None:
        shutil.rmtree(partial, ignore_errors=True)
        text = f"the checkpoint of step {step} cannot be written ({fault})"
        if last:
            raise RunError(f"{text}. Free disk space in {self.folder} and run the same command again.")
        _log.warning("%s: training continues, and the previous one is kept. Free disk space in %s.", text, self.folder)

    def _flush_and_hash(self, partial: Path) -> dict[str, list[Any]]:
        """Flush the files that this rank wrote to disk; returns name → [bytes, SHA-256]."""
        hashes = {}
        for path in sorted(partial.rglob("*")):
            if path.is_file() and _writer(path.name) == self._ranks.rank:
                sync_path(path)
                entry = _size_and_hash(path)
                if entry is None:
                    raise OSError(errno.EIO, "a written file cannot be read back")
                hashes[path.relative_to(partial).as_posix()] = entry
        return hashes

    def _commit(self, partial: Path, step: int, files: dict[str, list[Any]]) -> None:
        tag = f"step-{step:07d}"
        where = {"zero_stage": self.placement.zero_stage, "world": self.placement.world}
        record = sealed({"step": step, **where, "files": files})
        atomic_text(partial / _COMPLETE, json.dumps(record, indent=1))
        sync_folder(partial)
        shutil.rmtree(self.folder / tag, ignore_errors=True)  # a damaged checkpoint that was skipped
        partial.rename(self.folder / tag)
        sync_folder(self.folder)
        atomic_text(self.folder / "latest.json", json.dumps({"tag": tag, **where}))
        for old in sorted(path for path in self.folder.glob("step-*") if path.name <= tag)[: -self._keep]:
            try:
                shutil.rmtree(old)
            except OSError as error:  # another process reads it on a network disk; the next checkpoint tries again
                _log.warning("the old checkpoint %s cannot be deleted yet (%s)", old.name, error.strerror)


def _fault(action: Callable[[], None]) -> str | None:
    """Run ``action`` and return the text of an OSError; None without one."""
    try:
        action()
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


def read_record(folder: Path) -> dict[str, Any] | None:
    """Read the record of a checkpoint; None where it is missing or damaged.

    Args:
        folder: of the checkpoint.
    """
    try:
        record = read_json(folder / _COMPLETE)
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or not {"step", "zero_stage", "world", "files"} <= record.keys():
        return None
    return record if isinstance(record["files"], dict) else None


def check_seal(checkpoints: Path, record: Mapping[str, Any], trusted: bool) -> None:
    """Refuse to load a checkpoint that bears no seal of this user.

    Args:
        checkpoints: folder of the checkpoints of a run, for the message.
        record: of the checkpoint.
        trusted: the user trusts the run.

    Raises:
        RunError: it bears none.
    """
    if not trusted and not has_valid_seal(record):
        raise RunError(
            f"the newest checkpoint in {checkpoints} bears no seal of yours: another user or an earlier release"
            f" wrote it, or your secret is another one ({secret_path()}). Loading it runs code that it may hold. If you"
            " trust whoever wrote this folder, add runtime.trust_run=true once; what is written then is sealed."
        )


def find_change(folder: Path, record: Mapping[str, Any]) -> str | None:
    """Name a file of a checkpoint that is not as recorded; None if all are.

    Args:
        folder: of the checkpoint.
        record: of the checkpoint.
    """
    if _file_names(folder) != set(record["files"]):
        return "it does not hold the files that it was written with"
    changed = next((n for n, entry in sorted(record["files"].items()) if _size_and_hash(folder / n) != entry), None)
    return f"{changed} has changed since it was written" if changed else None


def _file_names(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if (path.is_symlink() or not path.is_dir()) and path != folder / _COMPLETE
    }


def _writer(name: str) -> int:
    """The rank that wrote a file of DeepSpeed: names of ZeRO's parts contain it, rank 0 writes the others."""
    part = name.partition("zero_pp_rank_")[2].partition("_")[0]
    return int(part) if part.isdigit() else 0


def _size_and_hash(path: Path) -> list[Any] | None:
    try:
        if path.is_symlink():
            return None
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
            return [os.fstat(file.fileno()).st_size, digest.hexdigest()]
    except OSError:
        return None
