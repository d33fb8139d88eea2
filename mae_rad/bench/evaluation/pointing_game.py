"""Measure how often heat maps of a classification have their maximum in a box of the label (Zhang et al. 2018).

    mae-rad bench pointing_game MODEL --shards PUBLIC [--split test] [--films 400] [--margin 1]

The highest patch of a map is a hit if it touches a box of the label; ``--margin`` patches around a box count, too.
Heads of classifications are trained without boxes; an encoder that was trained by a detection states that in its card.
Films are those with a box of the label. The output is the share of hits with its 95 % interval over patients, and the
share of random content patches that would be hits.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from data_prep.settings import local_argument
from data_prep.shard_format.appended_folders import generation_folders
from mae_rad.data.batch import Patches
from mae_rad.data.box_frames import Boxes, whole_film_frame
from mae_rad.data.patch_layout import film_layout
from mae_rad.data.seeded_random import generator_for
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import stack, whole_film
from mae_rad.encoders.precision import fast_device
from mae_rad.encoders.vit import ViT
from mae_rad.evaluation.statistics.intervals import bootstrap, honest_interval, interval
from mae_rad.explain.attention_rollout import attention_rollout, token_weights
from mae_rad.explain.grad_cam import grad_cam
from mae_rad.export.predictor_folder import Predictor, load_predictor
from mae_rad.heads.classification import ClassificationHead

Map = Callable[[Patches, int], torch.Tensor]


class Pointed(NamedTuple):
    """Result of a heat map.

    Attributes:
        hit: the highest patch touches a box.
        chance: share of content patches that touch one, in [0, 1].
    """

    hit: bool
    chance: float


class Played(NamedTuple):
    """Result of a film, label and kind of map; ``reached``: the label is predicted at an operating point."""

    patient: str
    pointed: Pointed
    reached: bool


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each label, kind of map and selection of films."""
    parser = argparse.ArgumentParser(
        prog="mae-rad bench pointing_game", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.register("type", Path, local_argument)
    parser.add_argument("model", type=Path, metavar="MODEL", help="finetuning run, or predictor folder")
    parser.add_argument("--shards", type=Path, required=True, metavar="PUBLIC", help="public folder with boxes")
    parser.add_argument("--split", default="test", help="split of the films (default: test)")
    parser.add_argument("--films", type=int, default=400, help="number of films (default: 400)")
    parser.add_argument("--margin", type=int, default=1, help="tolerance in patches (default: 1)")
    options = parser.parse_args(arguments)
    predictor = load_predictor(options.model).to(fast_device())
    played = _play_all(predictor, options.shards, options.split, options.films, options.margin)
    print(f"T = {predictor.card.tokens}, margin {options.margin}; share of films whose highest patch touches a box")
    for (label, kind, films), results in played.items():
        print(f"{label:<20} {kind:<22} {films:<18} {_share_of_hits(results)}")


def play(values: NDArray[np.float32], content: NDArray[np.bool_], boxes: Boxes, patch: int, margin: int = 0) -> Pointed:
    """Evaluate one heat map.

    Args:
        values: [rows, columns] heat map on the patch grid.
        content: [rows, columns] bool, True for patches with content; if none is, all count.
        boxes: [K, 4] in pixels of the view.
        patch: patch side in pixels.
        margin: tolerance in patches around a box.
    """
    is_hit = touched(values.shape, boxes, patch, margin)
    considered = content if content.any() else np.ones_like(content)
    return Pointed(bool(is_hit.flat[int(values.argmax())]), float(is_hit[considered].mean()))


def touched(grid: tuple[int, ...], boxes: Boxes, patch: int, margin: int = 0) -> NDArray[np.bool_]:
    """Find the patches that touch a box.

    Args:
        grid: (rows, columns) of patches.
        boxes: [K, 4] in pixels of the view.
        patch: patch side in pixels.
        margin: tolerance in patches around a box.

    Returns:
        [rows, columns] bool.
    """
    mask = np.zeros(grid, dtype=np.bool_)
    for x_min, y_min, x_max, y_max in boxes / patch:
        top, left = (max(int(np.floor(edge)) - margin, 0) for edge in (y_min, x_min))
        bottom, end = (int(np.ceil(edge)) + margin for edge in (y_max, x_max))
        mask[top:bottom, left:end] = True
    return mask


def _maps(predictor: Predictor) -> dict[str, Map]:
    encoder, head = predictor.encoder, predictor.head
    assert isinstance(encoder, ViT)
    assert isinstance(head, ClassificationHead)
    window = head.window

    def cam(blocks: int) -> Map:
        return lambda patches, label: grad_cam(encoder, head, patches, [label], blocks=blocks, window=window)[:, 0]

    maps = {f"Grad-CAM, block -{blocks}": cam(blocks) for blocks in (1, 2, 4) if blocks <= len(encoder.blocks)}
    pooling = head.pooling
    if pooling is None:
        maps["patch scores"] = torch.no_grad()(
            lambda patches, label: head.patch_logits(head.encode(encoder, patches))[..., label]
        )
        return maps
    maps["attention rollout"] = lambda patches, _: attention_rollout(encoder, pooling, patches, window=window)
    if pooling.attention is not None:
        maps["pooling attention"] = lambda patches, _: token_weights(pooling, head.encode(encoder, patches))[:, 1:]
    return maps


def _play_all(
    predictor: Predictor, public: Path, split: str, films: int, margin: int
) -> dict[tuple[str, str, str], list[Played]]:
    card, maps = predictor.card, _maps(predictor)
    device = next(predictor.parameters()).device
    index, boxes = ShardIndex([public], split=split), _boxes(public)
    patients = index.table.column("patient").to_pylist()
    played: dict[tuple[str, str, str], list[Played]] = defaultdict(list)
    for row in generator_for("pointing game").permutation(len(index))[:films].tolist():
        film_boxes = boxes.get(index.key(row), {})
        targets = [(place, film_boxes[label]) for place, label in enumerate(card.labels) if label in film_boxes]
        if not targets:
            continue
        film = index.film(row)
        layout = film_layout(film.sidecar.rows, film.sidecar.columns, film.box, card.tokens, card.encoder.patch)
        frame = whole_film_frame(film, card.tokens, card.encoder.patch)
        patches = stack([whole_film(film, card.tokens, card.encoder.patch)]).to(device)
        probabilities = predictor.predict(patches).probabilities
        assert probabilities is not None
        for place, label_boxes in targets:
            label, score = card.labels[place], float(probabilities[0, place])
            reached = any(score >= points[label] for points in card.operating_points.values() if label in points)
            for kind, make in maps.items():
                values = make(patches, place)[0].detach().cpu().numpy().reshape(layout.grid)
                corners = frame.from_source(label_boxes)
                pointed = play(values, film.content(layout), corners, card.encoder.patch, margin)
                for which in ("present", *(("present and found",) if reached else ())):
                    played[label, kind, which].append(Played(patients[row], pointed, reached))
    return dict(sorted(played.items()))


def _boxes(public: Path) -> dict[str, dict[str, Boxes]]:
    """Read the boxes: key → label → [K, 4] in source pixels."""
    corners: dict[str, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for folder in generation_folders(public):
        if (folder / "boxes.parquet").exists():
            for row in pq.read_table(folder / "boxes.parquet").to_pylist():
                corners[row["key"]][row["label"]].append([row[name] for name in ("x_min", "y_min", "x_max", "y_max")])
    return {key: {label: np.array(boxes) for label, boxes in film_boxes.items()} for key, film_boxes in corners.items()}


def _share_of_hits(played: list[Played]) -> str:
    hits = np.array([result.pointed.hit for result in played], dtype=np.float64)
    chance = np.array([result.pointed.chance for result in played])
    patients = _numbers([result.patient for result in played])
    hit_rate = [lambda weights: weights @ hits / weights.sum(axis=1)]
    share = interval(bootstrap(patients, {"hits": hit_rate}, repetitions=1000, seed=0)["hits"])
    share = honest_interval(share, len(np.unique(patients)))
    return (
        f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]  by chance {chance.mean():.3f}"
        f"  ({len(played)} films, {len(np.unique(patients))} patients)"
    )


def _numbers(names: list[str]) -> NDArray[np.int64]:
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
