"""Imports run one way, and what is heavy is loaded where it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = {
    "shard_format", "index", "label_tables", "label_policy", "display", "film_codec", "settings", "errors", "progress",
    "one_film", "folder_lock", "page", "pools",
}  # fmt: skip
"""The modules of data_prep that mae_rad may know."""

SOURCES = sorted(path for package in ("data_prep", "mae_rad", "launch") for path in (ROOT / package).rglob("*.py"))


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _from(name: str, *packages: str) -> bool:
    return name.split(".", maxsplit=1)[0] in packages


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    place = path.relative_to(ROOT)
    for name in _imports(path):
        if place.parts[0] == "data_prep":
            assert not _from(name, "mae_rad", "launch", "torch", "timm", "deepspeed", "mlflow"), name
        if place.parts[0] == "mae_rad":
            assert not _from(name, "launch"), name
            if _from(name, "data_prep"):
                assert name.split(".")[1] in CONTRACTS, name
        if _from(name, "deepspeed"):
            assert str(place) == "mae_rad/training/engine.py"
        if _from(name, "mlflow"):
            assert place.parts[:2] == ("mae_rad", "tracking")


def test_sharding_works_without_torch() -> None:
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "data_prep").rglob("*.py")
        if path.name != "__main__.py"
    )
    check = f"import sys; [__import__(name) for name in {modules!r}]; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)


def test_files_stay_short() -> None:
    for path in SOURCES + sorted((ROOT / "tests").rglob("*.py")):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


def test_commands_fit_a_page() -> None:
    for path in (ROOT / "launch").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60, path
