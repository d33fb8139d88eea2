r"""Measure films per second and activation memory of masked autoencoders relative to the published design.

    mae-rad bench mae_speed --shards PUBLIC [--models vit_small vit_base] \
        [--pixels 224 512 1024] [--batch N] [--rounds N] [--share 0.66] [--device cpu|cuda] [--compile] \
        [--kernel auto|fused|plain] [--threads N] [--profile] [--json FILE]

All variants take steps in turn, round after round, on films of the same shards with the same visible fraction (a
quarter), decoder size (512 x 8 x 16, as published), precision (bf16) and optimiser (fused AdamW). The medians count.

reference   the published design: film padded to the square of ``--pixels``, content unknown, self-attention decoder
            over all patches, all hidden patches predicted
decoder     the same patches, cross-attention decoder
subset      also, only a quarter of the patches predicted
content     also, T patches for the content box instead of the square, at the same scale: T = share x square
lean        also, activations of the decoder recomputed (encoder.checkpoint_activations: decoder)
leanest     also, those of the encoder recomputed (encoder.checkpoint_activations: true)
light       content with half the width and depth of the decoder: another model, for comparison

``share`` is the mean of (content box / padded square) over the films, read from the shards unless given.

Time: process time (what this process used of all cores; busy neighbours distort it less) and wall time; on a GPU both
are wall time between synchronisations. Memory: "saved" is what autograd keeps for the backward pass, every storage
counted once, parameters not; "peak" is how far the resident (on a GPU allocated) memory rises in a step above
parameters, gradients and optimiser state, which are there before. Both hold autocast's bf16 copies of the weights, the
same for any batch: listed below each table. FLOPs: two per multiply-add of every matrix product,
forward and backward, counted on the meta device with plain attention. Loading is not part of a step.
"""

import argparse
import ctypes
import gc
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from data_prep.settings import local_argument
from mae_rad.data.batch import Batch
from mae_rad.data.film_order import Order, StepRange
from mae_rad.data.loader import training_batches
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.encoders.blocks import Blocks
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.objectives import FILM, MAESettings
from mae_rad.objectives.interface import Objective

PATCH = 16
GROUPS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm", "mkldnn", "linear"),
    "fused attention": ("scaled_dot_product", "flash_attention"),
    "softmax": ("softmax",),
    "normalisation": ("layer_norm",),
    "GELU": ("gelu",),
    "copies and casts": ("copy_", "cat", "contiguous", "clone", "to_copy"),
    "sums and scaling": ("add", "mul", "div", "sum", "sub", "pow", "mean", "fill_", "zero_"),
    "optimiser": ("adam", "foreach"),
}


@dataclass
class TrainingVariant:
    """A variant of training, its batches and measurements."""

    name: str
    settings: MAESettings
    objective: Objective
    optimizer: torch.optim.Optimizer
    batches: list[Batch]
    recompute: tuple[bool, bool]
    process: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    saved: int = 0
    peak: int = 0
    flops: int = 0

    @property
    def films(self) -> int:
        """Films per step."""
        return len(self.batches[0].keys)

    def step(self, number: int, device: torch.device) -> None:
        """Run forward, backward and update; gradients stay allocated."""
        stacks = (self.objective.encoder.blocks, self.objective.get_submodule("decoder.blocks"))
        for stack, again in zip(stacks, self.recompute, strict=True):  # weights are shared
            assert isinstance(stack, Blocks)
            stack.recompute = again
        with torch.autocast(device.type, torch.bfloat16):
            loss = self.objective(self.batches[number % len(self.batches)]).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)


def view_settings(square: int, share: float) -> dict[str, MAESettings]:
    """Return the settings of the variants.

    Args:
        square: number of patches of the padded square.
        share: content box / padded square, in (0, 1].

    Returns:
        Name → settings.
    """
    content = round(math.sqrt(share * square)) ** 2
    reference = MAESettings(tokens=square, padded=True, predicted="all", decoder="self", variance_floor=0)
    decoder = reference.model_copy(update={"decoder": "cross"})
    subset = decoder.model_copy(update={"predicted": 0.25})
    content_settings = MAESettings(tokens=content, predicted=0.25, decoder="cross")
    light = content_settings.model_copy(update={"decoder_dim": 256, "decoder_depth": 4, "decoder_heads": 8})
    return {
        "reference": reference,
        "decoder": decoder,
        "subset": subset,
        "content": content_settings,
        "lean": content_settings,
        "leanest": content_settings,
        "light": light,
    }


