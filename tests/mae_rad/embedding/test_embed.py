"""Films of several shapes, two tiny encoders: vectors and tokens are those of the encoder, whatever interrupts them."""

import errno
import fcntl
import os
import stat
from functools import partial

import numpy as np
import pytest
import torch

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import stack, whole_film
from mae_rad.embedding import embed as embedding
from mae_rad.embedding.embed import EmbeddingSettings, EncoderSource, embed, encoder_identity
from mae_rad.embedding.film_vector import film_vectors
from mae_rad.embedding.token_source import LiveTokens, StoredTokens
from mae_rad.embedding.vector_store import exclusive_writer
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.errors import EvaluationError, ShardFormatError
from tests.builders.shard_builder import film, noise, write_public

TINY = EncoderSettings(model="vit_tiny", dim=8, depth=1, heads=2, patch=8)
SHAPES = [(64, 64), (64, 96), (96, 64), (64, 64), (48, 120), (64, 96), (64, 64)]


def encoder(seed):
    torch.manual_seed(seed)
    return build_encoder(TINY)


def broken():
    model = encoder(0)
    torch.nn.init.constant_(model.norm.weight, float("nan"))
    return model


def sources(*seeds):
    return [EncoderSource(f"encoder {seed}", f"{seed}" * 64, 8, partial(encoder, seed)) for seed in seeds]


def how(cache, **more):
    return EmbeddingSettings(
        **{"tokens": 36, "patch": 8, "precision": "f32", "cache": cache, "batch_size": 2, "workers": 0} | more
    )


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    films = [film(f"film {number}", noise(*shape, seed=number)) for number, shape in enumerate(SHAPES)]
    return write_public(tmp_path_factory.mktemp("embed") / "public", films, per_shard=3)


@pytest.fixture(scope="module")
def index(public):
    return ShardIndex([public], split=None)


@torch.no_grad()
def expected(index, row, seed):
    return encoder(seed).eval()(stack([whole_film(index.film(row), 36, 8)]))


def test_equal_weights_with_other_settings_are_embedded_again(tmp_path, index):
    (source,) = sources(1)
    changes = ({}, {"mean": 0.4}, {"heads": 1}, {"emphasis": 1.0}, {"stem": "convolutional"}, {"attention": "plain"})
    seen = [TINY.model_copy(update=change) for change in changes]
    folders = [
        embed([source._replace(identity=encoder_identity(shape))], index, how(tmp_path))[0][0].folder for shape in seen
    ]
    assert len({*folders[:-1]}) == len(folders) - 1
    assert folders[-1] == folders[0]  # a kernel is time and memory


def test_vectors_from_before_there_was_a_stem_or_an_emphasis_stay_valid():
    before = '{"model":"vit_base","dim":null,"depth":null,"heads":null,"patch":16,"mean":0.5,"std":0.25}'
    assert encoder_identity(EncoderSettings()) == before


def test_every_pool_is_that_of_one_forward_pass(tmp_path, index):
    both = embed(sources(1, 2), index, how(tmp_path))
    for seed, (store, tokens) in zip((1, 2), both, strict=True):
        assert tokens is None
        assert not len(store.missing())
        for row in range(len(index)):
            features = expected(index, row, seed)
            np.testing.assert_allclose(store.vectors("cls")[row], features.cls[0], atol=1e-5)
            np.testing.assert_allclose(store.vectors("mean")[row], features.tokens[0].mean(0), atol=1e-5)
        assert store.vectors("cls_mean").shape == (7, 16)
        np.testing.assert_array_equal(store.vectors("cls_mean")[:, :8], store.vectors("cls"))
        content = 196 / store.sizes.prod(axis=1)
        assert ((content > 0.9) & (content <= 1.01)).all()  # films that are content all over


def test_other_poolings_are_of_the_same_pass_and_leave_stored_vectors_as_they_are(tmp_path, index):
    (before, _), = embed(sources(1), index, how(tmp_path))  # fmt: skip
    stored = np.array(before.vectors("cls_mean"))
    pool = "mean+deviation of block 1 and 2 x 2 regions"
    rich = [source._replace(pools=("mean", pool)) for source in sources(1)]
    for processes in (1, 2):
        folder = tmp_path if processes == 1 else tmp_path / "two"
        (store, _), = embed(rich, index, how(folder, processes=processes))  # fmt: skip
        assert not len(store.missing())
        np.testing.assert_allclose(store.vectors("cls_mean"), stored, atol=1e-6)
        model = encoder(1).eval()
        for row in range(len(index)):
            vector = film_vectors(model, stack([whole_film(index.film(row), 36, 8)]), pool)[0]
            np.testing.assert_allclose(store.vectors(pool)[row], vector, atol=1e-5)
    assert embed(sources(1), index, how(tmp_path))[0][0].folder == before.folder

    def never():
        raise AssertionError("loaded")

    embed([source._replace(load=never) for source in rich], index, how(tmp_path))
    with pytest.raises(AssertionError, match="loaded"):
        embed([source._replace(load=never, pools=("deviation",)) for source in rich], index, how(tmp_path))


