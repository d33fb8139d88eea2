"""Encoders of different width are also compared at one width, by principal components of the training films."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from data_prep.settings import load
from mae_rad.evaluation.comparison import principal_components
from mae_rad.evaluation.comparison.compare_encoders import ComparisonInputs, compare
from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.principal_components import project_on_components
from mae_rad.evaluation.comparison.settings import CompareSettings, VectorChoice
from mae_rad.evaluation.load_inputs import prepare_inputs
from mae_rad.evaluation.results.rows import Row
from tests.builders.film_tables import film, write_public

PATIENTS, WIDE, NARROW = 90, 40, 6


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draws = np.random.default_rng(0)
    splits = ("train", "train", "train", "val", "test", "test")
    films = [film((patient,), patient, splits[patient % 6]) for patient in range(PATIENTS)]
    labels = [(row["key"], "fracture", "present" if draws.random() < 0.5 else "absent", "expert") for row in films]
    return write_public(tmp_path_factory.mktemp("data") / "public", films, labels)


@pytest.fixture(scope="module")
def tables(public: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two tables of external vectors: the wide one knows the label in a direction of large variance."""
    films, folder, draws = Films([public]), tmp_path_factory.mktemp("tables"), np.random.default_rng(1)
    present = {row["key"] for row in films.labels.to_pylist() if row["value"] == "present"}
    known = np.array([key in present for key in films.keys])
    matrices = {name: draws.normal(size=(PATIENTS, width)) for name, width in (("wide", WIDE), ("narrow", NARROW))}
    matrices["wide"] *= np.linspace(1, 3, WIDE)
    matrices["wide"][:, -1] += 6 * known
    for name, matrix in matrices.items():
        pq.write_table(pa.table({"key": films.keys, "embedding": matrix.tolist()}), folder / f"{name}.parquet")
    return {name: folder / f"{name}.parquet" for name in matrices}


def inputs_of(public: Path, tables: dict[str, Path], out: Path, *words: str) -> ComparisonInputs:
    entries = ", ".join(f"{{foreign: {path}}}" for path in tables.values())
    values = [
        f"shards={public}", f"out={out}", f"encoders=[{entries}]", "tasks=[]", "pixel_components=0", "analyses=[]",
        "probes=[linear, knn]", "label_fractions=[0.5, 1.0]", "label_draws=1", "repetitions=100", "subsets=[]", *words,
    ]  # fmt: skip
    return prepare_inputs([], load(CompareSettings, None, values))


def found(rows: list[Row], **wanted: object) -> list[Row]:
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def test_wide_vectors_are_reduced_to_the_components_of_the_training_films(
    public: Path, tables: dict[str, Path], tmp_path: Path
) -> None:
    inputs = inputs_of(public, tables, tmp_path / "c", "equal_width=6")
    wide, narrow = inputs.encoders
    rows, choice = np.arange(PATIENTS), VectorChoice(None, None, 6)
    whole = wide.vectors(VectorChoice(None, None), rows).array()
    training = np.flatnonzero(inputs.films.split == "train")
    expected = PCA(6, svd_solver="full").fit(whole[training]).transform(whole)
    ours = wide.vectors(choice, rows).array()
    np.testing.assert_allclose(np.abs(ours), np.abs(expected), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(
        narrow.vectors(choice, rows).array(), narrow.vectors(VectorChoice(None, None), rows).array()
    )


def test_all_encoders_are_compared_at_equal_width_and_every_row_names_it(
    public: Path, tables: dict[str, Path], tmp_path: Path
) -> None:
    rows = compare(inputs_of(public, tables, tmp_path / "c", "equal_width=6")).rows
    reduced, unreduced = "none → 6 components", "none, 6 wide"
    for fraction in (0.5, 1.0):
        for probe in ("linear", "knn"):
            shown = {"probe": probe, "label_fraction": fraction, "metric": "auroc", "probe_seed": None}
            values = found(rows, reference=None, **shown)
            assert [(row.encoder, row.pool) for row in values if row.pool != "none"] == [
                ("wide", reduced),
                ("narrow", unreduced),
            ]
            (difference,) = found(rows, reference="narrow", pool=reduced, **shown)
            of = {row.encoder: row.interval.value for row in values if row.pool != "none"}
            assert difference.difference is not None
            assert difference.difference.value == pytest.approx(of["wide"] - of["narrow"])
    wide, narrow = (found(rows, pool=pool, reference=None)[0].note for pool in (reduced, unreduced))
    assert "; vectors of 40 numbers; " in wide
    assert "; vectors of 6 numbers; " in narrow
    keys = [(r.encoder, r.reference, r.pool, r.probe, r.label_fraction, r.probe_seed, r.metric, r.subset) for r in rows]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("words", [(), ("equal_width=40",)])
def test_without_a_wider_encoder_nothing_is_added(
    public: Path, tables: dict[str, Path], tmp_path: Path, words: tuple[str, ...]
) -> None:
    rows = compare(inputs_of(public, tables, tmp_path / "c", *words)).rows
    assert {row.pool for row in rows} == {"none"}
    assert not [row for row in rows if "numbers" in row.note]


def test_components_of_very_wide_vectors_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = (np.random.default_rng(3).normal(size=(90, 60)) * np.linspace(1, 4, 60)).astype(np.float32)
    monkeypatch.setattr(principal_components, "_MAX_FULL", 20)
    store = project_on_components(matrix, np.arange(70), 5, identity={"vectors": "x"}, cache=tmp_path, name="x")
    expected = PCA(5, svd_solver="full").fit(matrix[:70]).transform(matrix)
    np.testing.assert_allclose(np.abs(store.vectors("none")), np.abs(expected), rtol=1e-3, atol=1e-3)


def test_few_training_films_give_no_components_of_rounding_errors(tmp_path: Path) -> None:
    matrix: NDArray[np.float32] = np.random.default_rng(2).normal(size=(9, 12)).astype(np.float32)
    store = project_on_components(matrix, np.arange(4), 8, identity={"vectors": "x"}, cache=tmp_path, name="x")
    projected = store.vectors("none")
    assert (projected[:, 3:] == 0).all()
    assert (np.abs(projected[:4, :3]).max(axis=0) > 0.1).all()
