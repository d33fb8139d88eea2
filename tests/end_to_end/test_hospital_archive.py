"""The page on a hospital's folders runs as it is written, for fewer steps: its shell and Python blocks in order."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.contracts.test_documentation import ROOT

PAGE = ROOT / "docs" / "how_to" / "hospital_archive.md"
FEWER = {
    r"optimizer\.steps=450": "optimizer.steps=4 optimizer.batch=8",
    r"optimizer\.steps=(90|120)": "optimizer.steps=4 evaluation.repetitions=100",
    r"evaluation\.every=(20|30)": "evaluation.every=2",
    r"--patients 14 ": "--patients 2 ",
    r"(mae-rad predict [^\n|]*)": r"\1 runtime.workers=0 ",
    r"(mae-rad suspects [^\n]*)": r"\1 workers=0",
}
"""What the test changes: pattern → replacement; each must occur."""


def _script() -> str:
    script = "set -euo pipefail\n"
    for language, block in re.findall(r"```(sh|python)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL):
        script += block.replace("\\\n", " ") if language == "sh" else f"python - <<'EOF'\n{block}EOF\n"
    for pattern, replacement in FEWER.items():
        script, count = re.subn(pattern, replacement, script)
        assert count, f"the page no longer has {pattern}"
    return script


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the commands of the page were run."""
    folder = tmp_path_factory.mktemp("hospital")
    (folder / "bin").mkdir()
    for name, words in {"mae-rad": f"{shlex.quote(sys.executable)} -m mae_rad", "python": sys.executable}.items():
        command = folder / "bin" / name
        command.write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
        command.chmod(0o755)
    of_a_training = {"MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK", "WORLD_SIZE"}
    environment = {name: value for name, value in os.environ.items() if name not in of_a_training} | {
        "PATH": f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-c", _script()], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "walk"


@pytest.mark.slow
def test_every_command_of_the_page_leaves_what_it_says(walk: Path) -> None:
    named = set(re.findall(r"`(walk/[\w./]+)`", PAGE.read_text(encoding="utf-8")))
    assert len(named) >= 8
    assert not [name for name in sorted(named) if not (walk.parent / name).exists()]


@pytest.mark.slow
def test_every_region_is_that_of_the_folder_and_counts_add_up(walk: Path) -> None:
    films = pq.read_table(walk / "shards" / "index.parquet", columns=["key", "body_part", "split"]).to_pylist()
    rejected = pq.read_table(walk / "shards" / "rejects.parquet").num_rows
    assert (len(films), len(films) + rejected) == (406, 467)
    region = _regions(walk, "folder_region")
    assert all(film["body_part"] == region[film["key"]] for film in films)
    for split in ("train", "test"):
        assert len({film["body_part"] for film in films if film["split"] == split}) == 14
    with (walk / "sweep" / "sweep.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 6


@pytest.mark.slow
def test_corrected_films_are_of_the_region_that_they_show_and_keep_their_split(walk: Path) -> None:
    before, after = (
        {film["key"]: film for film in pq.read_table(walk / name / "index.parquet").to_pylist()}
        for name in ("shards", "corrected")
    )
    assert {key: film["split"] for key, film in before.items()} == {key: film["split"] for key, film in after.items()}
    corrected = [film for film in after.values() if film["body_part_from"] == "correction"]
    region = _regions(walk, "region")
    assert corrected
    assert all(film["body_part"] == region[film["key"]] for film in corrected)


def _regions(walk: Path, column: str) -> dict[str, str]:
    files = pq.read_table(walk / "private" / "linkage.parquet", columns=["key", "sop_instance_uid"]).to_pylist()
    with (walk / "hospital" / "truth" / "regions.csv").open(encoding="utf-8") as file:
        of_film = {row["sop_instance_uid"]: row[column] for row in csv.DictReader(file)}
    return {file["key"]: of_film[file["sop_instance_uid"]] for file in files if file["sop_instance_uid"] in of_film}
