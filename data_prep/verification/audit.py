"""Privacy audit of a public folder: every byte is read back and compared with the allow-list.

| part | check |
|---|---|
| folder, tar headers, codestreams, tables, cards | equal to the encoding of their contents, without other bytes |
| values | on the allow-list, field by field; an unknown field is a problem |
| everything, with a private folder | contains no original identifier |
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
from data_prep.shard_format.index_schema import INDEX_SCHEMAS, REJECTS_SCHEMA
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
from data_prep.shard_format.rare_values import QUASI_IDENTIFIERS, RareValues, find_rare_values
from data_prep.verification.audit_identifiers import identifier_problems
from data_prep.verification.audit_shard import ShardAudit, audit_shard
from data_prep.verification.audit_tables import card_problems, table_problems
from data_prep.verification.identifiers import collect_identifiers, find_shared_words, remove_public_terms
from data_prep.verification.text_search import TextSearch

_TABLES = {"index.parquet": INDEX_SCHEMAS, "rejects.parquet": (REJECTS_SCHEMA,)}
_LABEL_TABLES = {LABELS_FILE: LABELS_SCHEMAS, BOXES_FILE: (BOXES_SCHEMA,)}
_OVERVIEWS = {STATISTICS_FILE: (STATISTICS_SCHEMA,), AGREEMENT_FILE: (AGREEMENT_SCHEMA,)}
"""Tables with counts of labels; they have no rows of films."""
_MAX_LISTED_PROBLEMS = 50


@dataclass
class AuditReport:
    """Result of an audit.

    Attributes:
        files: number of files that were read.
        films: number of films that were read.
        size: bytes that were read.
        problems: empty if everything is on the allow-list. They name files, keys and fields, never values.
        searched: number of original identifiers that were searched for; None without a private folder.
        skipped: number of identifiers that are too short or are terms of the public vocabularies.
        models: device model → films; free text that no vocabulary restricts, to be reviewed by a person.
        labels: label → rows; names that the user has chosen, to be reviewed by a person.
        rare: patients who stand out by what the index tells of them.
    """

    files: int = 0
    films: int = 0
    size: int = 0
    problems: list[str] = field(default_factory=list)
    searched: int | None = None
    skipped: int = 0
    models: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    rare: RareValues | None = None

    def __str__(self) -> str:
        """Report as text."""
        lines = [("files", self.files, f"{self.size:,} bytes, all of them read"), ("films", self.films, "")]
        if self.searched is None:
            lines.append(("identifiers", 0, "not searched; give --private to search for every original identifier"))
        else:
            note = f"searched for in all bytes; {self.skipped} skipped as too short or as terms of the vocabularies"
            lines.append(("identifiers", self.searched, note))
        for title, names in (("model names", self.models), ("label names", self.labels)):
            listed = ", ".join(f"{name} ({count})" for name, count in sorted(names.items()))
            lines.append((title, len(names), f"please review: {listed}" if listed else ""))
        if self.rare and self.rare.patients:
            lines.append(("rare values", sum(self.rare.columns.values()), f"please review: {self.rare}"))
        lines.append(("problems", len(self.problems), ""))
        table = "\n".join(f"{name:<16}{count:>12}  {note}".rstrip() for name, count, note in lines)
        more = len(self.problems) - _MAX_LISTED_PROBLEMS
        listed_problems = self.problems[:_MAX_LISTED_PROBLEMS] + ([f"… and {more} more"] if more > 0 else [])
        conclusion = "NOT SAFE TO SHARE" if self.problems else "nothing outside the allow-list"
        return "\n".join([table, *(f"  {problem}" for problem in listed_problems), conclusion])


def audit(public: Path, *, privates: Sequence[Path] = (), phantom: Path | None = None) -> AuditReport:
    """Read every byte of a complete public folder and compare it with the allow-list.

    Args:
        public: public folder.
        privates: private folders from which it and its generations were written; their original identifiers are
            searched for.
        phantom: synthetic archive, whose identifying values are searched for.

    Raises:
        ShardFormatError: the folder does not exist, is not finished, or has another format version.
        ArchiveError: one of ``privates`` or ``phantom`` is not such a folder, or was written with another secret.
    """
    card = read_dataset_card(public)
    report = AuditReport()
    search, label_search = _searches(privates, phantom, card, report)
    report.problems += _folder_problems(public, card, report)
    data = (public / DATASET_FILE).read_bytes()
    report.problems += [f"{DATASET_FILE}: {problem}" for problem in card_problems(data, card, search)]
    for name, schemas in (_TABLES | _LABEL_TABLES | _OVERVIEWS).items():
        if (public / name).exists():
            table_search = search if name in _TABLES else label_search
            problems = table_problems(name, (public / name).read_bytes(), schemas, table_search)
            report.problems += [f"{name}: {problem}" for problem in problems]
        elif name in _TABLES:
            report.problems.append(f"{name}: missing")
    for shard_audit in _audit_shards(public, card, search):
        report.films += shard_audit.films
        report.models.update(shard_audit.models)
        report.problems += shard_audit.problems
    if not report.problems:
        report.labels.update(_label_counts(public))
        report.rare = find_rare_values(read_one_index(public, ["patient", *QUASI_IDENTIFIERS]))
        report.problems += _unknown_key_problems(public, privates)
        report.problems += identifier_problems(public, privates, [*_LABEL_TABLES, *_OVERVIEWS])
    return report


def _searches(
    privates: Sequence[Path], phantom: Path | None, card: DatasetCard, report: AuditReport
) -> tuple[TextSearch, TextSearch]:
    """Text searches for all files, and for label tables, whose labels may be folder names shared by patients."""
    texts: set[str] = set()
    shared: set[str] = set()
    for private in privates:
        manifest = read_manifest(private)
        if key_fingerprint(manifest) != card.key_fingerprint:
            raise ArchiveError(
                f"{private} was written with another secret than the shards; give the private folder of these shards"
            )
        linkage = read_linkage(private)
        texts |= collect_identifiers(linkage)
        films = pc.is_valid(manifest["patient"])
        shared |= find_shared_words(
            *(column.filter(films).to_pylist() for column in (linkage["path"], manifest["patient"]))
        )
    if phantom is not None:
        texts |= identifying_values(phantom)
    private_texts = remove_public_terms(texts)
    search = TextSearch.of(private_texts)
    if privates or phantom is not None:
        report.searched = search.count
        report.skipped = len(texts) - search.count
    return search, TextSearch.of(private_texts - shared) if shared else search


def _folder_problems(public: Path, card: DatasetCard, report: AuditReport) -> Iterator[str]:
    """Compare the entries of the folder with the expected files; all have to be regular files."""
    stems = [Path(name).stem for name in card.shards]
    shards = {f"{stem}.{suffix}" for stem in stems for suffix in ("tar", "parquet", "json")}
    expected = {DATASET_FILE, *_TABLES, *_LABEL_TABLES, *_OVERVIEWS, *shards}
    present = set()
    for entry in sorted(public.iterdir()):
        if entry.is_dir() and not entry.is_symlink() and fnmatchcase(entry.name, GENERATIONS):
            continue  # audited separately
        if entry.is_dir() and fnmatchcase(entry.name, f".{GENERATIONS}"):
            yield f"{entry.name}: a generation that is not finished; run the same append command again"
        elif entry.name not in expected:  # its name may identify a person and is not quoted
            yield f"a {'folder' if entry.is_dir() else 'file'} that does not belong to a public folder"
        elif entry.is_symlink() or not entry.is_file():
            yield f"{entry.name}: not a regular file"
        else:
            present.add(entry.name)
            report.files += 1
            report.size += entry.stat().st_size
    yield from (f"{name}: missing" for name in sorted(shards - present))


def _audit_shards(public: Path, card: DatasetCard, search: TextSearch) -> Iterator[ShardAudit]:
    names, suffix = sorted(card.shards), film_suffix(card.config)
    progress = Progress("audit", "shards", len(names))
    workers = process_count(0, len(names))
    pool = spawn_pool(workers, _start_worker, search) if workers > 1 else None
    try:
        audits: Iterable[ShardAudit] = (
            pool.map(partial(_audit_in_worker, public, suffix), names)
            if pool
            else (audit_shard(public, name, search, suffix) for name in names)
        )
        for shard_audit in audits:
            yield shard_audit
            progress.add()
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
        progress.close()


_search_of_worker: list[TextSearch] = []
"""Set once per process: pickling it with every shard would take longer than the audit."""


def _start_worker(search: TextSearch) -> None:
    _search_of_worker[:] = [search]


def _audit_in_worker(public: Path, suffix: str, name: str) -> ShardAudit:
    return audit_shard(public, name, _search_of_worker[0], suffix)


def _label_counts(public: Path) -> Counter[str]:
    labels: Counter[str] = Counter()
    for name in _LABEL_TABLES:
        if (public / name).exists():
            labels.update(pq.read_table(public / name, columns=["label"])["label"].to_pylist())
    return labels


def _unknown_key_problems(public: Path, privates: Sequence[Path]) -> Iterator[str]:
    """Find keys that are not pseudonyms of the private folders, and labels of unknown films."""
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
                yield f"{name}: keys that are not in index.parquet"


def _keys(table: Path) -> list[str]:
    return list(pq.read_table(table, columns=["key"])["key"].to_pylist())


def _frame_keys(manifest: pa.Table) -> set[str]:
    multi_frame = manifest.filter(pc.is_valid(manifest["frames"])).select(["key", "frames"]).to_pylist()
    return {frame_key(row["key"], frame) for row in multi_frame for frame in range(row["frames"])}
