"""Many small finished runs below one: what a comparison logs."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mae_rad.tracking.public_values import public_value
from mae_rad.tracking.store import legal

COLOUR_TAG = "mlflow.runColor"
"""Colour of a run in MLflow's charts."""
_PER_BATCH = 1000
"""Metrics that MLflow takes at once, with params and tags."""


class ChildRun(NamedTuple):
    """A whole run.

    Attributes:
        name: in the list of runs.
        params: the same names in all runs, so that pages which put runs side by side have no gaps.
        tags: to search and group by.
        metrics: (name, value, step).
    """

    name: str
    params: Mapping[str, object]
    tags: Mapping[str, str]
    metrics: Sequence[tuple[str, float, int]]


def log_child(client: Any, experiment: str, parent: str, run: ChildRun, inputs: Sequence[Any]) -> None:
    """Log ``run`` below ``parent``, in as few transactions as the store allows; raises whatever the store does."""
    from mlflow.entities import Metric, Param  # noqa: PLC0415 - imported with the client, two seconds

    now = int(time.time() * 1000)
    tags = {legal(name): public_value(value) for name, value in run.tags.items()}
    made = client.create_run(experiment, run_name=run.name, tags=tags | {"mlflow.parentRunId": parent}, start_time=now)
    metrics = [Metric(legal(name), value, now, step) for name, value, step in run.metrics]
    params = [Param(legal(name), public_value(value)) for name, value in run.params.items()]
    first = _PER_BATCH - len(params)
    client.log_batch(made.info.run_id, metrics=metrics[:first], params=params)
    for start in range(first, len(metrics), _PER_BATCH):
        client.log_batch(made.info.run_id, metrics=metrics[start : start + _PER_BATCH])
    if inputs:
        client.log_inputs(made.info.run_id, inputs)
    client.set_terminated(made.info.run_id, end_time=now)
