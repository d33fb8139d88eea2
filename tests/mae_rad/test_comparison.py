import json
import math
import sqlite3

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from film_tables import film, write_public
from sklearn.metrics import roc_auc_score

from data_prep.settings import load
from launch import compare as launch_compare
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.evaluation import arms
from mae_rad.evaluation.comparison import _verdict, compare
from mae_rad.evaluation.embeddings import Embeddings, write_embeddings
from mae_rad.evaluation.intervals import Interval
from mae_rad.evaluation.rows import COMPARISON_SCHEMA, FLOOR
from mae_rad.evaluation.settings import CompareSettings, TaskSettings
from mae_rad.evaluation.tasks import Films, build_tasks
from mae_rad.export.encoder import save_encoder

PATIENTS, DIM = 240, 12
TINY = EncoderSettings(model="vit_tiny", dim=8, depth=1, heads=1)


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """Two films per patient; body part, fracture and cast are independent of each other."""
    random = np.random.default_rng(0)
    films, labels = [], []
    for patient in range(PATIENTS):
        split = ("train", "train", "train", "val", "test", "test")[patient % 6]
        for number in range(2):
            row = film((patient, number), patient, split, body_part=str(random.choice(["CHEST", "HAND", "KNEE"])))
            films.append(row)
            fracture, cast = random.choice(["present", "absent"], size=2)
            labels += [(row["key"], "fracture", str(fracture), "expert"), (row["key"], "cast", str(cast), "expert")]
    return write_public(tmp_path_factory.mktemp("data") / "public", films, labels)


def vectors(films, name):
    """Body part is planted in every encoder, fracture in mae only, cast in none."""
    random = np.random.default_rng(sum(name.encode()))
    matrix = random.normal(size=(len(films.keys), DIM))
    part = films.words("body_part")
    strength = 0.4 if name.startswith(FLOOR) else 3.0
    for channel, value in enumerate(("CHEST", "HAND", "KNEE")):
        matrix[:, channel] += strength * (part == value)
    if name == "mae":
        rows = films.labels.to_pylist()
        broken = {row["key"] for row in rows if row["label"] == "fracture" and row["value"] == "present"}
        matrix[:, 3] += 3.0 * np.array([key in broken for key in films.keys])
    return matrix.astype(np.float32)


def embeddings(films, name):
    return Embeddings(films.keys, vectors(films, name), name, name, films.dataset_sha256)


def settings(public, tmp_path, **more):
    return CompareSettings(shards=[public], out=tmp_path / "comparison", repetitions=200, **more)


@pytest.fixture(scope="module")
def compared(public):
    films = Films([public])
    tasks, _ = build_tasks(films, [TaskSettings(column="body_part")], all_labels=True, min_patients=5)
    arm = [embeddings(films, name) for name in ("mae", "simclr", FLOOR)]
    return films, tasks, compare(arm[:2], arm[2:], tasks, settings(public, public))


def pick(rows, **wanted):
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def test_planted_signal_is_found_and_absent_signal_is_not(compared):
    rows = compared[2]
    (fracture,) = pick(rows, task="fracture", probe="linear", metric="auroc", encoder="mae", reference="simclr")
    (cast,) = pick(rows, task="cast", probe="linear", metric="auroc", encoder="mae", reference="simclr")
    (part,) = pick(rows, task="body_part", probe="knn", metric="macro_auroc", encoder="simclr", reference=FLOOR)
    assert (fracture.verdict, cast.verdict, part.verdict) == ("higher", "no difference shown", "higher")
    assert fracture.difference.value > 0.3
    assert cast.difference.low < 0 < cast.difference.high


def test_a_difference_is_between_the_values_on_the_same_films(compared):
    rows = compared[2]
    value = {(row.encoder, row.task, row.probe, row.metric): row.interval.value for row in rows}
    with_reference = [row for row in rows if row.reference]
    assert len(with_reference) == 3 * (3 * 2 + 3 * 2 + 2 * 2)  # pairs × (tasks' metrics × probes)
    for row in with_reference:
        other = value[row.reference, row.task, row.probe, row.metric]
        assert row.difference.value == pytest.approx(row.interval.value - other)
        assert row.difference.low <= row.difference.value <= row.difference.high


def test_the_metric_is_of_the_test_films_alone(compared):
    films, tasks, rows = compared
    (row,) = pick(rows, task="fracture", probe="linear", metric="auroc", encoder="mae", reference=None)
    task = next(task for task in tasks if task.name == "fracture")
    test = task.split == "test"
    assert (row.n_films, row.n_patients) == (test.sum(), len(set(task.patients[test])))
    assert row.n_train == (task.split == "train").sum()
    planted = vectors(films, "mae")[:, 3]
    score = planted[np.isin(films.keys, np.array(task.keys)[test])]
    assert row.interval.value == pytest.approx(roc_auc_score(task.y[test], score), abs=0.05)


def test_several_floors_are_one_reference(public, compared):
    films, tasks, _ = compared
    floors = [embeddings(films, f"{FLOOR} {seed}") for seed in (0, 1)]
    rows = compare([embeddings(films, "mae")], floors, tasks[:1], settings(public, public, probes=["linear"]))
    (row,) = pick(rows, encoder="mae", metric="macro_auroc", reference=FLOOR)
    each = [r.interval.value for r in pick(rows, metric="macro_auroc") if r.encoder.startswith(FLOOR)]
    assert len(each) == 2
    assert row.difference.value == pytest.approx(row.interval.value - np.mean(each))


def test_training_films_are_limited_by_patient(public, compared):
    films, tasks, _ = compared
    few = settings(public, public, probes=["linear"], max_train_films=60)
    row = compare([embeddings(films, "mae")], [], tasks[:1], few)[0]
    assert row.n_train == 60  # 30 patients with two films each


