"""Splits that depend on other patients: by strata, with a site held out. What was drawn is kept and never changes.

The values of a column are ordered by their number of patients, and each patient belongs to the rarest of its values.
Sorted by a hash of their keys, the patients of a stratum fill test, then val, to the rounded fraction. Patients who are
added later fill what their stratum then lacks; whoever is there stays.
"""

import hashlib
import json
import logging
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.archive.manifest import digest_key
from data_prep.archive.withdrawn import read_withdrawn
from data_prep.deidentify.person_digests import person_digest
from data_prep.errors import ArchiveError, SettingsError
from data_prep.planning.patient_values import PatientValues, Values, shown_value
from data_prep.planning.settings import SplitSettings
from data_prep.planning.splits import draw_split, split_draw
from data_prep.runtime.atomic_write import PRIVATE_MODE, atomic_file, canonical_json
from data_prep.shard_format.sidecar import Split

_log = logging.getLogger(__name__)

KEPT_SCHEMA = pa.schema([("patient", pa.string()), ("stratum", pa.string()), ("split", pa.string())])
"""``stratum`` is empty for a patient without a value, and null for one who is held out."""
_ORDER = b"order"


@dataclass(frozen=True)
class KeptSplits:
    """The splits of all patients of a scan.

    Attributes:
        path: of the table in the private folder that keeps them.
        order: values of the column, the rarest first.
        strata: patient → value, "" for none, None for held out.
        splits: patient → split.
        held_out: patients without a number whose study has a value that is held out: they neither train nor count.
        values: patient → values of the column; empty without strata.
        late: patients with a film that is held out, who had another split before.
    """

    path: Path
    order: tuple[str, ...]
    strata: Mapping[str, str | None]
    splits: Mapping[str, Split]
    held_out: frozenset[str]
    values: Values
    late: int

    def untested(self) -> list[str]:
        """Name the values without a test patient, for a message; the rarest first."""
        patients = Counter(value for patient in self.splits for value in self.values.get(patient, ()))
        tested = {v for patient, split in self.splits.items() if split == "test" for v in self.values.get(patient, ())}
        return [shown_value(value, patients[value]) for value in self.order if patients[value] and value not in tested]

    def write(self) -> None:
        """Write the table, for its owner alone; called before the first shard is written."""
        patients = sorted(self.splits)
        columns = [patients, [self.strata[name] for name in patients], [self.splits[name] for name in patients]]
        table = pa.table([pa.array(column, pa.string()) for column in columns], schema=KEPT_SCHEMA)
        table = table.replace_schema_metadata({_ORDER: json.dumps(self.order).encode()})
        with atomic_file(self.path, PRIVATE_MODE) as file:
            pq.write_table(table, file)


@dataclass(frozen=True)
class SplitRule:
    """How patients are divided.

    Attributes:
        config: as the public folder records it: ``stratify``, ``hold_out`` of columns of films, and
            ``hold_out_of_table`` with digests of values.
        column: values by which the patients are divided; None without strata.
        held_out: keys of patients, known or not, with a film that is held out.
    """

    config: dict[str, Any]
    column: Values | None
    held_out: frozenset[str]


def read_split_rule(films: pa.Table, linkage: pa.Table, splits: SplitSettings, *, later: bool) -> SplitRule:
    """Read the columns by which patients are divided.

    Args:
        films: [files] rows of the manifest.
        linkage: [files] the same rows of the linkage table.
        splits: with ``stratify`` or ``hold_out``.
        later: whether shards were written with these splits, so that what is new may lack the value.

    Raises:
        SettingsError: a column or table is wrong, or nothing has a value that is to be held out.
    """
    stratify = splits.stratify
    lookup = PatientValues(films, linkage, stratify.table if stratify else None)
    held_out: set[str] = set()
    config: dict[str, Any] = {}
    if stratify:
        config["stratify"] = {"column": stratify.column, "table": lookup.is_of_table(stratify.column)}
    for column, value in splits.hold_out.items():
        values = lookup.of(column)
        found = {patient for patient, own in values.items() if str(value) in own}
        if not found and not later:
            counts = Counter(v for own in values.values() for v in own)
            has = ", ".join(shown_value(v, count) for v, count in counts.most_common(8))
            raise SettingsError(f"splits.hold_out: no film has {column} = {value}; the column has {has or 'no value'}")
        held_out |= found
        if lookup.is_of_table(column):
            config.setdefault("hold_out_of_table", {})[column] = _digest(linkage, column, str(value))
        else:
            config.setdefault("hold_out", {})[column] = str(value)
    return SplitRule(config, lookup.of(stratify.column) if stratify else None, frozenset(held_out))


def _digest(linkage: pa.Table, column: str, value: str) -> str:
    """What a public folder records of a value of a table, which may be a name."""
    key = digest_key(linkage)
    if key is None:
        raise ArchiveError("the private folder is of an earlier release: scan again to hold out a value of a table")
    return person_digest(key, f"hold_out:{column}:{value}")


