"""Pool the tokens of a film into its vector, without learned weights.

Legend: B films, N patches, D channels, R regions along each side of the content box.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mae_rad.data.batch import Patches
from mae_rad.encoders.pooling_name import LAST_BLOCK_POOLS, PoolingParts, parse_pooling
from mae_rad.errors import EvaluationError


def pool_film(pool: str, tokens: Tensor, cls: Tensor) -> Tensor:
    """Pool the features of films by class token, mean, or both.

    Args:
        pool: ``cls``, ``mean`` or ``cls_mean``.
        tokens: [B, N, D] one vector per patch.
        cls: [B, D] class token.

    Returns:
        [B, D], or [B, 2 D] for ``cls_mean``.
    """
    if pool == "cls":
        return cls
    mean = tokens.mean(dim=1)
    return mean if pool == "mean" else torch.cat([cls, mean], dim=1)


def pool_blocks(pool: str, blocks: Mapping[int, tuple[Tensor, Tensor]], patches: Patches) -> Tensor:
    """Pool the features of one or several blocks.

    Args:
        pool: name of the pooling.
        blocks: number of the block → patch tokens [B, N, D] and class token [B, D]; 0 is the last block.
        patches: the patches [B, N, …] of the tokens.

    Returns:
        [B, W], W as :meth:`PoolingParts.width`.

    Raises:
        EvaluationError: regions are requested of tokens that do not belong to a patch each.
    """
    if pool in LAST_BLOCK_POOLS:
        return pool_film(pool, *blocks[0])
    parts = parse_pooling(pool)
    chosen = [blocks[number] for number in parts.blocks or (0,)]
    if parts.regions > 1 and chosen[0][0].shape[1] != patches.coords.shape[1]:
        raise EvaluationError(
            f"the pooling {pool!r} has regions, and the tokens of this encoder are not one per patch."
            " Choose a pooling without regions."
        )
    members = region_members(patches, parts.regions) if parts.regions > 1 else []
    return torch.cat([_pool_block(parts, tokens, cls, members) for tokens, cls in chosen], dim=1)


def _pool_block(parts: PoolingParts, tokens: Tensor, cls: Tensor, members: Sequence[Tensor]) -> Tensor:
    whole = tokens.mean(dim=1)
    counts = [region.sum(dim=1, keepdim=True) for region in members]
    # einsum instead of a product with a mask: no copy of all tokens per region
    means = [
        torch.where(count > 0, torch.einsum("bn,bnd->bd", region, tokens) / count.clamp(min=1), whole)
        for region, count in zip(members, counts, strict=True)
    ]
    pooled: dict[str, list[Tensor]] = {"cls": [cls], "mean": [whole, *means], "deviation": []}
    if "deviation" in parts.parts:
        of_film = _deviation(tokens, whole)
        pooled["deviation"] = [of_film]
        for region, count, mean in zip(members, counts, means, strict=True):
            square = torch.einsum("bn,bnd->bd", region, (tokens - mean[:, None]).square())
            pooled["deviation"].append(torch.where(count > 0, (square / count.clamp(min=1)).sqrt(), of_film))
    return torch.cat([vector for part in parts.parts for vector in pooled[part]], dim=1)


def _deviation(tokens: Tensor, mean: Tensor) -> Tensor:
    return (tokens - mean[:, None]).square().mean(dim=1).sqrt()


def region_members(patches: Patches, regions: int) -> list[Tensor]:
    """Find the patches of the regions of the content box, row by row.

    Patches whose centre is outside the content box are in no region; the whole film counts as content if no box is
    known.

    Args:
        patches: [B, N, …] patches.
        regions: R.

    Returns:
        R² tensors [B, N] float32, 1 for patches whose centre is in the region, else 0.
    """
    content = patches.content
    if content is None:
        content = torch.cat([torch.full_like(patches.size, -0.5), patches.size], dim=1)
    place = torch.floor((patches.coords - content[:, None, :2]) / content[:, None, 2:] * regions)
    return [
        ((place[..., 0] == row) & (place[..., 1] == column)).float()
        for row in range(regions)
        for column in range(regions)
    ]
