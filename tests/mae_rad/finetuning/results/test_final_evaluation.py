"""Every task writes the same files in the same order, and one summary of its test metrics."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from mae_rad.finetuning.results.final_evaluation import FinalEvaluator
from mae_rad.finetuning.results.metrics_table import Result
from mae_rad.heads.interface import Calibration

COUNTS = {"n_films": 40, "n_patients": 30, "n_present": 7}


def _result(split: str, metric: str, value: float, subset: str = "all", point: str = "") -> Result:
    return Result("fracture", split, subset, metric, point, value, value - 0.1, value + 0.1, **COUNTS)


class Fixed(FinalEvaluator):
    metric_names: ClassVar[dict[str, str]] = {"auroc": "AUROC", "sensitivity": "sensitivity"}
    positive = "present"

    def __init__(self) -> None:
        self.titles = ("fracture", "implant")
        self.calibration = {"fracture": Calibration(2.0, 0.5)}
        self.points = {"sensitivity_90": {"fracture": 0.3}}
        self.written_before_pictures: set[str] = set()

    def results(self) -> list[Result]:
        return [
            _result("val", "auroc", 0.9),
            _result("test", "auroc", 0.8),
            _result("test", "auroc", 0.7, subset="sex=F"),
            _result("test", "brier", 0.2),
            _result("test", "sensitivity", 0.6, point="sensitivity_90"),
        ]

    def tables(self) -> dict[str, pa.Table]:
        return {"predictions.parquet": pa.table({"key": ["a"]}), "films.parquet": pa.table({"key": ["b"]})}

    def draw(self, results: Sequence[Result], folder: Path) -> None:
        assert len(results) == 5
        self.written_before_pictures = {path.name for path in folder.iterdir()}
        (folder / "curves.png").write_bytes(b"")


def test_results_and_predictions_are_written_before_pictures(tmp_path: Path) -> None:
    evaluator = Fixed()
    evaluator.write(["val fracture: left out 3 without a label."], tmp_path)
    files = {"results.parquet", "results.txt", "predictions.parquet", "films.parquet"}
    assert evaluator.written_before_pictures == files
    assert {path.name for path in tmp_path.iterdir()} == files | {"curves.png"}
    assert pq.read_table(tmp_path / "results.parquet").num_rows == 5
    assert pq.read_table(tmp_path / "films.parquet")["key"].to_pylist() == ["b"]
    assert "left out 3 without a label." in (tmp_path / "results.txt").read_text(encoding="utf-8")


def test_exported_metrics_are_those_of_all_test_films(tmp_path: Path) -> None:
    final = Fixed().write([], tmp_path)
    assert final.values == {"auroc/fracture": 0.8, "brier/fracture": 0.2, "sensitivity/fracture/sensitivity_90": 0.6}
    counts = "(7 of 40 films present, 30 patients)"
    assert final.measured == {
        f"fracture: AUROC {counts}": "0.800 [0.700, 0.900]",
        f"fracture: sensitivity at the threshold for 90 % sensitivity on val {counts}": "0.600 [0.500, 0.700]",
    }
    assert final.calibration == {"fracture": Calibration(2.0, 0.5)}
    assert final.chance_warnings == {"implant": "not measured on test films"}
    assert final.operating_points == {"sensitivity_90": {"fracture": 0.3}}