def keep_splits(
    private: Path, known: frozenset[str], rule: SplitRule, splits: SplitSettings, seed: int, *, later: bool
) -> KeptSplits:
    """Give every patient a split: the one that is kept, else one that the stratum lacks.

    Args:
        private: private folder.
        known: patients of the planned films whose number is known.
        rule: from :func:`read_split_rule`.
        splits: fractions of val and test.
        seed: of the draws.
        later: whether shards were written with these splits, so that the table must be there.

    Raises:
        SettingsError: the table of an earlier generation is missing or damaged.
    """
    path = _path(private, rule.config, splits, seed)
    order, strata, kept = _read(path, later)
    if not later and rule.config.get("stratify", {}).get("table") and (earlier := len(known & strata.keys())):
        _log.info(
            "%d of %d patients keep the split that was drawn before with this column (%s); it is not drawn anew from"
            " this table. A column of another name is drawn for itself",
            earlier,
            len(known),
            path.name,
        )
    withdrawn = read_withdrawn(private)
    strata = {patient: stratum for patient, stratum in strata.items() if patient not in withdrawn}
    result: dict[str, Split] = {patient: kept[patient] for patient in strata}
    values = {patient: own for patient, own in (rule.column or {}).items() if patient in known or patient in strata}
    order = (*_new_values(values, order), *order)
    place = {value: number for number, value in enumerate(order)}
    new = sorted(known - strata.keys(), key=lambda patient: split_draw(patient, seed))
    for patient in new:
        own = values.get(patient, frozenset())
        strata[patient] = None if patient in rule.held_out else min(own, key=place.__getitem__, default="")
    if rule.column is not None and (without := sum(strata[patient] == "" for patient in new)):
        _log.info(
            "%d of %d patients have no value of splits.stratify: they are divided by themselves", without, len(new)
        )
    if rule.column is None:
        result |= {patient: draw_split(patient, seed, splits.val, splits.test, True) for patient in new}
    else:
        result |= _fill(new, strata, result, splits)
    result |= dict.fromkeys((patient for patient in new if strata[patient] is None), "test")
    late = sum(result[patient] != "test" for patient in rule.held_out & result.keys())
    return KeptSplits(path, order, strata, result, rule.held_out - known - strata.keys(), values, late)


def _new_values(values: Values, order: tuple[str, ...]) -> list[str]:
    """Values that are not yet in the order, by their number of patients: they go before the others."""
    counts = Counter(value for own in values.values() for value in own)
    return sorted(counts.keys() - set(order), key=lambda value: (counts[value], value))


def _fill(
    new: list[str], strata: Mapping[str, str | None], kept: Mapping[str, Split], splits: SplitSettings
) -> dict[str, Split]:
    """The splits of new patients, who come in the order of their draws: those that their stratum lacks."""
    sizes = Counter(stratum for stratum in strata.values() if stratum is not None)
    have = Counter((strata[patient], split) for patient, split in kept.items())
    fractions: tuple[tuple[Split, float], ...] = (("test", splits.test), ("val", splits.val))
    lacking = {
        split: {value: _rounded(fraction * size) - have[value, split] for value, size in sizes.items()}
        for split, fraction in fractions
    }
    filled: dict[str, Split] = dict.fromkeys(new, "train")
    for patient in new:
        stratum = strata[patient]
        for split, _ in fractions:
            if stratum is not None and lacking[split][stratum] > 0:
                lacking[split][stratum] -= 1
                filled[patient] = split
                break
    return filled


def _rounded(number: float) -> int:
    """Round to the nearest integer, halves up; a fraction such as 0.15 is a little off in binary."""
    return math.floor(number + 0.5 + 1e-9)


def _path(private: Path, config: Mapping[str, Any], splits: SplitSettings, seed: int) -> Path:
    """The table of these settings: every public folder with them has the same splits."""
    identity = {"seed": seed, "val": splits.val, "test": splits.test, **config}
    return private / f"splits-{hashlib.sha256(canonical_json(identity)).hexdigest()[:16]}.parquet"


def _read(path: Path, later: bool) -> tuple[tuple[str, ...], dict[str, str | None], dict[str, Split]]:
    if not path.exists() and not later:
        return (), {}, {}
    try:
        table = pq.read_table(path)
        order = tuple(json.loads(table.schema.metadata[_ORDER]))
        patients, strata, splits = (table[name].to_pylist() for name in KEPT_SCHEMA.names)
    except FileNotFoundError:
        raise SettingsError(
            f"{path.parent} does not keep the splits of these shards. Scan into the private folder that they were"
            f" written from, or copy its {path.name}; and give the splits settings of the shards"
        ) from None
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        raise SettingsError(f"{path}, which keeps the splits of patients, is damaged. Take it from a copy") from None
    return order, dict(zip(patients, strata, strict=True)), dict(zip(patients, splits, strict=True))
