"""Compare a contrastive batch encoded in parts with one encoded at once: loss, gradient, peak memory, time.

    python -m tests.benchmarks.training.cached_gradients [--films 1024] [--at-once 32] [--tokens 64]

SimCLR with a ViT of 192 channels and 4 layers in f32, on random patches; each way in a process of its own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from mae_rad.data.batch import Patches, View
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.objectives import FILM, SimCLRSettings
from tests.builders.pairs.film_batch import film_batch


def measure(films: int, tokens: int, at_once: int | None, gradients: Path) -> dict[str, float]:
    """One forward and backward pass; the gradients go to a file."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    encoder = build_encoder(EncoderSettings(dim=192, depth=4, heads=3, patch=16))
    objective = SimCLRSettings(tokens=tokens, head_hidden=512, films_at_once=at_once).build({FILM: encoder})
    side = int(tokens**0.5)
    coords = torch.cartesian_prod(torch.arange(side), torch.arange(side)).float().expand(films, -1, -1)
    size = torch.full((films, 2), float(side))
    views = {
        name: View(
            Patches(torch.randint(0, 65536, (films, tokens, 256), dtype=torch.int32).to(torch.uint16), coords, size)
        )
        for name in ("a", "b")
    }
    batch = film_batch(views, torch.arange(films))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    loss = objective(batch).loss
    loss.backward()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    save_file({name: value.grad for name, value in objective.named_parameters() if value.grad is not None}, gradients)
    return {"loss": loss.item(), "seconds": seconds, "peak_gib": peak / 2**20, "of_it_here": (peak - before) / 2**20}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=int, default=1024)
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--one", choices=["whole", "parts"], help=argparse.SUPPRESS)
    parser.add_argument("--gradients", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        at_once = options.at_once if options.one == "parts" else None
        print(json.dumps(measure(options.films, options.tokens, at_once, options.gradients)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for way in ("whole", "parts"):
            command = [sys.executable, "-m", "tests.benchmarks.training.cached_gradients", *sys.argv[1:], "--one", way]
            command += ["--gradients", str(Path(folder) / way)]
            done = subprocess.run(command, env=os.environ, stdout=subprocess.PIPE, check=True)
            found[way] = json.loads(done.stdout)
            print(way, {name: round(value, 6) for name, value in found[way].items()}, flush=True)
        whole, parts = (load_file(Path(folder) / way) for way in ("whole", "parts"))
    largest = max(value.abs().max().item() for value in whole.values())
    difference = max((parts[name] - value).abs().max().item() for name, value in whole.items())
    print(f"largest difference of a gradient: {difference:.2e}, of largest gradients {largest:.2e}")
    ratio = found["whole"]["of_it_here"] / found["parts"]["of_it_here"]
    slower = found["parts"]["seconds"] / found["whole"]["seconds"]
    print(f"ratio: {ratio:.1f} times less memory, {slower:.2f} times the time, {options.at_once} films at once")
    return int(difference > 1e-5 * max(1.0, largest) or abs(found["parts"]["loss"] - found["whole"]["loss"]) > 1e-5)


if __name__ == "__main__":
    sys.exit(main())
