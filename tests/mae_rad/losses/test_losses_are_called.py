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


def _losses_in(path: Path) -> set[str]:
    """Names that a file imports from the losses or defines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in imports if (node.module or "").startswith("mae_rad.losses") for alias in node.names}
    return names | {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_public_loss_is_called_or_marked_as_not_yet_called() -> None:
    read = {name for path in PACKAGE.rglob("*.py") for name in _names(path).keys() & _losses_in(path)}
    functions = [
        node
        for path in (PACKAGE / "losses").glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    uncalled = {node.name for node in functions if node.name not in read}
    marked = {node.name for node in functions if NOT_YET in (ast.get_docstring(node) or "")}
    assert len(functions) > 30
    assert {"view_similarity", "pair_nce", "masked_mse"} <= read
    assert uncalled == marked


def test_objectives_call_losses_by_the_names_of_the_papers() -> None:
    assert _names(PACKAGE / "objectives" / "mae.py")["masked_mse"]
    assert _names(PACKAGE / "objectives" / "simclr.py")["pair_nce"]
