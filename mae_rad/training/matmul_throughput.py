"""Measure the matrix multiplication rate of this machine, the reference of FLOPs utilisation."""

import time

import torch

SIDES = {"cuda": 8192, "cpu": 512}
"""Device type → rows of the square matrices: large enough for the full rate, small enough for a short measurement."""


def measure_matmul_rate(device: torch.device, precision: str, seconds: float = 0.3) -> float:
    """Measure the FLOP/s of square matrix products, as the best of several rounds.

    Args:
        device: device to measure.
        precision: "bf16" or "f32", as in training.
        seconds: duration of all rounds together.

    Returns:
        FLOP/s, two per multiplication and addition.
    """
    side = SIDES.get(device.type, SIDES["cpu"])
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left = torch.full((side, side), 0.5, device=device, dtype=dtype)
    right, out = torch.full_like(left, 0.25), torch.empty_like(left)
    products = 16 if device.type == "cuda" else 1
    best, measured_since = float("inf"), None
    while measured_since is None or time.perf_counter() - measured_since < seconds:
        _wait(device)
        start = time.perf_counter()
        for _ in range(products):
            torch.mm(left, right, out=out)
        _wait(device)
        if measured_since is None:
            measured_since = time.perf_counter()  # the first round is a warm-up
        else:
            best = min(best, time.perf_counter() - start)
    if best == float("inf"):
        return measure_matmul_rate(device, precision, 2 * seconds)
    return 2.0 * side**3 * products / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