def test_an_encoder_that_lacks_films_is_refused(public, compared):
    films, tasks, _ = compared
    whole = embeddings(films, "mae")
    part = Embeddings(whole.keys[:-3], whole.matrix[:-3], "mae", "mae", whole.dataset_sha256)
    with pytest.raises(Exception, match="films have no embedding of mae"):
        compare([part], [], tasks, settings(public, public))


def test_what_an_interval_cannot_say_is_said():
    assert _verdict(Interval(0.1, math.nan, math.nan)) == "too few patients"
    assert _verdict(Interval(-0.1, -0.2, -0.05)) == "lower"


@pytest.fixture
def runs(tmp_path, public, monkeypatch):
    """Run folders of two real, tiny encoders; only the embedding of films is replaced."""
    films = Films([public])
    for name, dataset in {"mae": films.dataset_sha256, "simclr": "0" * 64}.items():
        torch.manual_seed(sum(name.encode()))
        provenance = {"objective": name, "steps": 7, "dataset_sha256": dataset}
        save_encoder(build_encoder(TINY), TINY, tmp_path / name / "encoder", tokens=196, provenance=provenance)
    seen = []

    def embed(encoder, *, name, encoder_sha256, shards, out, tokens, pool, batch_size, workers):
        seen.append((name, tuple(shards), tokens, pool))
        write_embeddings(
            out,
            films.keys,
            vectors(films, name),
            encoder=name,
            encoder_sha256=encoder_sha256,
            dataset_sha256=films.dataset_sha256,
            settings={},
        )
        return out

    monkeypatch.setattr(arms, "embed", embed)
    return [tmp_path / "mae", tmp_path / "simclr"], seen


def test_the_whole_comparison_from_the_command_line(tmp_path, public, runs, capsys):
    folders, seen = runs
    words = [
        f"shards={public}",
        f"out={tmp_path / 'comparison'}",
        "repetitions=200",
        "tasks=[{column: body_part}, {column: view}]",
    ]
    assert launch_compare.main([*map(str, folders), *words]) == 0
    assert [name for name, *_ in seen] == ["mae", "simclr", FLOOR]
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert (tmp_path / "comparison" / "comparison.txt").read_text().strip() in printed.out

    fracture = lines[lines.index("fracture: AUROC of present against absent") :]
    assert "higher" in next(line for line in fracture if "mae − simclr" in line)
    cast = lines[lines.index("cast: AUROC of present against absent") :]
    assert next(line for line in cast if "mae − simclr" in line).count("no difference shown") == 2
    assert "view: no film left (480 no view)" in printed.out
    assert "do not rank the methods" in printed.out
    assert "simclr: vit_tiny" in printed.out
    assert printed.out.count("may have seen films of the test patients") == 1

    table = pq.read_table(tmp_path / "comparison" / "comparison.parquet")
    assert table.schema.equals(COMPARISON_SCHEMA)
    values = table.filter(np.array([reference is None for reference in table["reference"].to_pylist()]))
    assert set(values["encoder"].to_pylist()) == {"mae", "simclr", FLOOR}
    assert table["note"].null_count == 0
    names = {path.name for path in (tmp_path / "comparison").iterdir()}
    assert names == {"embeddings", "comparison.parquet", "comparison.txt", "comparison-1.png", "map-body_part.png"}
    check_tracked(tmp_path)


def check_tracked(folder):
    connection = sqlite3.connect(folder / "mlflow.db")
    runs = dict(connection.execute("select name, run_uuid from runs").fetchall())
    metrics = connection.execute("select run_uuid, key, value from metrics").fetchall()
    parents = connection.execute("select run_uuid, value from tags where key = 'mlflow.parentRunId'").fetchall()
    dump = "\n".join(line for line in connection.iterdump() if line.startswith("INSERT"))
    connection.close()
    assert set(runs) == {"comparison", "mae", "simclr", FLOOR}
    assert set(parents) == {(runs[name], runs["comparison"]) for name in ("mae", "simclr", FLOOR)}
    found = {key: value for run, key, value in metrics if run == runs["comparison"]}
    assert found["fracture/linear/mae"] > 0.9 > found["fracture/linear/simclr"]
    mine = {key: value for run, key, value in metrics if run == runs["mae"]}
    assert mine["fracture/linear/auroc"] == found["fracture/linear/mae"]
    artifacts = next((folder / "mlartifacts").rglob(f"{runs['comparison']}/artifacts"))
    assert (artifacts / "figures" / "comparison-1.png").stat().st_size > 10_000
    assert {path.name for path in artifacts.iterdir()} == {"comparison.parquet", "comparison.txt", "figures"}
    assert str(folder) not in dump


def test_mistakes_are_one_line(tmp_path, public, runs, capsys):
    (mae, simclr), _ = runs
    out = f"out={tmp_path / 'c'}"
    for words, message in (
        ([mae, f"shards={tmp_path / 'none'}"], "does not exist"),
        ([mae, f"shards={public}", "floor_seed=1"], "did you mean 'floor_seeds'"),
        ([mae, f"shards={public}", "tasks=[{column: organ}]"], "no column 'organ'"),
        ([mae, f"shards={public}", "tasks=[{column: view}]", "all_labels=false"], "no task can be asked"),
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
    folder = launch_compare.DEFAULT.parent
    for path in folder.glob("*.yaml"):
        assert load(CompareSettings, path).tasks
    defaults = CompareSettings(shards=["shards"], out="runs/comparison")
    assert json.loads(load(CompareSettings, launch_compare.DEFAULT).model_dump_json()) == json.loads(
        defaults.model_dump_json()
    )
