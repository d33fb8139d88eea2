"""Which split a patient belongs to: one pure function, the same for every film of the patient, for good."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from data_prep.annotations.csv_table import csv_table
from data_prep.annotations.split_names import GivenSplit, split_named, strictest_split
from data_prep.archive.manifest import SPLITS_TABLE, dataset_name
from data_prep.errors import ArchiveError, SettingsError
from data_prep.planning.folder_identity import folder_record
from data_prep.planning.settings import SplitSettings
from data_prep.shard_format.sidecar import Split

_log = logging.getLogger(__name__)

GivenSplits = Mapping[str, Split]
"""Keyed hash of a patient → split, from a table of the user."""

UNNAMED_BEFORE: Literal["draw"] = "draw"
"""``splits.unnamed`` of folders whose settings do not have it."""


def chosen_splits(private: Path, public: Path, splits: SplitSettings) -> SplitSettings:
    """``splits`` as they hold for a folder: with the table that ``auto`` stands for.

    A folder that was begun keeps what it has recorded: splits that are all drawn, and those of unnamed patients that
    an earlier release drew.

    Args:
        private: folder of the scan.
        public: folder of the shards.
        splits: as the user gave them.

    Returns:
        Splits of which ``table`` is a path or None.
    """
    found = folder_record(public)
    recorded = found.config.get("splits", {}) if found else {"unnamed": splits.unnamed}
    table = splits.table
    if table == "auto":
        table = private / SPLITS_TABLE if (private / SPLITS_TABLE).exists() else None
        if table:
            origin = f"{table}, the split of {dataset_name(private) or 'the scanned set'}"
            if found and not recorded.get("table"):
                _log.info("%s was begun with drawn splits and keeps them; %s, is for a new folder", public, origin)
                table = None
            else:
                _log.info("splits.table=auto takes %s", origin)
    return splits.model_copy(update={"table": table, "unnamed": recorded.get("unnamed", UNNAMED_BEFORE)})


def recorded_splits(splits: SplitSettings, given: GivenSplits) -> dict[str, Any]:
    """The settings of the splits as they stand in the public folder: its table by checksum, never by path.

    ``unnamed`` is left out where it says nothing beyond the settings of earlier releases.
    """
    config = splits.model_dump(mode="json") | {"table": splits_sha256(given) if splits.table else None}
    if not splits.table or splits.unnamed == UNNAMED_BEFORE:
        del config["unnamed"]
    return config


def split_of(patient_key: str, seed: int, val: float, test: float, known: bool) -> Split:
    """The split of a patient by hash: new patients in the archive move nobody.

    Args:
        patient_key: keyed hash of the patient.
        seed: another seed draws other patients.
        val: fraction of the known patients.
        test: fraction of the known patients; changing ``val`` does not change who is in test.
        known: False where the patient's identity is only guessed from the study; such films always train, since another
            study of the same person could stand in another split.
    """
    if not known:
        return "train"
    digest = hashlib.sha256(f"split:{seed}:{patient_key}".encode()).digest()
    draw = int.from_bytes(digest[:8], "big") / 2**64
    if draw < test:
        return "test"
    return "val" if draw < test + val else "train"


def read_split_table(path: Path, manifest: pa.Table, linkage: pa.Table, seed: int, val: float) -> dict[str, Split]:
    """Splits that a user or a known set gives: CSV with a header line, ``patient`` being the number in the archive.

    Splits may be written as the folders of known sets have them, such as valid or dev for val. The split train_val
    stands for train and val, drawn with ``seed`` and ``val`` as by :func:`split_of`.

    A number that two issuers have given out stands for both patients; of numbers that were joined to one patient the
    split that keeps most out of training counts, and a warning says how many these are. Patients who are not in the
    archive are skipped.

    Args:
        path: the table.
        manifest: [files] keyed hash of the patient.
        linkage: [files] number of the patient.
        seed: of the draw of train_val.
        val: fraction of it that validates.

    Returns:
        Keyed hash of a patient → split.

    Raises:
        SettingsError: no such table, a row of it is wrong or contradicts another, or it names nobody in the archive.
    """
    wanted = _read(path)
    found: defaultdict[str, set[GivenSplit]] = defaultdict(set)
    for number, key in zip(linkage["patient_id"].to_pylist(), manifest["patient"].to_pylist(), strict=True):
        if key is not None and number in wanted:
            found[key].add(wanted[number])
    given: dict[str, Split] = {}
    for key, several in found.items():
        split = strictest_split(several)
        given[key] = split_of(key, seed, val, 0, True) if split == "train_val" else split
    if not given:
        raise SettingsError(f"splits.table {path} names no patient of the archive; give the numbers that stand there")
    if torn := sum(len(several) - 1 for several in found.values()):
        _log.warning(
            "splits.table gives several splits to %d patients with more than one number (films of one study are of one"
            " patient, whatever numbers they bear): test goes before val, val before train",
            torn,
        )
    return given


def splits_sha256(given: GivenSplits) -> str:
    """Identity of given splits: says nothing of the patients without the secret of the keys."""
    return hashlib.sha256("".join(f"{key} {split}\n" for key, split in sorted(given.items())).encode()).hexdigest()


def _read(path: Path) -> dict[str, GivenSplit]:
    splits: dict[str, GivenSplit] = {}
    try:
        for line, row in csv_table(path, ("patient", "split")):
            split = split_named(row["split"])
            if not row["patient"] or split is None:
                raise SettingsError(
                    f"splits.table {path}, line {line}: needs a patient and one of train, train_val, val, test"
                )
            if splits.setdefault(row["patient"], split) != split:
                raise SettingsError(f"splits.table {path}, line {line}: a patient has two splits")
    except ArchiveError as error:
        raise SettingsError(f"splits.table: {error}") from None
    return splits
