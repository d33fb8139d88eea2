"""Heads against each other: the same films, paired by patient."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from launch.compare_heads import main
from mae_rad.errors import EvaluationError
from mae_rad.finetuning.against import against
from tests.mae_rad.film_tables import film, hexed, write_public

FILMS = 200
PRESENT = np.random.default_rng(0).random(FILMS) < 0.4


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [film(number, number // 2, "test") for number in range(FILMS)]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


def _run(folder: Path, logits: np.ndarray, films: range = range(FILMS), label: str = "plate") -> Path:
    (folder / "evaluation").mkdir(parents=True)
    table = pa.table(
        {
            "key": [hexed("film", number) for number in films], "split": ["test"] * len(films),
            "label": [label] * len(films), "logit": logits[films], "present": PRESENT[films],
        }
    )  # fmt: skip
    pq.write_table(table, folder / "evaluation" / "predictions.parquet")
    return folder


def test_a_better_head_is_better_and_an_equal_one_is_not(public: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(size=FILMS)
    runs = {
        "weak": _run(tmp_path / "weak", noise + 0.3 * PRESENT),
        "same": _run(tmp_path / "same", 2 * noise + 0.6 * PRESENT - 1),
        "strong": _run(tmp_path / "strong", noise + 2 * PRESENT, range(20, FILMS)),
    }
    rows = {row.run: row for row in against(runs, "weak", [public]) if row.metric == "auroc"}
    assert rows["weak"].difference is None
    assert rows["weak"].value.value == pytest.approx(roc_auc_score(PRESENT[20:], (noise + 0.3 * PRESENT)[20:]))
    assert rows["same"].difference == pytest.approx((0, 0, 0), abs=1e-12)
    assert rows["strong"].difference is not None
    assert rows["strong"].difference.low > 0.1
    assert {(row.films, row.patients) for row in rows.values()} == {(180, 90)}


def test_runs_that_do_not_go_together_are_refused(public: Path, tmp_path: Path) -> None:
    first = _run(tmp_path / "first", np.zeros(FILMS))
    other = _run(tmp_path / "other", np.zeros(FILMS), label="fracture")
    with pytest.raises(EvaluationError, match="no label in common"):
        against({"first": first, "other": other}, "first", [public])
    with pytest.raises(EvaluationError, match="has no evaluation/predictions"):
        against({"first": first, "none": tmp_path / "none"}, "first", [public])


def test_the_command_prints_a_table(public: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [_run(tmp_path / name, np.arange(FILMS) * (1 + PRESENT)) for name in ("one", "two")]
    assert main([str(runs[0]), "--reference", str(runs[1]), f"shards={public}", "repetitions=100"]) == 0
    assert f"+0.000 [+0.000, +0.000] against {runs[1]}" in capsys.readouterr().out
