"""An archive that has grown → a further generation of shards inside the folder of the first.

What is there stays as it is to the byte. The new generation is a shard folder like any other, hidden until it is
complete; films of earlier generations are told by their keys and counted as dropped, and patients keep their split.
"""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.errors import Reason, ShardFormatError
from data_prep.planning.earlier_films import EarlierFilms
from data_prep.planning.folder_identity import FOLDER_FILES, check_config, folder_record, is_public, read_unfinished
from data_prep.planning.known_failures import History
from data_prep.planning.plan_inputs import ShardInputs, read_inputs
from data_prep.planning.settings import ShardSettings
from data_prep.planning.splits import chosen_splits
from data_prep.runtime.atomic_write import sync_folder
from data_prep.shard_format.appended_folders import GENERATIONS, generation_folders, generation_name
from data_prep.shard_format.dataset_card import DatasetCard, read_dataset_card
from data_prep.sharding.public_folder import held, is_whole, writable
from data_prep.sharding.shard import shard, shard_part

_log = logging.getLogger(__name__)


def append(
    private: Path, public: Path, settings: ShardSettings, reasons: Collection[Reason] = ()
) -> DatasetCard | None:
    """Write the films of ``private`` that no generation of ``public`` holds; without such films nothing is added.

    Files that were refused are tried again. The same command finishes what was interrupted. Damaged shards of a
    generation, which ``verify`` has found, are written anew where ``private`` is still the scan that they came from.

    Args:
        private: folder of a scan of the archive as it is now, or of what has come since, made with the same secret.
        public: complete folder of shards.
        settings: those of ``public``, see ``settings_of``; ``runtime`` and the table of splits, which may have
            grown, are free.
        reasons: try only the files that the last generation refused for one of these while it was sharded; with none,
            all.

    Returns:
        The card of the new generation, or of the files that were tried if none is a new film; None if none was tried.

    Raises:
        ShardFormatError: ``public`` is not complete, is in use, or was made with another secret or settings; or no file
            was refused for ``reasons``, or ``private`` is another scan than the last generation came from.
        SettingsError: patients would change their split.
        As :func:`data_prep.sharding.shard.shard` otherwise.
    """
    read_dataset_card(public)  # refuses a folder that is none, before it is held
    with writable(public), held(public):
        settings = _with_splits(private, public, settings)
        _mend(private, public, settings)
        coming = _next(private, public, settings, reasons)
        if coming is None:
            return None
        _remove_stale(coming)
        card = shard(private, coming.hidden, settings, coming.earlier, coming.not_tried)
        if not card.files.written:
            _remove(coming.hidden)
            return card
        _tell_twins(coming)
        coming.hidden.rename(coming.path)
        sync_folder(public)
        return card


def append_part(private: Path, public: Path, settings: ShardSettings, reasons: Collection[Reason] = ()) -> int:
    """Write ``runtime.part`` of what :func:`append` would; ``append`` without it, after all parts, publishes.

    Args:
        private, public, settings, reasons: as for :func:`append`.

    Returns:
        How many shards were written.

    Raises:
        As :func:`append`.
    """
    read_dataset_card(public)
    with writable(public), held(public, shared=True):
        settings = _with_splits(private, public, settings)
        coming = _next(private, public, settings, reasons)
        if coming is None:
            return 0
        return shard_part(private, coming.hidden, settings, coming.earlier, coming.not_tried)


class _Next(NamedTuple):
    """The generation that is to be written: in ``hidden``, then moved to ``path``."""

    hidden: Path
    path: Path
    earlier: EarlierFilms
    not_tried: History


def _with_splits(private: Path, public: Path, settings: ShardSettings) -> ShardSettings:
    """With the table of splits that holds for the first generation, and so for all."""
    return settings.model_copy(update={"splits": chosen_splits(private, public, settings.splits)})


def _next(private: Path, public: Path, settings: ShardSettings, reasons: Collection[Reason]) -> _Next | None:
    """None where no file is to be tried."""
    generations = generation_folders(public)
    earlier = EarlierFilms.read(generations)
    inputs = read_inputs(private, public, settings, earlier)
    check_config(public, inputs.identity)
    name = generation_name(len(generations))
    not_tried = _refused_otherwise(private, generations, settings, inputs, reasons) if reasons else History()
    coming = _Next(public / f".{name}", public / name, earlier, not_tried)
    return coming if coming.hidden.exists() or inputs.plan.shards else None


