"""The shard command, private folder → public folder: plan, write the missing shards, then publish.

The same command continues after an interruption; finished shards are not changed.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.compute as pc

from data_prep import settings
from data_prep.errors import SettingsError, ShardFormatError
from data_prep.planning.films_already_sharded import EarlierFilms
from data_prep.planning.folder_identity import check_identity, read_unfinished
from data_prep.planning.known_failures import KnownFailures
from data_prep.planning.plan_inputs import ShardInputs, read_inputs
from data_prep.planning.settings import ShardSettings
from data_prep.planning.splits import FORMER_UNNAMED
from data_prep.runtime.worker_pool import process_count
from data_prep.shard_format.appended_folders import GENERATIONS
from data_prep.shard_format.dataset_card import DatasetCard, read_dataset_card
from data_prep.sharding.estimate import DryRun, estimate, free_bytes, planned_files
from data_prep.sharding.public_folder import folder_writer, translate_write_errors
from data_prep.sharding.run import Run

S = TypeVar("S", bound=ShardSettings)
_log = logging.getLogger(__name__)

_NO_FAILURES = KnownFailures()
"""No file is known to fail."""


def shard(
    private: Path,
    public: Path,
    settings: ShardSettings,
    earlier: EarlierFilms | None = None,
    not_tried: KnownFailures = _NO_FAILURES,
) -> DatasetCard:
    """Write the shards of the private folder ``private`` into ``public``.

    Args:
        private: folder of the scan.
        public: folder of the shards.
        settings: of the shards.
        earlier: films of earlier generations, see :mod:`data_prep.sharding.append`; None for the first generation.
        not_tried: files that are not tried in a new folder; an existing folder has its own record.

    Returns:
        The card of the complete folder.

    Raises:
        ArchiveError: ``private`` is no private folder, one folder contains the other, or files could not be read.
        SettingsError: the table of splits is missing or wrong.
        ShardFormatError: ``public`` was begun with other settings, another secret or another format version, or cannot
            be written, or has too little free disk space.
    """
    inputs = _read_inputs(private, public, settings, earlier)
    with _write_access(public, inputs):
        return Run(inputs, public, _known_failures(public, inputs, not_tried)).finish()


def shard_part(
    private: Path,
    public: Path,
    settings: ShardSettings,
    earlier: EarlierFilms | None = None,
    not_tried: KnownFailures = _NO_FAILURES,
) -> int:
    """Write ``runtime.part`` of the shards and do not publish; other parts, also the same, may run at the same time.

    Args:
        private, public, settings, earlier, not_tried: as for :func:`shard`.

    Returns:
        Number of shards that were written.

    Raises:
        As :func:`shard`.
    """
    inputs = _read_inputs(private, public, settings, earlier)
    with _write_access(public, inputs, shared=True):
        return Run(inputs, public, _known_failures(public, inputs, not_tried)).finish_part()


def _has_removed_patients(public: Path) -> bool:
    try:
        return bool(read_dataset_card(public).removed)
    except ShardFormatError:  # not there yet, or damaged and written again
        return False


def _read_inputs(
    private: Path, public: Path, settings: ShardSettings, earlier: EarlierFilms | None = None
) -> ShardInputs:
    """As :func:`read_inputs`; also logs how many patients the table of splits does not name."""
    if earlier is None and _has_removed_patients(public):
        raise SettingsError(
            f"{public} is complete, and films of patients were removed from it: their shards cannot be written again."
            " Take damaged shards from a copy, and new films with append"
        )
    inputs = read_inputs(private, public, settings, earlier)
    if inputs.given and (unnamed := inputs.unnamed_patients()):
        result = "they train" if inputs.settings.splits.unnamed == "train" else "their splits are drawn"
        _log.info("splits.table does not name %d of the patients: %s (splits.unnamed)", unnamed, result)
    _warn_of_empty_parts(inputs)
    return inputs


def _warn_of_empty_parts(inputs: ShardInputs) -> None:
    """Say before anything is written that a part which is asked for has no patient."""
    planned, splits = {shard.split for shard in inputs.plan.shards}, inputs.settings.splits
    kept = inputs.kept
    wanted = {"train": 1.0} if inputs.given else {"train": 1.0, "val": splits.val, "test": splits.test}
    empty = [split for split, fraction in wanted.items() if fraction > 0 and split not in planned]
    if planned and empty and inputs.identity["after"] is None:
        _log.warning(
            "%s will be empty: too few patients, or all films of one. Give a table as splits.table, or larger fractions"
            " as splits.val and splits.test",
            " and ".join(empty),
        )
    if kept and (untested := kept.untested()) and inputs.identity["after"] is None:
        _log.warning(
            "%d values of splits.stratify have no test patient: %s. Nothing can be said of them; give a larger"
            " splits.test, or join them in a table, in a column of another name",
            len(untested),
            ", ".join(untested),
        )
    if kept and kept.late:
        _log.warning("%d patients with films that are held out keep an earlier split, and may train", kept.late)
    if kept and kept.held_out:
        _log.warning(
            "%d studies without a patient number are held out: they are in test, and nothing is scored on them",
            len(kept.held_out),
        )


def _known_failures(public: Path, inputs: ShardInputs, not_tried: KnownFailures) -> KnownFailures:
    """The failures that earlier runs of the same plan recorded; ``not_tried`` where there were none."""
    _, failures = read_unfinished(public)
    if failures.plan_sha256 == inputs.plan.sha256:
        return failures
    if any(public.glob(GENERATIONS)):
        raise ShardFormatError(
            f"{public} has further generations, and the archive has changed since its first one was sharded. Add the"
            " new films with: mae-rad append PRIVATE --out PUBLIC"
        )
    if failures.plan_sha256:
        _log.warning(
            "the scan has changed since these shards were begun: those that now differ are replaced; append keeps them"
        )
    return replace(not_tried, plan_sha256=inputs.plan.sha256)  # the recorded rows are of another manifest


def dry_run(private: Path, public: Path, settings: ShardSettings) -> DryRun:
    """Plan what :func:`shard` would do and estimate its space and time from a few films; writes nothing.

    Args:
        private, public, settings: as for :func:`shard`.

    Raises:
        As :func:`shard`, except for too little free disk space.
    """
    inputs = _read_inputs(private, public, settings)
    if public.is_dir() and any(public.iterdir()):
        check_identity(public, inputs.identity)
    run = Run(inputs, public, _NO_FAILURES)
    missing = run.missing(run.read_cards())
    return DryRun(
        files=inputs.manifest.num_rows,
        reasons={row["values"]: row["counts"] for row in pc.value_counts(inputs.plan.rejects["reason"]).to_pylist()},
        planned=planned_files(inputs.plan.shards),
        shards_done=len(inputs.plan.shards) - len(missing),
        estimate=estimate(inputs, missing),
        workers=process_count(settings.runtime.workers, max(1, len(missing))),
        free=free_bytes(public),
    )


def load_recorded_settings(public: Path, overrides: Sequence[str], model: type[S]) -> S:
    """Load the settings that a public folder records, for appending; ``runtime`` and tables are not recorded.

    Args:
        public: folder of the shards.
        overrides: ``key=value``, applied to the recorded settings.
        model: type of the settings.

    Raises:
        ShardFormatError: ``public`` is no public folder, or was made with a table of splits that is not given.
        SettingsError: an override is wrong.
    """
    config, _ = read_unfinished(public)
    splits = config.get("splits", {})
    given_again = _of_table(public, splits, overrides)
    if splits.get("table") and not any(override.startswith("splits.table=") for override in overrides):
        raise ShardFormatError(
            f"{public} was made with a table of splits. Give it again: splits.table=FILE, or splits.table=auto for"
            " the one in the private folder"
        )
    splits = {name: value for name, value in splits.items() if name != "hold_out_of_table"} | given_again
    base = config | {"splits": {"unnamed": FORMER_UNNAMED} | splits}
    return settings.load(model, None, overrides, base=base)


def _of_table(public: Path, splits: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Recorded settings of splits whose table, or value of a table, has to be given again."""
    result: dict[str, Any] = {}
    if (stratify := splits.get("stratify")) is not None:
        if stratify["table"] and not any(override.startswith("splits.stratify") for override in overrides):
            raise ShardFormatError(
                f"{public} was stratified by a column of a table. Give it again, with rows of the new patients:"
                " splits.stratify.table=FILE"
            )
        result["stratify"] = {"column": stratify["column"]}
    for column in splits.get("hold_out_of_table", {}):
        if not any(override.startswith("splits.hold_out") for override in overrides):
            raise ShardFormatError(
                f"{public} holds out a value of a table, which it does not record. Give it again:"
                f" splits.hold_out.{column}=VALUE"
            )
    return result


@contextmanager
def _write_access(public: Path, inputs: ShardInputs, *, shared: bool = False) -> Iterator[None]:
    with translate_write_errors(public), folder_writer(public, inputs.identity, shared=shared):
        if inputs.kept:
            inputs.kept.write()
        yield
