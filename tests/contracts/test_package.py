"""What is installed: every file of the packages, and commands that work without the extra ``train``."""

import configparser
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders.without_training import without_training

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("data_prep", "mae_rad")
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, unpacked."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    for name in (*PACKAGES, "configs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), "."]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "installed")
    return folder / "installed"


@pytest.fixture(scope="module")
def mae_rad(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    folder = tmp_path_factory.mktemp("elsewhere")
    environment = without_training(folder / "environment", installed) | {"MAE_RAD_KEY": "0123456789abcdef" * 2}

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mae_rad", *map(str, words)]
        return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)

    return run


def files_of(folder: Path) -> set[str]:
    paths = (path for name in PACKAGES for path in [*(folder / name).rglob("*"), *(folder / name).glob("configs/*/*")])
    return {path.relative_to(folder).as_posix() for path in paths if path.is_file() and path.suffix != ".pyc"}


def test_the_wheel_holds_every_file_of_the_packages(installed: Path) -> None:
    files = files_of(installed)
    assert files == files_of(ROOT)
    for name in (
        "data_prep/py.typed", "mae_rad/py.typed", "data_prep/deidentify/words/view.txt", "mae_rad/cli/main.py",
        "data_prep/radiology_reports/words/fracture.txt", "data_prep/dataset_report/templates/report.html",
        "mae_rad/prediction/concepts.csv", "mae_rad/evaluation/report/templates/report.html",
        "mae_rad/configs/pretrain/mae.yaml",
    ):  # fmt: skip
        assert name in files


def test_the_commands_are_installed(installed: Path) -> None:
    scripts = configparser.ConfigParser()
    (path,) = installed.glob("*.dist-info/entry_points.txt")
    scripts.read(path)
    assert dict(scripts["console_scripts"]) == {
        "data_prep": "data_prep.cli.main:main",
        "mae-rad": "mae_rad.cli.main:main",
    }


def test_an_archive_becomes_shards_without_torch(mae_rad: Command, tmp_path: Path) -> None:
    for words in (
        ("--help",),
        ("phantom", tmp_path / "phantom", "--patients", 3, "--seed", 1, "--workers", 2, "--level", "hard"),
        ("scan", tmp_path / "phantom" / "archive", "--out", tmp_path / "private", "--config", "scan", "workers=2"),
        ("shard", tmp_path / "private", "--out", tmp_path / "public", "--config", "shard", "runtime.workers=1",
         "runtime.max_reject_fraction=1", "max_side=128"),
        ("verify", tmp_path / "public"),
        ("report", tmp_path / "public", "--out", tmp_path / "report.html"),
        ("label", tmp_path / "private", "--labels", tmp_path / "phantom" / "truth" / "labels.csv",
         "--reports", tmp_path / "phantom" / "reports" / "german.csv", "--out", tmp_path / "public"),
        ("bench", "content_mask", "--films", 1, "--side", 128),
    ):  # fmt: skip
        done = mae_rad(*words)
        assert done.returncode == 0, (words, done.stderr)


def test_a_training_without_torch_is_one_line(mae_rad: Command) -> None:
    done = mae_rad("pretrain")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: this command needs the training extra: pip install 'mae_rad[train]' (torch is not installed)\n"
    )
    assert mae_rad("pretrain", "--help").returncode == 0
