"""Attentive probe: attention pooling with one learned query over frozen patch tokens, then a linear layer.

A finding of a few patches has little effect on a mean over all patches; this probe can select its tokens. The pooling
is that of the finetuning head. All tasks, with all learning rates, train in the same passes over the tokens; learning
rate and number of steps are chosen on the validation patients. The head of a number is trained by squared error on the
number standardised with mean and standard deviation of its training films, and predicts in the unit of the number.

Legend: B films of a batch, D channels, C classes.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from mae_rad.embedding.token_source import TokenSource
from mae_rad.evaluation.probes.linear_and_knn import ProbeOutput, Targets, validation_value
from mae_rad.evaluation.statistics.metrics import Floats
from mae_rad.heads.pooling import AttentivePooling, pool_each

LEARNING_RATES = (3e-4, 1e-3, 3e-3)
EPOCHS = 20
MIN_STEPS = 100
BATCH_SIZE = 64
WEIGHT_DECAY = 0.05
_WARMUP_FRACTION = 0.1
_EVALUATIONS = 4
"""Number of evaluations on the validation films during a training."""


@dataclass(frozen=True)
class AttentiveTask:
    """Films and classes of a task, or numbers.

    Attributes:
        classes: C; 1 for a number.
        train, val, test: rows of the index; learning rate and steps are chosen on val.
        y: row → class, or number as float, of train and val.
        val_description: which films val is, for the note of the result.
        is_number: whether numbers are predicted.
    """

    classes: int
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]
    y: Mapping[int, int] | Mapping[int, float]
    val_description: str
    is_number: bool = False

    def targets(self, rows: NDArray[np.int64]) -> Targets:
        """Return the classes, or the numbers, of the films ``rows``."""
        values = [self.y[row] for row in rows.tolist()]
        return np.array(values, dtype=np.float64) if self.is_number else np.array(values, dtype=np.int64)

    @cached_property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the numbers of the training films; (0, 1) for classes and equal numbers."""
        if not self.is_number:
            return 0.0, 1.0
        numbers = self.targets(self.train)
        return float(numbers.mean()), float(numbers.std()) or 1.0


