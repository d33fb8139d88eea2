"""Private folder → public folder: plan, write the shards that are not there yet, then publish the whole.

Running the same command again finishes what was interrupted; finished shards are not touched.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep import settings
from data_prep.errors import Reason, ShardFormatError
from data_prep.planning.earlier_films import EarlierFilms
from data_prep.planning.folder_identity import check_identity, is_complete, read_unfinished
from data_prep.planning.known_failures import History
from data_prep.planning.plan_inputs import ShardInputs, read_inputs
from data_prep.planning.settings import ShardSettings
from data_prep.runtime.worker_pool import process_count
from data_prep.shard_format.appended_folders import GENERATIONS
from data_prep.shard_format.dataset_card import DatasetCard
from data_prep.sharding.estimate import DryRun, estimate, free_bytes, planned_files
from data_prep.sharding.public_folder import claimed, writable
from data_prep.sharding.run import Run

S = TypeVar("S", bound=ShardSettings)
_log = logging.getLogger(__name__)


def shard(private: Path, public: Path, settings: ShardSettings, earlier: EarlierFilms | None = None) -> DatasetCard:
    """Write the shards of the private folder ``private`` into ``public``.

    Args:
        private: folder of the scan.
        public: folder of the shards.
        settings: of the shards.
        earlier: films of generations that these shards come after, see :mod:`data_prep.sharding.append`.

    Raises:
        ArchiveError: no private folder, a folder inside the other, or files that could not be had this time.
        SettingsError: the table of splits is missing or wrong.
        ShardFormatError: ``public`` was begun with other settings, another secret or another format version, or cannot
            be written, or has too little room.
    """
    inputs = read_inputs(private, public, settings, earlier)
    with _writing(public, inputs):
        return Run(inputs, public, _history(public, inputs)).finish()


def shard_part(private: Path, public: Path, settings: ShardSettings, earlier: EarlierFilms | None = None) -> int:
    """Write ``runtime.part`` of the shards and publish nothing; other parts, also the same one, may run meanwhile.

    Returns:
        How many shards were written.

    Raises:
        As :func:`shard`.
    """
    inputs = read_inputs(private, public, settings, earlier)
    with _writing(public, inputs, shared=True):
        return Run(inputs, public, _history(public, inputs)).finish_part()


def _history(public: Path, inputs: ShardInputs) -> History:
    """What earlier runs of the same plan have learnt."""
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
    return History(inputs.plan.sha256)  # of other rows, if any


def dry_run(private: Path, public: Path, settings: ShardSettings) -> DryRun:
    """What :func:`shard` would do; decodes and encodes a few films to tell how long and how much. Writes nothing.

    Raises:
        As :func:`shard`, but for a lack of room.
    """
    inputs = read_inputs(private, public, settings)
    history = History(inputs.plan.sha256)
    if public.is_dir() and any(public.iterdir()):
        check_identity(public, inputs.identity)
        _, found = read_unfinished(public)
        history = found if found.plan_sha256 == history.plan_sha256 else history
    run = Run(inputs, public, history)
    todo = run.todo(run.finished())
    return DryRun(
        files=inputs.manifest.num_rows,
        reasons={one["values"]: one["counts"] for one in pc.value_counts(inputs.plan.rejects["reason"]).to_pylist()},
        planned=planned_files(run.planned),
        shards_done=len(run.planned) - len(todo),
        estimate=estimate(inputs, todo),
        workers=process_count(settings.runtime.workers, max(1, len(todo))),
        free=free_bytes(public),
    )


def retry(private: Path, public: Path, reasons: Collection[Reason], settings: ShardSettings) -> DatasetCard:
    """Try again the files of a complete folder that became no film for one of ``reasons`` while it was sharded.

    What becomes a film this time goes into shards of its own behind the others, which are not touched. An interrupted
    retry is finished, by the same command or by :func:`shard`.

    Raises:
        ShardFormatError: the folder is not finished, no longer what ``private`` plans, or has no such files.
        As :func:`shard` otherwise.
    """
    inputs = read_inputs(private, public, settings)
    read_unfinished(public)  # refuses a folder that is none, before it is claimed
    with _writing(public, inputs):
        if any(public.glob(GENERATIONS)):
            raise ShardFormatError(
                f"{public} has further generations, which follow its shards as they are; append tries refused files"
            )
        _, before = read_unfinished(public)
        complete = is_complete(public)
        run = Run(inputs, public, before)
        earlier = [one for one in run.planned if complete or one.generation < len(before.retries)]
        if before.plan_sha256 != inputs.plan.sha256 or not {one.name for one in earlier} <= set(run.finished()):
            raise ShardFormatError(f"{public} is not finished, or not up to date; first run the shard command again")
        if complete:
            run = Run(inputs, public, before.retry(_refused(public, inputs, reasons)))
        elif not before.retries:
            raise ShardFormatError(f"{public} is not finished; first run the same shard command again")
        card = run.finish()
        if any(run.cards[one.name].films for one in run.planned if one.generation == len(run.history.retries)):
            return card
        quarantined = {**before.quarantined, **run.history.quarantined}
        kept = before.retries if complete else before.retries[:-1]
        return Run(inputs, public, replace(before, quarantined=quarantined, retries=kept)).finish()


def settings_of(public: Path, overrides: Sequence[str], model: type[S]) -> S:
    """The settings with which ``public`` was made, to retry or append; ``runtime`` and ``splits.table`` are not kept.

    Raises:
        ShardFormatError: it is no public folder.
        SettingsError: an override is wrong.
    """
    config, _ = read_unfinished(public)
    if config.get("splits", {}).get("table") and not any(word.startswith("splits.table=") for word in overrides):
        raise ShardFormatError(f"{public} was made with a table of splits; give it again: splits.table=FILE")
    return settings.load(model, None, overrides, base=config)


@contextmanager
def _writing(public: Path, inputs: ShardInputs, *, shared: bool = False) -> Iterator[None]:
    with writable(public), claimed(public, inputs.identity, shared=shared):
        yield


def _refused(public: Path, inputs: ShardInputs, reasons: Collection[Reason]) -> dict[int, Reason]:
    """Row → verdict of the files that were refused for one of ``reasons``, with others that bear the same key.

    Raises:
        ShardFormatError: there are none.
    """
    ledger = pq.read_table(public / "rejects.parquet")
    by_pixels = ledger.filter(pc.invert(pc.is_in(ledger["row"], inputs.plan.rejects["row"].combine_chunks())))
    keys = inputs.manifest["key"].take(by_pixels["row"])
    chosen = keys.filter(pc.is_in(by_pixels["reason"], pa.array([reason.value for reason in reasons])))
    if not len(chosen):
        there = ", ".join(sorted(set(by_pixels["reason"].to_pylist()))) or "none"
        raise ShardFormatError(
            f"no file of {public} was refused for {', '.join(sorted(reasons))} while it was sharded (reasons there:"
            f" {there}); what the scan refused needs another scan, then shard"
        )
    again = by_pixels.filter(pc.is_in(keys, chosen.combine_chunks()))  # a key is judged as a whole
    return {row["row"]: Reason(row["reason"]) for row in again.to_pylist()}
