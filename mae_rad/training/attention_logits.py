"""The largest attention logit of a forward pass: it grows before a training diverges (Dehghani et al. 2023, section 3).

Hooks measure it, and are registered only for the steps that are logged: other steps are not slowed down, and no value
of the step changes.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mae_rad.encoders.attention import SelfAttention, unpack

_QUERIES_PER_CHUNK = 256
"""Rows of the matrix of logits that are in memory at a time, for all heads of a film."""


class AttentionLogits:
    """Largest absolute ``q·k/√d`` before the softmax, over the blocks of an encoder, its heads, films and tokens.

    Args:
        encoder: module whose :class:`SelfAttention` layers are measured; hooks do not run in compiled ones.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._layers = [module for module in encoder.modules() if isinstance(module, SelfAttention)]
        self.largest = torch.zeros(())

    @property
    def has_layers(self) -> bool:
        """Whether the encoder has attention."""
        return bool(self._layers)

    @contextmanager
    def measuring(self, enabled: bool) -> Iterator[None]:
        """Measure the forward passes within the context, if ``enabled``; recomputation in backward is excluded."""
        hooks = [hook for layer in self._layers if enabled for hook in self._hooks(layer)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def read(self) -> Tensor:
        """Return the largest logit since the last call ([] float32), and reset it to 0."""
        largest, self.largest = self.largest, torch.zeros(())
        return largest

    def _hooks(self, layer: SelfAttention) -> tuple[RemovableHandle, RemovableHandle]:
        packed: Sequence[tuple[int, int]] | None = None

        def remember(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            nonlocal packed
            packed = inputs[1] if len(inputs) > 1 else None

        def measure(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            for films in [output.detach()] if packed is None else unpack(output.detach(), packed):
                largest = largest_logit(films, layer.heads)
                self.largest = torch.maximum(self.largest.to(largest.device), largest)

        return layer.register_forward_pre_hook(remember), layer.qkv.register_forward_hook(measure)


@torch.no_grad()
def largest_logit(qkv: Tensor, heads: int) -> Tensor:
    """Compute the largest absolute attention logit.

    Args:
        qkv: [B, N, 3 D] joint projections of queries, keys and values, of any floating-point type.
        heads: number of attention heads.

    Returns:
        [] float32.
    """
    films, count, _ = qkv.shape
    query, key, _ = qkv.reshape(films, count, 3, heads, -1).unbind(dim=2)  # [B, N, heads, d]
    largest = torch.zeros((), device=qkv.device)
    with torch.autocast(qkv.device.type, enabled=False):
        for film_query, film_key in zip(query.transpose(1, 2).float(), key.transpose(1, 2).float(), strict=True):
            for chunk in film_query.split(_QUERIES_PER_CHUNK, dim=1):
                largest = torch.maximum(largest, (chunk @ film_key.transpose(-2, -1)).abs().amax())
    return largest / math.sqrt(query.shape[-1])
