"""All that decides the bytes of a public folder, read from the private one, and the tasks that come of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_prep.archive.manifest import key_fingerprint, read_linkage, read_manifest
from data_prep.errors import ArchiveError, Reason
from data_prep.planning import folder_identity
from data_prep.planning.earlier_films import EarlierFilms
from data_prep.planning.known_failures import History
from data_prep.planning.plan import Plan, PlannedShard, plan_retries, plan_shards
from data_prep.planning.settings import ShardSettings
from data_prep.planning.shard_task import ShardTask
from data_prep.planning.splits import read_split_table, splits_sha256
from data_prep.shard_format.folder_layout import FORMAT_VERSION
from data_prep.shard_format.sidecar import Split


@dataclass(frozen=True)
class ShardInputs:
    """Of one run.

    Attributes:
        manifest: of the private folder.
        places: [files] where they are, and when they were changed (path, mtime_ns).
        settings: as the user gave them.
        given: keyed patient → split, where the user gave a table.
        identity: what all shards of the public folder share.
        plan: the shards, without those of retries.
        written: key → pixels of files of earlier generations that a planned one seems to change.
    """

    manifest: pa.Table
    places: pa.Table
    settings: ShardSettings
    given: Mapping[str, Split]
    identity: dict[str, Any]
    plan: Plan
    written: Mapping[str, str]

    @property
    def config_sha256(self) -> str:
        """Of the settings that change results."""
        return folder_identity.config_sha256(self.identity)

    def planned(self, history: History) -> tuple[PlannedShard, ...]:
        """The shards of all generations."""
        return *self.plan.shards, *plan_retries(self.manifest, self.settings, self.plan, history.retries, self.given)

    def keys(self, shards: Sequence[PlannedShard]) -> pa.ChunkedArray:
        """[files] of ``shards``."""
        rows = np.concatenate([one.rows for one in shards])
        return self.manifest["key"].take(np.searchsorted(self.manifest["row"].to_numpy(), rows))

    def tasks(
        self, shards: Sequence[PlannedShard], history: History, written: Mapping[str, str]
    ) -> Iterator[ShardTask]:
        """What the workers need to write ``shards``.

        Args:
            shards: some of :meth:`planned`.
            history: what is settled already.
            written: key → pixels of files that could appear again in a retry, see ``file_pixels`` of the index.
        """
        written = {**self.written, **written}
        rows = self.manifest["row"].to_numpy()
        for one in shards:
            places = np.searchsorted(rows, one.rows)
            facts, where = (table.take(places).to_pylist() for table in (self.manifest, self.places))
            settled = history.verdicts(one.generation)
            known = {row["key"] for row in facts} if written else ()
            yield ShardTask(
                name=one.name,
                split=one.split,
                files=tuple(
                    (place["path"], {**row, "mtime_ns": place["mtime_ns"]})
                    for place, row in zip(where, facts, strict=True)
                ),
                generation=one.generation,
                max_side=self.settings.max_side,
                codec=self.settings.codec,
                reject_empty=self.settings.selection.rejects(Reason.EMPTY_EXPOSURE),
                config_sha256=self.config_sha256,
                inputs_sha256=one.inputs_sha256,
                verdicts={row["row"]: settled[row["row"]] for row in facts if row["row"] in settled},
                written={key: written[key] for key in known if key in written},
            )


_LINKED = ["row", "key", "path", "mtime_ns", "patient_id"]


def read_inputs(
    private: Path, public: Path, settings: ShardSettings, earlier: EarlierFilms | None = None
) -> ShardInputs:
    """Read the private folder and plan.

    Args:
        private: folder of the scan.
        public: folder of the shards.
        settings: of the shards.
        earlier: films of generations that these shards come after.

    Raises:
        ArchiveError: no private folder, or one of the two folders inside the other.
        SettingsError: the table of splits is missing or wrong, or would change the split of an earlier patient.
    """
    manifest, linkage = read_manifest(private), read_linkage(private, _LINKED)
    folder_identity.check_apart(private, public)
    if any(not manifest[name].equals(linkage[name]) for name in ("row", "key")):  # a path of another film, else
        raise ArchiveError("manifest and linkage of the private folder do not go together; scan the archive again")
    table = settings.splits.table
    given = read_split_table(table, manifest, linkage, settings.seed, settings.splits.val) if table else {}
    config = settings.model_dump(mode="json", exclude={"runtime"})
    config["splits"]["table"] = splits_sha256(given) if table else None  # never the path: the config is public
    fingerprint = key_fingerprint(manifest)
    if earlier:
        manifest = earlier.screened(manifest)
    plan = plan_shards(manifest, settings, given)
    if earlier:
        earlier.check_splits(plan.files(manifest))
    identity = {
        "format_version": FORMAT_VERSION,
        "key_fingerprint": fingerprint,
        "config": config,
        "after": earlier.dataset_sha256 if earlier else None,
    }
    written = earlier.pixels(plan.files(manifest)) if earlier else {}
    return ShardInputs(manifest, linkage.select(["path", "mtime_ns"]), settings, given, identity, plan, written)
