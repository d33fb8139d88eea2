"""A URL where a path is needed is refused at once, in one line that shows no secret; nothing is written for it."""

from pathlib import Path

import pytest

from mae_rad.cli.main import main

URL = "s3://key:hush@bucket/films"
SHARDS = "shards=/public"

REFUSED = [
    ("scan", URL, "--out", "/private"),
    ("scan", "/archive", "--out", URL),
    ("shard", "/private", "--out", URL),
    ("shard", URL, "--out", "/public"),
    ("append", "/private", "--out", URL),
    ("submit", "/private", "--out", URL),
    ("label", "/private", "--out", URL),
    ("label", "/private", "--labels", URL, "--out", "/public"),
    ("audit", URL),
    ("audit", "/public", "--private", URL),
    ("preview", "/public", "--out", URL),
    ("borders", "/public", "--out", URL),
    ("census", "/public", "--out", URL),
    ("report", "/public", "--out", URL),
    ("phantom", URL, "--patients", "1", "--seed", "1"),
    ("bench-codecs", URL),
    ("publish", URL, "s3://bucket/films"),
    ("publish", "/public", "/elsewhere"),
    ("pretrain", "--config", URL),
    ("pretrain", "--config", "mae", "data.shards=/public", f"runtime.run_dir={URL}"),
    ("finetune", "--config", "foreign_object", "data.shards=/public", f"start_from={URL}", "runtime.run_dir=/run"),
    ("sweep", "--config", "mae", "--out", URL, "data.shards=/public"),
    ("embed", URL, SHARDS, "out=/e.parquet"),
    ("embed", "/run", SHARDS, f"out={URL}"),
    ("compare", URL, SHARDS, "out=/compare"),
    ("compare", "/run", SHARDS, f"out={URL}"),
    ("compare-heads", "/run", "--reference", URL, SHARDS),
    ("compare-heads", URL, "--reference", "/run", SHARDS),
    ("predict", URL, "/films", "out=/answers"),
    ("predict", "/model", URL, "out=/answers"),
    ("predict", "/model", "/films", f"out={URL}"),
    ("export", "/run", "--to", "timm", "--size", "64x64", f"out={URL}"),
    ("export", URL, "--to", "timm", "--size", "64x64", "out=/export"),
    ("cost", "--config", URL),
    ("bench", "loader", "--shards", URL),
]
UNREADABLE = [
    ("verify", URL),
    ("pretrain", "--config", "mae", f"data.shards={URL}", "runtime.run_dir=/run"),
    ("finetune", "--config", "foreign_object", f"data.shards={URL}", "runtime.run_dir=/run"),
    ("embed", "/run", f"shards={URL}", "out=/e.parquet"),
    ("compare", "/run", f"shards={URL}", "out=/compare"),
    ("report", URL, "--out", "/report.html"),
    ("publish", "/public", URL),
    ("publish", "/public", "ftp://host/x"),
]


@pytest.mark.parametrize("words", [*REFUSED, *UNREADABLE], ids=" ".join)
def test_a_url_that_cannot_be_used_is_refused(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(words)
    except SystemExit as ended:  # argparse
        code = ended.code if isinstance(ended.code, int) else 1
    said = capsys.readouterr().err
    assert code == 2
    (line,) = (line for line in said.splitlines() if "error:" in line)
    assert any(text in line for text in ("is a URL", "password is refused", "ftp: cannot be read", "is no URL")), line
    assert "hush" not in said
    assert not list(tmp_path.rglob("*"))
