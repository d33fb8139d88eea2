"""A planted archive with a number: what two tables of vectors know of it is drawn."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_prep.errors import SettingsError
from data_prep.settings import load
from data_prep.shard_format.label_schema import LABELS_SCHEMA
from mae_rad.evaluation.compare_runs import compare_runs
from mae_rad.evaluation.comparison.compare_encoders import compare
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.load_inputs import prepare_inputs
from mae_rad.evaluation.results.rows import read_comparison
from tests.builders.film_tables import film, write_public

PATIENTS, DIM = 180, 12
QUICK = ["pixel_components=0", "analyses=[]", "label_fractions=[1.0]", "repetitions=200", "label_draws=1"]
TASKS = "tasks=[{column: sex}, {label: bone_age, unit: months}]"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Public folder of two films per patient, and tables of vectors: ``good`` knows age and sex, ``poor`` little."""
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("numbers")
    age = random.uniform(20, 220, PATIENTS)
    sex = random.integers(0, 2, PATIENTS)
    films = [
        film((patient, n), patient, ("train", "train", "val", "test", "test")[patient % 5], sex="FM"[sex[patient]])
        for patient in range(PATIENTS)
        for n in range(2)
    ]
    public = write_public(folder / "public", films)
    of_film = np.repeat(np.arange(PATIENTS), 2)
    numbers = [
        {"key": row["key"], "label": "bone_age", "number": float(age[patient]), "source": "expert"}
        for row, patient in zip(films, of_film, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(numbers, LABELS_SCHEMA), public / "labels.parquet")
    for name, signal in {"good": 2.0, "poor": 0.4}.items():
        x = random.normal(size=(len(films), DIM))
        x[:, 0] += signal * ((age - 120) / 58)[of_film]
        x[:, 1] += signal * sex[of_film]
        vectors = {"key": [row["key"] for row in films], "embedding": x.astype(np.float32).tolist()}
        pq.write_table(pa.table(vectors), folder / f"{name}.parquet")
    return folder


def settings(archive, out, *words):
    encoders = ", ".join(f"{{foreign: {archive / name}.parquet}}" for name in ("good", "poor"))
    values = [f"shards={archive / 'public'}", f"out={out}", f"encoders=[{encoders}]", TASKS, *QUICK, *words]
    return load(CompareSettings, None, values)


def compared(archive, out, *words):
    inputs = prepare_inputs([], settings(archive, out, *words))
    return inputs, compare(inputs).rows


def one(rows, **wanted):
    (row,) = [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]
    return row


def test_a_number_is_compared_by_its_explained_variance_and_its_error(archive, tmp_path):
    inputs, rows = compared(archive, tmp_path / "c", "probes=[linear, knn]")
    age = next(task for task in inputs.tasks if task.name == "bone_age")
    good = next(encoder for encoder in inputs.encoders if encoder.name == "good")
    x = good.vectors(inputs.first, age.rows).array().astype(float)
    value = one(rows, task="bone_age", probe="linear", metric="r2", encoder="good", reference=None)
    penalty = float(value.note.split("penalty=")[1].split()[0])
    train, test = age.positions("train"), age.positions("test")
    model = make_pipeline(StandardScaler(), Ridge(alpha=penalty * len(train))).fit(x[train], age.numbers[train])
    predicted = model.predict(x[test])
    assert value.interval.value == pytest.approx(r2_score(age.numbers[test], predicted), abs=1e-4)
    error = one(rows, task="bone_age", probe="linear", metric="mean_absolute_error", encoder="good", reference=None)
    assert error.interval.value == pytest.approx(mean_absolute_error(age.numbers[test], predicted), abs=0.01)
    assert error.interval.high > 1
    assert "in months" in error.note
    for probe in ("linear", "knn"):
        wanted = {"task": "bone_age", "probe": probe, "encoder": "good", "reference": "poor"}
        assert one(rows, metric="r2", **wanted).verdict == "higher"
        assert one(rows, metric="mean_absolute_error", **wanted).verdict == "lower"  # a smaller error is better
    assert {row.metric for row in rows if row.task == "sex"} == {"auroc", "average_precision", "balanced_accuracy"}


def test_with_folds_only_the_test_split_is_used_and_no_patient_scores_itself(archive, tmp_path):
    inputs, rows = compared(archive, tmp_path / "c", "probes=[linear]", "cross_fit=4")
    age = next(plan for plan in inputs.plans if plan.task.name == "bone_age")
    used = np.unique(np.concatenate([part for fold in age.draws[1.0][0] for part in fold]))
    assert set(age.task.split[used]) == {"test"}
    value = one(rows, task="bone_age", probe="linear", metric="r2", encoder="good", reference=None)
    assert value.note.startswith("4 folds: penalty=")
    assert (value.n_films, value.n_patients) == (144, 72)
    assert 40 < value.n_train_patients < 60  # three quarters of 72

    good = next(encoder for encoder in inputs.encoders if encoder.name == "good")
    x, y = good.vectors(inputs.first, age.task.rows).array().astype(float), age.task.numbers
    predicted = np.zeros(len(y))
    for train, _, test in age.draws[1.0][0]:
        predicted[test] = (
            make_pipeline(StandardScaler(), Ridge(alpha=0.1 * len(train))).fit(x[train], y[train]).predict(x[test])
        )
    expected = r2_score(y[age.test], predicted[age.test])
    assert value.interval.value == pytest.approx(expected, abs=0.02)  # up to the choice of the penalty
    assert one(rows, task="sex", probe="linear", metric="auroc", encoder="good", reference=None).interval.value > 0.8


def test_vectors_that_know_a_patient_do_not_help_with_folds(archive, tmp_path):
    """A patient in train and test at once would be recognised: his two films have one vector, his sex is a coin."""
    public = archive / "public"
    keys = pq.read_table(public / "index.parquet", columns=["key"])["key"].to_pylist()
    own = np.repeat(np.random.default_rng(4).normal(size=(PATIENTS, 3)), 2, axis=0).astype(np.float32)
    pq.write_table(pa.table({"key": keys, "embedding": own.tolist()}), tmp_path / "own.parquet")
    words = [f"encoders=[{{foreign: {tmp_path / 'own.parquet'}}}]", "probes=[knn]", "cross_fit=5"]
    _, rows = compared(archive, tmp_path / "c", *words)
    assert one(rows, task="sex", probe="knn", metric="auroc", reference=None).interval.low < 0.6


def test_fractions_of_labels_apply_to_the_fitted_folds(archive, tmp_path):
    _, rows = compared(archive, tmp_path / "c", "probes=[linear]", "cross_fit=3", "label_fractions=[0.5, 1.0]")
    wanted = {"task": "bone_age", "metric": "r2", "encoder": "good", "reference": None}
    half, whole = (one(rows, label_fraction=fraction, **wanted) for fraction in (0.5, 1.0))
    assert half.n_train_patients == pytest.approx(whole.n_train_patients / 2, abs=1)
    assert half.n_films == whole.n_films


def test_one_fold_is_an_error(archive, tmp_path):
    with pytest.raises(SettingsError, match="one fold has no other fold"):
        settings(archive, tmp_path / "c", "cross_fit=1")


def test_settings_of_earlier_releases_keep_their_checksum(archive, tmp_path):
    earlier = "e7fee5ca4a2fa680b8d828a420a75fdab13dedbb2a931359470d77afe08d6748"  # of release 0.2 for these settings
    assert CompareSettings(shards=["a"], out="b").config_sha256 == earlier
    assert settings(archive, tmp_path / "c", "cross_fit=2").config_sha256 != earlier


def test_a_column_of_numbers_has_another_checksum_since_it_is_a_number():
    def checksum(**task):
        return CompareSettings.model_validate({"shards": ["a"], "out": "b", "tasks": [task]}).config_sha256

    assert checksum(column="bits_stored") != checksum(column="bits_stored", number=False)
    assert checksum(column="bits_stored", number=True) != checksum(column="bits_stored")


def test_the_page_keeps_scales_apart_and_says_how_folds_were_used(archive, tmp_path):
    out = tmp_path / "c"
    text = compare_runs([], settings(archive, out, "probes=[linear]", "cross_fit=4"))
    assert "bone_age: explained variance (R²) of a number in months, median" in text
    page = (out / "report.html").read_text()
    assert '"split":{"values"' in (out / "map.html").read_text()
    assert "in 4 folds of its patients" in page
    assert "a number in months, median" in page
    assert "standard deviations of the numbers" in page
    assert "good lower (better)" in page  # of the mean absolute error
    assert sorted(path.name for path in (out / "figures").glob("values-*.png")) == ["values-1.png", "values-2.png"]
    rows = read_comparison(out / "comparison.parquet")
    assert {row.metric for row in rows if row.task == "bone_age"} == {"r2", "mean_absolute_error"}
