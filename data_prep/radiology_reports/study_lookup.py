"""Which study a report is about, by what it calls it: one study, or a word for why not."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pyarrow as pa

from data_prep.archive.manifest import key_fingerprint, read_linkage, read_manifest
from data_prep.radiology_reports.report_files import FILE_NAME, ReportText
from data_prep.shard_format.frame_key import frame_key

_LINKED = {"accession": "accession", "study_uid": "study_uid", "sop_instance_uid": "sop_instance_uid"}
UNKNOWN, SEVERAL, DISAGREE, NAMELESS = "unknown_study", "several_studies", "identifiers_disagree", "no_identifier"
PROBLEMS = frozenset({UNKNOWN, SEVERAL, DISAGREE, NAMELESS})


class Studies:
    """Looks up the key of a study in a private folder."""

    def __init__(self, private: Path) -> None:
        manifest = read_manifest(private)
        self.fingerprint = key_fingerprint(manifest)
        linkage = read_linkage(private, ["path", "patient_id", *_LINKED.values()])
        frames = zip(manifest["key"].to_pylist(), manifest["frames"].to_pylist(), strict=True)
        self._films = [frame_key(key, k) for key, count in frames if key for k in range(count or 1)]
        self._study: list[str | None] = manifest["study"].to_pylist()
        self._paths: list[str] = linkage["path"].to_pylist()
        self._by = {name: self._index(linkage[column].to_pylist()) for name, column in _LINKED.items()}
        self._by["patient_id"] = self._index(linkage["patient_id"].to_pylist())
        self._by_file: dict[str, list[int]] = {}
        self._by_stem: dict[str, list[int]] = {}
        for row, path in enumerate(self._paths):
            name = path.rpartition("/")[2]
            self._by_file.setdefault(name, []).append(row)
            self._by_stem.setdefault(PurePosixPath(name).stem, []).append(row)

    def own_keys(self) -> pa.Array:
        """Keys of all films of the scan."""
        return pa.array(self._films, pa.string())

    def of(self, report: ReportText) -> str:
        """The key of the report's study, or UNKNOWN, SEVERAL, DISAGREE or NAMELESS."""
        found = [self._studies(name, value) for name, value in report.names.items() if name != "patient_id"]
        patient = report.names.get("patient_id")
        theirs = [self._by["patient_id"].get(patient, frozenset())] if patient else []
        if not found and not theirs:
            return NAMELESS
        if not any(found or theirs):
            return UNKNOWN
        if not all(found + theirs):
            return DISAGREE
        common = frozenset.intersection(*found, *theirs)
        return SEVERAL if len(common) > 1 else next(iter(common), DISAGREE)

    def _index(self, values: Iterable[str | None]) -> dict[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for study, value in zip(self._study, values, strict=True):
            if study and value:
                found.setdefault(value, set()).add(study)
        return {value: frozenset(studies) for value, studies in found.items()}

    def _studies(self, name: str, value: str) -> frozenset[str]:
        if name == FILE_NAME:
            exact = (self._by[one].get(value, frozenset()) for one in ("accession", "study_uid", "sop_instance_uid"))
            return next(filter(None, exact), self._of_rows(self._by_stem.get(value, ())))
        if name == "path":
            return self._of_path(value)
        return self._by[name].get(value, frozenset())

    def _of_path(self, path: str) -> frozenset[str]:
        """By the whole path, or by its last parts."""
        wanted = PurePosixPath(path.replace("\\", "/"))
        near = self._by_file.get(wanted.name, ())
        exact = [row for row in near if self._paths[row] == path]
        parts = tuple(part for part in wanted.parts if part != ".")
        ends = (row for row in near if PurePosixPath(self._paths[row]).parts[-len(parts) :] == parts)
        return self._of_rows(exact or ends)

    def _of_rows(self, rows: Iterable[int]) -> frozenset[str]:
        return frozenset(study for row in rows if (study := self._study[row]))
