"""Relations: what pulls, what is ignored, what pushes, and what goes before what."""

from collections.abc import Sequence

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mae_rad.data.batch import Members
from mae_rad.losses.all_ranks import gather_columns
from mae_rad.losses.contrastive import nt_xent, view_similarity
from mae_rad.losses.pair_nce import pair_nce, valid_rows
from mae_rad.pairing.neighbours import nearest_films
from mae_rad.pairing.relations import Shown, relate
from mae_rad.pairing.settings import PairSettings
from tests.builders.pairs.film_batch import members

NAN = float("nan")


def both_views(film: Sequence[int], study: Sequence[int] | None = None, second: Sequence[int] | None = None) -> Members:
    """Vectors of two views; the second shows ``second`` where it shows partners. Studies are by film."""
    of = {number: (study[place] if study else number) for place, number in enumerate(film)}
    views = [torch.tensor(list(film)), torch.tensor(list(second or film))]
    shown = [
        members(one, torch.tensor([of[int(number)] for number in one]), view=view) for view, one in enumerate(views)
    ]
    return Members(*(torch.cat(parts) for parts in zip(*shown, strict=True)))


def related(
    relation: Sequence[object], known: Members, meta: dict[str, list[float]] | None = None, **more: bool
) -> tuple[Tensor, Tensor]:
    """(w, d) of the vectors of two views; ``meta`` is that of the films of one view."""
    values = {
        name: torch.tensor(column * 2).to(torch.int64 if all(isinstance(v, int) for v in column) else torch.float32)
        for name, column in (meta or {}).items()
    }
    shown = Shown(known, values)
    return relate(PairSettings.model_validate({"relation": list(relation)}).relation, shown, shown, **more)


def test_the_default_is_nt_xent_to_the_bit() -> None:
    film, study = torch.tensor([0, 1, 2, 3, 1]), torch.tensor([0, 0, 2, 3, 0])
    z = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    expected, pairs = nt_xent(z[0], z[1], 0.1, film=film, study=study, return_pairs=True)
    weights, mask = related(["film"], both_views(film.tolist(), study.tolist()))
    assert torch.equal(weights, pairs.weights) and torch.equal(mask, pairs.mask.float())
    loss = pair_nce(view_similarity(z[0], z[1], 0.1), weights, mask)
    assert torch.equal(loss, expected)
    assert torch.equal(*(torch.autograd.grad(one, z)[0] for one in (loss, expected)))


def test_a_partner_of_the_study_pulls_and_no_row_is_dropped() -> None:
    """By film and study alone it pulls nothing, and a film of the study pushes nothing: every row would be dropped."""
    film, partner, study = [0, 1, 2, 3], [1, 0, 3, 2], [0, 0, 1, 1]
    known = both_views(film, study, second=partner)
    z = torch.randn(2, 2, 4)
    pairs = nt_xent(z[0], z[1], 0.1, film=known.film[:2], study=known.study[:2], return_pairs=True)[1]
    assert pairs.weights.sum() > 0  # one film in both views
    by_film = known.film[:, None] == known.film[None]
    own = known.position[:, None] == known.position[None]
    assert not (by_film & own & (known.view[:, None] != known.view[None])).any()
    weights, mask = related(["film"], known)
    assert valid_rows(weights, mask).all()
    assert bool((weights[own & (known.view[:, None] != known.view[None])] == 1).all())
    alone = both_views([0, 1], [0, 0], second=[1, 0])  # two films of one study fill the batch
    assert valid_rows(*related(["film"], alone)).all()


def test_own_view_before_conflict_before_ignore_before_pull_before_push() -> None:
    known = both_views([0, 1, 2, 3, 4, 5])
    meta = {
        "body_part": [0, 0, 0, 1, -1, 1],
        "label.fracture": [1, 0, 1, 1, 1, -1],
        "view": [0, 0, 1, 0, 0, 1],
    }
    relation = [
        "film",
        {"same": ["view"]},
        {"ignore": ["body_part"]},
        {"conflict": ["label.fracture"], "within": ["body_part"], "weight": 2},
    ]
    weights, mask = related(relation, known, meta)
    assert weights[0, 6] == 1 and mask[0, 6] == 1  # own view, though its body part is ignored
    assert weights[0, 1] == 0 and mask[0, 1] == 2  # conflict, though view and body part are equal
    assert weights[0, 2] == 0 and mask[0, 2] == 0  # ignored
    assert weights[0, 3] == 1 and mask[0, 3] == 1  # pulled by the view
    assert weights[0, 5] == 0 and mask[0, 5] == 1  # pushed
    assert weights[0, 4] == 1 and mask[4, 5] == 1  # an unknown body part ignores nothing
    assert not weights.diagonal().any() and not mask.diagonal().any()
    assert torch.equal(weights, weights.T) and torch.equal(mask, mask.T)


def test_films_of_one_study_push_only_if_a_relation_names_the_study() -> None:
    known, meta = both_views([0, 1, 2], [0, 0, 1]), {"label.fracture": [1, 0, 0]}
    conflict = {"conflict": ["label.fracture"]}
    assert related(["film", conflict], known, meta)[1][0, 1] == 0
    weights, mask = related(["film", "study", conflict], known, meta)
    assert weights[0, 1] == 0 and mask[0, 1] == 1
    weights, mask = related(["study"], known)
    assert weights[0, 1] == weights[0, 4] == 1 and weights[0, 2] == 0 and mask[0, 2] == 1


