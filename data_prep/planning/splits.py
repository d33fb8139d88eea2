"""The split of a patient: drawn by a pure function of the patient's key, or stated by a table."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from data_prep.annotations.csv_table import csv_table
from data_prep.annotations.split_names import GivenSplit, parse_split, strictest_split
from data_prep.archive.manifest import SPLITS_TABLE, dataset_name
from data_prep.deidentify.pseudonyms import canonical_number
from data_prep.errors import ArchiveError, SettingsError
from data_prep.planning.folder_identity import read_folder_record
from data_prep.planning.settings import SplitSettings
from data_prep.shard_format.sidecar import Split

_log = logging.getLogger(__name__)

GivenSplits = Mapping[str, Split]
"""Keyed hash of a patient → split, from a table of the user."""

FORMER_UNNAMED: Literal["draw"] = "draw"
"""``splits.unnamed`` of folders whose recorded settings lack it."""


def resolve_splits(private: Path, public: Path, splits: SplitSettings) -> SplitSettings:
    """Replace ``splits.table=auto`` by the table that applies to a folder.

    A folder that was begun keeps its recorded choice: no table, and ``splits.unnamed``.

    Args:
        private: folder of the scan.
        public: folder of the shards.
        splits: as the user gave them.

    Returns:
        Splits of which ``table`` is a path or None.
    """
    record = read_folder_record(public)
    recorded = record.config.get("splits", {}) if record else {"unnamed": splits.unnamed}
    table = splits.table
    if table == "auto" and splits.kept:
        if (private / SPLITS_TABLE).exists():
            _log.info("the split of %s is not used: the splits are drawn", dataset_name(private) or "the scanned set")
        table = None
    if table == "auto":
        table = private / SPLITS_TABLE if (private / SPLITS_TABLE).exists() else None
        if table:
            origin = f"{table}, the split of {dataset_name(private) or 'the scanned set'}"
            if record and not recorded.get("table"):
                _log.info("%s was begun with drawn splits and keeps them; %s, is for a new folder", public, origin)
                table = None
            else:
                _log.info("splits.table=auto takes %s", origin)
    unnamed = recorded.get("unnamed", FORMER_UNNAMED)
    if table and unnamed != splits.unnamed:
        _log.info("%s was begun with splits.unnamed=%s and keeps it", public, unnamed)
    return splits.model_copy(update={"table": table, "unnamed": unnamed})


def split_config(splits: SplitSettings, given: GivenSplits, drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the splits as the public folder records them: the table by its checksum, never by its path.

    What has no effect or is the value of earlier releases is left out.

    Args:
        splits: with the table that applies, from :func:`resolve_splits`.
        given: splits that the table states.
        drawn: ``stratify`` and ``hold_out``, where they are set, without a path or a value of a table.
    """
    config: dict[str, Any] = splits.model_dump(mode="json", exclude={"stratify", "hold_out"}) | dict(drawn)
    config["table"] = splits_sha256(given) if splits.table else None
    if not splits.table or splits.unnamed == FORMER_UNNAMED:
        del config["unnamed"]
    return config


def draw_split(patient_key: str, seed: int, val: float, test: float, known: bool) -> Split:
    """Draw the split of a patient by a hash, so that new patients in the archive do not move others.

    Args:
        patient_key: keyed hash of the patient.
        seed: another seed draws other patients.
        val: fraction (0 to 1) of the known patients.
        test: fraction (0 to 1) of the known patients; changing ``val`` does not change which patients are in test.
        known: False where the header states no patient and the key stands for a study; such films always train, since
            another study of the same person could be in another split.
    """
    if not known:
        return "train"
    draw = split_draw(patient_key, seed)
    if draw < test:
        return "test"
    return "val" if draw < test + val else "train"


def split_draw(patient_key: str, seed: int) -> float:
    """Draw the place of a patient, 0 to 1, among all by a hash of the key."""
    return int.from_bytes(hashlib.sha256(f"split:{seed}:{patient_key}".encode()).digest()[:8], "big") / 2**64


