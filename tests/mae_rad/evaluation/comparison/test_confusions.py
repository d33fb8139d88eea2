"""Tasks of several classes in a comparison: metrics of scikit-learn, confusion, and classes that no mean contains."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, log_loss, roc_auc_score

from data_prep.settings import load
from mae_rad.evaluation.compare_runs import compare_runs
from mae_rad.evaluation.comparison.compare_encoders import ComparisonInputs
from mae_rad.evaluation.comparison.confusions import RARE, confusions_of
from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.comparison.trained_probes import probe_vectors
from mae_rad.evaluation.load_inputs import prepare_inputs
from mae_rad.evaluation.results.rows import Row, read_comparison
from tests.builders.film_tables import film, write_public

PARTS = {"CHEST": (30, 24), "HAND": (20, 16), "KNEE": (15, 12), "FOOT": (8, 6), "SKULL": (12, 0)}
"""Class → patients of train and test: FOOT is rare, SKULL has no test film."""
CLASSES = ("CHEST", "FOOT", "HAND", "KNEE")


class Done(NamedTuple):
    """A finished comparison of two tables of vectors."""

    out: Path
    settings: CompareSettings
    inputs: ComparisonInputs

    def values(self, encoder: str, probe: str) -> dict[str, Row]:
        """Metric → row of all films and labels."""
        rows = read_comparison(self.out / "comparison.parquet")
        return {r.metric: r for r in rows if (r.encoder, r.probe, r.reference) == (encoder, probe, None)}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder, random = tmp_path_factory.mktemp("classes"), np.random.default_rng(0)
    films = [
        film((part, split, patient, copy), (part, split, patient), split, body_part=part)
        for part, counts in PARTS.items()
        for split, count in zip(("train", "test"), counts, strict=True)
        for patient in range(count)
        for copy in range(2)
    ]
    public = write_public(folder / "public", films)
    films_read = Films([public])
    parts = films_read.strings("body_part")
    for name, strength in (("strong", 2.0), ("weak", 0.7)):
        matrix = random.normal(size=(len(parts), 8))
        for channel, part in enumerate(PARTS):
            matrix[:, channel] += strength * (parts == part)
        pq.write_table(pa.table({"key": films_read.keys, "embedding": matrix.tolist()}), folder / f"{name}.parquet")
    words = [
        f"shards={public}", f"out={folder / 'out'}", "tasks=[{column: body_part}]", "pixel_components=0", "analyses=[]",
        f"encoders=[{{foreign: {folder / 'strong.parquet'}}}, {{foreign: {folder / 'weak.parquet'}}}]",
        "probes=[linear, knn]", "label_fractions=[1.0]", "repetitions=100", "subsets=[]", "runtime.map_films=0",
        f"tracking.uri=sqlite:///{folder / 'mlflow.db'}",
    ]  # fmt: skip
    settings = load(CompareSettings, None, words)
    compare_runs([], settings)
    return Done(settings.out, settings, prepare_inputs([], settings))


@pytest.mark.parametrize("probe", ["linear", "knn"])
def test_metrics_are_those_of_scikit_learn_with_intervals(done: Done, probe: str) -> None:
    (plan,), (first, *_) = done.inputs.plans, done.inputs.encoders
    outputs = probe_vectors(plan, [first], probe, done.inputs.first, 1.0, lambda _: None)
    y, scores = plan.task.y[plan.test], outputs[first.name][0].scores
    training = plan.task.y[plan.task.positions("train")]
    rule = (scores / np.bincount(training)).argmax(axis=1)
    expected = {
        "macro_auroc": roc_auc_score(y, scores, multi_class="ovr"),
        "balanced_accuracy": balanced_accuracy_score(y, rule),
        "accuracy": accuracy_score(y, scores.argmax(axis=1)),
        "log_loss": log_loss(y, scores),
    }
    rows = done.values(first.name, probe)
    assert list(rows) == ["macro_auroc", "balanced_accuracy", "accuracy", "calibration_error", "log_loss"]
    assert {name: rows[name].interval.value for name in expected} == pytest.approx(expected, abs=1e-10)
    for row in rows.values():
        assert 0 <= row.interval.low < row.interval.value < row.interval.high
        assert (row.n_films, row.n_patients) == (116, 58)
    assert "6 test patients" in rows["balanced_accuracy"].note
    assert "test patients" not in rows["accuracy"].note


def test_a_difference_in_log_loss_has_no_bound_and_is_corrected(done: Done) -> None:
    (row,) = (
        row
        for row in read_comparison(done.out / "comparison.parquet")
        if (row.probe, row.metric, row.encoder, row.reference) == ("linear", "log_loss", "strong", "weak")
    )
    assert row.difference is not None
    assert row.difference.high < 0
    assert row.verdict == "lower"
    assert row.p_value is not None
    assert row.p_adjusted == pytest.approx(2 * row.p_value)  # with that of the neighbours


def test_the_confusion_is_that_of_balanced_accuracy_and_counts_rare_classes_together(done: Done) -> None:
    (plan,) = done.inputs.plans
    assert plan.task.classes == CLASSES
    table = pq.read_table(done.out / "confusion.parquet").to_pylist()
    assert {(row["task"], row["encoder"]) for row in table} == {("body_part", "strong"), ("body_part", "weak")}
    names = ["CHEST", "HAND", "KNEE", RARE]
    counts = np.zeros((4, 4), dtype=int)
    for row in table:
        if row["encoder"] == "strong":
            counts[names.index(row["class"]), names.index(row["predicted"])] = row["films"]
            assert row["films"] / 2 <= row["patients"] <= row["films"]
    assert counts.sum(axis=1).tolist() == [48, 32, 24, 12]
    recalls = counts.diagonal() / counts.sum(axis=1)
    assert recalls.mean() == pytest.approx(done.values("strong", "linear")["balanced_accuracy"].interval.value)
    outputs = probe_vectors(plan, done.inputs.encoders, "linear", done.inputs.first, 1.0, lambda _: None)
    (strong, _) = confusions_of(plan, outputs)
    np.testing.assert_array_equal(confusion_matrix(strong.true, strong.predicted), counts)


def test_the_page_names_the_class_without_test_films_and_hides_the_rare_one(done: Done) -> None:
    page = (done.out / "report.html").read_text()
    assert "24 films, SKULL: 12 training and 0 test patients, fewer than 5. Means over classes are over those" in page
    assert "FOOT" not in page
    section = page[page.index('<section id="classes">') :].partition("</section>")[0]
    assert section.count("<img") == 2
    for metric in ("accuracy", "calibration error", "log-loss"):
        assert f"{metric} [95 %]" in section
