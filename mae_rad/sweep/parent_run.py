"""The MLflow run of a sweep, below which those of its trials are shown."""

import logging
from collections.abc import Mapping
from pathlib import Path

from data_prep.runtime.atomic_write import atomic_text
from data_prep.runtime.folder_lock import locked
from mae_rad.errors import RunError
from mae_rad.tracking import Tracker, chosen_experiment, chosen_store
from mae_rad.training.settings import RuntimeSettings

_log = logging.getLogger(__name__)


class ParentRun:
    """The MLflow run of a sweep folder; what cannot be written to the store is left out.

    Attributes:
        run_id: id of the run; None without a store.

    Args:
        folder: holds the id, and is locked while the first worker creates the run; not that of the store.
        runtime: settings of the store.
        out: folder of the sweep.
        params: what is recorded at its creation.
    """

    def __init__(self, folder: Path, runtime: RuntimeSettings, out: Path, params: Mapping[str, object]) -> None:
        self._store = chosen_store(runtime.mlflow_uri, out)
        self._experiment = chosen_experiment(runtime.experiment, "mae_rad")
        self._name, self._params = out.name, params
        self.run_id: str | None = None
        file = folder / "mlflow_run"
        with locked(folder, wait=True):
            self.run_id = file.read_text(encoding="utf-8").strip() if file.exists() else None
            if self.run_id is None and (tracker := self._open()):
                self.run_id = tracker.run_id
                atomic_text(file, tracker.run_id)

    def describe(self, metrics: Mapping[str, float], tags: Mapping[str, str], step: int, *, is_complete: bool) -> None:
        """Log the state of the sweep.

        Args:
            metrics: such as the best value.
            tags: such as the name of the best trial.
            step: number of trials that have ended.
            is_complete: whether the run ends.
        """
        tracker = self._open() if self.run_id else None
        if tracker:
            tracker.metrics(metrics, step)
            tracker.describe(tags)
            if is_complete:
                tracker.finish()

    def _open(self) -> Tracker | None:
        try:
            return Tracker.start(
                self._store,
                self._experiment,
                self._name,
                run_id=self.run_id,
                params=self._params,
                tags={"stage": "sweep"},
            )
        except RunError as error:
            _log.warning("%s; the trials have no run above them", error)
            return None