def _refused_otherwise(
    private: Path,
    generations: Sequence[Path],
    settings: ShardSettings,
    inputs: ShardInputs,
    reasons: Collection[Reason],
) -> History:
    """The planned files that the last generation refused for none of ``reasons``, while it was sharded.

    Raises:
        ShardFormatError: none was refused for one of them, or ``private`` is another scan: its rows are other files.
    """
    *before, last = generations
    _, history = read_unfinished(last)
    earlier = EarlierFilms.read(before) if before else None
    if read_inputs(private, last, settings, earlier).plan.sha256 != history.plan_sha256:
        raise ShardFormatError(
            f"{private} is another scan than the one that {last} came from, so the files that were refused there are"
            " not known by name; append without --reason tries all that no generation holds"
        )
    rejects = pq.read_table(last / "rejects.parquet")
    reason_of = dict(zip(rejects["row"].to_pylist(), map(Reason, rejects["reason"].to_pylist()), strict=True))
    rows = [int(row) for one in inputs.plan.shards for row in one.rows]
    keys = dict(zip(rows, inputs.plan.files(inputs.manifest)["key"].to_pylist(), strict=True))
    refused = {row: reason_of[row] for row in rows if row in reason_of}
    tried = {keys[row] for row, reason in refused.items() if reason in reasons}  # files of one key go together
    if not tried:
        raise ShardFormatError(
            f"no file of {last} was refused for {', '.join(sorted(reasons))} while it was sharded (reasons there:"
            f" {', '.join(sorted(set(refused.values()))) or 'none'}); what the scan refused needs another scan"
        )
    others = {row: reason for row, reason in refused.items() if keys[row] not in tried}
    return History(quarantined=others, reasons=tuple(sorted(reasons)))


def _mend(private: Path, public: Path, settings: ShardSettings) -> None:
    """Write the damaged shards of further generations anew.

    Raises:
        ShardFormatError: ``private`` is no longer the scan that a damaged generation came from.
        As :func:`append`.
    """
    folders = [public, *sorted(public.glob(GENERATIONS))]
    for number, folder in enumerate(folders[1:], 1):
        if is_whole(folder):
            continue
        earlier = EarlierFilms.read(folders[:number])
        _, history = read_unfinished(folder)
        if read_inputs(private, folder, settings, earlier).plan.sha256 != history.plan_sha256:
            raise ShardFormatError(
                f"shards of {folder} are damaged, and {private} is another scan than that which they came from; give"
                " that one, or remove this generation and all after it and append again"
            )
        shard(private, folder, settings, earlier)


def _remove_stale(coming: _Next) -> None:
    """Remove what was begun after other shards, or limited to other reasons; what can be gone on with stays."""
    if not is_public(coming.hidden):
        return
    begun = folder_record(coming.hidden)
    if begun is None or begun.after != coming.earlier.dataset_sha256:
        _log.warning("the shards have changed since an interrupted append, which begins again")
        _remove(coming.hidden)
    elif begun.history.plan_sha256 and begun.history.reasons != coming.not_tried.reasons:
        _log.warning("an interrupted append had other values of --reason; it begins again")
        _remove(coming.hidden)


def _tell_twins(coming: _Next) -> None:
    pixels = pq.read_table(coming.hidden / "index.parquet", columns=["pixel_sha256"])["pixel_sha256"]
    again = pc.sum(pc.is_in(pixels, coming.earlier.index["pixel_sha256"].combine_chunks())).as_py()
    if again:
        _log.warning(
            "%d of the new films have the pixels of an earlier one, under another identifier: training on"
            " same_pixels_as: null takes one of each",
            again,
        )


def _remove(folder: Path) -> None:
    """Remove a generation; what says how it was begun goes last, so that an interruption can be gone on with."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name in FOLDER_FILES):
        path.unlink()
    folder.rmdir()
