"""The nearest films of every film by their vectors."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

_ROWS_AT_ONCE = 1024


def nearest_films(vectors: Tensor, count: int) -> Tensor:
    """Find the nearest other films by cosine, nearest first.

    Args:
        vectors: [films, D].
        count: of neighbours; fewer where there are not so many films.

    Returns:
        [films, count] int64 rows.
    """
    unit = normalize(vectors.float(), dim=1)
    count = min(count, len(unit) - 1)
    found = []
    for start in range(0, len(unit), _ROWS_AT_ONCE):
        part = unit[start : start + _ROWS_AT_ONCE] @ unit.T
        own = torch.arange(len(part))
        part[own, start + own] = -torch.inf
        found.append(part.topk(count, dim=1).indices)
    return torch.cat(found)
