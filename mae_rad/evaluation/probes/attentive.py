"""Attentive probe: one learned query attends to the patch tokens of a frozen encoder, a linear layer answers.

A finding that covers a few patches is lost in a mean over all of them; this probe asks what the tokens know. The
pooling is that of the finetuning head. All tasks, and all learning rates of each, train side by side in one pass over
the tokens; learning rate and length of training are chosen on the validation patients.

Legend: B films of a batch, D channels, C classes.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mae_rad.embedding.token_source import TokenSource
from mae_rad.evaluation.probes.linear_and_knn import Probed
from mae_rad.evaluation.statistics.metrics import Floats, macro_auroc
from mae_rad.heads.pooling import AttentivePooling, pool_each

RATES = (3e-4, 1e-3, 3e-3)
EPOCHS = 20
LEAST_STEPS = 100
BATCH = 64
WEIGHT_DECAY = 0.05
_WARMUP = 0.1
_LOOKS = 4
"""How often in a training the validation films are asked."""


@dataclass(frozen=True)
class AttentiveTask:
    """A task as the probe trains it.

    Attributes:
        classes: C.
        train, val, test: rows of the index; the choice is made on val.
        y: row → class, of train and val.
        how: in words, which films val is.
    """

    classes: int
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]
    y: Mapping[int, int]
    how: str


class _Head(nn.Module):
    """A probe of one task at one learning rate."""

    def __init__(self, dim: int, heads: int, classes: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.pooling = AttentivePooling(dim, heads)
        self.answer = nn.Linear(dim, classes)


class _Best:
    """The best head of one task so far."""

    def __init__(self) -> None:
        self.value, self.note = -math.inf, ""
        self.head: _Head | None = None

    def offer(self, value: float, head: _Head, note: str) -> None:
        """Keep a copy of ``head`` if it is better than what was."""
        if value > self.value:
            self.value = value
            self.replace(head, note)

    def replace(self, head: _Head, note: str) -> None:
        """Keep a copy of ``head``."""
        self.note, self.head = note, copy.deepcopy(head)


def attentive_scores(
    source: TokenSource, questions: Mapping[str, AttentiveTask], heads: int, seed: int, device: torch.device
) -> dict[str, Probed]:
    """What the probe says of the test films of each question.

    Args:
        source: tokens of the frozen encoder.
        questions: name → task.
        heads: of the attention.
        seed: of initial weights and of the order of films.
        device: to train on.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probes = {
            name: [_Head(source.dim, heads, question.classes, rate).to(device) for rate in RATES]
            for name, question in questions.items()
        }
    groups = [
        {"params": list(head.parameters()), "lr": head.rate, "peak": head.rate}
        for own in probes.values()
        for head in own
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)
    films = np.unique(np.concatenate([question.train for question in questions.values()]))
    labels = _labels(questions, films, device)
    steps = max(EPOCHS * math.ceil(len(films) / BATCH), LEAST_STEPS)
    looks = {round(steps * (look + 1) / _LOOKS) for look in range(_LOOKS)}
    best = {name: _Best() for name in questions}
    order, step = np.random.default_rng(seed), 0
    while step < steps:
        for rows, tokens, mask in source.batches(order.permutation(films), BATCH):
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * _schedule(step, steps)
            here = torch.from_numpy(np.searchsorted(films, rows)).to(device)
            optimizer.zero_grad()
            loss = _loss(probes, tokens, mask, {name: of[here] for name, of in labels.items()})
            torch.autograd.backward(loss)
            optimizer.step()
            step += 1
            if step in looks:
                _look(source, probes, questions, best, f"{step} steps")
            if step == steps:
                break
    chosen = {name: [one.head] for name, one in best.items() if one.head is not None}
    said = _scores(source, chosen, {name: questions[name].test for name in chosen})
    return {name: Probed(said[name][0], f"{best[name].note} ({questions[name].how})") for name in chosen}


def _labels(
    questions: Mapping[str, AttentiveTask], films: NDArray[np.int64], device: torch.device
) -> dict[str, Tensor]:
    """Task → [films] class, -1 where the task does not train on the film."""
    out = {}
    for name, question in questions.items():
        values = np.full(len(films), -1, dtype=np.int64)
        values[np.searchsorted(films, question.train)] = [question.y[row] for row in question.train.tolist()]
        out[name] = torch.from_numpy(values).to(device)
    return out


def _loss(probes: Mapping[str, Sequence[_Head]], tokens: Tensor, mask: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
    """Sum over all heads of their mean losses; they share no weight, so each is as if alone."""
    pooled = iter(pool_each([head.pooling for own in probes.values() for head in own], tokens, mask))
    losses = [tokens.new_zeros(())]
    for name, own in probes.items():
        for head in own:
            answer = head.answer(next(pooled))
            if (labels[name] >= 0).any():
                losses.append(cross_entropy(answer, labels[name], ignore_index=-1))
    return torch.stack(losses).sum()


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    warm = max(1, round(_WARMUP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _look(
    source: TokenSource,
    probes: Mapping[str, Sequence[_Head]],
    questions: Mapping[str, AttentiveTask],
    best: Mapping[str, _Best],
    when: str,
) -> None:
    """Ask the validation films, and keep what is the best so far."""
    said = _scores(source, probes, {name: question.val for name, question in questions.items()})
    for name, question in questions.items():
        y = np.array([question.y[row] for row in question.val.tolist()], dtype=np.int64)
        for head, scores in zip(probes[name], said[name], strict=True):
            told = f"lr={head.rate:g}, {when}"
            if len(y):
                best[name].offer(float(macro_auroc(y, scores, np.ones((1, len(y))))[0]), head, told)
            elif head.rate == RATES[len(RATES) // 2]:
                best[name].replace(head, told)


@torch.no_grad()
def _scores(
    source: TokenSource, probes: Mapping[str, Sequence[_Head]], asked: Mapping[str, NDArray[np.int64]]
) -> dict[str, list[Floats]]:
    """Task → of each head probabilities [films asked, C]."""
    films = np.unique(np.concatenate([np.empty(0, np.int64), *asked.values()]))
    out = {name: [np.zeros((len(films), head.answer.out_features)) for head in own] for name, own in probes.items()}
    every = [head.pooling for own in probes.values() for head in own]
    for rows, tokens, mask in source.batches(films, BATCH):
        here = np.searchsorted(films, rows)
        pooled = iter(pool_each(every, tokens, mask))
        for name, own in probes.items():
            for head, scores in zip(own, out[name], strict=True):
                scores[here] = head.answer(next(pooled)).double().softmax(dim=1).cpu().numpy()
    return {name: [scores[np.searchsorted(films, asked[name])] for scores in own] for name, own in out.items()}
