"""Buffers and frozen parameters of a model: part of every checkpoint, beside what DeepSpeed keeps of them.

DeepSpeed restores them at the same number of ranks. From a universal checkpoint, at another number, it restores trained
parameters alone and says nothing: a target encoder, prototypes, a queue or running statistics would begin anew.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mae_rad.errors import RunError

UNTRAINED = "untrained"
"""Key of the tensors in the state of a checkpoint."""


class UntrainedState:
    """Buffers and frozen parameters of a model that are equal on all ranks.

    Args:
        model: whose persistent buffers and parameters without gradient are kept.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def tensors(self) -> dict[str, Tensor]:
        """Name → tensor, sorted by name."""
        trained = {name for name, parameter in self._model.named_parameters() if parameter.requires_grad}
        state = self._model.state_dict()
        return {name: state[name] for name in sorted(state) if name not in trained}

    def state(self) -> dict[str, Any]:
        """Entries for a checkpoint; a collective call.

        Raises:
            RunError: a tensor differs between ranks.
        """
        tensors = self.tensors()
        digests = {name: _digest(values) for name, values in tensors.items()}
        of_ranks: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(of_ranks, digests)
        if differing := [name for name in digests if any(other[name] != digests[name] for other in of_ranks)]:
            raise RunError(
                f"{differing[0]} of the model differs between ranks, and a checkpoint would lose it. An objective must"
                " change its buffers and frozen parameters in the same way on all ranks."
            )
        return {UNTRAINED: {name: values.detach().cpu().clone() for name, values in tensors.items()}} if tensors else {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint; one of an earlier release has no entries, and DeepSpeed has restored them.

        Args:
            state: of the checkpoint, with the entries of :meth:`state`.
        """
        own = self.tensors()
        with torch.no_grad():
            for name, values in state.get(UNTRAINED, {}).items():
                own[name].copy_(values)


def _digest(values: Tensor) -> str:
    return hashlib.sha256(values.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
