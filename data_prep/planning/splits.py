"""Which split a patient belongs to: one pure function, the same for every film of the patient, for good."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa

from data_prep.annotations.csv_table import csv_table
from data_prep.errors import ArchiveError, SettingsError
from data_prep.shard_format.sidecar import Split

_log = logging.getLogger(__name__)

GivenSplits = Mapping[str, Split]
"""Keyed hash of a patient → split, from a table of the user."""

TRAIN_VAL: Literal["train_val"] = "train_val"
"""In a table: not in test; drawn into train and val. Many public data sets come with such a split."""
_Given = Split | Literal["train_val"]
_GIVEN: tuple[_Given, ...] = ("train", TRAIN_VAL, "val", "test")


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
    """Splits that a user gives: CSV with a header line, ``patient`` being the number that stands in the archive.

    The split train_val stands for train and val, drawn with ``seed`` and ``val`` as by :func:`split_of`.

    A number that two issuers have given out stands for both patients; of numbers that were joined to one patient the
    split that keeps most out of training counts, and a warning tells how many these are. Patients who are not in the
    archive are passed over.

    Raises:
        SettingsError: no such table, a row of it is wrong or contradicts another, or it names nobody in the archive.
    """
    wanted = _read(path)
    told = {
        (key, wanted[number])
        for number, key in zip(linkage["patient_id"].to_pylist(), manifest["patient"].to_pylist(), strict=True)
        if key is not None and number in wanted
    }
    given: dict[str, Split] = {}
    for key, split in sorted(told, key=lambda one: _GIVEN.index(one[1])):  # the strictest comes last and counts
        given[key] = split_of(key, seed, val, 0, True) if split == TRAIN_VAL else split
    if not given:
        raise SettingsError(f"splits.table {path} names no patient of the archive; give the numbers that stand there")
    if torn := len(told) - len(given):
        _log.warning(
            "splits.table gives several splits to %d patients with more than one number (films of one study are of one"
            " patient, whatever numbers they bear): test goes before val, val before train",
            torn,
        )
    return given


def splits_sha256(given: GivenSplits) -> str:
    """Identity of given splits: says nothing of the patients without the secret of the keys."""
    return hashlib.sha256("".join(f"{key} {split}\n" for key, split in sorted(given.items())).encode()).hexdigest()


def _read(path: Path) -> dict[str, _Given]:
    splits: dict[str, _Given] = {}
    try:
        for line, row in csv_table(path, ("patient", "split")):
            split = next((one for one in _GIVEN if one == row["split"]), None)
            if not row["patient"] or split is None:
                raise SettingsError(f"splits.table {path}, line {line}: needs a patient and one of {', '.join(_GIVEN)}")
            if splits.setdefault(row["patient"], split) != split:
                raise SettingsError(f"splits.table {path}, line {line}: a patient has two splits")
    except ArchiveError as error:
        raise SettingsError(f"splits.table: {error}") from None
    return splits
