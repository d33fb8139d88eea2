"""The largest attention logit of a forward pass: it grows before a training diverges (Dehghani et al. 2023, section 3).

Seen by hooks that are there only while a step is watched: other steps pay nothing, and no value of the step changes.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mae_rad.encoders.attention import SelfAttention, unpack

_QUERIES = 256
"""Rows of the table of logits that are in memory at once, for all heads of a film."""


class AttentionLogits:
    """Largest absolute ``q·k/√d`` before the softmax, over the blocks of an encoder, its heads, films and tokens.

    Args:
        encoder: its :class:`SelfAttention` layers are watched; those of a compiled one are not seen.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._layers = [module for module in encoder.modules() if isinstance(module, SelfAttention)]
        self.largest = torch.zeros(())

    @contextmanager
    def watched(self, watch: bool) -> Iterator[None]:
        """Look at the forward passes of the block, if ``watch``; what is recomputed behind it is not looked at."""
        hooks = [hook for layer in self._layers if watch for hook in self._hooks(layer)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def read(self) -> Tensor:
        """[] the largest since the last reading."""
        largest, self.largest = self.largest, torch.zeros(())
        return largest

    def _hooks(self, layer: SelfAttention) -> tuple[RemovableHandle, RemovableHandle]:
        packed: Sequence[tuple[int, int]] | None = None

        def remember(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            nonlocal packed
            packed = inputs[1] if len(inputs) > 1 else None

        def look(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            for films in [output.detach()] if packed is None else unpack(output.detach(), packed):
                found = largest_logit(films, layer.heads)
                self.largest = torch.maximum(self.largest.to(found.device), found)

        return layer.register_forward_pre_hook(remember), layer.qkv.register_forward_hook(look)


@torch.no_grad()
def largest_logit(qkv: Tensor, heads: int) -> Tensor:
    """[] f32 of the joint projections [B, N, 3 D] of queries, keys and values.

    Args:
        qkv: as the layer gives them, of any type.
        heads: of the layer.
    """
    films, count, _ = qkv.shape
    query, key, _ = qkv.reshape(films, count, 3, heads, -1).unbind(dim=2)  # [B, N, heads, d]
    found = torch.zeros((), device=qkv.device)
    with torch.autocast(qkv.device.type, enabled=False):
        for film_query, film_key in zip(query.transpose(1, 2).float(), key.transpose(1, 2).float(), strict=True):
            for part in film_query.split(_QUERIES, dim=1):
                found = torch.maximum(found, (part @ film_key.transpose(-2, -1)).abs().amax())
    return found / math.sqrt(query.shape[-1])
