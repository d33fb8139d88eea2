import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from data_prep.settings import load
from mae_rad.embedding.vector_geometry import rank_me
from mae_rad.encoders.vit import build_encoder
from mae_rad.pretraining.online_probe import NEIGHBOURS, OnlineProbe, online_probe
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
    assert len(probe.classes) == 16  # a film without a body part has no class
    assert sorted(np.concatenate([places for places, _ in probe.batches])) == list(range(16))
    torch.manual_seed(0)
    encoder = build_encoder(settings(public).encoder).train()
    values = probe.read(encoder, torch.device("cpu"), "f32")
    assert encoder.training
    assert values["probe/knn"] > 0.9
    assert 1 < values["probe/rankme"] < 16
    assert values == probe.read(encoder, torch.device("cpu"), "f32")


def test_the_score_equals_scikit_learn_where_every_film_is_another_patient():
    random = np.random.default_rng(0)
    classes = np.arange(90) % 3
    vectors = (random.normal(size=(90, 6)) + np.eye(6)[classes] * 1.5).astype(np.float32)
    probe = OnlineProbe(classes, np.arange(90), [])
    x = (vectors - vectors.mean(0)) / vectors.std(0)
    predicted = []
    for film_number in range(90):
        remaining = np.arange(90) != film_number
        model = KNeighborsClassifier(NEIGHBOURS, metric="cosine", algorithm="brute").fit(
            x[remaining], classes[remaining]
        )
        neighbours = classes[remaining][model.kneighbors(x[film_number : film_number + 1])[1][0]]
        counts = np.bincount(neighbours, minlength=3) + 0.5 * (np.arange(3) == neighbours[0])
        predicted.append(counts.argmax())
    assert probe.balanced_accuracy(vectors) == pytest.approx(balanced_accuracy_score(classes, predicted))


def test_neighbours_of_the_same_patient_are_excluded():
    classes, patients = np.arange(40) % 2, np.arange(40) // 4  # a patient has films of both classes
    vectors = np.random.default_rng(1).normal(size=(10, 8))[patients] + 0.01 * np.eye(8)[classes]
    alone = OnlineProbe(classes, np.arange(40), []).balanced_accuracy(vectors.astype(np.float32))
    assert OnlineProbe(classes, patients, []).balanced_accuracy(vectors.astype(np.float32)) <= alone


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


def test_no_probe_if_disabled_or_impossible(public, tmp_path):
    assert online_probe(settings(public, probe_every=0)) is None
    films = [film(f"{number}", noise(64, 64, seed=number)) for number in range(4)]
    assert online_probe(settings(write_public(tmp_path / "train", films))) is None


def test_effective_rank_is_that_of_the_comparison():
    assert rank_me(np.eye(5)) == pytest.approx(5, abs=1e-4)
