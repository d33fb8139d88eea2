"""All that decides the bytes of a public folder, read from the private one, and the tasks that come of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.archive.manifest import key_fingerprint, read_linkage, read_manifest
from data_prep.errors import ArchiveError, Reason
from data_prep.planning import folder_identity
from data_prep.planning.earlier_films import EarlierFilms
from data_prep.planning.known_failures import History
from data_prep.planning.plan import Plan, PlannedShard, plan_shards
from data_prep.planning.settings import ShardSettings
from data_prep.planning.shard_task import ShardTask
from data_prep.planning.splits import chosen_splits, read_split_table, recorded_splits
from data_prep.shard_format.folder_layout import FORMAT_VERSION
from data_prep.shard_format.sidecar import Split


@dataclass(frozen=True)
class ShardInputs:
    """Of one run.

    Attributes:
        manifest: of the private folder.
        places: [files] where they are, and when they were changed (path, mtime_ns).
        settings: as the user gave them, with the splits that hold for this folder.
        given: keyed patient → split, where the user gave a table.
        identity: what all shards of the public folder share.
        plan: the shards.
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

    def unnamed_patients(self) -> int:
        """Known patients with planned films whom the table of splits does not name."""
        planned = pc.is_in(self.manifest["key"], self.plan.files(self.manifest)["key"].combine_chunks())
        patients = pc.unique(self.manifest["patient"].filter(pc.and_(planned, self.manifest["patient_known"])))
        return sum(patient not in self.given for patient in patients.to_pylist())

    def tasks(self, shards: Sequence[PlannedShard], history: History) -> Iterator[ShardTask]:
        """What the workers need to write ``shards``.

        Args:
            shards: some of the plan.
            history: files that are not tried.
        """
        settled, written = history.quarantined, self.written
        rows = self.manifest["row"].to_numpy()
        for one in shards:
            places = np.searchsorted(rows, one.rows)
            facts, where = (table.take(places).to_pylist() for table in (self.manifest, self.places))
            known = {row["key"] for row in facts} if written else ()
            yield ShardTask(
                name=one.name,
                split=one.split,
                files=tuple(
                    (place["path"], {**row, "mtime_ns": place["mtime_ns"]})
                    for place, row in zip(where, facts, strict=True)
                ),
                appended=self.identity["after"] is not None,
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
    splits = chosen_splits(private, public, settings.splits)
    settings = settings.model_copy(update={"splits": splits})
    given = read_split_table(Path(splits.table), manifest, linkage, settings.seed, splits.val) if splits.table else {}
    config = settings.model_dump(mode="json", exclude={"runtime"})
    config["splits"] = recorded_splits(splits, given)
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