def build(
    model: str, square: int, share: float, index: ShardIndex, options: argparse.Namespace
) -> list[TrainingVariant]:
    """Build the variants; those with equal weights share them.

    Args:
        model: name of the encoder.
        square: number of patches of the padded square.
        share: content box / padded square.
        index: films.
        options: options of the command line.
    """
    device = torch.device(options.device)
    shared: dict[tuple[str, int], tuple[Objective, torch.optim.Optimizer]] = {}
    variants = []
    for name, settings in view_settings(square, share).items():
        if options.variants and name not in options.variants:
            continue
        weights = (settings.decoder, settings.decoder_depth)
        if weights not in shared:
            encoder = build_encoder(EncoderSettings.model_validate({"model": model, "attention": options.kernel}))
            objective = settings.build({FILM: encoder}).to(device)
            if options.compile:
                objective.compile()
            optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)
            shared[weights] = (objective, optimizer)
        drawn = training_batches(
            index, Order(len(index), 0, options.batch), {"film": settings.view},
            StepRange(0, 2, rank=0, world=1, micro=options.batch), patch=PATCH, workers=0,
        )  # fmt: skip
        batches = [batch.to(device) for batch, _ in drawn]
        variants.append(
            TrainingVariant(name, settings, *shared[weights], batches, (name == "leanest", name.startswith("lean")))
        )
    return variants


def measure(variants: Sequence[TrainingVariant], rounds: int, device: torch.device) -> None:
    """Measure times and memory, and store them in the variants."""
    for variant in variants:  # allocates gradients and optimiser state, and selects kernels
        variant.step(0, device)
    for variant in variants:
        parameters = {parameter.untyped_storage().data_ptr() for parameter in variant.objective.parameters()}
        variant.saved = _saved(partial(variant.step, 0, device), parameters)
        with _peak(device) as peak:
            variant.step(0, device)
        variant.peak = peak[0]
    for number in range(rounds):
        for variant in variants:
            _synchronise(device)
            process, wall = time.process_time(), time.perf_counter()
            variant.step(number, device)
            _synchronise(device)
            variant.wall.append(time.perf_counter() - wall)
            spent = time.process_time() - process
            variant.process.append(variant.wall[-1] if device.type == "cuda" else spent)


def count_flops(model: str, variant: TrainingVariant) -> int:
    """Count the FLOPs of one step."""
    meta = torch.device("meta")
    with meta:
        encoder = build_encoder(EncoderSettings.model_validate({"model": model, "attention": "plain"}))
        objective = variant.settings.build({FILM: encoder})
    with FlopCounterMode(display=False) as counter:
        objective(variant.batches[0].to(meta)).loss.backward()
    return int(counter.get_total_flops())


def _saved(step: Callable[[], None], parameters: set[int]) -> int:
    storages: dict[int, int] = {}
    alive: list[Tensor] = []  # keeps storages alive, so that no address is reused

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor.detach())
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    return sum(storages.values())


@contextmanager
def _peak(device: torch.device) -> Iterator[list[int]]:
    """Yield a list whose element becomes the increase of memory in the context, in bytes."""
    increase = [0]
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield increase
        increase[0] = torch.cuda.max_memory_allocated() - before
        return
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the high-water mark
    before = _status("VmRSS")
    yield increase
    increase[0] = _status("VmHWM") - before


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {name}")


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def breakdown(variant: TrainingVariant, device: torch.device) -> dict[str, float]:
    """Measure the seconds of one step by kind of operation."""
    activities = [ProfilerActivity.CUDA] if device.type == "cuda" else [ProfilerActivity.CPU]
    with profile(activities=activities) as profiler:
        variant.step(0, device)
    times = dict.fromkeys([*GROUPS, "rest"], 0.0)
    for event in profiler.key_averages():
        spent = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        name = event.key.lower()
        # The longest match: "add" is also in "addmm".
        matches = [(len(part), group) for group, parts in GROUPS.items() for part in parts if part in name]
        times[max(matches)[1] if matches else "rest"] += spent / 1e6
    return times


