"""A folder is a stage, imports go down the levels of one table, and what is heavy is loaded where it is used."""

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("data_prep", "mae_rad", "launch")

LEVELS: Mapping[str, int] = {
    "launch": 18,
    "mae_rad/cli": 17,
    "mae_rad/bench": 17, "mae_rad/bench/sharding": 17, "mae_rad/bench/training": 17, "mae_rad/bench/evaluation": 17,
    "mae_rad/pairs_bench": 16,
    "mae_rad/sweep": 15,
    "mae_rad/evaluation": 14,
    "mae_rad/evaluation/report": 13,
    "mae_rad/api": 13,
    "mae_rad/evaluation/figures": 12, "mae_rad/finetuning": 12, "mae_rad/suspects": 12,
    "mae_rad/evaluation/comparison": 11, "mae_rad/finetuning/classification": 11, "mae_rad/finetuning/detection": 11,
    "mae_rad/finetuning/report": 11, "mae_rad/finetuning/regression": 11, "mae_rad/finetuning/multiclass": 11,
    "mae_rad/cost": 11, "mae_rad/evaluation/pairs": 11,
    "mae_rad/pretraining": 10, "mae_rad/evaluation/probes": 10, "mae_rad/finetuning/task": 10,
    "mae_rad/embedding": 9, "mae_rad/prediction": 9, "mae_rad/evaluation/detection": 9, "mae_rad/evaluation/results": 9,
    "mae_rad/evaluation/multiclass": 9, "mae_rad/finetuning/results": 9,
    "mae_rad/export": 8, "mae_rad/explain": 8, "mae_rad/evaluation/statistics": 8,
    "mae_rad/training": 7, "mae_rad/heads": 7,
    "mae_rad/objectives": 6,
    "mae_rad/losses": 5,
    "mae_rad/encoders": 4, "mae_rad/pairing": 4,
    "mae_rad/data": 3, "mae_rad/tracking": 3,
    "mae_rad": 2,
    "data_prep/cli": 9,
    "data_prep/verification": 8, "data_prep/dataset_report": 8,
    "data_prep/scan": 7, "data_prep/sharding": 7,
    "data_prep/planning": 6, "data_prep/labels": 6, "data_prep/radiology_reports": 6, "data_prep/public_datasets": 6,
    "data_prep/film": 5, "data_prep/archive": 5, "data_prep/annotations": 5,
    "data_prep/dicom": 4, "data_prep/deidentify": 4, "data_prep/pages": 4, "data_prep/statistics": 4,
    "data_prep/phantom": 4,
    "data_prep/shard_format": 3,
    "data_prep/object_storage": 2, "data_prep/phantom/anatomy": 2,
    "data_prep/runtime": 1, "data_prep/phantom/imaging": 1,
    "data_prep": 0,
}  # fmt: skip
"""Folder → level. An import goes to the same folder or to a lower level of its package."""

ENTRY_POINTS = {
    "data_prep/__main__.py",
    "mae_rad/__main__.py",
    "mae_rad/__init__.py",
    "mae_rad/export/served_encoder.py",
}
"""Start the commands of a package, resolve its public names or keep an old name: they may import any of it."""

CONTRACT = {
    "bounded_reading",
    "settings",
    "errors",
    "folder_url",
    "shard_format",
    "object_storage",
    "runtime",
    "pages",
    "statistics",
}
"""Folders and modules of data_prep that mae_rad may import …"""
SINGLE_FILM = "data_prep.sharding.single_film"
"""… besides this one door for films from outside an archive …"""
WHOLE_DATA_PREP = ("mae_rad/cli/", "mae_rad/bench/")
"""… except in the commands, which forward to it, and in benchmarks, which measure it."""

MOST_MODULES = 20
FORBIDDEN_NAMES = {"utils", "common", "misc", "core", "helpers", "base"}

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in SOURCES}


