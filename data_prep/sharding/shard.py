"""Private folder → public folder: plan, write the shards that are not there yet, then publish the whole.

Running the same command again finishes what was interrupted; finished shards are not touched.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pyarrow.compute as pc

from data_prep import settings
from data_prep.errors import ShardFormatError
from data_prep.planning.earlier_films import EarlierFilms
from data_prep.planning.folder_identity import check_identity, read_unfinished
from data_prep.planning.known_failures import History
from data_prep.planning.plan_inputs import ShardInputs, read_inputs
from data_prep.planning.settings import ShardSettings
from data_prep.planning.splits import UNNAMED_BEFORE
from data_prep.runtime.worker_pool import process_count
from data_prep.shard_format.appended_folders import GENERATIONS
from data_prep.shard_format.dataset_card import DatasetCard
from data_prep.sharding.estimate import DryRun, estimate, free_bytes, planned_files
from data_prep.sharding.public_folder import claimed, writable
from data_prep.sharding.run import Run

S = TypeVar("S", bound=ShardSettings)
_log = logging.getLogger(__name__)

_ALL_TRIED = History()
"""No file is known to fail."""


def shard(
    private: Path,
    public: Path,
    settings: ShardSettings,
    earlier: EarlierFilms | None = None,
    not_tried: History = _ALL_TRIED,
) -> DatasetCard:
    """Write the shards of the private folder ``private`` into ``public``.

    Args:
        private: folder of the scan.
        public: folder of the shards.
        settings: of the shards.
        earlier: films of generations that these shards come after, see :mod:`data_prep.sharding.append`.
        not_tried: files that a new folder begins without; one that is there has its own.

    Returns:
        The card of the complete folder.

    Raises:
        ArchiveError: no private folder, a folder inside the other, or files that could not be had this time.
        SettingsError: the table of splits is missing or wrong.
        ShardFormatError: ``public`` was begun with other settings, another secret or another format version, or cannot
            be written, or has too little room.
    """
    inputs = _inputs(private, public, settings, earlier)
    with _writing(public, inputs):
        return Run(inputs, public, _history(public, inputs, not_tried)).finish()


def shard_part(
    private: Path,
    public: Path,
    settings: ShardSettings,
    earlier: EarlierFilms | None = None,
    not_tried: History = _ALL_TRIED,
) -> int:
    """Write ``runtime.part`` of the shards and publish nothing; other parts, also the same one, may run meanwhile.

    Args:
        private, public, settings, earlier, not_tried: as for :func:`shard`.

    Returns:
        How many shards were written.

    Raises:
        As :func:`shard`.
    """
    inputs = _inputs(private, public, settings, earlier)
    with _writing(public, inputs, shared=True):
        return Run(inputs, public, _history(public, inputs, not_tried)).finish_part()


def _inputs(private: Path, public: Path, settings: ShardSettings, earlier: EarlierFilms | None = None) -> ShardInputs:
    """As :func:`read_inputs`; shows how many patients the table of splits does not name."""
    inputs = read_inputs(private, public, settings, earlier)
    if inputs.given and (unnamed := inputs.unnamed_patients()):
        result = "they train" if inputs.settings.splits.unnamed == "train" else "their splits are drawn"
        _log.info("splits.table does not name %d of the patients: %s (splits.unnamed)", unnamed, result)
    return inputs


def _history(public: Path, inputs: ShardInputs, not_tried: History) -> History:
    """What earlier runs of the same plan have learnt; ``not_tried`` where there are none."""
    _, history = read_unfinished(public)
    if history.plan_sha256 == inputs.plan.sha256:
        return history
    if any(public.glob(GENERATIONS)):
        raise ShardFormatError(
            f"{public} has further generations, which follow what was scanned then; the archive has changed since:"
            " python -m data_prep append PRIVATE --out PUBLIC takes what is new"
        )
    if history.plan_sha256:
        _log.warning(
            "the scan has changed since these shards were begun: those that now differ are replaced; append leaves them"
        )
    return replace(not_tried, plan_sha256=inputs.plan.sha256)  # what was known is of other rows


def dry_run(private: Path, public: Path, settings: ShardSettings) -> DryRun:
    """What :func:`shard` would do; decodes and encodes a few films to tell how long and how much. Writes nothing.

    Raises:
        As :func:`shard`, but for a lack of room.
    """
    inputs = _inputs(private, public, settings)
    if public.is_dir() and any(public.iterdir()):
        check_identity(public, inputs.identity)
    run = Run(inputs, public, _ALL_TRIED)
    todo = run.todo(run.finished())
    return DryRun(
        files=inputs.manifest.num_rows,
        reasons={one["values"]: one["counts"] for one in pc.value_counts(inputs.plan.rejects["reason"]).to_pylist()},
        planned=planned_files(inputs.plan.shards),
        shards_done=len(inputs.plan.shards) - len(todo),
        estimate=estimate(inputs, todo),
        workers=process_count(settings.runtime.workers, max(1, len(todo))),
        free=free_bytes(public),
    )


def settings_of(public: Path, overrides: Sequence[str], model: type[S]) -> S:
    """The settings with which ``public`` was made, to append; ``runtime`` and ``splits.table`` are not kept.

    Args:
        public: folder of the shards.
        overrides: ``key=value``, applied to these settings.
        model: their type.

    Raises:
        ShardFormatError: it is no public folder.
        SettingsError: an override is wrong.
    """
    config, _ = read_unfinished(public)
    splits = config.get("splits", {})
    if splits.get("table") and not any(word.startswith("splits.table=") for word in overrides):
        raise ShardFormatError(
            f"{public} was made with a table of splits; give it again: splits.table=FILE, or splits.table=auto for"
            " the one in the private folder"
        )
    base = config | {"splits": {"unnamed": UNNAMED_BEFORE} | splits}
    return settings.load(model, None, overrides, base=base)


@contextmanager
def _writing(public: Path, inputs: ShardInputs, *, shared: bool = False) -> Iterator[None]:
    with writable(public), claimed(public, inputs.identity, shared=shared):
        yield
