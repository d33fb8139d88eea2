"""Find the study of a report by its identifiers."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pyarrow as pa

from data_prep.archive.manifest import key_fingerprint, read_linkage, read_manifest
from data_prep.radiology_reports.report_files import FILE_NAME, ReportText
from data_prep.radiology_reports.report_names import BY_FILE_NAME, ReportNames
from data_prep.shard_format.frame_key import frame_key

_LINKAGE_COLUMNS = ("accession", "study_uid", "sop_instance_uid")
UNKNOWN_STUDY = "unknown_study"
SEVERAL_STUDIES = "several_studies"
IDENTIFIERS_DISAGREE = "identifiers_disagree"
NO_IDENTIFIER = "no_identifier"
PROBLEMS = frozenset({UNKNOWN_STUDY, SEVERAL_STUDIES, IDENTIFIERS_DISAGREE, NO_IDENTIFIER})
"""Codes of reports whose study is not found."""


class StudyLookup:
    """Finds the keys of studies in a private folder.

    Args:
        private: folder of the scan.
        names: which folder of a film is named after its study.

    Attributes:
        fingerprint: of the secret that the keys are made with.
    """

    def __init__(self, private: Path, names: ReportNames = BY_FILE_NAME) -> None:
        manifest = read_manifest(private)
        self.fingerprint = key_fingerprint(manifest)
        linkage = read_linkage(private, ["path", "patient_id", *_LINKAGE_COLUMNS])
        frames = zip(manifest["key"].to_pylist(), manifest["frames"].to_pylist(), strict=True)
        self._films = [frame_key(key, k) for key, count in frames if key for k in range(count or 1)]
        self._study_of_row: list[str | None] = manifest["study"].to_pylist()
        self._paths: list[str] = linkage["path"].to_pylist()
        self._studies_by_identifier = {
            column: self._index_studies(linkage[column].to_pylist()) for column in (*_LINKAGE_COLUMNS, "patient_id")
        }
        self._rows_by_file: dict[str, list[int]] = {}
        self._rows_by_stem: dict[str, list[int]] = {}
        self._rows_by_folder: dict[str, list[int]] = {}
        for row, path in enumerate(self._paths):
            name = path.rpartition("/")[2]
            self._rows_by_file.setdefault(name, []).append(row)
            self._rows_by_stem.setdefault(PurePosixPath(name).stem, []).append(row)
            if (folder := names.folder_of(path)) is not None:
                self._rows_by_folder.setdefault(folder, []).append(row)

    def scan_keys(self) -> pa.Array:
        """Return the keys of all films of the scan."""
        return pa.array(self._films, pa.string())

    def find(self, report: ReportText) -> str:
        """Return the key of the report's study, or the code of a problem (PROBLEMS)."""
        studies = [
            self._studies_named(name, value) for name, value in report.identifiers.items() if name != "patient_id"
        ]
        patient = report.identifiers.get("patient_id")
        patient_studies = [self._studies_by_identifier["patient_id"].get(patient, frozenset())] if patient else []
        if not studies and not patient_studies:
            return NO_IDENTIFIER
        if not any(studies or patient_studies):
            return UNKNOWN_STUDY
        if not all(studies + patient_studies):
            return IDENTIFIERS_DISAGREE
        common = frozenset.intersection(*studies, *patient_studies)
        return SEVERAL_STUDIES if len(common) > 1 else next(iter(common), IDENTIFIERS_DISAGREE)

    def _index_studies(self, values: Iterable[str | None]) -> dict[str, frozenset[str]]:
        index: dict[str, set[str]] = {}
        for study, value in zip(self._study_of_row, values, strict=True):
            if study and value:
                index.setdefault(value, set()).add(study)
        return {value: frozenset(studies) for value, studies in index.items()}

    def _studies_named(self, name: str, value: str) -> frozenset[str]:
        if name == FILE_NAME:
            exact = (self._studies_by_identifier[column].get(value, frozenset()) for column in _LINKAGE_COLUMNS)
            by_rows = (
                self._studies_of_rows(rows.get(value, ())) for rows in (self._rows_by_folder, self._rows_by_stem)
            )
            return next(filter(None, (*exact, *by_rows)), frozenset())
        if name == "path":
            return self._studies_of_path(value)
        return self._studies_by_identifier[name].get(value, frozenset())

    def _studies_of_path(self, path: str) -> frozenset[str]:
        """Studies of the films with this path, or with a path that ends in these parts."""
        wanted_path = PurePosixPath(path.replace("\\", "/"))
        candidates = self._rows_by_file.get(wanted_path.name, ())
        exact = [row for row in candidates if self._paths[row] == path]
        parts = tuple(part for part in wanted_path.parts if part != ".")
        endings = (row for row in candidates if PurePosixPath(self._paths[row]).parts[-len(parts) :] == parts)
        return self._studies_of_rows(exact or endings)

    def _studies_of_rows(self, rows: Iterable[int]) -> frozenset[str]:
        return frozenset(study for row in rows if (study := self._study_of_row[row]))