def _imported_names(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _own_modules(path: Path) -> Iterator[str]:
    """The modules of this project that a file imports."""
    for name in _imported_names(path):
        module = name if name in MODULES else name.rpartition(".")[0]
        if module in MODULES:
            yield module


def _folder(path: Path) -> str:
    return path.parent.relative_to(ROOT).as_posix()


def _edges() -> Iterator[tuple[Path, Path]]:
    for path in SOURCES:
        for module in _own_modules(path):
            yield path, MODULES[module]


def _from(name: str, *packages: str) -> bool:
    return name.split(".", maxsplit=1)[0] in packages


def test_every_folder_has_a_level() -> None:
    folders = {_folder(path) for path in SOURCES}
    assert folders == set(LEVELS)


def test_imports_go_down_the_levels() -> None:
    climbing = [
        f"{source.relative_to(ROOT)} (level {LEVELS[_folder(source)]}) imports {target.relative_to(ROOT)}"
        f" (level {LEVELS[_folder(target)]})"
        for source, target in _edges()
        if source.relative_to(ROOT).parts[0] == target.relative_to(ROOT).parts[0]
        and _folder(source) != _folder(target)
        and str(source.relative_to(ROOT)) not in ENTRY_POINTS
        and LEVELS[_folder(source)] <= LEVELS[_folder(target)]
    ]
    assert not climbing, "\n".join(climbing)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    place = path.relative_to(ROOT)
    for name in _imported_names(path):
        assert not _from(name, "tests"), name
        if place.parts[0] == "data_prep":
            assert not _from(name, "mae_rad", "launch", "torch", "timm", "deepspeed", "mlflow"), name
        if place.parts[0] == "mae_rad":
            assert not _from(name, "launch"), name
            if _from(name, "data_prep") and not str(place).startswith(WHOLE_DATA_PREP):
                assert name.split(".")[1] in CONTRACT or name.startswith(SINGLE_FILM), name
        if _from(name, "deepspeed"):
            assert str(place) == "mae_rad/training/deepspeed_engine.py"
        if _from(name, "mlflow"):
            assert place.parts[:2] == ("mae_rad", "tracking")
        if _from(name, "albumentations"):
            assert str(place) == "mae_rad/data/film_transforms.py"


def _circle(edges: Mapping[str, set[str]]) -> list[str]:
    """A circle among the nodes; empty if there is none."""
    done: set[str] = set()
    trail: list[str] = []

    def visit(node: str) -> list[str]:
        if node in trail:
            return [*trail[trail.index(node) :], node]
        if node in done:
            return []
        trail.append(node)
        for other in sorted(edges.get(node, ())):
            if found := visit(other):
                return found
        trail.pop()
        done.add(node)
        return []

    for node in sorted(edges):
        if found := visit(node):
            return found
    return []


def test_no_module_imports_itself_in_a_circle() -> None:
    edges: defaultdict[str, set[str]] = defaultdict(set)
    for source, target in _edges():
        if source != target:
            edges[str(source.relative_to(ROOT))].add(str(target.relative_to(ROOT)))
    assert not _circle(edges)


def test_no_folder_imports_itself_in_a_circle() -> None:
    edges: defaultdict[str, set[str]] = defaultdict(set)
    for source, target in _edges():
        if _folder(source) != _folder(target) and str(source.relative_to(ROOT)) not in ENTRY_POINTS:
            edges[_folder(source)].add(_folder(target))
    assert not _circle(edges)


def test_a_circle_is_found() -> None:
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert not _circle({"a": {"b", "c"}, "b": {"c"}})


def test_folders_stay_small() -> None:
    everything = [*SOURCES, *(ROOT / "tests").rglob("*.py")]
    sizes = Counter(path.parent for path in everything if path.name != "__init__.py")
    assert {str(folder): size for folder, size in sizes.items() if size > MOST_MODULES} == {}
    assert not {path for path in SOURCES if {path.stem, path.parent.name} & FORBIDDEN_NAMES}


def test_no_two_public_classes_of_one_name() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_sharding_works_without_torch() -> None:
    modules = sorted(module for module in MODULES if _from(module, "data_prep") and not module.endswith("__main__"))
    check = f"import sys; [__import__(name) for name in {modules!r}]; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)


def test_files_stay_short() -> None:
    for path in SOURCES + sorted((ROOT / "tests").rglob("*.py")):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


def test_files_of_launch_only_start_a_command() -> None:
    for path in (ROOT / "launch").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 20, path
        assert set(_own_modules(path)) <= {f"mae_rad.cli.{path.stem}"}, path


def test_commands_fit_a_page() -> None:
    for path in (ROOT / "mae_rad" / "cli").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60, path


def test_contributing_lists_every_folder() -> None:
    """The tree in CONTRIBUTING.md names every folder with code, and no other."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^((?:data_prep|mae_rad|launch)[a-z_/]*)/? ", text, flags=re.MULTILINE))
    assert listed == set(LEVELS)
