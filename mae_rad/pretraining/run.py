"""The ``pretrain`` command."""

from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.pretraining.task import Pretraining
from mae_rad.training.loop import train
from mae_rad.training.run_folder import continue_segments


def pretrain(settings: PretrainSettings) -> None:
    """Run or resume a pretraining; the run folder then holds the exported encoder.

    Raises:
        SystemExit: as :func:`train`.
        UserError: as :func:`train`.
    """
    train(Pretraining(continue_segments(settings)))