def read_split_table(path: Path, manifest: pa.Table, linkage: pa.Table, seed: int, val: float) -> dict[str, Split]:
    """Read the splits that a user or a public data set states: CSV with the columns ``patient`` and ``split``.

    ``patient`` is the number in the archive; case, blanks and leading zeros, which spreadsheets remove, do not matter.
    Names of splits as in public data sets are accepted, such as valid or dev for val. ``train_val`` is drawn into train
    or val with ``seed`` and ``val``, as by :func:`draw_split`.

    A number that two issuers use stands for both patients. Where several numbers are joined to one patient, the
    strictest split counts (test before val before train), and a warning gives their count. Patients who are not in
    the archive are skipped.

    Args:
        path: the table.
        manifest: [files] keyed hash of the patient.
        linkage: [files] number of the patient.
        seed: seed of the drawn train_val patients.
        val: fraction (0 to 1) of the train_val patients that validate.

    Returns:
        Keyed hash of a patient → split.

    Raises:
        SettingsError: the table is missing, a row is wrong or contradicts another, or no patient is in the archive.
    """
    split_by_number = _read_table(path)
    by_spelling = _by_canonical_number(split_by_number)
    found: set[str] = set()
    splits_by_key: defaultdict[str, set[GivenSplit]] = defaultdict(set)
    for number, key in zip(linkage["patient_id"].to_pylist(), manifest["patient"].to_pylist(), strict=True):
        if key is None or number is None:
            continue
        stated = number if number in split_by_number else by_spelling.get(canonical_number(number))
        if stated is not None:
            splits_by_key[key].add(split_by_number[stated])
            found.add(stated)
    given: dict[str, Split] = {}
    for key, splits in splits_by_key.items():
        split = strictest_split(splits)
        given[key] = draw_split(key, seed, val, 0, True) if split == "train_val" else split
    if not given:
        raise SettingsError(
            f"splits.table {path} names no patient of the archive. Give the patient numbers of its files"
        )
    if missing := len(split_by_number) - len(found):
        _log.warning("splits.table names %d of %d patients that are not in the archive", missing, len(split_by_number))
    if conflicts := sum(len(splits) - 1 for splits in splits_by_key.values()):
        _log.warning(
            "splits.table gives several splits to %d patients with more than one number (all films of a study belong to"
            " one patient, whatever their numbers): test goes before val, val before train",
            conflicts,
        )
    return given


def _by_canonical_number(split_by_number: Mapping[str, GivenSplit]) -> dict[str, str]:
    """Number without differences of case, blanks and leading zeros → number as the table has it, if only one fits."""
    spellings: defaultdict[str, list[str]] = defaultdict(list)
    for number in split_by_number:
        spellings[canonical_number(number)].append(number)
    return {canonical: numbers[0] for canonical, numbers in spellings.items() if len(numbers) == 1}


def splits_sha256(given: GivenSplits) -> str:
    """Identity of stated splits; without the secret of the keys it reveals nothing about the patients."""
    return hashlib.sha256("".join(f"{key} {split}\n" for key, split in sorted(given.items())).encode()).hexdigest()


def _read_table(path: Path) -> dict[str, GivenSplit]:
    splits: dict[str, GivenSplit] = {}
    try:
        for line, row in csv_table(path, ("patient", "split")):
            split = parse_split(row["split"])
            if not row["patient"] or split is None:
                raise SettingsError(
                    f"splits.table {path}, line {line}: needs a patient and one of train, train_val, val, test"
                )
            if splits.setdefault(row["patient"], split) != split:
                raise SettingsError(
                    f"splits.table {path}, line {line}: the patient has two splits. Keep one of the rows"
                )
    except ArchiveError as error:
        raise SettingsError(f"splits.table: {error}") from None
    return splits
