"""Reconciliation of the label entries of several sources and readers into one value per film, under named policies.

``labels.parquet`` keeps every entry of every source and reader; they are reconciled when the table is read, so another
policy does not need other tables.

The first source in the order of ``merge`` that mentions the finding decides, even where it is uncertain. Within a
source an adjudicated entry (``reader`` 0) goes before those of readers; readers who differ are reconciled by
``readers``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from data_prep.settings import Settings
from data_prep.shard_format.label_schema import ADJUDICATED
from data_prep.shard_format.label_tables import SOURCES

SOURCE_ORDERS: dict[str, tuple[str, ...]] = {
    "expert_wins": SOURCES,
    "expert_only": ("expert",),
    "weak_only": ("report", "metadata"),
}
"""Value of ``merge`` → the sources that count, the first one first."""
REASONS = ("", "not labelled", "uncertain", "labels conflict", "not mentioned", "confidence 0")
"""Reasons why a film has no value; a code is the index in this list, 0: the film has a value."""

_KNOWN, _NOT_LABELLED, _UNCERTAIN, _CONFLICT, _NOT_MENTIONED, _ZERO_CONFIDENCE = range(len(REASONS))
_VOTE_VALUES = ("absent", "present", "uncertain")
_UNCERTAIN_VOTE = _VOTE_VALUES.index("uncertain")
_VOTE_OF_POLICY = {"negative": _VOTE_VALUES.index("absent"), "positive": _VOTE_VALUES.index("present")}

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Codes = NDArray[np.int8]
Votes = NDArray[np.float64]
"""Numbers of entries, or sums of their confidences."""


class LabelPolicy(Settings):
    """Rules that reconcile the entries of sources and readers into one value."""

    merge: Literal["expert_wins", "expert_only", "weak_only"] = "expert_wins"
    """Sources that count. expert_wins: an expert before a report before other metadata; expert_only: experts alone, as
    for testing; weak_only: report and metadata alone, to evaluate weak labels."""
    uncertain: Literal["ignore", "soft", "positive", "negative", "class"] = "ignore"
    """Value of an uncertain finding. ignore: unknown; soft: ``soft_value``; positive: 1; negative: 0; class: a class of
    its own (``uncertain`` of the result is set, its value is unknown)."""
    soft_value: float = Field(default=0.5, ge=0, le=1)
    """Value (0 to 1) of an uncertain finding under ``uncertain: soft``."""
    not_mentioned: Literal["ignore", "absent"] = "ignore"
    """Value of a finding that was looked for and that no source mentions. ignore: unknown; absent: 0, as is usual for
    reports, with false negatives where the report omits a finding."""
    readers: Literal["majority", "mean", "ignore"] = "majority"
    """Value where readers of one source differ and no entry is adjudicated. majority: the value of more than half of
    them, weighted by their fraction, else unknown; mean: the mean of their values; ignore: unknown."""


@dataclass(frozen=True)
class ResolvedLabels:
    """Reconciled labels of F films and L labels.

    Attributes:
        keys: [F] keys of the films.
        labels: [L] names of the labels.
        values: [F, L] 0 absent to 1 present, NaN unknown.
        weights: [F, L] 0 to 1: confidence times the fraction of readers who agree; 0 where the value is unknown.
        uncertain: [F, L] whether the deciding entry is uncertain, whatever value the policy gives it.
        sources: [F, L] index in SOURCES of the source that decided; -1: none.
        reasons: [F, L] index in REASONS.
    """

    keys: list[str]
    labels: tuple[str, ...]
    values: Floats
    weights: Floats
    uncertain: Flags
    sources: Codes
    reasons: Codes

    def reason(self, film: int, label: int) -> str:
        """Reason why a film has no value; empty where it has one.

        Args:
            film: index of the film.
            label: index of the label.
        """
        return REASONS[self.reasons[film, label]]

    def left_out(self, label: str, among: Flags | None = None) -> dict[str, int]:
        """Count the films without a value, by reason.

        Args:
            label: name of the label.
            among: [F] films that are counted; None: all.
        """
        codes = self.reasons[:, self.labels.index(label)]
        codes = codes if among is None else codes[among]
        counts = np.bincount(codes, minlength=len(REASONS)).tolist()
        return {reason: count for reason, count in zip(REASONS, counts, strict=True) if reason and count}


def resolve_labels(
    labels: pa.Table, policy: LabelPolicy, *, keys: Sequence[str] | None = None, names: Sequence[str] | None = None
) -> ResolvedLabels:
    """Reconcile all entries of a table of labels.

    Args:
        labels: rows of LABELS_SCHEMA; rows with a number instead of a value are skipped.
        policy: rules of reconciliation.
        keys: keys of the films, each once; None: all films of the table, sorted. Rows of other films are skipped.
        names: names of the labels, each once; None: all labels of the table that have values, sorted.

    Returns:
        Values and weights of all films and labels.
    """
    labels = labels.filter(pc.is_valid(labels["value"]))
    films = sorted(pc.unique(labels["key"]).to_pylist()) if keys is None else list(keys)
    columns = sorted(pc.unique(labels["label"]).to_pylist()) if names is None else list(names)
    entries = _Entries(labels, films, columns)
    cells = len(films) * len(columns)
    values, weights = np.full(cells, np.nan), np.zeros(cells)
    uncertain, sources = np.zeros(cells, np.bool_), np.full(cells, -1, np.int8)
    reasons = np.full(cells, _NOT_LABELLED, np.int8)
    unmentioned, unmentioned_confidence = np.zeros(cells), np.zeros(cells)
    for source in SOURCE_ORDERS[policy.merge]:
        for adjudicated in (True, False):
            votes, confidences = entries.votes(source, adjudicated)
            count, confidence = entries.not_mentioned(source, adjudicated)
            unmentioned, unmentioned_confidence = unmentioned + count, unmentioned_confidence + confidence
            reasons[(reasons == _NOT_LABELLED) & (count > 0)] = _NOT_MENTIONED
            decided = (sources < 0) & (votes.sum(axis=0) > 0)
            reconciled = _reconcile(votes[:, decided], confidences[:, decided], policy)
            values[decided], weights[decided], uncertain[decided], reasons[decided] = reconciled
            sources[decided] = SOURCES.index(source)
    if policy.not_mentioned == "absent":
        absent = reasons == _NOT_MENTIONED
        values[absent], reasons[absent] = 0, _KNOWN
        weights[absent] = unmentioned_confidence[absent] / unmentioned[absent]
    without_weight = (reasons == _KNOWN) & (weights == 0)
    values[without_weight], reasons[without_weight] = np.nan, _ZERO_CONFIDENCE
    shape = len(films), len(columns)
    return ResolvedLabels(
        films,
        tuple(columns),
        values.astype(np.float32).reshape(shape),
        weights.astype(np.float32).reshape(shape),
        uncertain.reshape(shape),
        sources.reshape(shape),
        reasons.reshape(shape),
    )


def reconcile_values(first: str | None, second: str | None) -> str | None:
    """Reconcile two entries of one source and reader about one film.

    Args:
        first: present, absent, uncertain or not_mentioned; None where the entry is a number.
        second: the same of the later entry.

    Returns:
        ``first`` where both are equal or one of them is a number, else uncertain, since neither has precedence.
    """
    return first if first is None or second is None or first == second else "uncertain"


class _Entries:
    """The rows of a table of labels, counted by cell: cell = film × number of labels + label."""

    def __init__(self, labels: pa.Table, films: list[str], columns: list[str]) -> None:
        film = _indices(labels["key"], films)
        column = _indices(labels["label"], columns)
        requested = (film >= 0) & (column >= 0)
        self._cells = len(films) * len(columns)
        self._cell = (film * len(columns) + column)[requested]
        self._vote = _indices(labels["value"], list(_VOTE_VALUES))[requested]  # -1: not mentioned
        self._source = _indices(labels["source"], list(SOURCES))[requested]
        self._adjudicated = _fill_nulls(labels["reader"], -1)[requested] == ADJUDICATED
        self._confidence = _fill_nulls(labels["confidence"], 1.0)[requested].astype(np.float64)

    def votes(self, source: str, adjudicated: bool) -> tuple[Votes, Votes]:
        """([3, cells] numbers of entries absent, present and uncertain, [3, cells] sums of their confidences)."""
        rows = self._rows(source, adjudicated)
        by_vote = [rows & (self._vote == vote) for vote in range(len(_VOTE_VALUES))]
        counts = [np.bincount(self._cell[chosen], minlength=self._cells).astype(np.float64) for chosen in by_vote]
        confidences = [np.bincount(self._cell[chosen], self._confidence[chosen], self._cells) for chosen in by_vote]
        return np.stack(counts), np.stack(confidences)

    def not_mentioned(self, source: str, adjudicated: bool) -> tuple[Votes, Votes]:
        """([cells] numbers of entries not_mentioned, [cells] sums of their confidences)."""
        rows = self._rows(source, adjudicated) & (self._vote < 0)
        cell = self._cell[rows]
        counts = np.bincount(cell, minlength=self._cells).astype(np.float64)
        return counts, np.bincount(cell, self._confidence[rows], self._cells).astype(np.float64)

    def _rows(self, source: str, adjudicated: bool) -> Flags:
        rows: Flags = (self._source == SOURCES.index(source)) & (self._adjudicated == adjudicated)
        return rows


def _reconcile(votes: Votes, confidences: Votes, policy: LabelPolicy) -> tuple[Votes, Votes, Flags, Codes]:
    """Value, weight, uncertain and reason of cells with votes [3, cells] and sums of confidences [3, cells]."""
    if policy.readers == "mean":
        return _average(votes, confidences, policy)
    total = votes.sum(axis=0)
    needed = total if policy.readers == "ignore" else total // 2 + 1
    uncertain = votes[_UNCERTAIN_VOTE] >= needed
    if policy.uncertain in _VOTE_OF_POLICY:
        votes, confidences = (_move_uncertain(sums, _VOTE_OF_POLICY[policy.uncertain]) for sums in (votes, confidences))
    winner = votes.argmax(axis=0)
    most, confidence = (np.take_along_axis(sums, winner[None], axis=0)[0] for sums in (votes, confidences))
    soft = policy.soft_value if policy.uncertain == "soft" else np.nan
    values = np.where(most >= needed, np.array([0, 1, soft])[winner], np.nan)
    known = np.isfinite(values)
    weights = np.where(known | (uncertain & (policy.uncertain == "class")), confidence / total, 0)
    reasons = np.where(known, _KNOWN, np.where(uncertain, _UNCERTAIN, _CONFLICT)).astype(np.int8)
    return values, weights, uncertain, reasons


def _average(votes: Votes, confidences: Votes, policy: LabelPolicy) -> tuple[Votes, Votes, Flags, Codes]:
    """As :func:`_reconcile`: the mean of the readers' values, weighted by their confidence."""
    uncertain = votes[:_UNCERTAIN_VOTE].sum(axis=0) == 0
    if policy.uncertain in _VOTE_OF_POLICY:
        votes, confidences = (_move_uncertain(sums, _VOTE_OF_POLICY[policy.uncertain]) for sums in (votes, confidences))
    if policy.uncertain != "soft":  # positive and negative have moved all uncertain votes
        is_class = uncertain & (policy.uncertain == "class")
        votes, confidences = (np.where(is_class | [[True], [True], [False]], sums, 0) for sums in (votes, confidences))
    value = np.array([0, 1, policy.soft_value if policy.uncertain == "soft" else np.nan])[:, None]
    confidence = confidences.sum(axis=0)
    total = np.where(confidences > 0, value * confidences, 0).sum(axis=0)
    values = np.divide(total, confidence, out=np.full(len(total), np.nan), where=confidence > 0)
    weights = confidence / np.maximum(votes.sum(axis=0), 1)
    has_votes = (votes.sum(axis=0) > 0) & ~(uncertain & (policy.uncertain == "class"))
    unknown = np.where(has_votes, _ZERO_CONFIDENCE, _UNCERTAIN)
    reasons = np.where(np.isfinite(values), _KNOWN, unknown).astype(np.int8)
    return values, weights, uncertain, reasons


def _move_uncertain(votes: Votes, target: int) -> Votes:
    """Votes [3, cells] with the uncertain ones added to row ``target``."""
    moved = votes.copy()
    moved[target] += moved[_UNCERTAIN_VOTE]
    moved[_UNCERTAIN_VOTE] = 0
    return moved


def _indices(column: pa.ChunkedArray, values: list[str]) -> NDArray[np.int64]:
    """[rows] index of each text in ``values``, -1 where it is not in there."""
    return _fill_nulls(pc.index_in(column, value_set=pa.array(values, pa.string())), -1).astype(np.int64)


def _fill_nulls(column: pa.ChunkedArray | pa.Array, value: float) -> NDArray[np.float64]:
    return np.asarray(pc.fill_null(pc.cast(column, pa.float64()), value))
