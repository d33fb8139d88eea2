"""Exponential moving average of the weights of a training (EMA), by timm's ModelEmaV3; part of every checkpoint.

After optimiser step t average = d * average + (1 - d) * weights, for buffers too, with d = min(decay, 1 - t^(-2/3)): in
a short training the first weights would else be most of the average. The average is what is validated, probed and
exported; the optimiser goes on from the weights themselves.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from timm.utils import ModelEmaV3
from torch import nn

AVERAGE = "average"
"""Key of the averaged weights in the state of a checkpoint."""


class WeightAverage:
    """The average of the weights of a model, or nothing where it is off.

    Args:
        model: whose weights are averaged, with its first weights.
        decay: largest share of the average that is kept in a step; 0 is off.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = model
        self._average: Any = ModelEmaV3(model, decay=decay, use_warmup=True) if decay else None

    def update(self, step: int) -> None:
        """Take the weights after an optimiser step, counted from 1, into the average."""
        if self._average is not None:
            self._average.update(self._model, step=step)

    def state(self) -> dict[str, Any]:
        """Entries for a checkpoint; none where it is off."""
        return {} if self._average is None else {AVERAGE: self._average.module.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint.

        Args:
            state: of the checkpoint, with the entries of :meth:`state`.
        """
        if self._average is not None:
            self._average.module.load_state_dict(state[AVERAGE])

    @contextmanager
    def applied(self, wanted: bool = True) -> Iterator[None]:
        """Put the average in the place of the weights within the context, if it is ``wanted`` and not off."""
        if self._average is None or not wanted:
            yield
            return
        own = {name: value.clone() for name, value in self._model.state_dict().items()}
        self._model.load_state_dict(self._average.module.state_dict())
        try:
            yield
        finally:
            self._model.load_state_dict(own)