def test_supcon_and_the_decoupled_loss_are_strategies() -> None:
    known = both_views([0, 1, 2, 3])
    meta = {"label.fracture": [1, 1, 0, -1]}
    weights, mask = related(["film", {"same": ["label.fracture"]}], known, meta)
    assert weights[0].tolist() == [0, 1, 0, 0, 1, 1, 0, 0]
    assert mask[0].tolist() == [0, 1, 1, 0, 1, 1, 1, 0]  # a film without the label is ignored
    assert related([{"same": ["label.fracture"], "unknown": "push"}], known, meta)[1][0, 3] == 1
    weights, mask = related(["film"], known, own_in_denominator=False)
    assert torch.equal(mask, ((torch.arange(8) % 4)[:, None] != (torch.arange(8) % 4)[None]).float())


def test_a_kernel_pulls_by_closeness_within_columns() -> None:
    known = both_views([0, 1, 2, 3])
    meta = {"age_years": [10.0, 15.0, 10.0, NAN], "body_part": [0, 0, 1, 0]}
    weights, mask = related(["film", {"kernel": "age_years", "sigma": 5, "within": ["body_part"]}], known, meta)
    assert weights[0, 1].item() == pytest.approx(2.718281828**-0.5)
    assert weights[0, 2] == 0 and mask[0, 2] == 1
    assert weights[0, 3] == 0 and mask[0, 3] == 1  # header facts: unknown pushes
    ignoring = {"kernel": "age_years", "sigma": 5, "within": ["body_part"], "unknown": "ignore"}
    mask = related(["film", ignoring], known, meta)[1]
    assert mask[0, 3] == 0 and mask[2, 3] == 1
    weights, _ = related(["film", {"threshold": "age_years", "most": 5}], known, meta)
    assert weights[0].tolist() == [0, 1, 1, 0, 1, 1, 1, 0]


def test_findings_agree_by_what_either_film_has() -> None:
    known = both_views([0, 1, 2, 3, 4])
    meta = {
        "label.fracture": [1, 1, 0, 2, -1],
        "label.effusion": [0, 1, 0, 0, -1],
        "study_day": [0.0, 365.0, 0.0, 0.0, 0.0],
    }
    weights, mask = related([{"agreement": ["label.*"]}], known, meta)
    assert weights[0, 1].item() == 0.5  # the fracture of two findings
    assert weights[0, 2] == 0 and mask[0, 2] == 1
    assert weights[0, 3].item() == 0.5  # uncertain
    assert weights[2, 7].item() == 1  # no finding at all
    assert mask[0, 4] == 0  # nothing is known
    weights, _ = related([{"agreement": ["label.*"], "days": 365}], known, meta)
    assert weights[0, 1].item() == pytest.approx(0.5 * 2.718281828**-1)
    weights, _ = related([{"agreement": ["label.*"], "nearest": 1}], known, meta)
    assert (weights[0, [1, 3, 6, 8]] > 0).sum() == 1


def test_mutual_neighbours_of_other_patients_pull_and_the_ring_is_ignored() -> None:
    points = torch.tensor([[1.0, 0.0], [0.99, 0.1], [0.9, 0.4], [0.0, 1.0], [0.1, 0.99]])
    lists = nearest_films(points, 3)
    assert lists[0].tolist() == [1, 2, 4] and lists[3].tolist() == [4, 2, 1]
    known = both_views([0, 1, 2, 3, 4])
    relation = PairSettings.model_validate({"relation": ["film", {"neighbours": 1, "ring": 2, "every": 5}]}).relation
    shown = Shown(known, {"round.neighbours": lists.repeat(2, 1)})
    weights, mask = relate(relation, shown, shown)
    assert weights[0].tolist() == [0, 1, 0, 0, 0, 1, 1, 0, 0, 0]
    assert mask[0].tolist() == [0, 1, 0, 1, 1, 1, 1, 0, 1, 1]
    assert weights[2].tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 0, 0]  # film 1 has a nearer one
    same_patient = Shown(known._replace(patient=torch.zeros(10, dtype=torch.int64)), shown.meta)
    assert torch.equal(relate(relation, same_patient, same_patient)[0], relate(relation[:1], shown, shown)[0])
    before = Shown(known, {})
    assert torch.equal(relate(relation, before, before)[1], relate(relation[:1], before, before)[1])


def test_rows_of_two_ranks_see_what_one_process_sees() -> None:
    whole = both_views([0, 1, 2, 3, 4, 5])
    meta = {"label.a": torch.tensor([1, 0, 1, 0, -1, 1] * 2), "age_years": torch.tensor([1.0, 2, 3, 4, 5, NAN] * 2)}
    shown = Shown(whole, meta)
    relation = PairSettings.model_validate(
        {"relation": [{"agreement": ["label.*"], "nearest": 2}, {"kernel": "age_years", "sigma": 2}]}
    ).relation
    expected = relate(relation, shown, shown)
    by_rank = torch.tensor([0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11])  # columns as two ranks stack them
    columns = shown.each(lambda values: values[by_rank])
    for rows in by_rank.chunk(2):
        found = relate(relation, shown.each(lambda values, rows=rows: values[rows]), columns)  # type: ignore[misc]
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other[rows][:, by_rank])
    assert torch.equal(gather_columns(whole.film), whole.film)


@pytest.mark.parametrize(
    ("relation", "why"),
    [
        (["flim"], "Input should be 'film', 'study' or 'patient'"),
        ([{"smae": ["view"]}], "a relation is film, study, patient, or a mapping with one of same, ignore"),
        ([{"same": []}], "at least 1 item"),
        ([{"kernel": "age_years"}], "sigma"),
        ([{"agreement": ["sex"]}], "sex is no label: write label.NAME"),
    ],
)
def test_a_wrong_relation_is_refused(relation: list[object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        PairSettings.model_validate({"relation": relation})
