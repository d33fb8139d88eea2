"""Use of processor, memory, disk, network and GPUs by the machine of a run, sampled by MLflow's own thread."""

import logging
import os
from typing import Any

SYSTEM = "system/"
"""Prefix of these metrics; their steps count samples, not steps of the training."""
_SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
_SECONDS = 30.0
"""Between two samples; MLflow's variable ``MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL`` overrides it."""


class SystemMetrics:
    """The thread that samples; create it with :meth:`start`."""

    def __init__(self, monitor: Any) -> None:
        self._monitor = monitor

    @classmethod
    def start(cls, run_id: str, uri: str) -> "SystemMetrics | None":
        """Begin to sample; a continued run continues its samples.

        Args:
            run_id: id of the run.
            uri: address of the tracking store.

        Returns:
            The running thread; None where MLflow's variable ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`` is false.
        """
        if os.environ.get(_SWITCH, "true").lower() in ("false", "0"):
            return None
        from mlflow.system_metrics import system_metrics_monitor  # noqa: PLC0415 - imported with the client

        for name in (system_metrics_monitor.__name__, "mlflow.system_metrics"):
            logging.getLogger(name).setLevel(logging.ERROR)  # an unreachable store is reported once, elsewhere
        monitor = system_metrics_monitor.SystemMetricsMonitor(
            run_id, sampling_interval=_SECONDS, resume_logging=True, tracking_uri=uri
        )
        monitor.start()
        return cls(monitor)

    def stop(self) -> None:
        """Send what was sampled and end the thread."""
        self._monitor.finish()
