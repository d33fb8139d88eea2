"""The table of a sweep joins settings, films and scores; baselines have scores alone."""

from pathlib import Path

from mae_rad.evaluation.results.rows import Row
from mae_rad.evaluation.statistics.intervals import Interval
from mae_rad.pretraining.run_flops import training_flops
from mae_rad.sweep.arms import read_arms
from mae_rad.sweep.curves import draw_curves
from mae_rad.sweep.sweep_table import sweep_rows, sweep_text, write_sweep
from mae_rad.sweep.trained_encoders import TrainedEncoder
from tests.builders.tiny_run import ROOT


def row(encoder: str, value: float, metric: str = "auroc", probe: str = "linear") -> Row:
    return Row(
        encoder=encoder, method="mae", task="sex", probe=probe, metric=metric,
        interval=Interval(value, value - 0.1, value + 0.1), n_films=10, n_patients=10, n_train=20, n_train_patients=20,
    )  # fmt: skip


def made_table(tmp_path: Path) -> list[dict[str, str | float | None]]:
    config = ROOT / "configs" / "pretrain" / "small_cpu.yaml"
    arms = read_arms(config, (), over=["seed=1,2"], named=(), out=tmp_path, films=1280, equal_flops=False)
    run = arms[0].settings.runtime.run_dir
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5, "gradient_norm": 3}\n')
    encoders = [
        TrainedEncoder("seed-1 at 640 films", "seed-1", 640, tmp_path / "x", is_last=False),
        TrainedEncoder("seed-1", "seed-1", 1280, run, is_last=True),
    ]
    rows = [
        row("seed-1 at 640 films", 0.6), row("seed-1", 0.7), row("raw pixels", 0.55),
        row("seed-1", 31.0, metric="rankme", probe="geometry"),
    ]  # fmt: skip
    table = sweep_rows(arms, encoders, rows)
    half = training_flops(arms[0].settings) / 2
    assert [line["flops"] for line in table] == [half, 2 * half, None]
    return table


def test_a_line_has_films_metrics_and_score(tmp_path: Path) -> None:
    early, last, pixels = made_table(tmp_path)
    assert (early["films_drawn"], early["loss"], early["value"]) == (640, None, 0.6)
    assert (last["films_drawn"], last["loss"], last["gradient_norm"]) == (1280, 1.5, 3)
    assert (last["effective_rank"], last["settings"]) == (31.0, "seed=1 optimizer.steps=10")
    assert (pixels["arm"], pixels["films_drawn"], pixels["value"]) == ("", None, 0.55)
    write_sweep([early, last, pixels], tmp_path / "sweep.csv")
    assert (tmp_path / "sweep.csv").read_text().count("\n") == 4


def test_the_text_tells_scores_with_intervals_and_failed_arms(tmp_path: Path) -> None:
    text = sweep_text(made_table(tmp_path), {"seed-2": "error: no memory"})
    assert "0.700 [0.600, 0.800]" in text
    assert "seed-2 failed: error: no memory" in text


def test_curves_pass_through_the_scores_of_every_arm(tmp_path: Path) -> None:
    figure = draw_curves(made_table(tmp_path), "linear")
    assert figure is not None
    lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].get_lines()}
    assert lines["seed-1"] == [[640, 0.6], [1280, 0.7]]
    assert {y for _, y in lines["raw pixels"]} == {0.55}
    assert draw_curves(made_table(tmp_path / "again"), "knn") is None
