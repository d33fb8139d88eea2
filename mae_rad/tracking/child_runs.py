"""Log many small finished MLflow runs below a parent run, as a comparison does."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mae_rad.tracking.store import legal
from mae_rad.tracking.values_allowed_in_mlflow import public_value

COLOUR_TAG = "mlflow.runColor"
"""Tag with the colour of a run in MLflow's charts."""
_MAX_PER_BATCH = 1000
"""Largest number of metrics, params and tags in one request to MLflow."""


class ChildRun(NamedTuple):
    """A complete run.

    Attributes:
        name: name in the list of runs.
        params: the same names in all runs, so that pages which compare runs have no gaps.
        tags: tags to search and group by.
        metrics: (name, value, step).
    """

    name: str
    params: Mapping[str, object]
    tags: Mapping[str, str]
    metrics: Sequence[tuple[str, float, int]]


def log_child(client: Any, experiment: str, parent: str, run: ChildRun, inputs: Sequence[Any]) -> None:
    """Log a run below another, in as few transactions as possible; raises any error of the store.

    Args:
        client: MLflow client.
        experiment: id of the experiment.
        parent: id of the parent run.
        run: run to log.
        inputs: MLflow ``DatasetInput`` of the run.
    """
    from mlflow.entities import Metric, Param  # noqa: PLC0415 - imported with the client, two seconds

    now = int(time.time() * 1000)
    tags = {legal(name): public_value(value) for name, value in run.tags.items()}
    created = client.create_run(
        experiment, run_name=run.name, tags=tags | {"mlflow.parentRunId": parent}, start_time=now
    )
    metrics = [Metric(legal(name), value, now, step) for name, value, step in run.metrics]
    params = [Param(legal(name), public_value(value)) for name, value in run.params.items()]
    first = _MAX_PER_BATCH - len(params)
    client.log_batch(created.info.run_id, metrics=metrics[:first], params=params)
    for start in range(first, len(metrics), _MAX_PER_BATCH):
        client.log_batch(created.info.run_id, metrics=metrics[start : start + _MAX_PER_BATCH])
    if inputs:
        client.log_inputs(created.info.run_id, inputs)
    client.set_terminated(created.info.run_id, end_time=now)
