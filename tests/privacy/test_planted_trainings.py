"""Who is planted in an archive, or in the path of a folder, is in nothing that trainings and predictions make."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.compare import main as compare
from launch.embed import main as embed
from launch.export import main as export
from launch.finetune import main as finetune
from launch.predict import main as predict
from launch.pretrain import main as pretrain
from tests.builders.planted.planted_archive import PLACES
from tests.builders.planted.planted_person import Released, needles, person, released_bytes
from tests.privacy.planted_chain import CONSENT, LABEL_PLACES, make_release, printed_to, temporary_files

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
PATH = "path of the folders"
TINY = [
    "precision=f32", "encoder={model: vit_tiny, dim: 32, depth: 2, heads: 2, patch: 16}",
    "objective={name: mae, tokens: 36, predicted: 0.5, decoder_dim: 32, decoder_depth: 1, decoder_heads: 2}",
    "optimizer={steps: 2, batch: 8}", "runtime.workers=0", "runtime.threads=1", "runtime.log_every=1",
]  # fmt: skip
PRIVATE_FILES = ("config.yaml", "run.json", "predictions.csv", "predictions.jsonl", ".dcm")
"""What names the user's own folders, films or patients: settings of a run, and the private folder of predictions."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Released]]:
    who = person(PATH)
    root = tmp_path_factory.mktemp("trainings") / f"{who.family}_{who.given}" / who.number
    root.mkdir(parents=True)
    with temporary_files(root / "temporary"), pytest.MonkeyPatch.context() as patch:
        for module in ("verify", "audit"):
            patch.setattr(f"data_prep.verification.{module}.process_count", lambda workers, tasks: 1)
        make_release(root)
        with printed_to(root / "training.txt"):
            _train(root)
    parts = {name: data for name, data in released_bytes(root / "runs").items() if not _is_private(name)}
    yield root, Released(parts | {"printed": (root / "training.txt").read_bytes()})


def _train(root: Path) -> None:
    public, runs = root / "public", root / "runs"
    shards = f"data.shards=[{public}]"
    config = ["--config", str(CONFIGS / "pretrain" / "demo_mae.yaml")]
    assert pretrain([*config, shards, f"runtime.run_dir={runs / 'mae'}", *TINY]) == 0
    assert embed([str(runs / "mae"), f"shards=[{public}]", f"out={runs / 'embeddings.parquet'}", "workers=0"]) == 0
    small = [f"shards=[{public}]", f"out={runs / 'comparison'}", "runtime.workers=0", f"runtime.cache={root / 'cache'}"]
    small += ["repetitions=100", "min_patients=2", "random_seeds=[0]", "label_fractions=[1.0]"]
    small += ["tasks=[{label: fracture}, {label: implant}]", "shortcuts=[photometric]"]
    assert compare([str(runs / "mae"), "--config", str(CONFIGS / "compare" / "default.yaml"), *small]) == 0
    start = [
        f"start_from={runs / 'mae'}",
        shards,
        f"runtime.run_dir={runs / 'head'}",
        "task.labels=[{label: fracture}]",
    ]
    steps = ["optimizer.steps=2", "optimizer.batch=4", "evaluation={every: 1, repetitions: 100}", "precision=f32"]
    steps += ["adaptation.encoder=frozen", "film={tokens: 36}"]
    config = ["--config", str(CONFIGS / "finetune" / "foreign_object.yaml")]
    assert finetune([*config, *start, *steps, "runtime.threads=1", "runtime.workers=0"]) == 0
    films = [str(root / "archive"), f"out={runs / 'answers'}", "runtime.workers=0", "out_of_scope=answer"]
    assert predict([str(runs / "head"), *films]) in (0, 3)  # 3: some files are no films
    for kind in ("timm", "safetensors"):
        size = ["--size", "96x96"] if kind == "timm" else []
        assert export([str(runs / "mae"), "--to", kind, *size, f"out={runs / f'export_{kind}'}"]) == 0


def _is_private(name: str) -> bool:
    return any(part in name for part in PRIVATE_FILES)


@pytest.mark.parametrize("place", [*PLACES, *LABEL_PLACES, CONSENT])
def test_nobody_of_the_archive_is_in_anything_made(place: str, made: tuple[Path, Released]) -> None:
    assert made[1].names_with(place) == []


def test_the_path_of_the_folders_is_not_tracked_nor_exported(made: tuple[Path, Released]) -> None:
    _, released = made
    kept = Released({name: data for name, data in released.parts.items() if name != "printed"})
    assert [name for name in kept.names_with(PATH) if name != "names of files"] == []


def test_predictions_are_private(made: tuple[Path, Released]) -> None:
    answers = made[0] / "runs" / "answers"
    reports = list((answers / "reports").glob("*.dcm"))
    told = b"".join(report.read_bytes().lower() for report in reports)
    assert any(needle in told for place in PLACES for needle in needles(place))
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in [answers, *answers.rglob("*")]} == {0}
    assert not [path for path in (made[0] / "temporary").rglob("*") if path.is_file()]  # torch leaves an empty folder


def test_what_was_made_was_read(made: tuple[Path, Released]) -> None:
    parts = "\n".join(made[1].parts)
    for name in (
        "mlflow.db",
        "mae/encoder/README.md",
        "embeddings.parquet read",
        "comparison/",
        "head/predictor/",
        "answers/overlays",
        "export_timm/",
        "head/evaluation/",
        "metrics.jsonl",
    ):
        assert name in parts, name
