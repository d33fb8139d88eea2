r"""Measure how fast an encoder learns small findings by its patch embedding: linear, with emphasis, stem, or both.

    mae-rad bench fine_detail --shards PUBLIC [--steps 300] [--of 1500] [--batch 64] \
        [--dim 128] [--depth 2] [--embeddings linear emphasis stem both] [--labels foreign_object fracture]

Squares of 8 x 8 patches at T = 1024, scaled by up to a quarter, are cut out of train and test films. An encoder with
random weights learns for each patch whether a box touches it, without the head and losses of a detection. The output is
AUROC on squares of test films, of patches and of squares by their highest patch, and the processor seconds of the
steps. All variants get the same squares in the same order, in one thread.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from data_prep.runtime.progress import Progress
from data_prep.settings import local_argument
from data_prep.shard_format.label_policy import LabelPolicy
from mae_rad.data.augmentation import Augmentation, draw_variation
from mae_rad.data.batch import Patches
from mae_rad.data.seeded_random import generator_for
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import whole_film
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.finetuning.detection.box_targets import BoxPlacement, FilmBoxes, SquareCrop
from mae_rad.finetuning.detection.known_boxes import read_known_boxes
from mae_rad.finetuning.task.labelled_films import DrawnFilm
from mae_rad.heads.classification import TargetLabelSettings

SIDE, PATCH, TOKENS, SCALE = 8, 16, 1024, 0.25
SQUARES = {"train": 6, "test": 4}
EMBEDDINGS: dict[str, dict[str, Any]] = {
    "linear": {},
    "emphasis": {"emphasis": 1.5},
    "stem": {"stem": "convolutional"},
    "both": {"emphasis": 1.5, "stem": "convolutional"},
}
RATE, WARMUP, POSITIVE = 2e-3, 30, 5.0
"""Learning rate, warm-up steps, weight of patches in boxes."""


class Squares(NamedTuple):
    """Squares of one split.

    Attributes:
        values: [N, 64, p*p] uint16 display values.
        coords: [N, 64, 2] float32 coordinates of the patches.
        touched: [N, 64, L] 1 if a box of the label touches the patch; NaN if that box is mostly cut off.
    """

    values: Tensor
    coords: Tensor
    touched: Tensor

    def patches(self, rows: NDArray[np.int64]) -> Patches:
        """Return the squares ``rows`` [B] as films."""
        return Patches(self.values[rows], self.coords[rows], torch.full((len(rows), 2), float(SIDE)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for every embedding and 100 steps."""
    parser = argparse.ArgumentParser(
        prog="mae-rad bench fine_detail", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.register("type", Path, local_argument)
    parser.add_argument("--shards", type=Path, required=True, metavar="PUBLIC", help="public folder with boxes")
    parser.add_argument("--steps", type=int, default=300, help="training steps (default: 300)")
    parser.add_argument("--of", type=int, default=1500, help="steps of the whole cosine schedule (default: 1500)")
    parser.add_argument("--batch", type=int, default=64, help="squares per step (default: 64)")
    parser.add_argument("--dim", type=int, default=128, help="channels of the encoder (default: 128)")
    parser.add_argument("--depth", type=int, default=2, help="blocks of the encoder (default: 2)")
    parser.add_argument(
        "--embeddings", nargs="+", choices=list(EMBEDDINGS), default=list(EMBEDDINGS), help="variants (default: all)"
    )
    parser.add_argument(
        "--labels", nargs="+", default=["foreign_object", "fracture"],
        help="labels of the boxes (default: foreign_object fracture)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    squares = {split: _cut(options.shards, split, options.labels) for split in SQUARES}
    for split, part in squares.items():
        shares = ", ".join(f"{share:.3f}" for share in part.touched.nanmean(dim=(0, 1)).tolist())
        print(
            f"{split}: {len(part.touched):,} squares;"
            f" share of patches in boxes of {', '.join(options.labels)}: {shares}"
        )
    print(f"{'embedding':<10}{'steps':>6}{'seconds':>9}{'loss':>8}   AUROC of patches; of squares")
    for name in options.embeddings:
        _train(name, squares["train"], squares["test"], options)


def _cut(public: Path, split: str, labels: Sequence[str]) -> Squares:
    index = ShardIndex([public], split=split)
    targets = [TargetLabelSettings.model_validate({"label": label}) for label in labels]
    known = read_known_boxes(index, [public], targets, LabelPolicy())
    place = BoxPlacement(known.corners, known.labels, known.known.astype(np.float32), PATCH)
    cut = SquareCrop(SIDE, PATCH, SQUARES[split])
    parts: list[tuple[NDArray[np.uint16], NDArray[np.float32], NDArray[np.float32]]] = []
    rows = np.flatnonzero(known.known.all(axis=1))
    progress = Progress("fine detail", f"{split} films", len(rows))
    for row in rows.tolist():
        film, draw = index.film(row), generator_for("fine detail", row)
        tokens = round(TOKENS * (1 + SCALE) ** (2 * draw.uniform(-1, 1)))
        variation = draw_variation(Augmentation(window=0.3, gamma=0.3), film.sidecar, draw)
        whole = whole_film(film, tokens, PATCH, variation)
        for part, boxes in cut(whole, place(row, DrawnFilm(film, variation, tokens)), draw):
            if len(part.values) == SIDE**2:
                parts.append((part.values, part.coords, _touched(boxes, len(labels))))
        progress.add()
    progress.close()
    return Squares(*(torch.from_numpy(np.stack(column)) for column in zip(*parts, strict=True)))


def _touched(boxes: FilmBoxes, labels: int) -> NDArray[np.float32]:
    touched = np.zeros((SIDE, SIDE, labels), dtype=np.float32)
    for cut_off in (True, False):
        for (left, top, right, low), label in zip(boxes.corners / PATCH, boxes.labels, strict=True):
            if cut_off == (label < 0):
                places = slice(int(top), int(np.ceil(low))), slice(int(left), int(np.ceil(right)))
                touched[(*places, slice(None) if cut_off else label)] = np.nan if cut_off else 1
    return touched.reshape(SIDE**2, labels)


def _train(name: str, train: Squares, test: Squares, options: argparse.Namespace) -> None:
    torch.manual_seed(0)
    shape = {"model": "vit_tiny", "dim": options.dim, "depth": options.depth, "heads": 4}
    encoder = build_encoder(EncoderSettings.model_validate(shape | EMBEDDINGS[name]))
    head = nn.Linear(options.dim, len(options.labels))
    nn.init.constant_(head.bias, -4.0)
    weights = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.05)
    order, losses, seconds = np.random.default_rng(0), [], 0.0
    for step in range(1, options.steps + 1):
        began = time.thread_time()
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, step / WARMUP) * 0.5 * (1 + np.cos(np.pi * step / options.of))
        rows = order.integers(0, len(train.touched), options.batch)
        logits = head(encoder(train.patches(rows)).tokens)
        known = train.touched[rows].isfinite()
        loss = binary_cross_entropy_with_logits(
            logits[known], train.touched[rows][known], pos_weight=torch.tensor(POSITIVE)
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        losses.append(loss.item())
        seconds += time.thread_time() - began
        if step % 100 == 0 or step == options.steps:
            aurocs = _evaluate(lambda patches: head(encoder(patches).tokens), test)
            print(f"{name:<10}{step:>6}{seconds:>9.0f}{np.mean(losses[-100:]):>8.3f}   {aurocs}", flush=True)


@torch.no_grad()
def _evaluate(score: Callable[[Patches], Tensor], test: Squares) -> str:
    blocks = np.array_split(np.arange(len(test.touched)), max(1, len(test.touched) // 64))
    scores = torch.cat([score(test.patches(rows)) for rows in blocks]).numpy()
    touched = test.touched.numpy()
    each = [
        (touched.reshape(-1, touched.shape[2]), scores.reshape(-1, touched.shape[2])),
        (touched.max(axis=1), scores.max(axis=1)),  # NaN of a patch excludes its square
    ]
    return "; ".join(", ".join(f"{value:.3f}" for value in _aurocs(*pair)) for pair in each)


def _aurocs(touched: NDArray[np.float32], scores: NDArray[np.float32]) -> list[float]:
    """AUROC of every label, of [N, L]."""
    known = np.isfinite(touched)
    columns = range(touched.shape[1])
    return [float(roc_auc_score(touched[known[:, k], k], scores[known[:, k], k])) for k in columns]
