"""One run of the shard command: write the missing shards, then merge their tables and publish."""

import hashlib
import json
import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic import ValidationError

from data_prep.archive.pixel_digests import read_digests
from data_prep.errors import ArchiveError, Reason, ShardFormatError
from data_prep.planning.known_failures import KnownFailures, RowReasons
from data_prep.planning.plan import PlannedShard
from data_prep.planning.plan_inputs import ShardInputs
from data_prep.planning.settings import ShardRuntime
from data_prep.runtime.atomic_write import atomic_file
from data_prep.runtime.progress import Progress
from data_prep.runtime.worker_pool import process_count
from data_prep.shard_format.dataset_card import DatasetCard, ShardCard, read_dataset_card
from data_prep.shard_format.parquet_bytes import encode_parquet
from data_prep.sharding import public_folder
from data_prep.sharding.estimate import check_disk
from data_prep.sharding.merged_tables import EqualPixels, failed_files, make_dataset_card, merge_index, merge_rejects
from data_prep.sharding.shard_pool import Limits, OnFailures, write_shards
from data_prep.sharding.shard_writer import Unfinished

_log = logging.getLogger(__name__)

_MAX_LISTED = 5
"""Largest number of rows or shards that a message lists."""
_HINTS = {
    Reason.UNREADABLE_FILE: "could not be read: mount the archive or restore them",
    Reason.CHANGED_SINCE_SCAN: "changed since the scan: scan again",
    Reason.DECODER_TIMEOUT: "took longer than runtime.file_timeout_seconds: increase it",
}


class Run:
    """Completes a locked public folder.

    Args:
        inputs: settings, plan and manifest.
        public: folder of the shards.
        failures: files that are not tried.

    Attributes:
        cards: cards of the complete shards, by name of the shard.
        failures: grows with every file that fails.
    """

    def __init__(self, inputs: ShardInputs, public: Path, failures: KnownFailures) -> None:
        self._inputs, self._public = inputs, public
        self.failures = failures
        self._shards = inputs.plan.shards
        self.cards: dict[str, ShardCard] = {}

    def read_cards(self) -> dict[str, ShardCard]:
        """Read the cards of the complete shards, by name of the shard."""
        inputs = self._inputs
        cards = {
            s.name: _read_finished_card(self._public, s, inputs.config_sha256)
            for s in self._shards
            if not inputs.hides_digests or inputs.digests_path(s).exists()
        }
        return {name: card for name, card in cards.items() if card is not None}

    def missing(self, complete: Collection[str]) -> list[PlannedShard]:
        """The planned shards whose names are not in ``complete``."""
        return [shard for shard in self._shards if shard.name not in complete]

    def finish(self) -> DatasetCard:
        """Write the missing shards, remove shards that are no longer planned, and publish."""
        self.cards = self.read_cards()
        if missing := self.missing(self.cards):
            if self.cards:
                _log.info("%d of %d shards are finished", len(self.cards), len(self._shards))
            if self._inputs.settings.runtime.check_disk:
                check_disk(self._inputs, missing, self._public)
            self._mark_unfinished()
            self._write_shards(missing, self._record_failures)
        public_folder.remove_other_shards(self._public, set(self.cards))
        return self._publish()

    def finish_part(self) -> int:
        """Write the missing shards of ``runtime.part``, at the same time as other machines; their number."""
        runtime = self._inputs.settings.runtime
        complete = self.read_cards()
        if missing := [shard for shard in self._shards[runtime.share] if shard.name not in complete]:
            if runtime.check_disk:
                check_disk(self._inputs, missing, self._public)
            self._mark_unfinished()
            self._write_shards(missing, on_failures=lambda _: None)  # the command that publishes reads the cards
        return len(missing)

    def _mark_unfinished(self) -> None:
        public_folder.mark_unfinished(self._public, self._inputs.identity, self.failures)

    def _record_failures(self, failures: RowReasons) -> None:
        """Record failures before their shard is written, so that an interrupted run does not try these files again."""
        self.failures = self.failures.add(failures)
        self._mark_unfinished()

    def _write_shards(self, shards: Sequence[PlannedShard], on_failures: OnFailures) -> None:
        """Write shards; those that stay unfinished are reported once all others are written.

        Args:
            shards: shards that are to be written.
            on_failures: is called with the files that are rejected, before their shard is written.

        Raises:
            ArchiveError: some files could not be read, have changed or took too long.
        """
        progress = _FileProgress(sum(len(shard.rows) for shard in shards))
        unfinished: list[Unfinished] = []
        try:
            limits = _limits(self._inputs.settings.runtime, len(shards))
            tasks = self._inputs.tasks(shards, self.failures)
            for result in write_shards(tasks, self._public, limits, progress.show, on_failures):
                if isinstance(result, ShardCard):
                    self.cards[result.shard] = result
                else:
                    unfinished.append(result)
        finally:
            progress.close()
        if unfinished:
            raise ArchiveError(_unfinished_message(unfinished, len(shards), self._inputs.settings.runtime.accept))

    def _publish(self) -> DatasetCard:
        """Merge the tables of all shards, then write ``dataset.json``; an up-to-date folder is not changed."""
        ordered = [self.cards[name] for name in sorted(self.cards)]
        index = merge_index(self._public, self.cards, self._equal_pixels(ordered))
        rejects = merge_rejects(self._inputs.plan.rejects, ordered)
        inputs = self._inputs
        self.failures = self.failures.add(failed_files(rejects, inputs.plan.rejects))
        card = make_dataset_card(inputs.identity, inputs.config_sha256, self.failures, ordered, index, rejects)
        if card.files.written + card.files.rejected + card.files.dropped != inputs.manifest.num_rows:
            raise AssertionError("the counts do not add up: a file is neither written, rejected nor dropped")
        tables = {"index.parquet": encode_parquet(index), "rejects.parquet": encode_parquet(rejects)}
        if _is_published(self._public, card, tables):
            public_folder.remove_unfinished_mark(self._public)
            return card
        self._mark_unfinished()
        for name, table in tables.items():
            with atomic_file(self._public / name) as file:
                file.write(table)
        public_folder.mark_complete(
            self._public, json.dumps(card.model_dump(mode="json"), indent=2, sort_keys=True).encode()
        )
        return card

    def _equal_pixels(self, cards: Sequence[ShardCard]) -> EqualPixels | None:
        """Which films have equal pixels, where the checksums are not published."""
        if not self._inputs.hides_digests:
            return None
        digests = read_digests(self._inputs.private, cards)
        return EqualPixels(digests.rename_columns(["key", "pixels", "hash"]), dict(self._inputs.represented))


