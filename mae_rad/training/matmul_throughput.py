"""How fast this machine multiplies bare matrices: what utilisation is measured against."""

import time

import torch

SIDES = {"cuda": 8192, "cpu": 512}
"""Of the square matrices: large enough for the full rate, small enough for a moment."""


def matrix_rate(device: torch.device, precision: str, seconds: float = 0.3) -> float:
    """FLOP/s of square matrix products, the best of rounds that together take about ``seconds``.

    Args:
        device: whose rate.
        precision: "bf16" or "f32", as in training.
        seconds: to measure for.
    """
    side = SIDES.get(device.type, SIDES["cpu"])
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    one = torch.full((side, side), 0.5, device=device, dtype=dtype)
    other, out = torch.full_like(one, 0.25), torch.empty_like(one)
    products = 16 if device.type == "cuda" else 1
    best, begun = float("inf"), None
    while begun is None or time.perf_counter() - begun < seconds:
        _wait(device)
        start = time.perf_counter()
        for _ in range(products):
            torch.mm(one, other, out=out)
        _wait(device)
        if begun is None:
            begun = time.perf_counter()  # the first round only warms up
        else:
            best = min(best, time.perf_counter() - start)
    if best == float("inf"):
        return matrix_rate(device, precision, 2 * seconds)
    return 2.0 * side**3 * products / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
