"""An MLflow run, written by one process; trainings write to it through ``delayed_writes``."""

import logging
import os
import shutil
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from data_prep.runtime.folder_lock import locked
from mae_rad.errors import RunError
from mae_rad.tracking.child_runs import ChildRun, log_child
from mae_rad.tracking.dataset_lineage import DataUsed, as_inputs
from mae_rad.tracking.mlflow_saved_views import SavedView, save_view
from mae_rad.tracking.model_registry import RegisteredModel, register
from mae_rad.tracking.store import PROXIED, SQLITE, artifact_folder, database, legal, without_account
from mae_rad.tracking.system_metrics import SYSTEM, SystemMetrics
from mae_rad.tracking.values_allowed_in_mlflow import public_value, public_values

_MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
"""Tag of an experiment that MLflow opens in its pages for model training."""
_DELETED = "deleted"
_RETRY_SECONDS = 60.0
_MAX_PENDING = 20_000
"""Metrics kept while the store does not answer; the oldest are dropped first. The run folder has all of them."""
_PER_BATCH = 100
_MAX_PER_REQUEST = 1000
"""Largest number of metrics in one request to MLflow."""
_MAX_VALUE_CHARACTERS = 6000

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # a hospital's training sends no usage data
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "_MLFLOW_SERVER_ARTIFACT_ROOT": f"{PROXIED}/",
}
_REQUEST_LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}

Line = tuple[int, float, Mapping[str, float]]
"""Step, seconds since 1970, metric → value."""

_logger = logging.getLogger(__name__)


