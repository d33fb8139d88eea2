"""The plan as a function of the manifest alone."""

import hashlib
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data_prep.archive.manifest import MANIFEST_SCHEMA
from data_prep.errors import Reason
from data_prep.planning.plan import Plan, plan_shards
from tests.builders.private_builder import settings


def key(*names: object) -> str:
    return hashlib.sha256(repr(names).encode()).hexdigest()[:32]


def row(number: int, **facts: Any) -> dict[str, Any]:
    patient = number // 3
    return {
        "row": number, "source": "dicom", "file_size": 1000 + number, "reason": None, "key": key("film", number),
        "patient": key("patient", patient), "study": key("study", patient), "series": key("series", number),
        "patient_known": True, "rows": 100, "columns": 80, "bits_stored": 12, "photometric": "MONOCHROME2",
        "pixel_spacing_mm": [0.1, 0.2] if number % 2 else None,
    } | facts  # fmt: skip


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, MANIFEST_SCHEMA)


def films(plan: Plan, manifest: pa.Table) -> dict[str, list[str]]:
    """Shard → keys of its files."""
    keys = dict(zip(manifest["row"].to_pylist(), manifest["key"].to_pylist(), strict=True))
    return {one.name: [keys[number] for number in one.rows.tolist()] for one in plan.shards}


ROWS = [row(number) for number in range(300)]


def test_what_is_too_small_by_its_header_is_not_planned() -> None:
    rows = [row(0), row(1, rows=16, columns=16), row(2, columns=63), row(3, rows=64, columns=64)]
    rows[1] |= {"marks": "secondary_capture"}
    plan = plan_shards(table(rows), settings())
    assert plan.rejects.to_pylist() == [{"row": one, "reason": Reason.TOO_SMALL} for one in (1, 2)]
    rejects = plan_shards(table(rows), settings(min_side=16)).rejects
    assert rejects.to_pylist() == [{"row": 1, "reason": Reason.SECONDARY_CAPTURE}]


def test_no_patient_in_two_splits() -> None:
    plan = plan_shards(table(ROWS), settings())
    patients: dict[str, set[str]] = {}
    for one in plan.shards:
        patients.setdefault(one.split, set()).update(ROWS[number]["patient"] for number in one.rows.tolist())
    assert set(patients) == {"train", "val", "test"}
    assert sum(len(found) for found in patients.values()) == 100


def test_every_film_is_planned_once_and_shards_are_full() -> None:
    plan = plan_shards(table(ROWS), settings(films_per_shard=7))
    assert sorted(np.concatenate([one.rows for one in plan.shards]).tolist()) == list(range(300))
    for split in ("train", "val", "test"):
        sizes = [len(one.rows) for one in plan.shards if one.split == split]
        assert all(size == 7 for size in sizes[:-1]) and 1 <= sizes[-1] <= 7
        assert [one.name for one in plan.shards if one.split == split] == [
            f"{split}-{n:06d}" for n in range(len(sizes))
        ]


def test_plan_does_not_depend_on_the_order_of_the_manifest() -> None:
    shuffled = np.random.default_rng(0).permutation(300)
    other = table([ROWS[place] | {"row": number} for number, place in enumerate(shuffled.tolist())])
    assert films(plan_shards(table(ROWS), settings()), table(ROWS)) == films(plan_shards(other, settings()), other)


def test_another_seed_draws_another_order_and_other_splits() -> None:
    first, second = (films(plan_shards(table(ROWS), settings(seed=seed)), table(ROWS)) for seed in (0, 1))
    assert first != second
    train = [
        {name for shard, keys in plan.items() if shard.startswith("train") for name in keys} for plan in (first, second)
    ]
    assert train[0] != train[1]


def test_films_of_a_patient_are_spread() -> None:
    plan = films(plan_shards(table(ROWS), settings(films_per_shard=20, splits={"val": 0, "test": 0})), table(ROWS))
    by_key = {one["key"]: one["patient"] for one in ROWS}
    neighbours = [by_key[one] == by_key[two] for keys in plan.values() for one, two in itertools.pairwise(keys)]
    assert sum(neighbours) < 10


def test_unknown_patients_only_train() -> None:
    plan = plan_shards(table([one | {"patient_known": False} for one in ROWS]), settings())
    assert {one.split for one in plan.shards} == {"train"}


def test_files_with_one_key_stay_together_in_order_of_rows() -> None:
    twice = [*ROWS, row(300, key=ROWS[5]["key"], patient=key("somebody else")), row(301, key=ROWS[5]["key"])]
    for plan in (plan_shards(table(twice), settings(films_per_shard=1)),):
        (unit,) = [one.rows.tolist() for one in plan.shards if 5 in one.rows]
        assert unit == [5, 300, 301]


def test_files_rejected_by_their_header_are_listed() -> None:
    rows = [row(number, marks="for_processing" if number == 1 else None) for number in range(5)]
    rows[0]["reason"], rows[4]["reason"] = "no_pixels", "not_a_film"
    plan = plan_shards(table(rows), settings())
    reasons = dict(zip(plan.rejects["row"].to_pylist(), plan.rejects["reason"].to_pylist(), strict=True))
    assert reasons == {0: Reason.NO_PIXELS, 1: Reason.FOR_PROCESSING, 4: Reason.NOT_A_FILM}
    kept = plan_shards(table(rows), settings(selection={"for_processing": "keep"}))
    assert kept.rejects["row"].to_pylist() == [0, 4]
    assert sorted(np.concatenate([one.rows for one in kept.shards]).tolist()) == [1, 2, 3]


@pytest.mark.parametrize("rows", [[], [row(0, reason="no_pixels")]])
def test_archive_without_films_makes_no_shards(rows: list[dict[str, Any]]) -> None:
    assert plan_shards(table(rows), settings()).shards == ()


@pytest.mark.parametrize(
    "change", [{"file_size": 7}, {"body_part": "HAND"}, {"pixel_spacing_mm": [0.1, 0.3]}, {"age_years": 4}]
)
def test_any_changed_header_value_changes_the_digest_of_its_shard_only(change: dict[str, Any]) -> None:
    before = plan_shards(table(ROWS), settings()).shards
    after = plan_shards(table([*ROWS[:10], ROWS[10] | change, *ROWS[11:]]), settings()).shards
    changed = [one.name for one, two in zip(before, after, strict=True) if one.inputs_sha256 != two.inputs_sha256]
    assert changed == [one.name for one in before if 10 in one.rows]


def test_a_large_archive_is_planned_fast(tmp_path: Path) -> None:
    count = 50_000
    columns = {
        name: pa.nulls(count, kind) for name, kind in zip(MANIFEST_SCHEMA.names, MANIFEST_SCHEMA.types, strict=True)
    }
    columns |= {
        "row": pa.array(np.arange(count)), "key": pa.array([f"{number:032x}" for number in range(count)]),
        "patient": pa.array([f"{number // 4:032x}" for number in range(count)]),
        "patient_known": pa.array(np.ones(count, dtype=np.bool_)),
    }  # fmt: skip
    manifest = pa.table(columns, schema=MANIFEST_SCHEMA)
    start = time.process_time()
    assert len(plan_shards(manifest, settings(films_per_shard=500)).shards) >= 100
    assert time.process_time() - start < 6  # a million files in two minutes on a slow machine
