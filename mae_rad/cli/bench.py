"""Run a benchmark on this machine; without a name, list the benchmarks.

mae-rad bench [NAME [arguments of the benchmark]]
"""

import ast
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from data_prep.cli.command_help import CommandParser
from mae_rad.cli.command_parser import command_parser
from mae_rad.command_line import run

FOLDER = Path(__file__).parents[1] / "bench"


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser, benchmarks = command_parser("bench", __doc__), dict(_benchmarks())
    parser.add_argument(
        "name", nargs="?", metavar="NAME", choices=list(benchmarks), help="name of the benchmark; none lists them"
    )
    parser.add_argument(
        "arguments", nargs="...", metavar="…", help="arguments of the benchmark; NAME --help explains them"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """List the benchmarks or run one; returns the exit code."""
    benchmarks, options = dict(_benchmarks()), build_parser().parse_args(arguments)
    if options.name is None:
        width = max(map(len, benchmarks))
        print("\n".join(f"{name:<{width}}  {line}" for name, (_, line) in benchmarks.items()))
        return 0
    module, _ = benchmarks[options.name]
    return run(lambda: import_module(module).main(options.arguments), needs_secret=True)  # some shard films


def _benchmarks() -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield name → (module, first line of its docstring) of the files that define ``main``, without importing them."""
    for path in sorted(FOLDER.glob("*/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            line = str(ast.get_docstring(tree)).splitlines()[0]
            yield path.stem, (f"mae_rad.bench.{path.parent.name}.{path.stem}", line)
