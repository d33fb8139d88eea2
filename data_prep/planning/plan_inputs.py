"""Everything that determines the bytes of a public folder, read from the private folder, and the tasks of workers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.archive.file_listing import path_of_text
from data_prep.archive.manifest import key_fingerprint, key_origin, read_aliases, read_linkage, read_manifest
from data_prep.archive.pixel_digests import digests_path
from data_prep.archive.reject_by_header import find_reject_reasons
from data_prep.archive.same_film import IDENTIFIERS
from data_prep.archive.withdrawn import reject_withdrawn
from data_prep.errors import ArchiveError, Reason
from data_prep.planning import folder_identity
from data_prep.planning.films_already_sharded import EarlierFilms
from data_prep.planning.kept_splits import KeptSplits, keep_splits, read_split_rule
from data_prep.planning.known_failures import KnownFailures
from data_prep.planning.plan import Plan, PlannedShard, plan_shards
from data_prep.planning.settings import ShardSettings, SidecarSettings
from data_prep.planning.shard_task import ShardTask
from data_prep.planning.splits import read_split_table, resolve_splits, split_config
from data_prep.shard_format.folder_layout import FORMAT_VERSION
from data_prep.shard_format.sidecar import Split


@dataclass(frozen=True)
class ShardInputs:
    """Inputs of one run.

    Attributes:
        manifest: of the private folder.
        files: [files] columns path and mtime_ns (nanoseconds since 1970), in the order of ``manifest``.
        settings: as the user gave them, with the splits of this folder.
        given: keyed hash of a patient → split, from a table of the user.
        kept: splits that the private folder keeps; None where each is drawn by itself or stated.
        identity: what all shards of the public folder share.
        plan: the shards.
        written: key → pixel hashes of files of earlier generations that are planned again.
        private: the private folder.
        represented: name of pixels → film of an earlier generation that represents them, where such names are not
            published.
    """

    manifest: pa.Table
    files: pa.Table
    settings: ShardSettings
    given: Mapping[str, Split]
    kept: KeptSplits | None
    identity: dict[str, Any]
    plan: Plan
    written: Mapping[str, str]
    private: Path
    represented: Mapping[str, str]

    @property
    def config_sha256(self) -> str:
        """SHA-256 of the settings that change results."""
        return folder_identity.config_sha256(self.identity)

    def unnamed_patients(self) -> int:
        """Count the known patients with planned films whom the table of splits does not name."""
        planned = pc.is_in(self.manifest["key"], self.plan.files(self.manifest)["key"].combine_chunks())
        patients = pc.unique(self.manifest["patient"].filter(pc.and_(planned, self.manifest["patient_known"])))
        return sum(patient not in self.given for patient in patients.to_pylist())

    @property
    def hides_digests(self) -> bool:
        """Whether the digests of pixels stay in the private folder."""
        return self.settings.sidecar.hashes == "none"

    def digests_path(self, shard: PlannedShard) -> Path:
        """Return the private table of the digests of a shard, where they are not published."""
        return digests_path(self.private, self.config_sha256, shard.inputs_sha256)

    def _digests_of(self, shard: PlannedShard) -> str | None:
        return str(self.digests_path(shard).resolve()) if self.hides_digests else None

    def tasks(self, shards: Sequence[PlannedShard], failures: KnownFailures) -> Iterator[ShardTask]:
        """Yield the tasks that write ``shards``.

        Args:
            shards: shards of the plan.
            failures: files that are not tried.
        """
        not_tried, written = failures.quarantined, self.written
        rows = self.manifest["row"].to_numpy()
        for shard in shards:
            positions = np.searchsorted(rows, shard.rows)
            facts, files = (table.take(positions).to_pylist() for table in (self.manifest, self.files))
            keys = {row["key"] for row in facts} if written else ()
            yield ShardTask(
                name=shard.name,
                split=shard.split,
                files=tuple(
                    (path_of_text(file["path"]), {**row, **{name: file[name] for name in _FILE_COLUMNS}})
                    for file, row in zip(files, facts, strict=True)
                ),
                appended=self.identity["after"] is not None,
                max_side=self.settings.max_side,
                min_short_side=self.settings.min_short_side,
                codec=self.settings.codec,
                reject_empty=self.settings.selection.rejects(Reason.EMPTY_EXPOSURE),
                config_sha256=self.config_sha256,
                inputs_sha256=shard.inputs_sha256,
                digests=self._digests_of(shard),
                not_tried={row["row"]: not_tried[row["row"]] for row in facts if row["row"] in not_tried},
                written={key: written[key] for key in keys if key in written},
            )


_FILE_COLUMNS = ("mtime_ns", *IDENTIFIERS)
_LINKAGE_COLUMNS = ["row", "key", "path", *_FILE_COLUMNS]


def read_inputs(
    private: Path, public: Path, settings: ShardSettings, earlier: EarlierFilms | None = None
) -> ShardInputs:
    """Read the private folder and plan the shards.

    Args:
        private: folder of the scan.
        public: folder of the shards.
        settings: of the shards.
        earlier: films of earlier generations; None for the first generation.

    Raises:
        ArchiveError: ``private`` is no private folder, or one of the two folders contains the other.
        SettingsError: the table of splits is missing or wrong, or would change the split of an earlier patient.
    """
    manifest, linkage = read_manifest(private), read_linkage(private, _LINKAGE_COLUMNS)
    folder_identity.check_not_nested(private, public)
    if any(not manifest[name].equals(linkage[name]) for name in ("row", "key")):  # else paths would be of other films
        raise ArchiveError(f"manifest and linkage of {private} are of two different scans. Scan the archive again")
    splits = resolve_splits(private, public, settings.splits)
    settings = settings.model_copy(update={"splits": splits})
    given = read_split_table(Path(splits.table), manifest, linkage, settings.seed, splits.val) if splits.table else {}
    config = settings.model_dump(mode="json", exclude={"runtime": True, "selection": settings.selection.off})
    if settings.sidecar == SidecarSettings():  # as folders of earlier releases record it
        del config["sidecar"]
    if settings.min_short_side is None:
        del config["min_short_side"]
    fingerprint, (keys, source) = key_fingerprint(manifest), key_origin(manifest)
    manifest = reject_withdrawn(manifest, private)
    if earlier:
        earlier.check_patients(manifest, read_aliases(private))
        manifest = earlier.reject_known(manifest)
    drawn: dict[str, Any] = {}
    kept: KeptSplits | None = None
    if splits.kept:
        drawn, kept = _keep_splits(private, public, settings, manifest, linkage, appended=earlier is not None)
    config["splits"] = split_config(splits, given, drawn)
    plan = plan_shards(manifest, settings, kept.splits if kept else given, kept.held_out if kept else frozenset())
    if earlier:
        earlier.check_splits(plan.files(manifest))
    identity = {
        "format_version": FORMAT_VERSION,
        "key_fingerprint": fingerprint,
        "keys": keys,
        "source": source,
        "config": config,
        "after": earlier.dataset_sha256 if earlier else None,
    }
    written = earlier.pixels(plan.files(manifest)) if earlier else {}
    represented = earlier.represented if earlier else {}
    files = linkage.select(["path", *_FILE_COLUMNS])
    return ShardInputs(manifest, files, settings, given, kept, identity, plan, written, private, represented)


def _keep_splits(
    private: Path, public: Path, settings: ShardSettings, manifest: pa.Table, linkage: pa.Table, *, appended: bool
) -> tuple[dict[str, Any], KeptSplits]:
    """Read the kept splits of a plan, and what the public folder records of how they were drawn."""
    reason = find_reject_reasons(manifest, settings.selection, settings.min_side)
    is_new = pc.is_null(reason)
    is_film = pc.or_(is_new, pc.fill_null(pc.equal(reason, Reason.ALREADY_SHARDED.value), False))
    known = pc.unique(manifest["patient"].filter(pc.and_(is_new, manifest["patient_known"])))
    rule = read_split_rule(manifest.filter(is_film), linkage.filter(is_film), settings.splits, later=appended)
    record = folder_identity.read_folder_record(public)
    is_begun = record is not None and {**record.config["splits"], **rule.config} == record.config["splits"]
    later = appended or (is_begun and any(public.glob("*.tar")))
    patients = frozenset(known.to_pylist())
    return rule.config, keep_splits(private, patients, rule, settings.splits, settings.seed, later=later)
