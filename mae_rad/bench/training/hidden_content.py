"""Measure the share of content that masking hides at each ``visible``; T counts patches of the content box.

    mae-rad bench hidden_content --shards PUBLIC [--films 400]

Films are selected at random from the training split.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.settings import local_argument
from mae_rad.data.patch_layout import film_layout
from mae_rad.data.patch_masking import draw_budget, masked_share
from mae_rad.data.seeded_random import generator_for
from mae_rad.data.shard_reader import ShardIndex

PREDICTED = 0.25


def main(arguments: Sequence[str] | None = None) -> None:
    """Print, for each T, the content patches of a film relative to T, and the share of them that is hidden."""
    parser = argparse.ArgumentParser(
        prog="mae-rad bench hidden_content", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.register("type", Path, local_argument)
    parser.add_argument("--shards", type=Path, required=True, metavar="PUBLIC", help="public folder")
    parser.add_argument("--films", type=int, default=400, help="number of films (default: 400)")
    options = parser.parse_args(arguments)
    index = ShardIndex([options.shards])
    rows = generator_for("hidden content").permutation(len(index))[: options.films].tolist()
    films = [index.film(row) for row in rows]
    for tokens in (196, 1024):
        layouts = [film_layout(film.sidecar.rows, film.sidecar.columns, film.box, tokens, 16) for film in films]
        contents = [film.content(layout) for film, layout in zip(films, layouts, strict=True)]
        print(f"T = {tokens}, {len(films)} films (mean, tenth to ninetieth percentile)")
        print(f"  content / T    {_spread([content.sum() / tokens for content in contents])}")
        for visible in (0.25, 0.2, 0.15, 0.1):
            n_visible, n_drawn = int(tokens * visible), int(tokens * visible) + int(tokens * PREDICTED)
            hidden = [
                masked_share(content, draw_budget(content, n_drawn, generator_for("hidden content", row))[:n_visible])
                for row, content in zip(rows, contents, strict=True)
            ]
            print(f"  visible {visible:<6} {_spread(hidden)} hidden")


def _spread(values: list[float]) -> str:
    low, high = np.percentile(values, (10, 90))
    return f"{np.mean(values):.2f} ({low:.2f} to {high:.2f})"
