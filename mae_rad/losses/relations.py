"""Positive and negative pairs: which columns pull a row, which push it, which are ignored."""

from typing import NamedTuple

from torch import Tensor


class Members(NamedTuple):
    """What a relation knows about rows or columns.

    Attributes:
        place: [N] int64, unique to each vector over all ranks.
        film: [N] int64 identity of the film.
        study: [N] int64 identity of the study that the film belongs to.
    """

    place: Tensor
    film: Tensor
    study: Tensor


def film_relation(rows: Members, columns: Members) -> tuple[Tensor, Tensor]:
    """Views of one film pull, other films of its study are ignored, films of other studies push.

    Two films of a study show one patient at one time, often one body part: pushing them apart teaches noise. A film
    that is in the batch more than once, on any rank, pulls all its views.

    Args:
        rows: N vectors of this rank.
        columns: M vectors of all ranks.

    Returns:
        weights [N, M] float32 in {0, 1} and mask [N, M] bool, as ``pair_nce`` takes them.
    """
    other = rows.place[:, None] != columns.place[None]
    pull = other & (rows.film[:, None] == columns.film[None])
    push = rows.study[:, None] != columns.study[None]
    return pull.float(), pull | (push & other)