def mean_share(index: ShardIndex) -> float:
    """Compute the mean over films of content box / padded square."""
    shares = []
    for row in range(len(index)):
        film = index.film(row)
        shares.append(film.box.rows * film.box.columns / max(film.sidecar.rows, film.sidecar.columns) ** 2)
    return statistics.mean(shares)


def table(model: str, pixels: int, variants: Sequence[TrainingVariant]) -> list[dict[str, object]]:
    """Print a table of the variants; returns its rows."""
    print(f"\n{model}, {pixels} px, batch {variants[0].films}, {len(variants[0].wall)} rounds")
    print(
        "| | T | films/s | of process time | x | saved MB/film | of it | peak MB/film | of it | GFLOP/film | fewer x |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    first, rows = variants[0], []
    for variant in variants:
        process, wall = statistics.median(variant.process), statistics.median(variant.wall)
        row = {
            "variant": variant.name, "T": variant.settings.tokens, "films_per_second": variant.films / wall,
            "films_per_process_second": variant.films / process,
            "faster": statistics.median(first.process) / process,
            "saved_mb": variant.saved / variant.films / 1e6, "saved_share": variant.saved / first.saved,
            "peak_mb": variant.peak / variant.films / 1e6, "peak_share": variant.peak / max(first.peak, 1),
            "gflop": variant.flops / variant.films / 1e9, "fewer_flops": first.flops / variant.flops,
        }  # fmt: skip
        rows.append(row)
        cells = [str(row["variant"]), str(row["T"])]
        cells += [f"{value:.3g}" for value in list(row.values())[2:] if isinstance(value, float)]
        print(f"| {' | '.join(cells)} |")
    copies = sum(2 * weight.numel() for weight in first.objective.parameters() if weight.ndim == 2)
    print(f"of it bf16 copies of the weights: {copies / first.films / 1e6:.1f} MB/film, {copies / 1e6:.0f} MB a step")
    gains = [statistics.median(variant.process) for variant in variants]
    steps = [
        f"{variant.name} {before / after:.2f}"
        for variant, before, after in zip(variants[1:], gains, gains[1:], strict=False)
    ]
    print(f"each against the one above it: {', '.join(steps)}", flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        prog="mae-rad bench mae_speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.register("type", Path, local_argument)
    parser.add_argument("--shards", type=Path, required=True, metavar="PUBLIC", help="public folder")
    parser.add_argument(
        "--models", nargs="+", default=["vit_small", "vit_base"], help="encoders (default: vit_small vit_base)"
    )
    parser.add_argument(
        "--pixels", nargs="+", type=int, default=[224, 512, 1024], help="sides of the square (default: 224 512 1024)"
    )
    parser.add_argument("--batch", type=int, default=4, help="films per step (default: 4)")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (default: 5)")
    parser.add_argument("--share", type=float, help="content box / padded square (default: measured)")
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="arithmetic threads; more than idle cores are counted while they wait (default: 1)",
    )
    parser.add_argument("--variants", nargs="+", help="only these variants; the first is the reference")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="device (default: cpu)")
    parser.add_argument("--kernel", default="auto", choices=["auto", "fused", "plain"], help="attention kernel")
    parser.add_argument("--compile", action="store_true", help="use torch.compile")
    parser.add_argument(
        "--profile", action="store_true", help="print the time of the first and last variant by kind of operation"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="JSON file of the rows to write")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    index = ShardIndex([options.shards])
    share = options.share or mean_share(index)
    print(f"{len(index)} films; content box / padded square: {share:.3f}; {torch.get_num_threads()} threads")
    device, results = torch.device(options.device), []
    for model in options.models:
        for pixels in options.pixels:
            variants = build(model, (pixels // PATCH) ** 2, share, index, options)
            measure(variants, options.rounds, device)
            for variant in variants:
                variant.flops = count_flops(model, variant)
            results += [{"model": model, "pixels": pixels, **row} for row in table(model, pixels, variants)]
            if options.profile:
                for variant in (variants[0], variants[-1]):
                    times = breakdown(variant, device)
                    parts = sorted(times.items(), key=lambda part: -part[1])
                    shown = ", ".join(f"{name} {spent / sum(times.values()):.0%}" for name, spent in parts)
                    print(f"{variant.name}: {shown}", flush=True)
            del variants
            gc.collect()
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0
