"""The append command: new films of a grown archive become a generation of shards inside the folder of the first.

Existing bytes do not change. The new generation is a shard folder like any other, hidden until it is complete; films of
earlier generations are recognised by their keys and counted as dropped, and patients keep their split.
"""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.archive.manifest import read_manifest
from data_prep.errors import Reason, SettingsError, ShardFormatError
from data_prep.planning.films_already_sharded import EarlierFilms
from data_prep.planning.folder_identity import (
    FOLDER_FILES,
    check_config,
    is_complete,
    is_public,
    read_folder_record,
    read_unfinished,
)
from data_prep.planning.known_failures import KnownFailures
from data_prep.planning.plan_inputs import ShardInputs, read_inputs
from data_prep.planning.settings import ShardSettings
from data_prep.planning.splits import resolve_splits
from data_prep.runtime.atomic_write import sync_folder
from data_prep.shard_format.appended_folders import GENERATIONS, generation_folders, generation_name
from data_prep.shard_format.dataset_card import DatasetCard, read_dataset_card
from data_prep.sharding.public_folder import is_whole, locked_folder, translate_write_errors
from data_prep.sharding.shard import shard, shard_part

_log = logging.getLogger(__name__)

_MAX_COPIED_PICTURES = 2
"""New pictures that may be copies of earlier ones, however few are new."""


def append(
    private: Path, public: Path, settings: ShardSettings, reasons: Collection[Reason] = ()
) -> DatasetCard | None:
    """Write the films of ``private`` that no generation of ``public`` holds; without such films nothing is added.

    Rejected files are tried again. The same command continues after an interruption. Damaged shards of a later
    generation, which ``verify`` has found, are rewritten if ``private`` is still the scan that they came from.

    Args:
        private: folder of a scan of the archive as it is now, or of what has come since, made with the same secret.
        public: complete folder of shards.
        settings: those of ``public``, see ``load_recorded_settings``; ``runtime`` may differ, and the table of splits
            may have more rows.
        reasons: try only the files that the last generation rejected for one of these when it was sharded; empty: all.

    Returns:
        The card of the new generation, or of the files that were tried if none is a new film; None if none was tried.

    Raises:
        ShardFormatError: ``public`` is not complete, is in use, or was made with another secret or settings; or no file
            was rejected for ``reasons``, or ``private`` is another scan than the last generation came from.
        SettingsError: patients would change their split, or the pictures are there under other keys.
        As :func:`data_prep.sharding.shard.shard` otherwise.
    """
    read_dataset_card(public)  # refuses a folder without shards before it is locked
    with translate_write_errors(public), locked_folder(public):
        settings = _with_splits(private, public, settings)
        _rewrite_damaged(private, public, settings)
        generation = _next_generation(private, public, settings, reasons)
        if generation is None:
            return None
        _remove_outdated(generation)
        card = shard(private, generation.hidden, settings, generation.earlier, generation.not_tried)
        if not card.files.written:
            _remove_generation(generation.hidden)
            return card
        _check_equal_pixels(private, generation)
        generation.hidden.rename(generation.path)
        sync_folder(public)
        return card


def append_part(private: Path, public: Path, settings: ShardSettings, reasons: Collection[Reason] = ()) -> int:
    """Write ``runtime.part`` of the shards of :func:`append`; ``append`` without a part, after all parts, publishes.

    Args:
        private, public, settings, reasons: as for :func:`append`.

    Returns:
        Number of shards that were written.

    Raises:
        As :func:`append`.
    """
    read_dataset_card(public)
    with translate_write_errors(public), locked_folder(public, shared=True):
        settings = _with_splits(private, public, settings)
        generation = _next_generation(private, public, settings, reasons)
        if generation is None:
            return 0
        return shard_part(private, generation.hidden, settings, generation.earlier, generation.not_tried)


class _NextGeneration(NamedTuple):
    """The generation that is to be written: into ``hidden``, which is then renamed to ``path``."""

    hidden: Path
    path: Path
    earlier: EarlierFilms
    not_tried: KnownFailures


def _with_splits(private: Path, public: Path, settings: ShardSettings) -> ShardSettings:
    """Settings with the table of splits of the first generation, which applies to all."""
    return settings.model_copy(update={"splits": resolve_splits(private, public, settings.splits)})


def _next_generation(
    private: Path, public: Path, settings: ShardSettings, reasons: Collection[Reason]
) -> _NextGeneration | None:
    """None where no file is to be tried."""
    generations = generation_folders(public)
    earlier = EarlierFilms.read(generations, private)
    inputs = read_inputs(private, public, settings, earlier)
    check_config(public, inputs.identity)
    name = generation_name(len(generations))
    not_tried = _files_left_out(private, generations, settings, inputs, reasons) if reasons else KnownFailures()
    generation = _NextGeneration(public / f".{name}", public / name, earlier, not_tried)
    return generation if generation.hidden.exists() or inputs.plan.shards else None


