"""What a comparison scores: no film whose pixels one of the encoders was trained on."""

from pathlib import Path

import pytest

from data_prep.settings import load
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.evaluation import load_inputs
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.export.encoder_folder import save_encoder
from tests.builders.film_tables import film, hexed, write_public, write_run

TINY = EncoderSettings(model="vit_tiny", dim=8, depth=1, heads=1)
COPIED = (4, 24)
"""A film of test and one of val."""


@pytest.mark.parametrize("score_on", ["test", "val"])
def test_films_that_an_encoder_was_trained_on_elsewhere_score_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, score_on: str
) -> None:
    splits = ("train", "train", "train", "val", "test")
    films = [film(n, n, splits[n % 5 if n != 24 else 3], sex="FM"[n // 5 % 2]) for n in range(60)]
    public = write_public(tmp_path / "public", films)
    copies = [film(f"x{n}", f"x{n}", "train", pixel_sha256=2 * hexed("pixels", n)) for n in (*COPIED, 0)]
    elsewhere = write_public(tmp_path / "elsewhere", copies)
    for name, shards in (("knows", elsewhere), ("does_not", public)):
        run = write_run(tmp_path / name, [shards])
        provenance = {"objective": "mae", "dataset_sha256": "0" * 64}
        save_encoder(build_encoder(TINY), TINY, run / "encoder", tokens=196, provenance=provenance)
    monkeypatch.setattr(load_inputs, "embed_all_candidates", lambda *_, **__: [])
    words = [f"shards={public}", f"out={tmp_path / 'c'}", "tasks=[{column: sex}]", f"score_on={score_on}"]
    settings = load(CompareSettings, None, [*words, "min_patients=2", "probes=[linear]", "pixel_components=0"])
    inputs = load_inputs.prepare_inputs([tmp_path / "knows", tmp_path / "does_not"], settings)
    (task,) = inputs.tasks
    rows = {row: film["key"] for row, film in enumerate(inputs.films.table.to_pylist())}
    used = {rows[row] for row in task.rows.tolist()}
    assert used == {row["key"] for n, row in enumerate(films) if n not in COPIED}
    assert task.left_out["same pixels as a training film of knows"] == 2
    assert int((~inputs.usable).sum()) == 2
    assert "2 films are not scored: knows was trained on their pixels" in caplog.text
