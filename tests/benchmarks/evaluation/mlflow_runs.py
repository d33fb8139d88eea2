"""Measure the time to log a comparison, and the response time of MLflow's pages with a thousand runs.

    python -m tests.benchmarks.evaluation.mlflow_runs FOLDER [--comparisons 17]

Each made-up comparison has 6 encoders, 10 tasks and 3 shares of the labels: one run and 60 below it. What a page waits
for is what the server looks up in the store.
"""

import argparse
import time
from pathlib import Path

from mae_rad.evaluation.mlflow_runs import child_runs, parent_tags, saved_views
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.tracking import DataUsed, Tracker, address, default_uri
from tests.builders.made_comparison import ENCODERS, TASKS, made_facts, made_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--comparisons", type=int, default=17)
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    tasks, encoders = (*TASKS, "edema", "pneumothorax"), {**ENCODERS, "imported": "imported"}
    rows = [
        row for row in made_rows(tasks, encoders) if row.probe in ("linear", "knn", "attentive") and row.subset == "all"
    ]
    reading, facts = ComparisonResults(rows), made_facts(tasks, encoders)
    seconds = []
    for number in range(options.comparisons):
        started, cpu = time.time(), time.process_time()
        run_id, runs = log(reading, facts, options.folder, f"comparison-{number}")
        seconds.append((time.time() - started, time.process_time() - cpu))
        print(
            f"comparison {number}: {runs} runs in {seconds[-1][0]:.1f} s, {seconds[-1][1]:.1f} s of processor time",
            flush=True,
        )
    print(f"{options.comparisons * (runs + 1)} runs in the store")
    pages(options.folder, run_id)


def log(reading: ComparisonResults, facts, folder: Path, name: str) -> tuple[str, int]:
    tracker = Tracker.start(default_uri(folder), "compare", name)
    views = saved_views(reading, name, tracker.run_id)
    tracker.views(views)
    tracker.describe(
        parent_tags(facts, reading, {view.name: address(tracker.experiment, view, charts=True) for view in views})
    )
    data = [DataUsed("shards", facts.dataset_sha256, "evaluation", {"test_films": 538})]
    tracker.inputs(data)
    runs = child_runs(reading, {"stage": "compare", "dataset_sha256": facts.dataset_sha256}, {})
    tracker.children(runs, data)
    tracker.finish()
    return tracker.run_id, len(runs)


def pages(folder: Path, run_id: str) -> None:
    """Time what the server looks up for a page; the middle of five."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=default_uri(folder))
    view = f"tags.`mlflow.parentRunId` = '{run_id}' and tags.task = 'fracture' and tags.subset = 'all'"
    queries = {
        "table of runs, the first hundred": {"max_results": 100, "order_by": ["attributes.start_time DESC"]},
        "a prepared view": {"filter_string": view, "order_by": ["metrics.`linear/score` DESC"]},
        "runs of one encoder": {"filter_string": "params.encoder = 'mae'", "max_results": 100},
    }
    for name, query in queries.items():
        times = []
        for _ in range(5):
            wall, cpu = time.time(), time.process_time()
            found = client.search_runs(["1"], **query)
            times.append((time.time() - wall, time.process_time() - cpu))
        wall, cpu = sorted(times)[2]
        print(f"{name}: {len(found)} runs in {wall:.2f} s, {cpu:.2f} s of processor time")


if __name__ == "__main__":
    main()