def _files_left_out(
    private: Path,
    generations: Sequence[Path],
    settings: ShardSettings,
    inputs: ShardInputs,
    reasons: Collection[Reason],
) -> KnownFailures:
    """The planned files that the last generation rejected for other reasons than ``reasons`` when it was sharded.

    Raises:
        ShardFormatError: no file was rejected for ``reasons``, or ``private`` is another scan, with other rows.
    """
    *before, last = generations
    _, failures = read_unfinished(last)
    earlier = EarlierFilms.read(before, private) if before else None
    if read_inputs(private, last, settings, earlier).plan.sha256 != failures.plan_sha256:
        raise ShardFormatError(
            f"{private} is another scan than the one that {last} came from, so the files that were rejected there"
            " cannot be identified. Append without --reason to try all files that no generation holds"
        )
    rejects = pq.read_table(last / "rejects.parquet")
    reason_of = dict(zip(rejects["row"].to_pylist(), map(Reason, rejects["reason"].to_pylist()), strict=True))
    rows = [int(row) for planned in inputs.plan.shards for row in planned.rows]
    keys = dict(zip(rows, inputs.plan.files(inputs.manifest)["key"].to_pylist(), strict=True))
    rejected = {row: reason_of[row] for row in rows if row in reason_of}
    retried = {keys[row] for row, reason in rejected.items() if reason in reasons}  # files of one key go together
    if not retried:
        raise ShardFormatError(
            f"no file of {last} was rejected for {', '.join(sorted(reasons))} when it was sharded (its reasons:"
            f" {', '.join(sorted(set(rejected.values()))) or 'none'}). Files that the scan rejected need another scan"
        )
    left_out = {row: reason for row, reason in rejected.items() if keys[row] not in retried}
    return KnownFailures(quarantined=left_out, reasons=tuple(sorted(reasons)))


def _rewrite_damaged(private: Path, public: Path, settings: ShardSettings) -> None:
    """Rewrite the damaged shards of later generations.

    Raises:
        ShardFormatError: ``private`` is no longer the scan that a damaged generation came from.
        As :func:`append`.
    """
    folders = [public, *sorted(public.glob(GENERATIONS))]
    for number, folder in enumerate(folders[1:], 1):
        if is_whole(folder):
            continue
        earlier = EarlierFilms.read(folders[:number], private)
        _, failures = read_unfinished(folder)
        if read_inputs(private, folder, settings, earlier).plan.sha256 != failures.plan_sha256:
            raise ShardFormatError(
                f"shards of {folder} are damaged, and {private} is another scan than the one that they came from. Give"
                " that scan, or remove this generation and all later ones and append again"
            )
        shard(private, folder, settings, earlier)


def _remove_outdated(generation: _NextGeneration) -> None:
    """Remove an unfinished generation that follows other shards or was limited to other reasons; keep any other."""
    if not is_public(generation.hidden):
        return
    unfinished = read_folder_record(generation.hidden)
    if unfinished is None or unfinished.after != generation.earlier.dataset_sha256:
        _log.warning("the shards have changed since an interrupted append; it starts again")
        _remove_generation(generation.hidden)
    elif unfinished.failures.plan_sha256 and not _leaves_out_the_same(generation, unfinished.failures):
        _log.warning("an interrupted append had other values of --reason; it starts again")
        _remove_generation(generation.hidden)


def _leaves_out_the_same(generation: _NextGeneration, failures: KnownFailures) -> bool:
    """Whether an interrupted append was limited to the same reasons; a complete generation records only its files."""
    not_tried = generation.not_tried
    if is_complete(generation.hidden):
        return not_tried.quarantined.items() <= failures.quarantined.items()
    return failures.reasons == not_tried.reasons


def _check_equal_pixels(private: Path, generation: _NextGeneration) -> None:
    """Refuse pictures that are there already under other keys, and count other films with the pixels of an earlier one.

    Raises:
        SettingsError: most of the new pictures are earlier ones, so that the scan was given another folder.
    """
    index = pq.read_table(generation.hidden / "index.parquet", columns=["key", "pixel_sha256", "same_pixels_as"])
    earlier = generation.earlier.index
    has_pixels_of = pc.is_in(index["pixel_sha256"], earlier["pixel_sha256"].combine_chunks(), skip_nulls=True)
    is_same_as = pc.is_in(index["same_pixels_as"], earlier["key"].combine_chunks(), skip_nulls=True)
    is_copy = pc.or_(has_pixels_of, is_same_as)
    manifest = read_manifest(private)
    pictures = manifest["key"].filter(pc.is_in(manifest["source"], pa.array(["png", "jpeg"])))
    is_picture = pc.is_in(index["key"], pictures.drop_null().combine_chunks())
    renamed, new = (pc.sum(rows).as_py() or 0 for rows in (pc.and_(is_copy, is_picture), is_picture))
    if renamed > max(_MAX_COPIED_PICTURES, new // 2):
        _remove_generation(generation.hidden)
        raise SettingsError(
            f"{renamed} of {new} new pictures have the pixels of pictures that are there under other keys, which are"
            " made of their paths: the scan was given another folder of the same set, or files were moved. Scan the"
            " folder that the first generation was scanned from; nothing was added"
        )
    if repeated := pc.sum(is_copy).as_py():
        _log.warning(
            "%d of the new films have the pixels of an earlier film under another identifier. To train on one film of"
            " each, give data.where='{same_pixels_as: null}'",
            repeated,
        )


def _remove_generation(folder: Path) -> None:
    """Remove a generation, its record last, so that removal can continue after an interruption."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name in FOLDER_FILES):
        path.unlink()
    folder.rmdir()
