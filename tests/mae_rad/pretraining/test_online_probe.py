import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

from data_prep.settings import load
from mae_rad.embedding.vector_geometry import rank_me
from mae_rad.encoders.vit import build_encoder
from mae_rad.pretraining.online_probe import online_probe
from mae_rad.pretraining.probe_questions import NEIGHBOURS, NEIGHBOURS_OF_VALUES, Question
from mae_rad.pretraining.settings import PretrainSettings
from tests.builders.shard_builder import film, noise, write_public

KINDS = (("HAND", "PA"), ("CHEST", "AP"), (None, "AP"))


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """Per kind eight films in val, of flat grey or of noise, and two in train."""
    films = []
    for number in range(30):
        body_part, view = KINDS[number % 3]
        values = noise(64, 64, seed=number) if number % 3 == 0 else np.full((64, 64), 100 * number, np.uint16)
        split = "val" if number < 24 else "train"
        films.append(film(f"{number}", values, split=split, body_part=body_part, view=view))
    return write_public(tmp_path_factory.mktemp("probe") / "public", films)


def settings(public, **runtime):
    words = {"run_dir": "run", "probe_every": 1} | runtime
    return load(PretrainSettings, None, [
        f"data.shards=[{public}]", "encoder={model: vit_tiny, dim: 16, depth: 1, heads: 2}", "precision=f32",
        "objective={name: mae, tokens: 16}", "optimizer={steps: 3, batch: 2}", f"runtime={words}",
    ])  # fmt: skip


def test_films_of_a_class_are_predicted_from_their_neighbours(public):
    probe = online_probe(settings(public))
    (question,) = probe.questions
    assert len(question.films) == 16  # a film without a body part has no class
    assert sorted(np.concatenate([places for places, _ in probe.batches])) == list(range(24))
    torch.manual_seed(0)
    encoder = build_encoder(settings(public).encoder).train()
    values = probe.read(encoder, torch.device("cpu"), "f32")
    assert encoder.training
    assert values["probe/knn"] > 0.9
    assert 1 < values["probe/rankme"] < 24
    assert values == probe.read(encoder, torch.device("cpu"), "f32")


def question(metric, values, patients):
    return Question(metric, np.arange(len(values)), np.asarray(values, float), np.asarray(patients))


def neighbours_by_scikit_learn(vectors, patients, k):
    """Per film the k nearest of other patients, by brute force on standardised vectors."""
    x = (vectors - vectors.mean(0)) / vectors.std(0)
    for number, patient in enumerate(patients):
        others = np.flatnonzero(patients != patient)
        model = NearestNeighbors(n_neighbors=min(k, len(others)), metric="cosine", algorithm="brute").fit(x[others])
        yield others[model.kneighbors(x[number : number + 1])[1][0]]


def test_the_score_of_classes_equals_scikit_learn():
    random = np.random.default_rng(0)
    classes, patients = np.arange(90) % 3, np.arange(90) // 2
    vectors = (random.normal(size=(90, 6)) + np.eye(6)[classes] * 1.5).astype(np.float32)
    predicted = []
    for nearest in neighbours_by_scikit_learn(vectors, patients, NEIGHBOURS):
        counts = np.bincount(classes[nearest], minlength=3) + 0.5 * (np.arange(3) == classes[nearest][0])
        predicted.append(counts.argmax())
    assert question("knn", classes, patients).score(vectors) == pytest.approx(
        balanced_accuracy_score(classes, predicted)
    )


@pytest.mark.parametrize(("metric", "oracle"), [("sex_auroc", roc_auc_score), ("age_r2", r2_score)])
@pytest.mark.parametrize("films", [90, 15])  # with 15, there are fewer films of others than neighbours
def test_scores_of_labels_and_numbers_equal_scikit_learn(metric, oracle, films):
    random = np.random.default_rng(1)
    patients = np.arange(films) // 3
    numbers = random.normal(size=films)
    values = (numbers > 0.3).astype(float) if metric == "sex_auroc" else numbers
    vectors = (random.normal(size=(films, 6)) + numbers[:, None]).astype(np.float32)
    nearest = neighbours_by_scikit_learn(vectors, patients, NEIGHBOURS_OF_VALUES)
    predicted = np.array([values[places].mean() for places in nearest])
    assert question(metric, values, patients).score(vectors) == pytest.approx(oracle(values, predicted))


@pytest.mark.parametrize("metric", ["knn", "sex_auroc"])
def test_neighbours_of_the_same_patient_are_excluded(metric):
    """Films of a patient are alike and share a value that those of others do not tell."""
    random = np.random.default_rng(1)
    patients = np.repeat(np.arange(40), 24)
    values = random.permutation(np.arange(40) % 2)[patients]
    vectors = (random.normal(size=(40, 8))[patients] + 0.01 * random.normal(size=(960, 8))).astype(np.float32)
    assert question(metric, values, np.arange(960)).score(vectors) > 0.9
    assert question(metric, values, patients).score(vectors) < 0.7


def test_a_collapsed_encoder_has_a_low_rank_and_accuracy(public):
    probe = online_probe(settings(public))
    encoder = build_encoder(settings(public).encoder)
    torch.nn.init.zeros_(encoder.norm.weight)
    torch.nn.init.ones_(encoder.norm.bias)
    values = probe.read(encoder, torch.device("cpu"), "f32")
    assert values["probe/rankme"] == pytest.approx(1, abs=0.01)
    assert values["probe/knn"] <= 0.6
    torch.nn.init.constant_(encoder.norm.bias, float("nan"))
    assert probe.read(encoder, torch.device("cpu"), "f32") == {}


def test_no_probe_if_disabled_or_impossible_which_is_said(public, tmp_path, caplog):
    assert online_probe(settings(public, probe_every=0)) is None
    assert caplog.records == []
    films = [film(f"{number}", noise(64, 64, seed=number)) for number in range(4)]
    shards = write_public(tmp_path / "train", films)
    assert online_probe(settings(shards), announce=False) is None  # another rank
    assert caplog.records == []
    assert online_probe(settings(shards)) is None
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "the shards have 0 val films, and it needs 8" in record.getMessage()


def test_effective_rank_is_that_of_the_comparison():
    assert rank_me(np.eye(5)) == pytest.approx(5, abs=1e-4)
