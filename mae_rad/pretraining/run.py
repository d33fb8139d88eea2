"""The ``pretrain`` command."""

from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.pretraining.task import Pretraining
from mae_rad.training.loop import train
from mae_rad.training.run_folder import continue_segments


def pretrain(settings: PretrainSettings) -> str | None:
    """Run, resume or extend a pretraining; the run folder then holds the exported encoder.

    Returns:
        As :func:`train`.

    Raises:
        SystemExit: as :func:`train`.
        UserError: as :func:`train`.
    """
    return train(Pretraining(continue_segments(settings)))
