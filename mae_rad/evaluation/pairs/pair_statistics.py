"""Statistics of the pairs of a strategy, in the forward passes that a run would draw.

For vectors i of row and j of column, w says how much j pulls i, d how much it pushes
(``mae_rad.pairing.relations``). What pulls counts by its share of the row, w_ij / sum_j w_ij, as in the loss; what
pushes by d. The other view of a draw is among what pulls; what shows the film of the row itself is no pair of films and
counts for ``scanner`` only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_prep.shard_format.rare_values import MIN_PATIENTS
from mae_rad.data.shard_reader import numbered
from mae_rad.evaluation.pairs.asked_labels import AskedLabel
from mae_rad.evaluation.pairs.run_passes import RunPasses
from mae_rad.evaluation.pairs.unknown_pairs import relation_name, treatment, unknown_pairs
from mae_rad.evaluation.pairs.weighted_shares import TellsApart, WeightedShare
from mae_rad.losses.pair_nce import valid_rows
from mae_rad.pairing.relations import Shown, relate
from mae_rad.pairing.settings import PairSettings

QUANTILES = (0.1, 0.5, 0.9)
_MOST_ROWS = 512
"""Rows of a forward pass whose pairs are counted; columns are all."""
_NEGATIVES = ("body_part", "view", "scanner")


@dataclass(frozen=True)
class LabelStatistics:
    """Pairs judged by a finding.

    Attributes:
        purity: share of what pulls, among films of which the state is known, that has the same state.
        chance: the same of two random films.
        false_negatives: share of what pushes that has the same state and body part.
        false_negatives_by_chance: the same of two random films.
        is_circular: whether the strategy read what is asked.
        is_of_experts: whether experts say so.
    """

    purity: float
    chance: float
    false_negatives: float
    false_negatives_by_chance: float
    is_circular: bool
    is_of_experts: bool

    @property
    def excess(self) -> float:
        """Purity above chance: 0 as two random films, 1 always the same state."""
        return (self.purity - self.chance) / (1 - self.chance) if self.chance < 1 else math.nan


@dataclass(frozen=True)
class PairStatistics:
    """What a strategy does, before training.

    Attributes:
        coverage: share of the vectors that another film pulls.
        own_partner: share of the draws whose two views show one film.
        positives: quantiles QUANTILES of the number of vectors of other films that pull a vector; with weights the
            effective number, (sum w)² / sum w².
        dropped: share of the vectors that take no part in the loss.
        other_patients: share of what pulls, of other films, that is of another patient.
        scanner: AUROC of telling from an equal scanner (manufacturer and model) that a pair pulls, with own films.
        scanner_other_patients: the same among films of different patients.
        negatives: body_part, view, scanner → share of what pushes that has the same value.
        films_left_out: share of the films that an epoch leaves out.
        unknown: relation → (share of the pairs of films that it cannot decide, what it does with them).
        labels: finding → statistics.
        passes: forward passes that were counted.
    """

    coverage: float
    own_partner: float
    positives: tuple[float, ...]
    dropped: float
    other_patients: float
    scanner: float
    scanner_other_patients: float
    negatives: Mapping[str, float]
    films_left_out: float
    unknown: Mapping[str, tuple[float, str]]
    labels: Mapping[str, LabelStatistics]
    passes: int = 0

    @property
    def excess(self) -> float:
        """Mean purity above chance over the findings that the strategy did not read; NaN without any."""
        return _mean([one.excess for one in self.labels.values() if not one.is_circular])

    @property
    def false_negatives(self) -> float:
        """Mean share of false negatives over these findings."""
        return _mean([one.false_negatives for one in self.labels.values() if not one.is_circular])


def count_pairs(
    pairs: PairSettings, passes: RunPasses, index: pa.Table, asked: Sequence[AskedLabel], *, count: int
) -> PairStatistics:
    """Count the pairs of forward passes.

    Args:
        pairs: the strategy.
        passes: forward passes of its run.
        index: index of the training films.
        asked: findings by which they are judged.
        count: number of passes.
    """
    counter = _Counter(pairs, index, asked)
    for shown in passes.drawn(count):
        counter.add(shown)
    epoch = passes.order.step(int(passes.steps(count)[-1]))[0].epoch
    return counter.result(1 - len(passes.order.rows(epoch)) / index.num_rows)


@dataclass
class _Counter:
    pairs: PairSettings
    index: pa.Table
    asked: Sequence[AskedLabel]
    rows: int = 0
    passes: int = 0
    dropped: float = 0.0
    own_partner: float = 0.0
    positives: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        patients = len(self.index)
        self._part, self._view = (torch.from_numpy(numbered(self.index[name])) for name in ("body_part", "view"))
        self._scanner = torch.from_numpy(_scanners(self.index))
        self._other_patients = WeightedShare(patients)
        self._covered = WeightedShare(patients)
        self._all, self._others = TellsApart(patients), TellsApart(patients)
        self._same = {name: WeightedShare(patients) for name in _NEGATIVES}
        self._unknown = {relation_name(one): WeightedShare(patients) for one in self.pairs.relation if one.needs}
        self._pure = {label.name: WeightedShare(patients) for label in self.asked}
        self._false = {label.name: WeightedShare(patients) for label in self.asked}

    def add(self, columns: Shown) -> None:
        """Add a forward pass of M vectors."""
        total = len(columns.members.film)
        chosen = torch.from_numpy(np.unique(np.linspace(0, total - 1, min(total, _MOST_ROWS)).round().astype(np.int64)))
        rows = columns.each(lambda values: values[chosen])
        w, d = relate(self.pairs.relation, rows, columns, own_in_denominator=self.pairs.own_in_denominator)
        first, second = columns.members.film.chunk(2)
        self.passes, self.rows = self.passes + 1, self.rows + len(chosen)
        self.own_partner += float((first == second).float().mean())
        self.dropped += float((~valid_rows(w, d)).sum())
        own, other = rows.members, columns.members
        is_other = own.film[:, None] != other.film[None]
        pull = w / w.sum(dim=1, keepdim=True).clamp(min=torch.finfo(w.dtype).tiny)
        push = d.masked_fill(w > 0, 0.0)
        self._add_positives(w * is_other, own.patient)
        self._add_scanners(pull, push, own.film, other.film, own.patient[:, None] != other.patient[None], own.patient)
        self._other_patients.add(pull * is_other, own.patient[:, None] != other.patient[None], own.patient)
        for relation in self.pairs.relation:
            unknown = unknown_pairs(relation, rows.meta, columns.meta)
            if unknown is not None:
                self._unknown[relation_name(relation)].add(is_other.float(), unknown, own.patient)
        self._add_labels(pull * is_other, push * is_other, own.film, other.film, own.patient)

    def _add_positives(self, weights: Tensor, patients: Tensor) -> None:
        total, squares = weights.sum(dim=1), weights.square().sum(dim=1)
        effective = torch.where(squares > 0, total.square() / squares.clamp(min=1e-30), torch.zeros_like(total))
        self.positives.append(effective)
        self._covered.add(torch.ones(len(total), 1), (effective > 0)[:, None], patients)

    def _add_scanners(
        self, pull: Tensor, push: Tensor, rows: Tensor, columns: Tensor, other_patient: Tensor, patients: Tensor
    ) -> None:
        equal, known = _equal(self._scanner, rows, columns)
        self._all.add(pull, push, equal, known, patients)
        self._others.add(pull, push, equal, known & other_patient, patients)
        self._same["scanner"].add(push * known, equal, patients)
        for name, values in (("body_part", self._part), ("view", self._view)):
            equal, known = _equal(values, rows, columns)
            self._same[name].add(push * known, equal, patients)

    def _add_labels(self, pull: Tensor, push: Tensor, rows: Tensor, columns: Tensor, patients: Tensor) -> None:
        same_part, part_known = _equal(self._part, rows, columns)
        for label in self.asked:
            equal, known = _equal(torch.from_numpy(label.states), rows, columns)
            self._pure[label.name].add(pull * known, equal, patients)
            self._false[label.name].add(push * (known & part_known), equal & same_part, patients)

    def result(self, films_left_out: float) -> PairStatistics:
        """Statistics of all passes."""
        positives = torch.cat(self.positives).double().numpy()
        return PairStatistics(
            coverage=self._covered.value,
            own_partner=self.own_partner / self.passes,
            positives=tuple(float(value) for value in np.quantile(positives, QUANTILES)),
            dropped=self.dropped / self.rows,
            other_patients=self._other_patients.value,
            scanner=self._all.auroc,
            scanner_other_patients=self._others.auroc,
            negatives={name: share.value for name, share in self._same.items()},
            films_left_out=films_left_out,
            unknown={
                relation_name(one): (self._unknown[relation_name(one)].value, treatment(one))
                for one in self.pairs.relation
                if one.needs
            },
            labels={label.name: self._of_label(label) for label in self.asked},
            passes=self.passes,
        )

    def _of_label(self, label: AskedLabel) -> LabelStatistics:
        return LabelStatistics(
            purity=self._pure[label.name].value,
            chance=_chance(label.states[label.states >= 0]),
            false_negatives=self._false[label.name].value,
            false_negatives_by_chance=_chance_within(label.states, self._part.numpy()),
            is_circular=label.is_circular(self.pairs),
            is_of_experts=label.is_of_experts,
        )


def _scanners(index: pa.Table) -> NDArray[np.int64]:
    """Number of manufacturer and model of each film, -1 where the manufacturer is not known."""
    maker, model = numbered(index["manufacturer"]), numbered(index["model"])
    return np.where(maker < 0, -1, maker * (model.max(initial=0) + 2) + model + 1)


def _equal(values: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Whether the films of rows and columns have the same known value [N, M], and whether both are known [N, M]."""
    a, b = values[rows][:, None], values[columns][None]
    known = (a >= 0) & (b >= 0)
    return (a == b) & known, known


def _chance(values: NDArray[np.int64]) -> float:
    """Probability that two random films have the same value."""
    shares = np.bincount(values) / max(len(values), 1)
    return float((shares**2).sum())


def _chance_within(states: NDArray[np.int64], part: NDArray[np.int64]) -> float:
    """Probability that two random films have the same state and body part; NaN for films of few."""
    known = (states >= 0) & (part >= 0)
    if known.sum() < MIN_PATIENTS:
        return math.nan
    return _chance(np.unique(states[known] * (part.max() + 1) + part[known], return_inverse=True)[1])


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