class Tracker:
    """A running MLflow run; create one with :meth:`start`."""

    def __init__(self, client: Any, run: Any, uri: str) -> None:
        self.run_id = str(run.info.run_id)
        self.experiment = str(run.info.experiment_id)
        self._client = client
        self._uri = uri
        self._artifacts = artifact_folder(uri, run.info.artifact_uri)
        self._pending: deque[tuple[str, float, int, int]] = deque(maxlen=_MAX_PENDING)
        self._retry_at = 0.0
        self._has_warned = False
        self._system: SystemMetrics | None = None

    @classmethod
    def start(
        cls,
        uri: str,
        experiment: str,
        run_name: str,
        *,
        run_id: str | None = None,
        parent: str | None = None,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> "Tracker":
        """Create a run, or continue an existing one.

        Args:
            uri: address of the tracking store.
            experiment: name of the experiment; created if missing.
            run_name: name of a new run.
            run_id: id of the run to continue; None creates one.
            parent: id of a parent run.
            params: settings, reduced by :func:`public_values`; params that the run already has are not changed.
            tags: tags, reduced by :func:`public_value`.

        Raises:
            RunError: the store cannot be used.
        """
        os.environ.update(_ENVIRONMENT)
        for name, value in _REQUEST_LIMITS.items():
            os.environ.setdefault(name, value)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # from MLflow's dependencies
                client = _client(uri)
                run = _open_run(client, experiment, run_name, run_id, parent)
                existing = set(run.data.params)
                new = {name: value for name, value in public_values(params or {}).items() if name not in existing}
                _log_params_and_tags(client, run.info.run_id, new, tags or {})
        except Exception as error:  # sqlalchemy, requests, alembic and MLflow have their own errors
            raise RunError(
                f"the MLflow store {without_account(uri)} cannot be used ({_kind(error)})."
                " Start its server, or give another store as mlflow_uri."
            ) from error
        return cls(client, run, uri)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log metrics; those that cannot be sent now are sent by a later call.

        Args:
            values: metric → value.
            step: step that they belong to.
        """
        now = int(time.time() * 1000)
        self._pending.extend((legal(name), float(value), now, step) for name, value in values.items())
        self._attempt(self._flush)

    def last_step(self) -> int:
        """Return the last step of which the store has a metric of the training; -1 without any."""
        latest = self._client.get_run(self.run_id).data._metric_objs
        return max((int(metric.step) for metric in latest if not metric.key.startswith(SYSTEM)), default=-1)

    def watch_system(self) -> None:
        """Log processor, memory, disk, network and GPU use until the run is finished, unless MLflow is told not to."""
        if self._system is None:
            self._system = SystemMetrics.start(self.run_id, self._uri)

    def names(self, folder: str) -> set[str]:
        """Return the names of the files that the store has in ``folder``."""
        if self._artifacts is None:
            return {PurePosixPath(file.path).name for file in self._client.list_artifacts(self.run_id, folder)}
        return {path.name for path in (self._artifacts / folder).glob("*")}

    def send(self, lines: Iterable[Line]) -> Iterator[int]:
        """Log lines of metrics in batches; raises any error of the store.

        A line is never split, so the store has all metrics of its last step.

        Args:
            lines: (step, time, metrics) in the order of steps.

        Yields:
            The last step that the store has, after each batch.
        """
        from mlflow.entities import Metric  # noqa: PLC0415 - imported with the client, two seconds

        for batch in _batches(lines):
            metrics = [
                Metric(legal(name), float(value), int(seconds * 1000), step)
                for step, seconds, values in batch
                for name, value in values.items()
            ]
            self._client.log_batch(self.run_id, metrics=metrics)
            yield batch[-1][0]

    def store(self, path: Path, folder: str) -> None:
        """Store a file as ``folder/<name of path>``; raises any error of the store.

        Args:
            path: file to store.
            folder: folder of the artifacts; empty for their root.
        """
        if self._artifacts is None:
            self._client.log_artifact(self.run_id, str(path), folder or None)
            return
        target = self._artifacts / folder
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / path.name)

    def picture(self, path: Path, folder: str) -> None:
        """Store an image as ``folder/<name of path>``; MLflow shows it in the page of the run."""
        self._attempt(lambda: self.store(path, folder))

    def file(self, path: Path, folder: str) -> None:
        """Store a file as ``folder/<name of path>``; an empty ``folder`` is the root of the artifacts."""
        self._attempt(lambda: self.store(path, folder))

    def describe(self, tags: Mapping[str, str]) -> None:
        """Add tags to the run."""
        self._attempt(lambda: _log_params_and_tags(self._client, self.run_id, {}, tags))

    def inputs(self, data: Sequence[DataUsed]) -> None:
        """Log the shards that the run read; MLflow shows them in its page and can group and search runs by them."""
        self._attempt(lambda: self._client.log_inputs(self.run_id, as_inputs(data)))

    def children(self, runs: Sequence[ChildRun], data: Sequence[DataUsed]) -> None:
        """Log complete runs below this one; an error of the store is logged, not raised.

        Args:
            runs: runs to log.
            data: shards that all of them read.
        """

        def log() -> None:
            inputs = as_inputs(data)
            for run in runs:
                log_child(self._client, self.experiment, self.run_id, run, inputs)

        self._attempt(log)

    def views(self, views: Sequence[SavedView]) -> None:
        """Save views of the experiment for the menu of its table and charts."""

        def save() -> None:
            for view in views:
                save_view(self._client, self.experiment, view)

        self._attempt(save)

    def register(self, model: RegisteredModel) -> None:
        """Register a model version, unless a version with the same weights exists."""
        self._attempt(lambda: register(self._client, self.experiment, self.run_id, self._uri, model))

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """Send pending metrics and end the run."""
        if self._system:
            self._system.stop()
        self._retry_at = 0.0
        self._attempt(self._flush)
        self._attempt(lambda: self._client.set_terminated(self.run_id, status=status))

    def _flush(self) -> None:
        from mlflow.entities import Metric  # noqa: PLC0415 - imported with the client, two seconds

        while self._pending:
            batch = [self._pending[i] for i in range(min(_PER_BATCH, len(self._pending)))]
            self._client.log_batch(self.run_id, metrics=[Metric(*entry) for entry in batch])
            for _ in batch:
                self._pending.popleft()

    def _attempt(self, action: Callable[[], object]) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # from MLflow and its dependencies
                action()
        except Exception as error:  # the run continues after any error of the store
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            if not self._has_warned:
                self._has_warned = True
                _logger.warning("MLflow cannot be written (%s); the run continues without it", _kind(error))


def _client(uri: str) -> Any:
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - two seconds, only where a run is tracked

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not uri.startswith(SQLITE):
        return MlflowClient(tracking_uri=uri)
    folder = database(uri).parent
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, wait=True):  # of two runs that begin at once, one makes the tables
        return MlflowClient(tracking_uri=uri)


def _open_run(client: Any, experiment: str, run_name: str, run_id: str | None, parent: str | None) -> Any:
    number = _experiment(client, experiment)  # restoring a deleted one restores its runs
    if run_id is not None and (run := _existing(client, run_id)) is not None:
        client.update_run(run_id, status="RUNNING")
        return run
    # MLflow's fluent interface would add account, script path and commit; the client does not.
    return client.create_run(number, run_name=run_name, tags={} if parent is None else {"mlflow.parentRunId": parent})


def _existing(client: Any, run_id: str) -> Any | None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        _logger.warning("the MLflow store does not have the run of this folder: metrics continue in a new one")
        return None
    if run.info.lifecycle_stage != _DELETED:
        return run
    _logger.warning("the run of this folder was deleted in MLflow: metrics continue in a new one")
    return None


def _experiment(client: Any, name: str) -> str:
    existing = client.get_experiment_by_name(name)
    if existing is not None:
        if existing.lifecycle_stage == _DELETED:
            client.restore_experiment(existing.experiment_id)
            _logger.warning("the MLflow experiment %s was deleted: it is restored, since runs are logged to it", name)
        return str(existing.experiment_id)
    try:
        return str(client.create_experiment(name, tags=_MODEL_TRAINING))
    except Exception:  # another process may have created it in the meantime
        existing = client.get_experiment_by_name(name)
        if existing is None:
            raise
        return str(existing.experiment_id)


def _log_params_and_tags(client: Any, run_id: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
    from mlflow.entities import Param, RunTag  # noqa: PLC0415

    entries = [Param(legal(name), value[:_MAX_VALUE_CHARACTERS]) for name, value in params.items()]
    for start in range(0, len(entries), _PER_BATCH):
        client.log_batch(run_id, params=entries[start : start + _PER_BATCH])
    client.log_batch(run_id, tags=[RunTag(legal(name), public_value(value)) for name, value in tags.items()])


def _batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    batch: list[Line] = []
    count = 0
    for line in lines:
        if batch and count + len(line[2]) > _MAX_PER_REQUEST:
            yield batch
            batch, count = [], 0
        batch.append(line)
        count += len(line[2])
    if batch:
        yield batch


def _kind(error: Exception) -> str:
    # the text of an error may hold an address with an account
    return f"{type(error).__name__}{f': {code}' if (code := getattr(error, 'error_code', None)) else ''}"
