"""Save views of an experiment for the menu "Views" of MLflow's table and charts of runs.

By default MLflow hides nested runs under their parent and draws a chart per metric. A saved view selects runs, columns
and charts. MLflow stores such views as tags of the experiment; releases without this feature ignore them.
"""

import base64
import hashlib
import json
import time
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from mae_rad.tracking.store import legal

_TAG = "mlflow.sharedViewState."
_COMPRESSED = "deflate;"
_OWN_SECTIONS = ("Model metrics", "System metrics")
_MAX_RUNS = 100
"""Largest number of runs in a chart."""


class Parallel(NamedTuple):
    """A chart of parallel coordinates over params and metrics."""

    params: Sequence[str]
    metrics: Sequence[str]


class Lines(NamedTuple):
    """A chart of a metric over its steps."""

    metric: str
    title: str


class Bars(NamedTuple):
    """A bar chart of the last values of a metric."""

    metric: str


class SavedView(NamedTuple):
    """A view in the menu.

    Attributes:
        name: name in the menu; a view of the same name is replaced.
        search: MLflow filter of the runs.
        sort: metric (largest first) or param that runs are sorted by. MLflow nests runs unless they are sorted.
        params: params in the columns of the table.
        metrics: metrics in the columns of the table.
        charts: charts in their order.
    """

    name: str
    search: str
    sort: str
    params: Sequence[str]
    metrics: Sequence[str]
    charts: Sequence[Parallel | Lines | Bars]

    @property
    def key(self) -> str:
        """Key of the view in its address."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:32]


def address(experiment: str, view: SavedView, *, charts: bool) -> str:
    """Address of a view, relative to that of the server.

    Args:
        experiment: id of the experiment.
        view: saved view.
        charts: show the charts instead of the table.
    """
    mode = "CHART" if charts else "TABLE"
    return f"#/experiments/{experiment}/runs?viewStateShareKey={view.key}&compareRunsMode={mode}"


def save_view(client: Any, experiment: str, view: SavedView) -> None:
    """Add a view to the menu; raises any error of the store.

    Args:
        client: MLflow client.
        experiment: id of the experiment.
        view: view to save.
    """
    now = int(time.time() * 1000)
    state = _COMPRESSED + base64.b64encode(zlib.compress(json.dumps(_state(view)).encode())).decode()
    entry = {"name": view.name, "createdAt": now, "updatedAt": now, "state": state}
    client.set_experiment_tag(experiment, f"{_TAG}{view.key}", json.dumps(entry))


def _state(view: SavedView) -> dict[str, object]:
    # MLflow adds a section of charts for every prefix of a metric; listed here, they come last and collapsed.
    by_param = view.sort in view.params
    sections = dict.fromkeys(name.partition("/")[0] for name in view.metrics if "/" in name)
    return {
        "searchFilter": view.search,
        "orderByKey": _column("params" if by_param else "metrics", view.sort),
        "orderByAsc": by_param,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": [_column("params", name) for name in view.params]
        + [_column("metrics", name) for name in view.metrics],
        "runsHiddenMode": "SHOWALL",
        "compareRunSections": [_section(view.name, "section", shown=True)]
        + [_section(name, f"section-{name}", shown=False) for name in (*sections, *_OWN_SECTIONS)],
        "isAccordionReordered": True,
        "compareRunCharts": [_chart(number, chart) for number, chart in enumerate(view.charts)],
        "hideEmptyCharts": True,
    }


def _section(name: str, uuid: str, *, shown: bool) -> dict[str, object]:
    return {"uuid": uuid, "name": name, "display": shown, "isReordered": True, "deleted": False, "isGenerated": False}


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{legal(name)}`"


def _chart(number: int, chart: Parallel | Lines | Bars) -> dict[str, object]:
    common = {
        "uuid": f"chart-{number}",
        "metricSectionId": "section",
        "runsCountToCompare": _MAX_RUNS,
        "deleted": False,
        "isGenerated": False,
    }
    match chart:
        case Parallel(params, metrics):
            chosen = {"selectedParams": list(params), "selectedMetrics": [legal(name) for name in metrics]}
            return common | chosen | {"type": "PARALLEL", "showAllRuns": False}
        case Lines(metric, title):
            key = legal(metric)
            return common | {
                "type": "LINE", "metricKey": key, "selectedMetricKeys": [key], "displayName": title,
                "xAxisKey": "step", "xAxisScaleType": "log", "useGlobalXaxisKey": False, "scaleType": "linear",
                "displayPoints": True, "lineSmoothness": 0, "useGlobalLineSmoothing": False, "yAxisKey": "metric",
                "yAxisExpressions": [], "ignoreOutliers": False,
                "range": {"xMin": None, "xMax": None, "yMin": None, "yMax": None},
            }  # fmt: skip
        case Bars(metric):
            return common | {"type": "BAR", "metricKey": legal(metric), "displayName": metric}
