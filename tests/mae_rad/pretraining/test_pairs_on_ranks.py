"""Partners, strata, relations and rounds of a run are the same on two ranks, under ZeRO, as on one."""

import json
from pathlib import Path

import pytest

from tests.builders.shard_builder import film, hexed, noise, write_public
from tests.builders.tiny_run import arguments, launch

PAIRS = (
    "{name: mixed, partner: study, batches: {together: [body_part], groups: 2},"
    " relation: [film, study, {kernel: age_years, sigma: 5}, {neighbours: 2, ring: 4, every: 3}]}"
)


@pytest.mark.slow
def test_two_ranks_have_the_losses_of_one(tmp_path: Path) -> None:
    films = [
        film(
            f"f{i}", noise(90, 90 + i, seed=i), study=hexed("s", i // 2), patient=hexed("p", i // 4), age_years=i,
            body_part=("HAND", "FOOT")[i % 3 == 0],
        )
        for i in range(24)
    ]  # fmt: skip
    public = write_public(tmp_path / "public", films)
    objective = f"objective={{name: simclr, tokens: 36, head_hidden: 16, head_dim: 8, pairs: {PAIRS}}}"
    losses = []
    for ranks, stage in ((1, 0), (2, 2)):
        run = tmp_path / f"run{ranks}"
        done = launch(
            ["launch/pretrain.py", *arguments(public, run, 6, objective, f"runtime.zero_stage={stage}")], ranks
        )
        assert done.returncode == 0, done.stderr
        assert "Warning: The given NumPy array" not in done.stderr
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines])
        assert all(line["own_partner"] == line["dropped_rows"] == 0 for line in lines)
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
