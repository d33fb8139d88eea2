"""Batches of views without a loader."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mae_rad.data.batch import Batch, Members, View


def members(
    film: Tensor, study: Tensor | None = None, patient: Tensor | None = None, *, view: int = 0, position: int = 0
) -> Members:
    """Draws from ``position`` on, which show these films; without studies every film is one of its own."""
    positions = torch.arange(position, position + len(film))
    study = film if study is None else study
    return Members(positions, torch.full_like(film, view), film, study, study if patient is None else patient)


def film_batch(
    views: Mapping[str, View],
    film: Tensor,
    study: Tensor | None = None,
    meta: Mapping[str, Tensor] | None = None,
    *,
    position: int = 0,
) -> Batch:
    """Every view shows the drawn film."""
    known = {name: members(film, study, view=number, position=position) for number, name in enumerate(views)}
    return Batch(dict(views), tuple(map(str, film.tolist())), known, {name: dict(meta or {}) for name in views})
