"""One run: the shards that are not there yet, and the tables over all of them."""

import hashlib
import json
import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic import ValidationError

from data_prep.errors import ArchiveError, Reason, ShardFormatError
from data_prep.planning.known_failures import History, Verdicts
from data_prep.planning.plan import PlannedShard
from data_prep.planning.plan_inputs import ShardInputs
from data_prep.planning.settings import ShardRuntime
from data_prep.runtime.atomic_write import atomic_file
from data_prep.runtime.progress import Progress
from data_prep.runtime.worker_pool import process_count
from data_prep.shard_format.dataset_card import DatasetCard, ShardCard, read_dataset_card
from data_prep.shard_format.parquet_bytes import index_bytes
from data_prep.sharding import public_folder
from data_prep.sharding.estimate import check_disk
from data_prep.sharding.merged_tables import dataset_card, given_up, merged_index, merged_rejects
from data_prep.sharding.shard_pool import Learn, Limits, write_shards
from data_prep.sharding.shard_writer import Unfinished

_log = logging.getLogger(__name__)

_HINTS = {
    Reason.UNREADABLE_FILE: "could not be read: mount or mend them",
    Reason.CHANGED_SINCE_SCAN: "changed since the scan: scan again",
    Reason.DECODER_TIMEOUT: "took longer than runtime.file_timeout_seconds: allow more",
}


class Run:
    """Makes a claimed folder complete.

    Attributes:
        cards: of those that are there, by name.
        history: grows as files are given up.
    """

    def __init__(self, inputs: ShardInputs, public: Path, history: History) -> None:
        self._inputs, self._public = inputs, public
        self.history = history
        self._shards = inputs.plan.shards
        self.cards: dict[str, ShardCard] = {}

    def finished(self) -> dict[str, ShardCard]:
        """The cards of the shards that are there."""
        found = {one.name: _finished(self._public, one, self._inputs.config_sha256) for one in self._shards}
        return {name: card for name, card in found.items() if card is not None}

    def todo(self, cards: Collection[str]) -> list[PlannedShard]:
        """The shards that are not among ``cards``."""
        return [one for one in self._shards if one.name not in cards]

    def finish(self) -> DatasetCard:
        """Write what is not there, remove what is no longer planned, publish."""
        self.cards = self.finished()
        if todo := self.todo(self.cards):
            if self.cards:
                _log.info("%d of %d shards are finished", len(self.cards), len(self._shards))
            if self._inputs.settings.runtime.check_disk:
                check_disk(self._inputs, todo, self._public)
            self._reopen()
            self._write(todo, self._learn)
        public_folder.remove_other_shards(self._public, set(self.cards))
        return self._publish()

    def finish_part(self) -> int:
        """Write the shards of ``runtime.part`` that are not there, beside other machines; how many these were."""
        runtime = self._inputs.settings.runtime
        there = self.finished()
        if todo := [one for one in self._shards[runtime.share] if one.name not in there]:
            if runtime.check_disk:
                check_disk(self._inputs, todo, self._public)
            self._reopen()
            self._write(todo, learn=lambda _: None)  # the cards tell it to the command that publishes
        return len(todo)

    def _reopen(self) -> None:
        public_folder.reopen(self._public, self._inputs.identity, self.history)

    def _learn(self, verdicts: Verdicts) -> None:
        """Keep the verdicts on files before their shard: an interrupted run must not fall over them again."""
        self.history = self.history.quarantine(verdicts)
        self._reopen()

    def _write(self, todo: Sequence[PlannedShard], learn: Learn) -> None:
        """Write shards; what stays unfinished is reported once all others are done.

        Args:
            todo: the shards.
            learn: is told of files that are given up, before their shard is written.

        Raises:
            ArchiveError: some files could not be read, have changed or took too long.
        """
        progress = _FileProgress(sum(len(one.rows) for one in todo))
        unfinished: list[Unfinished] = []
        try:
            limits = _limits(self._inputs.settings.runtime, len(todo))
            tasks = self._inputs.tasks(todo, self.history)
            for result in write_shards(tasks, self._public, limits, progress.show, learn):
                if isinstance(result, ShardCard):
                    self.cards[result.shard] = result
                else:
                    unfinished.append(result)
        finally:
            progress.close()
        if unfinished:
            raise ArchiveError(_explain(unfinished, len(todo), self._inputs.settings.runtime.accept))

    def _publish(self) -> DatasetCard:
        """Merge the shards' tables, then write ``dataset.json``; a folder that is complete already is left alone."""
        ordered = [self.cards[name] for name in sorted(self.cards)]
        index = merged_index(self._public, self.cards)
        rejects = merged_rejects(self._inputs.plan.rejects, ordered)
        inputs = self._inputs
        self.history = self.history.quarantine(given_up(rejects, inputs.plan.rejects))
        card = dataset_card(inputs.identity, inputs.config_sha256, self.history, ordered, index, rejects)
        if card.files.written + card.files.rejected + card.files.dropped != inputs.manifest.num_rows:
            raise AssertionError("the ledger does not add up: a file is neither written, rejected nor dropped")
        tables = {"index.parquet": index_bytes(index), "rejects.parquet": index_bytes(rejects)}
        if _is_published(self._public, card, tables):
            public_folder.remove_unfinished(self._public)
            return card
        self._reopen()
        for name, table in tables.items():
            with atomic_file(self._public / name) as file:
                file.write(table)
        public_folder.finish(self._public, json.dumps(card.model_dump(mode="json"), indent=2, sort_keys=True).encode())
        return card