class _Head(nn.Module):
    """Head of one task at one learning rate."""

    def __init__(self, dim: int, heads: int, classes: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.pooling = AttentivePooling(dim, heads)
        self.classifier = nn.Linear(dim, classes)


class _Best:
    """Best head of one task so far."""

    def __init__(self) -> None:
        self.value, self.note = -math.inf, ""
        self.head: _Head | None = None

    def keep_if_better(self, value: float, head: _Head, note: str) -> None:
        """Keep a copy of ``head`` if ``value`` is the highest so far."""
        if value > self.value:
            self.value = value
            self.replace(head, note)

    def replace(self, head: _Head, note: str) -> None:
        """Keep a copy of ``head``."""
        self.note, self.head = note, copy.deepcopy(head)


def attentive_scores(
    source: TokenSource, tasks: Mapping[str, AttentiveTask], heads: int, seed: int, device: torch.device
) -> dict[str, ProbeOutput]:
    """Train the probe on every task and score the test films.

    Args:
        source: tokens of the frozen encoder.
        tasks: name → task.
        heads: number of attention heads.
        seed: seed of the initial weights and of the order of films.
        device: device of the training.

    Returns:
        Name → probabilities of the test films, or predicted numbers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probes = {
            name: [_Head(source.dim, heads, task.classes, rate).to(device) for rate in LEARNING_RATES]
            for name, task in tasks.items()
        }
    groups = [
        {"params": list(head.parameters()), "lr": head.rate, "peak": head.rate}
        for heads in probes.values()
        for head in heads
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)
    films = np.unique(np.concatenate([task.train for task in tasks.values()]))
    labels = _labels(tasks, films, device)
    steps = max(EPOCHS * math.ceil(len(films) / BATCH_SIZE), MIN_STEPS)
    evaluation_steps = {round(steps * number / _EVALUATIONS) for number in range(1, _EVALUATIONS + 1)}
    best = {name: _Best() for name in tasks}
    order, step = np.random.default_rng(seed), 0
    while step < steps:
        for rows, tokens, mask in source.batches(order.permutation(films), BATCH_SIZE):
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * _schedule(step, steps)
            positions = torch.from_numpy(np.searchsorted(films, rows)).to(device)
            optimizer.zero_grad()
            loss = _loss(probes, tokens, mask, {name: of[positions] for name, of in labels.items()})
            torch.autograd.backward(loss)
            optimizer.step()
            step += 1
            if step in evaluation_steps:
                _evaluate(source, probes, tasks, best, f"{step} steps")
            if step == steps:
                break
    chosen = {name: [kept.head] for name, kept in best.items() if kept.head is not None}
    outputs = _scores(source, chosen, tasks, {name: tasks[name].test for name in chosen})
    return {
        name: ProbeOutput(outputs[name][0], f"{best[name].note} ({tasks[name].val_description})") for name in chosen
    }


def _labels(tasks: Mapping[str, AttentiveTask], films: NDArray[np.int64], device: torch.device) -> dict[str, Tensor]:
    """Return task → [films] class or standardised number; -1 or NaN where the task does not train on the film."""
    out = {}
    for name, task in tasks.items():
        mean, std = task.scale
        targets = task.targets(task.train)
        values = np.full(len(films), np.nan, dtype=np.float32) if task.is_number else np.full(len(films), -1)
        values[np.searchsorted(films, task.train)] = (targets - mean) / std if task.is_number else targets
        out[name] = torch.from_numpy(values).to(device)
    return out


def _loss(probes: Mapping[str, Sequence[_Head]], tokens: Tensor, mask: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
    """Sum the mean losses of all heads; they share no weight, so each trains as if alone."""
    pooled = iter(pool_each([head.pooling for heads in probes.values() for head in heads], tokens, mask))
    losses = [tokens.new_zeros(())]
    for name, heads in probes.items():
        for head in heads:
            logits, target = head.classifier(next(pooled)), labels[name]
            known = target.isfinite() if target.is_floating_point() else target >= 0
            if not known.any():
                continue
            if target.is_floating_point():
                losses.append(mse_loss(logits[known, 0], target[known]))
            else:
                losses.append(cross_entropy(logits, target, ignore_index=-1))
    return torch.stack(losses).sum()


def _schedule(step: int, steps: int) -> float:
    """Return the learning rate factor: linear warm-up, then a cosine to zero."""
    warm = max(1, round(_WARMUP_FRACTION * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _evaluate(
    source: TokenSource,
    probes: Mapping[str, Sequence[_Head]],
    tasks: Mapping[str, AttentiveTask],
    best: Mapping[str, _Best],
    when: str,
) -> None:
    """Evaluate on the validation films and keep the best heads."""
    outputs = _scores(source, probes, tasks, {name: task.val for name, task in tasks.items()})
    for name, task in tasks.items():
        y = task.targets(task.val)
        for head, scores in zip(probes[name], outputs[name], strict=True):
            note = f"lr={head.rate:g}, {when}"
            if len(y):
                best[name].keep_if_better(validation_value(y, scores), head, note)
            elif head.rate == LEARNING_RATES[len(LEARNING_RATES) // 2]:
                best[name].replace(head, note)


@torch.no_grad()
def _scores(
    source: TokenSource,
    probes: Mapping[str, Sequence[_Head]],
    tasks: Mapping[str, AttentiveTask],
    rows_by_task: Mapping[str, NDArray[np.int64]],
) -> dict[str, list[Floats]]:
    """Return task → probabilities [rows, C], or numbers [rows, 1], of each head."""
    films = np.unique(np.concatenate([np.empty(0, np.int64), *rows_by_task.values()]))
    out = {
        name: [np.zeros((len(films), head.classifier.out_features)) for head in heads] for name, heads in probes.items()
    }
    poolings = [head.pooling for heads in probes.values() for head in heads]
    for rows, tokens, mask in source.batches(films, BATCH_SIZE):
        positions = np.searchsorted(films, rows)
        pooled = iter(pool_each(poolings, tokens, mask))
        for name, heads in probes.items():
            mean, std = tasks[name].scale
            for head, scores in zip(heads, out[name], strict=True):
                outputs = head.classifier(next(pooled)).double()
                outputs = mean + std * outputs if tasks[name].is_number else outputs.softmax(dim=1)
                scores[positions] = outputs.cpu().numpy()
    return {
        name: [scores[np.searchsorted(films, rows_by_task[name])] for scores in heads] for name, heads in out.items()
    }
