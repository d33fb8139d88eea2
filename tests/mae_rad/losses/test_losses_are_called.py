"""Every public loss is called in the package, or its docstring states that it is not yet."""

import ast
from collections import Counter
from pathlib import Path

import mae_rad

PACKAGE = Path(mae_rad.__file__).parent
NOT_YET = "Called by no objective yet"


def _names(path: Path) -> Counter[str]:
    """Names that the code of a file reads."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))


def test_every_public_loss_is_called_or_marked_as_not_yet_called() -> None:
    read = sum((_names(path) for path in PACKAGE.rglob("*.py")), Counter())
    functions = [
        node
        for path in (PACKAGE / "losses").glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    uncalled = {node.name for node in functions if not read[node.name]}
    marked = {node.name for node in functions if NOT_YET in (ast.get_docstring(node) or "")}
    assert len(functions) > 8
    assert uncalled == marked == {"clip", "supcon"}


def test_objectives_call_losses_by_the_names_of_the_papers() -> None:
    assert _names(PACKAGE / "objectives" / "mae.py")["masked_mse"]
    assert _names(PACKAGE / "objectives" / "simclr.py")["nt_xent"]