def test_an_interrupted_embedding_continues_where_it_stopped(tmp_path, index, monkeypatch):
    (whole, _), = embed(sources(1), index, how(tmp_path / "whole"))  # fmt: skip
    seen = []

    def interrupted(*arguments):
        seen.append(0)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return film_features(*arguments)

    film_features = embedding.film_features
    monkeypatch.setattr(embedding, "film_features", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embed(sources(1), index, how(tmp_path / "cut"))
    monkeypatch.setattr(embedding, "film_features", lambda *arguments: seen.append(1) or film_features(*arguments))
    (store, _), = embed(sources(1), index, how(tmp_path / "cut"))  # fmt: skip
    assert 0 < seen.count(1) < 5
    np.testing.assert_allclose(store.vectors("cls_mean"), whole.vectors("cls_mean"), atol=1e-6)


def test_stored_vectors_are_not_embedded_again(tmp_path, index):
    def never():
        raise AssertionError("loaded")

    embed(sources(1), index, how(tmp_path))
    found = [source._replace(name="another name", load=never) for source in sources(1)]
    (store, _), = embed(found, index, how(tmp_path))  # fmt: skip
    assert not len(store.missing())
    for other in ({"tokens": 49}, {"precision": "bf16"}):
        with pytest.raises(AssertionError, match="loaded"):
            embed(found, index, how(tmp_path, **other))
    with pytest.raises(AssertionError, match="loaded"):
        embed([found[0]._replace(sha256="f" * 64)], index, how(tmp_path))


def test_tokens_of_requested_films_are_stored_and_can_be_added_later(tmp_path, index):
    first, more = np.array([1, 4]), np.array([0, 1, 4, 6])
    embed(sources(1), index, how(tmp_path), with_tokens=first)
    ((_, store),) = embed(sources(1), index, how(tmp_path), with_tokens=more)
    assert list(store.missing(np.arange(7))) == [2, 3, 5]
    stored = StoredTokens(store, 8, torch.device("cpu"))
    live = LiveTokens(partial(encoder, 1), 8, index, how(tmp_path), torch.device("cpu"))
    for source in (stored, live):
        seen = []
        for rows, tokens, mask in source.batches(more, 3):
            for row, film_tokens, there in zip(rows, tokens, mask, strict=True):
                seen.append(row)
                np.testing.assert_allclose(film_tokens[there], expected(index, row, 1).tokens[0], atol=5e-3)
                assert (film_tokens[~there] == 0).all()
        assert sorted(seen) == list(more)


def test_several_processes_give_the_vectors_of_one_process(tmp_path, index):
    rows = np.array([0, 1, 2, 5])
    one = embed(sources(1, 2), index, how(tmp_path / "one"), with_tokens=rows)
    two = embed(sources(1, 2), index, how(tmp_path / "two", processes=2), with_tokens=rows)
    for (vectors, tokens), (others, other_tokens) in zip(one, two, strict=True):
        np.testing.assert_allclose(vectors.vectors("cls_mean"), others.vectors("cls_mean"), atol=1e-5)
        for row in rows:
            np.testing.assert_allclose(tokens.read(row), other_tokens.read(row), atol=2e-3)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_error_in_an_embedding_process_is_one_line(tmp_path, index, processes):
    diverged = EncoderSource("diverged", "d" * 64, 8, broken)
    with pytest.raises(EvaluationError, match=r"diverged: \d of \d vectors are not finite"):
        embed([diverged], index, how(tmp_path, processes=processes))


def test_an_unreadable_film_is_named_by_its_key(tmp_path):
    films = [film("a", noise(64, 64)), film("b", noise(64, 64))]
    public = write_public(tmp_path / "public", [films[0], (films[1][0][:40], films[1][1])])
    index = ShardIndex([public], split=None)
    with pytest.raises(ShardFormatError, match=f"film {films[1][1]['key']} cannot be embedded"):
        embed(sources(1), index, how(tmp_path))


def test_two_commands_do_not_write_into_one_cache(tmp_path, index):
    with exclusive_writer(tmp_path), pytest.raises(EvaluationError, match="another command is embedding"):
        embed(sources(1), index, how(tmp_path))
    embed(sources(1), index, how(tmp_path))
    with exclusive_writer(tmp_path):
        embed(sources(1), index, how(tmp_path))  # reads alone


def test_a_cache_on_a_network_disk_is_locked_too(tmp_path, index, monkeypatch):
    """There a folder cannot be locked, only a file that was opened for writing."""
    flock = fcntl.flock

    def of_files_alone(descriptor, operation):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(descriptor, operation)

    monkeypatch.setattr("data_prep.runtime.folder_lock.fcntl.flock", of_files_alone)
    with exclusive_writer(tmp_path), pytest.raises(EvaluationError, match="another command is embedding"):
        embed(sources(1), index, how(tmp_path))
    embed(sources(1), index, how(tmp_path))
    assert not (tmp_path / ".lock").exists()


def test_a_damaged_cache_is_an_error(tmp_path, index):
    (store, _), = embed(sources(1), index, how(tmp_path))  # fmt: skip
    (store.folder / "done.npy").write_bytes(b"nothing")
    with pytest.raises(EvaluationError, match=f"Delete {store.folder}"):
        embed(sources(1), index, how(tmp_path))