class _FileProgress:
    """Shows files per second, refusals and the time left."""

    def __init__(self, total: int) -> None:
        self._progress = Progress("shard", "files", total)
        self._shown = 0

    def show(self, files: int, refused: int) -> None:
        """So many files are done, so many of them are no films."""
        self._progress.add(files - self._shown, f"{refused} left out" if refused else "")
        self._shown = files

    def close(self) -> None:
        """Show the last state and end the line."""
        self._progress.close()


def _finished(public: Path, planned: PlannedShard, config_sha256: str) -> ShardCard | None:
    """The card of a shard that is there and was made from the same inputs with the same settings."""
    try:
        card = ShardCard.model_validate_json((public / f"{planned.name}.json").read_bytes())
        index = (public / f"{planned.name}.parquet").read_bytes()
        size = (public / f"{planned.name}.tar").stat().st_size
    except (OSError, ValidationError):
        return None
    same = (card.config_sha256, card.inputs_sha256) == (config_sha256, planned.inputs_sha256)
    same &= card.films + len(card.rejects) == len(planned.rows)
    whole = card.tar_size == size and card.index_sha256 == hashlib.sha256(index).hexdigest()
    return card if same and whole else None


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


def _explain(unfinished: Sequence[Unfinished], shards: int, accepted: Collection[str]) -> str:
    failed = [failure for one in unfinished for failure in one.failed]
    parts = []
    for reason, hint in _HINTS.items():
        if rows := sorted(row for row, found in failed if found is reason):
            parts.append(f"{len(rows)} file{'s' * (len(rows) > 1)} (manifest {_rows(rows)}) {hint}")
    if killed := [one.shard for one in unfinished if not one.failed]:
        parts.append(f"the process that wrote {', '.join(killed[:5])} was killed twice: is memory short?")
    names = sorted({reason.value for _, reason in failed})
    accept = f"; or accept the loss with runtime.accept=[{','.join(names)}]" if names else ""
    if names and set(names) <= set(accepted):
        accept = "; runtime.accept does not cover shards of which more than half is gone: is the archive mounted?"
    return (
        f"{len(unfinished)} of {shards} shards are unfinished: {'; '.join(parts)}; then run the same command"
        f" again{accept}"
    )


def _rows(rows: Sequence[int]) -> str:
    shown = ", ".join(str(row) for row in rows[:5])
    return f"row{'s' if len(rows) > 1 else ''} {shown}{', …' if len(rows) > 5 else ''}"
