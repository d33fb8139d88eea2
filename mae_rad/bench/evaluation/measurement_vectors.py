"""Write the numbers of labels.parquet as one vector per film: the ceiling of a comparison, from measurements alone.

    mae-rad bench measurement_vectors PUBLIC… --out truth.parquet [--labels NAME…]

    encoders:   # in the config of `compare`
      - {foreign: truth.parquet, name: measurements, role: ceiling}

On a synthetic archive, ``mae-rad label`` takes truth/measurements.csv beside truth/labels.csv. Two columns per label:
the number, standardised by mean and standard deviation of the training films that have one and 0 where a film has
none, and whether the film has one (1 or 0). A label that was made from such a number is then predicted as well as these
films allow; labels without a measurement are at chance.
"""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.settings import local_argument
from data_prep.shard_format.label_policy import LabelPolicy
from data_prep.shard_format.number_labels import resolve_numbers
from mae_rad.embedding.embeddings_file import write_embeddings
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.comparison.films import Films


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table of vectors and print its labels; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="mae-rad bench measurement_vectors", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.register("type", Path, local_argument)
    parser.add_argument("shards", nargs="+", type=Path, metavar="PUBLIC", help="public folders with labels.parquet")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="Parquet file to write")
    parser.add_argument("--labels", nargs="+", metavar="NAME", help="labels with numbers (default: all of them)")
    options = parser.parse_args(arguments)
    films = Films(options.shards)
    numbers = read_numbers(films, options.labels)
    matrix = measurement_vectors(numbers, films.split == "train")
    write_embeddings(
        options.out,
        films.keys,
        matrix,
        encoder="measurements",
        encoder_sha256=hashlib.sha256(matrix.tobytes()).hexdigest(),
        dataset_sha256=films.dataset_sha256,
        settings={"labels": list(numbers)},
    )
    for name, values in numbers.items():
        print(f"{name}: {int(np.isfinite(values).sum()):,} of {len(values):,} films")
    print(f"written: {options.out}")
    return 0


def read_numbers(films: Films, labels: Sequence[str] | None = None) -> dict[str, NDArray[np.float64]]:
    """Read the numbers of labels.parquet.

    Args:
        films: films of all splits.
        labels: names of the labels; None for all that have numbers.

    Returns:
        Label → [films] number, reconciled by the default policy, NaN where a film has none.

    Raises:
        EvaluationError: a label has no number, or no label has.
    """
    found = films.label_names("number")
    missing = [name for name in labels or [] if name not in found]
    if missing or not found:
        raise EvaluationError(
            f"labels.parquet has no numbers{f' of {missing[0]}' if missing else ''}: it has those of"
            f" {', '.join(found) or 'no label'}. Write them with: mae-rad label"
        )
    policy = LabelPolicy()
    return {name: resolve_numbers(films.labels, policy, keys=films.keys, name=name).numbers for name in labels or found}


def measurement_vectors(numbers: dict[str, NDArray[np.float64]], training: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return [films, 2 x labels]: per label the standardised number, 0 where unknown, and whether it is known.

    Args:
        numbers: label → [films], NaN where unknown.
        training: [films] bool, films of the training split, which give mean and standard deviation.
    """
    columns = []
    for values in numbers.values():
        known = np.isfinite(values)
        if not known.any():
            columns += [np.zeros(len(values))] * 2
            continue
        fitted = values[known & training] if (known & training).any() else values[known]
        deviation = fitted.std() if np.ptp(fitted) else 1.0  # of equal numbers it is a rounding error, not 0
        columns += [np.where(known, (values - fitted.mean()) / deviation, 0.0), known.astype(np.float64)]
    return np.stack(columns, axis=1).astype(np.float32)
