"""No code outside ``mae_rad/objectives`` asks which method it has: by name, by class or by a setting of its own."""

import ast
import inspect
from pathlib import Path

import pytest

from mae_rad.objectives import OBJECTIVES, ObjectiveSettings

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for package in ("mae_rad", "launch", "data_prep")
    for path in (ROOT / package).rglob("*.py")
    if not path.is_relative_to(ROOT / "mae_rad/objectives")
    and not path.is_relative_to(ROOT / "mae_rad/bench")  # a benchmark measures the method that it names
    and path != ROOT / "mae_rad/losses/__init__.py"  # lists the functions of the papers, of which some name a method
)
MODULES = {model.__module__ for model in OBJECTIVES.values()}
CLASSES = {
    name
    for model in OBJECTIVES.values()
    for name, one in inspect.getmembers(inspect.getmodule(model), inspect.isclass)
    if one.__module__ == model.__module__
}
FIELDS = {name for model in OBJECTIVES.values() for name in model.model_fields} - set(ObjectiveSettings.model_fields)


def named(source: str) -> list[str]:
    """What in ``source`` names a method: a string, a class, an import of its file, or a setting of its own."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=str(text)) if text in OBJECTIVES:
                found.append(f"{node.lineno}: {text!r}")
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) if name in CLASSES:
                found.append(f"{node.lineno}: {name}")
            case ast.ImportFrom(module=str(module)) if module in MODULES:
                found.append(f"{node.lineno}: {module}")
            case ast.Attribute(value=ast.Attribute(attr="objective") | ast.Name(id="objective"), attr=name) if (
                name in FIELDS
            ):
                found.append(f"{node.lineno}: objective.{name}")
    return found


@pytest.mark.parametrize(
    "source",
    [
        'if settings.objective.name == "mae": ...',
        'match name:\n    case "simclr": ...',
        "isinstance(objective, MAESettings)",
        "from mae_rad.objectives.simclr import SimCLR",
        "from mae_rad.objectives import SimCLRSettings",
        "n = settings.objective.head_hidden",
        "n = objective.visible",
    ],
)
def test_a_branch_on_a_method_is_found(source: str) -> None:
    assert named(source)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_outside_objectives_names_a_method(path: Path) -> None:
    assert not named(path.read_text(encoding="utf-8"))
