"""A view of a partner shows the partner, for any number of workers and ranks; what is known follows what is shown."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from mae_rad.data.augmentation import Augmentation
from mae_rad.data.batch import Batch, ViewSpec
from mae_rad.data.film_order import Draw, Order, StepRange
from mae_rad.data.loader import DrawViews, training_batches
from mae_rad.data.shard_reader import FilmUnreadableError, ShardIndex
from mae_rad.pairing.partners import PartnerRule, Partners
from tests.builders.shard_builder import film, hexed, noise, write_public

VIEWS = {"a": ViewSpec(16), "b": ViewSpec(16, partner=True)}
FILMS = 20


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    films = [
        film(f"f{i}", noise(64, 64, seed=i), study=hexed("s", i // 3), patient=hexed("p", i // 6)) for i in range(FILMS)
    ]
    return ShardIndex([write_public(tmp_path_factory.mktemp("partners") / "public", films)])


def _order(index: ShardIndex) -> Order:
    study = np.array([index.study(row) for row in range(FILMS)])
    rule = PartnerRule(same=["study"])
    return Order(FILMS, 5, 8, partners=Partners(rule, {"study": study}, FILMS, 5))


def _batches(index: ShardIndex, rank: int = 0, world: int = 1, workers: int = 0, first: int = 0) -> list[Batch]:
    columns = {"twice": 2 * torch.arange(FILMS)}
    steps = StepRange(first, 4, rank, world, 8 // world)
    loaded = training_batches(index, _order(index), VIEWS, steps, patch=16, workers=workers, columns=columns)
    return [batch for batch, _ in loaded]


def _equal(one: Batch, other: Batch) -> bool:
    parts = [
        pair
        for name in VIEWS
        for pair in (
            *zip(one.members[name], other.members[name], strict=True),
            (one.views[name].visible.values.int(), other.views[name].visible.values.int()),
            (one.meta[name]["twice"], other.meta[name]["twice"]),
        )
    ]
    return one.keys == other.keys and all(torch.equal(*pair) for pair in parts)


def test_members_and_columns_are_of_the_film_that_is_shown(index: ShardIndex) -> None:
    batches = _batches(index)
    for step, batch in enumerate(batches):
        a, b = batch.members["a"], batch.members["b"]
        draws = _order(index).step(step)
        assert a.film.tolist() == [draw.row for draw in draws]
        assert b.film.tolist() == [draw.partner for draw in draws]
        assert (
            torch.equal(a.study, b.study) and torch.equal(a.patient, b.patient) and torch.equal(a.position, b.position)
        )
        assert (a.view == 0).all() and (b.view == 1).all()
        assert (a.film != b.film).all()
        assert torch.equal(batch.meta["b"]["twice"], 2 * b.film)
        assert (batch.step, batch.progress) == (step, step / 4)


def test_workers_ranks_and_a_later_start_change_nothing(index: ShardIndex) -> None:
    whole = _batches(index)
    assert all(map(_equal, whole, _batches(index, workers=2)))
    assert all(map(_equal, whole[2:], _batches(index, first=2)))
    for one, *parts in zip(whole, _batches(index, 0, 2), _batches(index, 1, 2), strict=True):
        assert one.keys == parts[0].keys + parts[1].keys
        for name in VIEWS:
            for values, *of_ranks in zip(one.members[name], *(part.members[name] for part in parts), strict=True):
                assert torch.equal(values, torch.cat(of_ranks))


def test_a_partner_that_cannot_be_read_gives_way_to_the_film_itself(
    index: ShardIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ShardIndex.film

    def broken(self: ShardIndex, row: int) -> object:
        if row == 1:
            raise FilmUnreadableError("film f1 cannot be read")
        return read(self, row)

    transform = DrawViews(index, VIEWS, 16, seed=5, steps=4)
    whole = transform(0, Draw(0, 0, 7, 0, partner=1))
    assert whole.shown["b"][0] == 1
    monkeypatch.setattr(ShardIndex, "film", broken)
    alone = transform(0, Draw(0, 0, 7, 0, partner=1))
    assert alone.shown == {"a": alone.shown["a"], "b": alone.shown["a"]} and alone.shown["a"][0] == 0
    substitute = transform(2, Draw(0, 0, 7, 0, partner=3))  # for a film that cannot be read
    assert substitute.shown["a"][0] == substitute.shown["b"][0] == 2


def test_a_further_draw_of_a_film_is_another_view(index: ShardIndex) -> None:
    order = Order(FILMS, 1, 8, np.array([8.0] + [1.0] * (FILMS - 1)))
    draws = [draw for draw in order.step(0) + order.step(1) if draw.row == 0]
    assert [draw.again for draw in draws] == [False] + [True] * (len(draws) - 1)
    assert len(draws) > 2
    transform = DrawViews(index, {"a": ViewSpec(16, Augmentation(crop=(0.3, 0.6)))}, 16, seed=5, steps=4)
    drawn: Sequence[bytes] = [transform(0, draw).views["a"].visible.values.tobytes() for draw in draws]
    assert len(set(drawn)) == len(drawn)
    assert drawn[0] == transform(0, Draw(0, 0, 99, 0)).views["a"].visible.values.tobytes()  # as if drawn once
