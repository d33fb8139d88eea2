"""The ``pretrain`` command."""

from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.pretraining.task import Pretraining
from mae_rad.training.loop import train


def pretrain(settings: PretrainSettings) -> None:
    """Run, or take up again, one pretraining; the exported encoder lies in the run folder when it returns.

    Raises:
        SystemExit, UserError: as :func:`train`.
    """
    train(Pretraining(settings))
