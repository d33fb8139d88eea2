"""A planted archive: what encoders know of it is drawn, so what a comparison has to find is known."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import roc_auc_score

from data_prep.settings import load
from data_prep.shard_format.label_schema import BOXES_SCHEMA
from launch import compare as launch_compare
from mae_rad.embedding.token_store import TokenStore
from mae_rad.embedding.vector_store import FeatureStore, Pools
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.comparison import embed_candidates
from mae_rad.evaluation.comparison.compare_encoders import compare
from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.load_inputs import prepare_inputs
from mae_rad.evaluation.report.verdict_sentences import NOT_MEASURED
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import COMPARISON_SCHEMA, RANDOM_BASELINE
from mae_rad.export.encoder_folder import save_encoder
from tests.builders.film_tables import film, write_public

PATIENTS, DIM = 180, 24
TINY = EncoderSettings(model="vit_tiny", dim=DIM, depth=1, heads=1)
CONFIGS = Path(__file__).resolve().parents[4] / "configs" / "compare"
WORDS = ["repetitions=100", "random_seeds=[0]", "pixel_components=0", "subsets=[view]"]
QUICK = ["probes=[linear]", "pools=[mean]", "analyses=[]", "label_fractions=[1.0]"]


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """Two films per patient, in a study each. Body part, view, fracture and cast are independent of each other; the
    scanner of a film tells of a rash nine times in ten."""
    random = np.random.default_rng(0)
    films, labels, boxes = [], [], []
    for patient in range(PATIENTS):
        split = ("train", "train", "train", "val", "test", "test")[patient % 6]
        part, view = str(random.choice(["CHEST", "HAND", "KNEE"])), str(random.choice(["AP", "PA"]))
        for number in range(2):
            rash = bool(random.random() < 0.5)
            scanner = "Agfa" if rash == (random.random() < 0.9) else "Philips"
            age = 50 if part == "HAND" else 30
            facts = {"body_part": part, "view": view, "manufacturer": scanner, "age_years": age}
            row = film((patient, number), patient, split, **facts)
            row |= {"study": f"{2 * patient + number:032x}", "source_rows": 1000, "source_columns": 800}
            films.append(row)
            for label in ("fracture", "cast"):
                present = bool(random.random() < 0.5)
                labels.append((row["key"], label, "present" if present else "absent", "expert"))
                if present and label == "fracture":
                    side = float(random.choice([10, 30, 90]))
                    box = {"x_min": 5.0, "y_min": 5.0, "x_max": 5 + side, "y_max": 10.0, "source": "expert"}
                    boxes.append(dict.fromkeys(BOXES_SCHEMA.names) | box | {"key": row["key"], "label": label})
            labels.append((row["key"], "rash", "present" if rash else "absent", "expert"))
    folder = write_public(tmp_path_factory.mktemp("data") / "public", films, labels)
    pq.write_table(pa.Table.from_pylist(boxes, schema=BOXES_SCHEMA), folder / "boxes.parquet")
    return folder


def vectors(films, name):
    """Planted: body part in every encoder, fracture in mae, the scanner in simclr, patients in both, cast in none."""
    random = np.random.default_rng(sum(name.encode()))
    matrix = random.normal(size=(len(films.keys), DIM))
    trained = not name.startswith(RANDOM_BASELINE)
    part = films.strings("body_part")
    for channel, value in enumerate(("CHEST", "HAND", "KNEE")):
        matrix[:, channel] += (3.0 if trained else 0.4) * (part == value)
    rows = films.labels.to_pylist()
    broken = {row["key"] for row in rows if row["label"] == "fracture" and row["value"] == "present"}
    if name.startswith("mae"):
        matrix[:, 3] += 3.0 * np.array([key in broken for key in films.keys])
    if name.startswith("simclr"):
        matrix[:, 4] += 4.0 * (films.strings("manufacturer") == "Agfa")
    if trained:
        matrix[:, 5:20] += 3 * np.random.default_rng(1).normal(size=(PATIENTS, 15))[films.patients]
    return matrix.astype(np.float32)


@pytest.fixture
def embedded(monkeypatch):
    """Only the embedding of films is replaced: every film is content all over and has four patches."""

    def embed(sources, index, how, *, with_tokens=None):
        films = Films.__new__(Films)
        films.index, films.table, films.keys = index, index.table, index.table.column("key").to_pylist()
        films.patients = index.table.column("patient").combine_chunks().dictionary_encode().indices.to_numpy()
        films.labels = embed.labels
        stores = []
        for source in sources:
            identity = {"encoder_sha256": source.sha256, "tokens": how.tokens}
            store = FeatureStore(how.cache, identity, len(index), Pools(DIM, double=True))
            mean = vectors(films, source.name)
            tokens = None
            if len(store.missing()):
                sizes = np.tile(np.float32([14, 14]), (len(index), 1))
                store.write(np.arange(len(index)), np.c_[0.1 * mean, mean], source.name, sizes)
                store.flush()
            if with_tokens is not None:
                tokens = TokenStore(store.folder / "tokens", len(index), DIM)
                noise = np.random.default_rng(0).normal(size=(len(with_tokens), 4, DIM))
                tokens.write(with_tokens, (mean[with_tokens, None] + noise).astype(np.float16))
                tokens.flush()
            stores.append((store, tokens))
        return stores

    monkeypatch.setattr(embed_candidates, "embed", embed)
    return embed


@pytest.fixture
def runs(tmp_path, public, embedded):
    """Run folders of two real, tiny encoders."""
    films = Films([public])
    embedded.labels = films.labels
    for name, dataset in {"mae": films.dataset_sha256, "simclr": "0" * 64}.items():
        torch.manual_seed(sum(name.encode()))
        provenance = {
            "objective": name,
            "steps": 7,
            "dataset_sha256": dataset,
            "films_seen": 700,
            "training_flops": 1e9,
        }
        save_encoder(build_encoder(TINY), TINY, tmp_path / name / "encoder", tokens=196, provenance=provenance)
    return [tmp_path / "mae", tmp_path / "simclr"]


def compared(public, runs, *words):
    values = [f"shards={public}", f"out={runs[0].parent / 'comparison'}", "tasks=[{column: body_part}]", *WORDS]
    settings = load(CompareSettings, None, [*values, *words])
    inputs = prepare_inputs(runs, settings)
    found = compare(inputs)
    return inputs, found.rows, found.skipped


def pick(rows, **wanted):
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def one(rows, **wanted):
    (row,) = pick(rows, **wanted)
    return row


def test_planted_signal_is_found_and_absent_signal_is_not(public, runs):
    inputs, rows, _ = compared(public, runs, "probes=[linear, knn]", *QUICK[1:])
    pair = {"encoder": "mae", "reference": "simclr", "metric": "auroc", "probe": "linear", "subset": "all"}
    fracture, cast = (one(rows, task=task, **pair) for task in ("fracture", "cast"))
    part = one(rows, task="body_part", probe="knn", metric="macro_auroc", encoder="simclr", reference=RANDOM_BASELINE)
    assert (fracture.verdict, part.verdict) == ("higher", "higher")
    assert fracture.difference.value > 0.3
    assert fracture.p_value <= fracture.p_adjusted < 0.001
    assert cast.verdict == "too few patients"  # 60 of them show no difference of three points
    assert cast.difference.low < 0 < cast.difference.high
    assert 0.05 < cast.minimum_detectable_difference < 0.3
    assert {row.arm for row in pick(rows, reference="simclr")} == {"both"}

    value = {
        (row.encoder, row.task, row.probe, row.metric, row.subset): row.interval.value
        for row in pick(rows, reference=None)
    }
    for row in rows:
        if row.reference:
            other = value[row.reference, row.task, row.probe, row.metric, row.subset]
            assert row.difference.value == pytest.approx(row.interval.value - other)
            assert row.difference.low <= row.difference.value <= row.difference.high

    row = one(rows, task="fracture", probe="linear", metric="auroc", encoder="mae", reference=None, subset="all")
    task = next(task for task in inputs.tasks if task.name == "fracture")
    test = task.split == "test"
    assert (row.n_films, row.n_patients) == (test.sum(), len(set(task.patients[test])))
    assert (row.n_train, row.n_train_patients) == ((task.split == "train").sum(), 90)
    score = vectors(inputs.films, "mae")[task.rows[test], 3]
    assert row.interval.value == pytest.approx(roc_auc_score(task.y[test], score), abs=0.05)


def test_all_analyses_use_the_first_pooling_only(public, runs, monkeypatch):
    for name, value in {"LEARNING_RATES": (1e-3, 1e-2), "EPOCHS": 10, "MIN_STEPS": 50}.items():
        monkeypatch.setattr(f"mae_rad.evaluation.probes.attentive.{name}", value)
    _, rows, skipped = compared(
        public, runs, "label_fractions=[0.1, 1.0]", "label_draws=2", "probes=[linear, attentive]", "pools=[mean, cls]"
    )
    few = pick(rows, task="fracture", encoder="mae", probe="linear", label_fraction=0.1, metric="auroc", reference=None)
    assert sorted((row.probe_seed for row in few), key=str) == [0, 1, None]
    mean = one(few, probe_seed=None)
    assert mean.interval.value == pytest.approx(np.mean([row.interval.value for row in few if row is not mean]))
    assert mean.n_train_patients == 9
    assert {row.pool for row in pick(rows, label_fraction=0.1)} == {"mean", "attentive"}
    pair = {"encoder": "mae", "reference": "simclr", "metric": "auroc", "subset": "all"}
    assert one(rows, task="fracture", probe="attentive", label_fraction=1.0, **pair).verdict == "higher"
    assert pick(rows, pool="cls", probe="linear", task="fracture", encoder="mae")

    sizes = pick(rows, task="fracture", encoder="mae", probe="linear", metric="auroc", reference=None)
    assert {row.subset for row in sizes if row.label_fraction == 1 and row.pool == "mean"} == {
        "all", "view=AP", "view=PA", "object_size=under 2 % of the film", "object_size=2 to 5 % of the film",
        "object_size=5 % and more of the film",
    }  # fmt: skip

    patient = pick(rows, task="same patient in another study", metric="recall_at_1", reference=None)
    recall = {row.encoder: row.interval.value for row in patient}
    assert min(recall["mae"], recall["simclr"]) > 0.5
    assert recall[RANDOM_BASELINE] < 0.1
    nmi = {
        row.encoder: row.interval.value
        for row in pick(rows, task="body_part", probe="clustering", metric="nmi", reference=None)
    }
    assert nmi["mae"] > 0.15 > nmi[RANDOM_BASELINE]
    assert len(pick(rows, probe="geometry", metric="rankme")) == 3
    assert 0 < one(rows, metric="linear_cka", encoder="mae", reference="simclr").interval.value < 1
    assert {task.name for task in skipped} >= {"site", "model", "laterality"}


def test_a_planted_scanner_shortcut_is_found_and_named(public, runs):
    _, rows, _ = compared(
        public, runs, "analyses=[shortcuts]", "probes=[linear]", "pools=[mean]", "label_fractions=[1.0]"
    )
    scanner = {
        row.encoder: row.interval.value
        for row in pick(rows, task="manufacturer", probe="shortcut", metric="auroc", reference=None)
    }
    assert scanner["simclr"] > 0.95
    assert scanner["mae"] < 0.65
    rash = {row.encoder: row for row in pick(rows, task="rash", subset="within manufacturer")}
    assert rash["simclr"].verdict == "lower"
    assert rash["simclr"].difference.value < -0.2
    assert rash["simclr"].note.startswith("shortcut found: manufacturer; ")
    assert "manufacturer predicts rash with AUROC 0.89 by itself" in rash["simclr"].note
    fracture = pick(rows, task="fracture", subset="within manufacturer")
    assert {row.verdict for row in fracture} & {"lower"} == set()
    assert not [row for row in rows if row.note.startswith("shortcut found") and row.task != "rash"]


def test_repeated_pretrainings_are_compared_as_one_group(public, runs, tmp_path):
    for number, (name, group) in enumerate((("mae-b", "MAE"), ("simclr-b", "SimCLR"))):
        torch.manual_seed(number)
        objective = name.partition("-")[0]
        save_encoder(
            build_encoder(TINY), TINY, tmp_path / name / "encoder", tokens=196, provenance={"objective": objective}
        )
        assert group
    entries = [f"{{run: {tmp_path / name}, group: {group}}}" for name, group in
               (("mae", "MAE"), ("mae-b", "MAE"), ("simclr", "SimCLR"), ("simclr-b", "SimCLR"))]  # fmt: skip
    values = [
        f"shards={public}",
        f"out={tmp_path / 'c'}",
        f"encoders=[{', '.join(entries)}]",
        "tasks=[]",
        *WORDS,
        *QUICK,
    ]
    rows = compare(prepare_inputs([], load(CompareSettings, None, [*values, "random_seeds=[0, 1]"]))).rows
    row = one(rows, task="fracture", encoder="MAE", reference="SimCLR", metric="auroc", subset="all")
    assert (row.n_runs, row.n_reference_runs, row.pretraining_seed, row.verdict) == (2, 2, None, "higher")
    each = {
        r.encoder: r.interval.value for r in pick(rows, task="fracture", metric="auroc", reference=None, subset="all")
    }
    assert set(each) == {
        "mae",
        "mae-b",
        "simclr",
        "simclr-b",
        "MAE",
        "SimCLR",
        RANDOM_BASELINE,
        f"{RANDOM_BASELINE} 0",
        f"{RANDOM_BASELINE} 1",
    }
    assert each["MAE"] == pytest.approx((each["mae"] + each["mae-b"]) / 2)
    assert row.difference.value == pytest.approx(each["MAE"] - each["SimCLR"])
    assert not pick(rows, encoder="mae", reference="simclr")


def test_the_default_vector_of_every_encoder_is_evaluated_first_then_its_other_poolings(public, runs, tmp_path):
    other = TINY.model_copy(update={"pool": "cls"})
    made = {"tokens": 64, "precision": "f32", "provenance": {"objective": "simclr", "steps": 7}}
    save_encoder(build_encoder(other), other, tmp_path / "cls" / "encoder", **made)
    quick = ["probes=[linear]", "label_fractions=[1.0]", "analyses=[geometry]"]
    _, rows, _ = compared(public, [runs[0], tmp_path / "cls"], *quick)
    shown = {"task": "fracture", "probe": "linear", "metric": "auroc", "subset": "all"}
    values = [(row.encoder, row.tokens, row.pool) for row in pick(rows, reference=None, **shown)]
    assert values == [
        ("mae", 196, "mean"), ("cls", 64, "cls"), (RANDOM_BASELINE, 196, "mean"),
        ("mae", 196, "cls_mean"), ("cls", 64, "cls_mean"), (RANDOM_BASELINE, 196, "cls_mean"),
        ("cls", 64, "mean"),
        ("mae", 196, "cls"), (RANDOM_BASELINE, 196, "cls"),
    ]  # fmt: skip
    first, both = pick(rows, encoder="mae", reference="cls", **shown)
    assert (first.pool, both.pool) == ("mean", "cls_mean")
    assert "against vectors of T 64, cls" in first.note
    assert "against vectors" not in one(rows, encoder="mae", reference=RANDOM_BASELINE, pool="mean", **shown).note
    assert {(row.encoder, row.tokens, row.pool) for row in pick(rows, metric="rankme")} == set(values[:3])
    assert ComparisonResults(rows).sizes("fracture", "linear") == {}  # each encoder at one T: no curve over T


def test_t_and_pooling_of_the_settings_apply_to_all_encoders(public, runs, tmp_path):
    other = TINY.model_copy(update={"pool": "cls"})
    save_encoder(build_encoder(other), other, tmp_path / "cls" / "encoder", tokens=64, provenance={"steps": 7})
    _, rows, _ = compared(public, [runs[0], tmp_path / "cls"], "tokens=[36, 100]", *QUICK)
    values = pick(rows, task="fracture", metric="auroc", subset="all", reference=None)
    assert {(row.tokens, row.pool) for row in values} == {(36, "mean"), (100, "mean")}
    assert list(ComparisonResults(rows).sizes("fracture", "linear")) == [36, 100]
    assert not [row.note for row in rows if "against vectors" in row.note]


def test_external_vectors_are_compared_on_the_films_of_their_table(public, runs, tmp_path):
    films = Films([public])
    kept = np.arange(len(films.keys)) % 40 != 0
    matrix = vectors(films, "mae foreign")[kept]
    keys = [key for key, keep in zip(films.keys, kept, strict=True) if keep]
    pq.write_table(pa.table({"key": keys, "embedding": matrix.tolist()}), tmp_path / "other.parquet")
    inputs, rows, _ = compared(public, runs, f"encoders=[{{foreign: {tmp_path / 'other.parquet'}}}]", *QUICK)
    assert {task.left_out["no vector of other"] for task in inputs.tasks} == {9}
    row = one(rows, task="fracture", encoder="simclr", reference="other", metric="auroc", subset="all")
    assert row.verdict == "lower"
    assert one(rows, task="fracture", encoder="other", reference=None, metric="auroc", subset="all").pool == "none"


def test_external_vectors_alone_with_the_attentive_probe_are_an_error(public, tmp_path):
    films = Films([public])
    pq.write_table(pa.table({"key": films.keys, "embedding": vectors(films, "x").tolist()}), tmp_path / "x.parquet")
    words = [f"shards={public}", f"out={tmp_path / 'c'}", f"encoders=[{{foreign: {tmp_path / 'x.parquet'}}}]", *WORDS]
    with pytest.raises(EvaluationError, match="Add linear to `probes`"):
        prepare_inputs([], load(CompareSettings, None, [*words, "probes=[attentive]"]))


def test_attentive_probes_of_folds_and_numbers_find_the_planted_signal(public, runs, monkeypatch):
    for name, value in {"LEARNING_RATES": (1e-3, 1e-2), "EPOCHS": 10, "MIN_STEPS": 50}.items():
        monkeypatch.setattr(f"mae_rad.evaluation.probes.attentive.{name}", value)
    words = ["tasks=[{column: age_years}]", "probes=[attentive]", "cross_fit=3", *QUICK[1:]]
    _, rows, _ = compared(public, runs, *words)
    wanted = {"probe": "attentive", "encoder": "mae", "reference": None, "subset": "all"}
    for task, metric, floor in (("fracture", "auroc", 0.8), ("age_years", "r2", 0.3)):
        row = one(rows, task=task, metric=metric, **wanted)
        assert row.interval.value > floor
        assert (row.n_patients, row.n_films) == (60, 120)
        assert row.note.startswith("3 folds: lr=")


def test_the_whole_comparison_from_the_command_line(tmp_path, public, runs, capsys):
    words = [f"shards={public}", f"out={tmp_path / 'comparison'}", "tasks=[{column: body_part}, {column: sex}]", *WORDS]
    assert launch_compare.main([*map(str, runs), *words, *QUICK]) == 0
    printed = capsys.readouterr()
    assert (tmp_path / "comparison" / "comparison.txt").read_text().strip() in printed.out
    for said in ("sex: no film left (360 no sex)", NOT_MEASURED, "simclr: vit_tiny"):
        assert said in printed.out
    assert printed.out.count("which may include test patients") == 1
    table = pq.read_table(tmp_path / "comparison" / "comparison.parquet")
    assert table.schema.equals(COMPARISON_SCHEMA)
    assert table["note"].null_count == 0
    connection = sqlite3.connect(tmp_path / "mlflow.db")
    dump = "\n".join(line for line in connection.iterdump() if line.startswith("INSERT"))
    connection.close()
    assert str(tmp_path) not in dump


def test_errors_are_one_line(tmp_path, public, runs, capsys):
    mae, simclr = runs
    out = f"out={tmp_path / 'c'}"
    for words, message in (
        ([mae, f"shards={tmp_path / 'none'}"], "does not exist"),
        ([mae, f"shards={public}", "random_seed=1"], "did you mean 'random_seeds'"),
        ([mae, f"shards={public}", "tasks=[{column: organ}]"], "no column 'organ'"),
        ([mae, f"shards={public}", "tasks=[{column: body_part, edges: [1, 2]}]"], "edges need a column of numbers"),
        ([mae, f"shards={public}", "tasks=[{column: sex}]", "all_labels=false"], "no task can be evaluated"),
        ([f"shards={public}"], "no run is given"),
        ([mae, mae, f"shards={public}"], "different names"),
        ([tmp_path / "nothing", f"shards={public}"], "is not an encoder folder"),
    ):
        assert launch_compare.main([*map(str, words), out]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ")
        assert message in error
    assert simclr.exists()


def test_every_config_is_valid():
    for path in CONFIGS.glob("*.yaml"):
        asks = path.stem != "pairs"  # its questions are those of the shards: every finding that experts labelled
        assert bool(load(CompareSettings, path).tasks) == asks
    defaults = CompareSettings(shards=["shards"], out="runs/comparison")
    assert json.loads(load(CompareSettings, CONFIGS / "default.yaml").model_dump_json()) == json.loads(
        defaults.model_dump_json()
    )
