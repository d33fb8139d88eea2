r"""Measure the effect of resolution on frozen encoders: AUROC by T and object size, as a table and a figure.

    mae-rad bench resolution_worth RUN… --shards PUBLIC --out FOLDER [--tokens 64 256 1024] \
        [--label foreign_object] [--edges 0.02 0.04]

``mae-rad compare`` runs once per T with an attentive probe on the same films. AUROC is that of films whose largest
object is in a range of sizes against all films without an object. A square film of T tokens is 16 sqrt(T) pixels wide:
128, 256 and 512 by default. An object of 2 % of the film's longer side has under 3 pixels at the first T, and 10 at the
last.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import yaml

from data_prep.settings import local_argument
from mae_rad.evaluation.results.rows import Row, read_comparison

PATCH = 16
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare at every T, print and draw the results; returns the exit code."""
    options = _options(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    by_tokens = {tokens: _compare(tokens, options) for tokens in options.tokens}
    subsets = list(dict.fromkeys(row.subset for row in by_tokens[options.tokens[0]]))
    encoders = list(dict.fromkeys(row.encoder for row in by_tokens[options.tokens[0]]))
    for subset in subsets:
        print(f"\n{options.label}, {subset.replace('object_size=', 'largest object ')}")
        for encoder in encoders:
            cells = [_cell(by_tokens[tokens], encoder, subset) for tokens in options.tokens]
            print(f"  {encoder:24}" + "   ".join(f"T {t}: {c}" for t, c in zip(options.tokens, cells, strict=True)))
    _draw(by_tokens, subsets, encoders, options)
    print(f"\nfigure: {options.out / 'resolution.png'}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mae-rad bench resolution_worth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.register("type", Path, local_argument)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or exported encoders")
    parser.add_argument("--shards", type=Path, required=True, metavar="PUBLIC", help="public folder with boxes")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of comparisons and figure")
    parser.add_argument("--tokens", type=int, nargs="+", default=[64, 256, 1024], help="T (default: 64 256 1024)")
    parser.add_argument("--label", default="foreign_object", help="label of the objects (default: foreign_object)")
    parser.add_argument(
        "--edges", type=float, nargs="+", default=[0.02, 0.04],
        help="limits of the object sizes, as shares of the film's longer side (default: 0.02 0.04)",
    )  # fmt: skip
    return parser.parse_args(arguments)


def _compare(tokens: int, options: argparse.Namespace) -> list[Row]:
    config, out = options.out / f"compare-{tokens}.yaml", (options.out / f"T{tokens}").resolve()
    config.write_text(
        yaml.safe_dump(
            {
                "shards": [str(options.shards.resolve())],
                "out": str(out),
                "tokens": [tokens],
                "pools": ["mean"],
                "tasks": [{"label": options.label}],
                "all_labels": False,
                "probes": ["attentive"],
                "analyses": [],
                "subsets": [],
                "object_sizes": options.edges,
                "label_fractions": [1.0],
                "random_seeds": [0],
                "pixel_components": 0,
                "runtime": {"cache": str((options.out / "embeddings").resolve())},
            }
        )
    )
    command = [sys.executable, "-m", "mae_rad", "compare", *map(str, options.runs), "--config", str(config)]
    print("mae-rad", *command[3:], flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    rows = read_comparison(out / "comparison.parquet")
    return [row for row in rows if row.reference is None and row.metric == "auroc" and row.task == options.label]


def _cell(rows: Sequence[Row], encoder: str, subset: str) -> str:
    row = next((row for row in rows if (row.encoder, row.subset) == (encoder, subset)), None)
    if row is None:
        return "too few patients"
    value, low, high = row.interval
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _draw(
    by_tokens: Mapping[int, Sequence[Row]], subsets: Sequence[str], encoders: Sequence[str], options: argparse.Namespace
) -> None:
    figure, axes = plt.subplots(1, len(subsets), figsize=(3.4 * len(subsets) + 0.6, 3.6), sharey=True, squeeze=False)
    for axis, subset in zip(axes[0], subsets, strict=True):
        for place, (encoder, colour) in enumerate(zip(encoders, COLOURS, strict=False)):
            rows = {
                tokens: row.interval
                for tokens, results in by_tokens.items()
                for row in results
                if (row.encoder, row.subset) == (encoder, subset)
            }
            sides = [PATCH * tokens**0.5 * (1 + 0.02 * place) for tokens in rows]
            values = [interval.value for interval in rows.values()]
            errors = [[i.value - i.low for i in rows.values()], [i.high - i.value for i in rows.values()]]
            axis.errorbar(sides, values, yerr=errors, marker="o", capsize=3, color=colour, label=encoder)
        axis.axhline(0.5, color="0.6", linewidth=0.8)
        axis.set_xscale("log", base=2)
        axis.set_xticks(
            [PATCH * tokens**0.5 for tokens in by_tokens], [f"{PATCH * tokens**0.5:.0f}" for tokens in by_tokens]
        )
        axis.set_xlabel("side of a square film (pixels)")
        patients = next(row.n_patients for results in by_tokens.values() for row in results if row.subset == subset)
        title = "all objects" if subset == "all" else subset.replace("object_size=", "")
        axis.set_title(f"{title}\n{patients} test patients", fontsize=9)
    axes[0][0].set_ylabel(f"AUROC of {options.label}, 95 % interval")
    axes[0][0].legend(fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(options.out / "resolution.png", dpi=130)
