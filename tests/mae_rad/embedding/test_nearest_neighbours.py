import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from mae_rad.embedding.nearest_neighbours import find_neighbours
from mae_rad.embedding.standardised_rows import Standardised, Vectors, fit_scale, vectors_of_array

RANDOM = np.random.default_rng(0)
GALLERY, QUERIES = RANDOM.normal(size=(900, 10)), RANDOM.normal(size=(70, 10))


def units(array, scale):
    return Standardised(vectors_of_array(array), scale, unit=True)


@pytest.mark.parametrize("sides", [(2048, 8192), (16, 50)])
@pytest.mark.parametrize("k", [1, 30, 200])
def test_neighbours_equal_scikit_learn_in_any_blocks(monkeypatch, sides, k):
    monkeypatch.setattr("mae_rad.embedding.nearest_neighbours._QUERY_BLOCK", sides[0])
    monkeypatch.setattr("mae_rad.embedding.nearest_neighbours._GALLERY_BLOCK", sides[1])
    scale = fit_scale(vectors_of_array(GALLERY))
    found = find_neighbours(units(GALLERY, scale), units(QUERIES, scale), k)
    x, asked = ((part - GALLERY.mean(0)) / GALLERY.std(0) for part in (GALLERY, QUERIES))
    distance, place = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(x).kneighbors(asked)
    np.testing.assert_array_equal(found.place, place)
    np.testing.assert_allclose(found.cosine, 1 - distance, atol=1e-5)


@pytest.mark.parametrize("gallery", [8192, 40])
def test_films_of_the_same_group_are_excluded(monkeypatch, gallery):
    monkeypatch.setattr("mae_rad.embedding.nearest_neighbours._GALLERY_BLOCK", gallery)
    patients = np.repeat(np.arange(225), 4)
    scale = fit_scale(vectors_of_array(GALLERY))
    everyone = units(GALLERY, scale)
    found = find_neighbours(everyone, everyone, 12, apart=(patients, patients))
    assert (patients[found.place] != patients[:, None]).all()
    x = everyone.array()
    similar = np.where(patients == patients[:, None], -np.inf, x @ x.T)
    np.testing.assert_array_equal(found.place, np.argsort(-similar, axis=1)[:, :12])


def test_too_few_neighbours_are_marked():
    few = units(GALLERY[:6], fit_scale(vectors_of_array(GALLERY)))
    numbers = np.array([0, 0, 0, 1, 1, 2])
    found = find_neighbours(few, few, 6, apart=(numbers, numbers))
    assert ((found.place == -1).sum(axis=1) == [3, 3, 3, 2, 2, 1]).all()
    assert np.isneginf(found.cosine[found.place == -1]).all()


def test_a_gallery_on_disk_is_read_by_rows(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", GALLERY.astype(np.float32))
    stored = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = np.arange(899, -1, -3)
    monkeypatch.setattr("mae_rad.embedding.standardised_rows.MAX_BYTES_IN_MEMORY", 0)
    monkeypatch.setattr("mae_rad.embedding.standardised_rows.BLOCK_BYTES", 1000)
    lazy = Vectors(stored, rows)
    scale = fit_scale(lazy)
    np.testing.assert_allclose(scale.std, GALLERY[rows].std(0), rtol=1e-5)
    held = Standardised(vectors_of_array(GALLERY[rows]), scale, unit=True)
    one = find_neighbours(Standardised(lazy, scale, unit=True), units(QUERIES, scale), 5)
    np.testing.assert_array_equal(one.place, find_neighbours(held, units(QUERIES, scale), 5).place)
