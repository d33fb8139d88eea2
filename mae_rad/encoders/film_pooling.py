"""Pool the tokens of a film into its vector, without learned weights.

Legend: B films, N patches, D channels.
"""

from typing import Literal

import torch
from torch import Tensor

FilmPool = Literal["cls", "mean", "cls_mean"]
"""Class token; mean of the patch tokens; both, concatenated."""


def pool_film(pool: FilmPool, tokens: Tensor, cls: Tensor) -> Tensor:
    """Pool the features of films.

    Args:
        pool: kind of pooling.
        tokens: [B, N, D] one vector per patch.
        cls: [B, D] class token.

    Returns:
        [B, D], or [B, 2 D] for ``cls_mean``.
    """
    if pool == "cls":
        return cls
    mean = tokens.mean(dim=1)
    return mean if pool == "mean" else torch.cat([cls, mean], dim=1)
