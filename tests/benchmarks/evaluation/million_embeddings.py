"""A million vectors: exact neighbours and retrieval of 10,000 queries, and a linear probe on streamed rows.

    OMP_NUM_THREADS=2 python -m tests.benchmarks.evaluation.million_embeddings [--films 1000000] [--dim 768] \\
        [--queries 10000]

The vectors are generated and lie on disk as a comparison keeps them, memory-mapped float32. Goal: neighbours and
retrieval of all queries together under ten minutes and 8 GiB (peak resident memory, which counts mapped pages too) on
two cores. Exactness is checked against plain products for some queries. A film of one of 24 kinds lies about the
middle of its kind, so that there is something to find.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from data_prep.runtime.progress import Progress
from mae_rad.embedding.nearest_neighbours import Neighbours, find_neighbours
from mae_rad.embedding.standardised_rows import Standardised, Vectors, fit_scale
from mae_rad.evaluation.comparison.retrieval import DEPTH, average_precision_at_k
from mae_rad.evaluation.probes.linear_and_knn import PROBES
from mae_rad.evaluation.probes.logistic_regression import fit, probabilities
from mae_rad.evaluation.statistics.metrics import macro_auroc

KINDS, SEED, CORES = 24, 0, 2
MINUTES, GIB = 10.0, 8.0
CHECKED, STRENGTHS = 20, (1e-3,)


def main() -> None:
    """Generate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="for the generated vectors; by default a temporary one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder, threadpool_limits(CORES):
        kinds, matrix = generated(Path(folder) / "vectors.npy", given.films, given.dim)
        random = np.random.default_rng(SEED + 1)
        test = np.sort(random.permutation(given.films)[: given.queries])
        train = np.setdiff1d(np.arange(given.films), test)
        total = neighbours(matrix, kinds, train, test) + retrieval(matrix, kinds, test)
        peak = peak_gib()
        told = "reached" if total < 60 * MINUTES and peak < GIB else "MISSED"
        goal = f"goal {MINUTES:.0f} min, {GIB:.0f} GiB: {told}"
        print(f"neighbours and retrieval: {total:.0f} s, peak {peak:.1f} GiB  ({goal})")
        linear(matrix, kinds, train, test)


def generated(path: Path, films: int, dim: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Kind of every film, and its vector, written block by block."""
    random = np.random.default_rng(SEED)
    middles = random.normal(size=(KINDS, dim)).astype(np.float32)
    kinds = random.integers(0, KINDS, films)
    out = open_memmap(path, mode="w+", dtype=np.float32, shape=(films, dim))
    progress = Progress("generate", "films", films)
    for start in range(0, films, 50_000):
        here = slice(start, min(start + 50_000, films))
        noise = random.standard_normal((here.stop - here.start, dim), dtype=np.float32)
        out[here] = 3 + 5 * noise + middles[kinds[here]]
        progress.add(here.stop - here.start)
    progress.close()
    out.flush()
    del out  # its pages are no longer this process's
    return kinds, np.load(path, mmap_mode="r")


def neighbours(
    matrix: NDArray[np.float32], kinds: NDArray[np.int64], train: NDArray[np.int64], test: NDArray[np.int64]
) -> float:
    """The nearest-neighbour probe at every k of its choice; seconds."""
    start = time.perf_counter()
    probe = PROBES["knn"]
    said = probe.predict(Vectors(matrix, train), kinds[train], Vectors(matrix, test), KINDS, probe.candidates)
    seconds = time.perf_counter() - start
    ones = np.ones((1, len(test)))
    values = [float(macro_auroc(kinds[test], one.scores, ones)[0]) for one in said]
    scores = ", ".join(f"k={k:g}: {value:.3f}" for k, value in zip(probe.candidates, values, strict=True))
    print(f"nearest neighbours of {len(test):,} among {len(train):,}: {seconds:.0f} s, {told_peak()}; AUROC {scores}")
    return seconds


def retrieval(matrix: NDArray[np.float32], kinds: NDArray[np.int64], test: NDArray[np.int64]) -> float:
    """Average precision of the queries among all films; seconds."""
    start = time.perf_counter()
    everyone = Vectors(matrix, np.arange(len(matrix)))
    scale = fit_scale(everyone)
    queries = Standardised(everyone.take(test), scale, unit=True)
    own = np.arange(len(matrix))
    found = find_neighbours(Standardised(everyone, scale, unit=True), queries, DEPTH, apart=(own, test))
    hits = kinds[found.place] == kinds[test][:, None]
    value = average_precision_at_k(hits, np.bincount(kinds)[kinds[test]] - 1).mean()
    seconds = time.perf_counter() - start
    print(f"retrieval of {len(test):,} among {len(matrix):,}: {seconds:.0f} s, {told_peak()}; MAP@{DEPTH} {value:.3f}")
    check(matrix, everyone, found, queries.array(), test)
    return seconds


def check(
    matrix: NDArray[np.float32],
    everyone: Vectors,
    found: Neighbours,
    queries: NDArray[np.float32],
    test: NDArray[np.int64],
) -> None:
    """Some queries against plain products over all films, in double precision."""
    scale = fit_scale(everyone)
    similar = np.empty((CHECKED, len(matrix)))
    for here, block in everyone.blocks():
        x = (block - scale.mean) / scale.std
        similar[:, here] = queries[:CHECKED] @ (x / np.linalg.norm(x, axis=1, keepdims=True)).T
    similar[np.arange(CHECKED), test[:CHECKED]] = -1
    best = -np.sort(-similar, axis=1)[:, :DEPTH]
    np.testing.assert_allclose(found.cosine[:CHECKED], best, atol=1e-5)
    print(f"  the {DEPTH} nearest of {CHECKED} queries are those of plain products in double precision")


def linear(
    matrix: NDArray[np.float32], kinds: NDArray[np.int64], train: NDArray[np.int64], test: NDArray[np.int64]
) -> None:
    """The linear probe over vectors that are read anew at every pass."""
    start = time.perf_counter()
    scale = fit_scale(Vectors(matrix, train))
    (model,) = fit(Standardised(Vectors(matrix, train), scale), kinds[train], KINDS, STRENGTHS)
    scores = probabilities(model, Standardised(Vectors(matrix, test), scale))
    value = macro_auroc(kinds[test], scores, np.ones((1, len(test))))[0]
    seconds = time.perf_counter() - start
    print(f"linear probe on {len(train):,}: {seconds:.0f} s, {told_peak()}; AUROC {value:.3f}")


def told_peak() -> str:
    """The same in words, with the processor time so far: what a busy machine does not change."""
    return f"peak {peak_gib():.1f} GiB, {time.process_time():.0f} s of processor time since the start"


def peak_gib() -> float:
    """Most resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
