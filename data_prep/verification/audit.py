"""Privacy of a public folder: every byte is read back, and nothing may be there that is not on the allow-list.

Folder, tar headers, codestreams, tables and cards are compared with what their contents alone would give, so that no
byte is left unexplained; contents are compared with the allow-list, field by field. With the private folder at hand,
every original identifier is looked for besides. What is unknown is a problem, never a pass.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.archive.manifest import key_fingerprint, read_linkage, read_manifest
from data_prep.errors import ArchiveError
from data_prep.phantom.write_archive import identifying_values
from data_prep.planning.folder_identity import DATASET_FILE
from data_prep.runtime.progress import Progress
from data_prep.runtime.worker_pool import process_count, spawn_pool
from data_prep.shard_format.appended_folders import GENERATIONS
from data_prep.shard_format.dataset_card import DatasetCard, read_dataset_card
from data_prep.shard_format.folder_layout import film_suffix
from data_prep.shard_format.frame_key import frame_key
from data_prep.shard_format.index import read_index, read_one_index
from data_prep.shard_format.index_schema import INDEX_SCHEMA, REJECTS_SCHEMA
from data_prep.shard_format.label_schema import BOXES_SCHEMA
from data_prep.shard_format.label_tables import (
    AGREEMENT_FILE,
    AGREEMENT_SCHEMA,
    BOXES_FILE,
    LABELS_FILE,
    LABELS_SCHEMAS,
    STATISTICS_FILE,
    STATISTICS_SCHEMA,
)
from data_prep.verification.audit_shard import ShardAudit, audit_shard
from data_prep.verification.audit_tables import card_problems, table_problems
from data_prep.verification.identifiers import identifiers, shared_words, without_public_words
from data_prep.verification.text_search import Needles

_TABLES = {"index.parquet": (INDEX_SCHEMA,), "rejects.parquet": (REJECTS_SCHEMA,)}
_LABEL_TABLES = {LABELS_FILE: LABELS_SCHEMAS, BOXES_FILE: (BOXES_SCHEMA,)}
_OVERVIEWS = {STATISTICS_FILE: (STATISTICS_SCHEMA,), AGREEMENT_FILE: (AGREEMENT_SCHEMA,)}
"""Counts of labels: no rows of films."""
_MAX_SHOWN = 50


@dataclass
class AuditReport:
    """What an audit found.

    Attributes:
        files, films, size: read back; size in bytes.
        problems: none means that nothing outside the allow-list is inside. They name files, keys and fields only.
        searched: original identifiers that were looked for; None without a private folder.
        skipped: identifiers that are too short, or words of the public vocabularies.
        models: names of device models → films: the one kind of text that is no vocabulary, for a human eye.
        labels: names of labels → rows; the user chose them.
    """

    files: int = 0
    films: int = 0
    size: int = 0
    problems: list[str] = field(default_factory=list)
    searched: int | None = None
    skipped: int = 0
    models: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        """A report for a person."""
        lines = [("files", self.files, f"{self.size:,} bytes, all of them read"), ("films", self.films, "")]
        if self.searched is None:
            lines.append(("identifiers", 0, "not searched for: give --private to look for every original identifier"))
        else:
            note = f"looked for in all bytes; {self.skipped} are too short or words of the vocabularies"
            lines.append(("identifiers", self.searched, note))
        for title, names in (("model names", self.models), ("label names", self.labels)):
            told = ", ".join(f"{name} ({count})" for name, count in sorted(names.items()))
            lines.append((title, len(names), f"please look: {told}" if told else ""))
        lines.append(("problems", len(self.problems), ""))
        table = "\n".join(f"{name:<16}{count:>12}  {note}".rstrip() for name, count, note in lines)
        more = len(self.problems) - _MAX_SHOWN
        shown = self.problems[:_MAX_SHOWN] + ([f"… and {more} more"] if more > 0 else [])
        verdict = "NOT SAFE TO SHARE" if self.problems else "nothing outside the allow-list"
        return "\n".join([table, *(f"  {problem}" for problem in shown), verdict])


def audit(public: Path, *, privates: Sequence[Path] = (), phantom: Path | None = None) -> AuditReport:
    """Read every byte of a complete public folder back.

    Args:
        public: the folder.
        privates: the private folders that it, with its generations, was made from: also look for their original
            identifiers.
        phantom: a synthetic archive: also look for every identifying value that was planted.

    Raises:
        ShardFormatError: the folder does not exist, is not finished, or has another format version.
        ArchiveError: one of ``privates`` or ``phantom`` is none, or was made with another secret.
    """
    card = read_dataset_card(public)
    report = AuditReport()
    needles, of_labels = _needles(privates, phantom, card, report)
    report.problems += _folder(public, card, report)
    data = (public / DATASET_FILE).read_bytes()
    report.problems += [f"{DATASET_FILE}: {problem}" for problem in card_problems(data, card, needles)]
    for name, schemas in (_TABLES | _LABEL_TABLES | _OVERVIEWS).items():
        if (public / name).exists():
            looked_for = needles if name in _TABLES else of_labels
            found = table_problems(name, (public / name).read_bytes(), schemas, looked_for)
            report.problems += [f"{name}: {problem}" for problem in found]
        elif name in _TABLES:
            report.problems.append(f"{name}: missing")
    for one in _shards(public, card, needles):
        report.films += one.films
        report.models.update(one.models)
        report.problems += one.problems
    if not report.problems:
        report.labels.update(_labels(public))
        report.problems += _foreign_keys(public, privates)
    return report


def _needles(
    privates: Sequence[Path], phantom: Path | None, card: DatasetCard, report: AuditReport
) -> tuple[Needles, Needles]:
    """What is looked for everywhere, and in the names of labels: these may be words of folders, as findings are."""
    texts: set[str] = set()
    shared: set[str] = set()
    for private in privates:
        manifest = read_manifest(private)
        if key_fingerprint(manifest) != card.key_fingerprint:
            raise ArchiveError(
                f"{private} was made with another secret than the shards; give the folder they come from"
            )
        linkage = read_linkage(private)
        texts |= identifiers(linkage)
        films = pc.is_valid(manifest["patient"])
        shared |= shared_words(*(column.filter(films).to_pylist() for column in (linkage["path"], manifest["patient"])))
    if phantom is not None:
        texts |= identifying_values(phantom)
    wanted = without_public_words(texts)
    needles = Needles.of(wanted)
    if privates or phantom is not None:
        report.searched = needles.count
        report.skipped = len(texts) - needles.count
    return needles, Needles.of(wanted - shared) if shared else needles


def _folder(public: Path, card: DatasetCard, report: AuditReport) -> Iterator[str]:
    """Every entry of the folder has to be expected, plain, and there."""
    stems = [Path(name).stem for name in card.shards]
    shards = {f"{stem}.{suffix}" for stem in stems for suffix in ("tar", "parquet", "json")}
    expected = {DATASET_FILE, *_TABLES, *_LABEL_TABLES, *_OVERVIEWS, *shards}
    present = set()
    for entry in sorted(public.iterdir()):
        if entry.is_dir() and not entry.is_symlink() and fnmatchcase(entry.name, GENERATIONS):
            continue  # audited as a folder of its own
        if entry.is_dir() and fnmatchcase(entry.name, f".{GENERATIONS}"):
            yield f"{entry.name}: a generation that is not finished; run the same append command again"
        elif entry.name not in expected:  # its name may be anything: it is not repeated
            yield f"a {'folder' if entry.is_dir() else 'file'} that does not belong to a public folder"
        elif entry.is_symlink() or not entry.is_file():
            yield f"{entry.name}: no plain file"
        else:
            present.add(entry.name)
            report.files += 1
            report.size += entry.stat().st_size
    yield from (f"{name}: missing" for name in sorted(shards - present))


def _shards(public: Path, card: DatasetCard, needles: Needles) -> Iterator[ShardAudit]:
    names, suffix = sorted(card.shards), film_suffix(card.config)
    progress = Progress("audit", "shards", len(names))
    workers = process_count(0, len(names))
    pool = spawn_pool(workers, _begin, needles) if workers > 1 else None
    try:
        found: Iterable[ShardAudit] = (
            pool.map(partial(_audit, public, suffix), names)
            if pool
            else (audit_shard(public, name, needles, suffix) for name in names)
        )
        for one in found:
            yield one
            progress.add()
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
        progress.close()


_needles_of_worker: list[Needles] = []


def _begin(needles: Needles) -> None:
    _needles_of_worker[:] = [needles]


def _audit(public: Path, suffix: str, name: str) -> ShardAudit:
    return audit_shard(public, name, _needles_of_worker[0], suffix)


def _labels(public: Path) -> Counter[str]:
    labels: Counter[str] = Counter()
    for name in _LABEL_TABLES:
        if (public / name).exists():
            labels.update(pq.read_table(public / name, columns=["label"])["label"].to_pylist())
    return labels


def _foreign_keys(public: Path, privates: Sequence[Path]) -> Iterator[str]:
    """Keys that are no pseudonyms of this archive might be anything."""
    index = read_one_index(public)
    manifests = [read_manifest(private) for private in privates]
    for name in ("key", "patient", "study", "series", "site") if manifests else ():
        allowed = {value for manifest in manifests for value in pc.unique(manifest[name]).drop_null().to_pylist()}
        if name == "key":
            allowed.update(*(_frame_keys(manifest) for manifest in manifests))
        if not allowed.issuperset(pc.unique(index[name]).drop_null().to_pylist()):
            yield f"index.parquet: {name} holds hashes that the private folder does not know"
    known = set(index["key"].to_pylist())
    for name in _LABEL_TABLES:
        if (public / name).exists() and not known.issuperset(_keys(public / name)):
            known.update(read_index(public, ["key"])["key"].to_pylist())  # of all generations
            if not known.issuperset(_keys(public / name)):
                yield f"{name}: keys that are not in the index"


def _keys(table: Path) -> list[str]:
    return list(pq.read_table(table, columns=["key"])["key"].to_pylist())


def _frame_keys(manifest: pa.Table) -> set[str]:
    several = manifest.filter(pc.is_valid(manifest["frames"])).select(["key", "frames"]).to_pylist()
    return {frame_key(row["key"], frame) for row in several for frame in range(row["frames"])}