class _FileProgress:
    """Shows files per second, rejected files and the remaining time."""

    def __init__(self, total: int) -> None:
        self._progress = Progress("shard", "files", total)
        self._shown_files = 0

    def show(self, files: int, rejected: int) -> None:
        """Show progress.

        Args:
            files: number of files that are done.
            rejected: number of those that are no films.
        """
        self._progress.add(files - self._shown_files, f"{rejected} rejected" if rejected else "")
        self._shown_files = files

    def close(self) -> None:
        """Show the last state and end the line."""
        self._progress.close()


def _read_finished_card(public: Path, planned: PlannedShard, config_sha256: str) -> ShardCard | None:
    """The card of a complete shard of the same inputs and settings; None where there is none."""
    try:
        card = ShardCard.model_validate_json((public / f"{planned.name}.json").read_bytes())
        index = (public / f"{planned.name}.parquet").read_bytes()
        size = (public / f"{planned.name}.tar").stat().st_size
    except (OSError, ValidationError):
        return None
    is_planned = (card.config_sha256, card.inputs_sha256) == (config_sha256, planned.inputs_sha256)
    is_planned &= card.films + len(card.rejects) == len(planned.rows)
    is_whole = card.tar_size == size and card.index_sha256 == hashlib.sha256(index).hexdigest()
    return card if is_planned and is_whole else None


def _is_published(public: Path, card: DatasetCard, tables: dict[str, bytes]) -> bool:
    try:
        same = all((public / name).read_bytes() == table for name, table in tables.items())
        return same and read_dataset_card(public) == card
    except (OSError, ShardFormatError):
        return False


def _limits(runtime: ShardRuntime, shards: int) -> Limits:
    return Limits(
        workers=process_count(runtime.workers, shards),
        file_timeout_seconds=runtime.file_timeout_seconds,
        restart_after_files=runtime.restart_after_files,
        memory_gib=runtime.memory_gib,
        accepted=frozenset({Reason.DECODER_CRASHED, *map(Reason, runtime.accept)}),
        isolated=runtime.isolated,
    )


def _unfinished_message(unfinished: Sequence[Unfinished], shards: int, accepted: Collection[str]) -> str:
    failed = [failure for shard in unfinished for failure in shard.failed]
    parts = []
    for reason, hint in _HINTS.items():
        if rows := sorted(row for row, of_row in failed if of_row is reason):
            parts.append(f"{len(rows)} file{'s' * (len(rows) > 1)} (manifest {_list_rows(rows)}) {hint}")
    if killed := [shard.shard for shard in unfinished if not shard.failed]:
        parts.append(f"the process that wrote {', '.join(killed[:_MAX_LISTED])} was killed twice: check free memory")
    names = sorted({reason.value for _, reason in failed})
    accept = f", or accept the loss with runtime.accept=[{','.join(names)}]" if names else ""
    if names and set(names) <= set(accepted):
        accept = ". runtime.accept does not cover shards of which more than half is missing: mount the archive"
    return (
        f"{len(unfinished)} of {shards} shards are unfinished: {'; '.join(parts)}. Then run the same command"
        f" again{accept}"
    )


def _list_rows(rows: Sequence[int]) -> str:
    listed = ", ".join(str(row) for row in rows[:_MAX_LISTED])
    return f"row{'s' if len(rows) > 1 else ''} {listed}{', …' if len(rows) > _MAX_LISTED else ''}"
