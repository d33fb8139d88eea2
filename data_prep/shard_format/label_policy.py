"""Which value a film has for a label, where several sources and readers speak of it: one rule, under named policies.

``labels.parquet`` keeps every word of every source and reader; what they amount to is decided when it is read. So
another policy never writes labels anew.

Sources are asked in the order of ``merge``; the first that mentions the finding decides, and the others are not asked,
even where it is uncertain. Within a source an adjudicated word (``reader`` 0) goes before the readers; readers who
differ are settled by ``readers``.
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

MERGES: dict[str, tuple[str, ...]] = {
    "expert_wins": SOURCES,
    "expert_only": ("expert",),
    "weak_only": ("report", "metadata"),
}
"""Name of a policy → the sources that are asked, in their order."""
REASONS = ("", "not labelled", "uncertain", "labels conflict", "not mentioned", "confidence 0")
"""Why a film has no value; the code is the place in this list, 0 is a film that has one."""

_KNOWN, _NOT_LABELLED, _UNCERTAIN, _CONFLICT, _NOT_MENTIONED, _WEIGHTLESS = range(len(REASONS))
_SAID = ("absent", "present", "uncertain")
_UNSURE = _SAID.index("uncertain")
_COUNTS_AS = {"negative": _SAID.index("absent"), "positive": _SAID.index("present")}

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Codes = NDArray[np.int8]
Votes = NDArray[np.float64]


class LabelPolicy(Settings):
    """How the words of sources and readers become one value."""

    merge: Literal["expert_wins", "expert_only", "weak_only"] = "expert_wins"
    """Which sources count: an expert before the report before other metadata; experts alone, as for testing; or
    report and metadata alone, to learn what weak labels are worth."""
    uncertain: Literal["ignore", "soft", "positive", "negative", "class"] = "ignore"
    """What an uncertain finding counts as: nothing, ``soft_value``, 1, 0, or a class of its own (``uncertain`` of the
    result; its value is unknown)."""
    soft_value: float = Field(default=0.5, ge=0, le=1)
    """Value of an uncertain finding under ``uncertain: soft``."""
    not_mentioned: Literal["ignore", "absent"] = "ignore"
    """What a finding counts as that no source mentions, where one has looked for it. Absent is usual for reports, which
    tell what was found; it makes false negatives of what nobody thought worth a word."""
    readers: Literal["majority", "mean", "ignore"] = "majority"
    """Where readers of one source differ and nobody has adjudicated: the value of more than half of them, weighed by
    their share, else unknown; the mean of their values; or unknown in every case."""


@dataclass(frozen=True)
class Resolved:
    """Films × labels.

    Attributes:
        keys: F films.
        labels: L names.
        values: [F, L] 0 absent to 1 present, NaN unknown.
        weights: [F, L] 0 to 1: confidence, times the share of the readers who agree; 0 where nothing is known.
        uncertain: [F, L] the word that counts is uncertain, whatever the policy makes of it.
        sources: [F, L] place in SOURCES of the source that decided; -1 where none did.
        reasons: [F, L] place in REASONS.
    """

    keys: list[str]
    labels: tuple[str, ...]
    values: Floats
    weights: Floats
    uncertain: Flags
    sources: Codes
    reasons: Codes

    def reason(self, film: int, label: int) -> str:
        """Why the film in that place has no value for the label in that place; empty where it has one."""
        return REASONS[self.reasons[film, label]]

    def left_out(self, label: str, among: Flags | None = None) -> dict[str, int]:
        """Reason → films without a value for ``label``; of those that ``among`` [F] flags, if given."""
        codes = self.reasons[:, self.labels.index(label)]
        codes = codes if among is None else codes[among]
        counts = np.bincount(codes, minlength=len(REASONS)).tolist()
        return {reason: count for reason, count in zip(REASONS, counts, strict=True) if reason and count}


def resolve(
    labels: pa.Table, policy: LabelPolicy, *, keys: Sequence[str] | None = None, names: Sequence[str] | None = None
) -> Resolved:
    """Settle all words of a table of labels.

    Args:
        labels: rows of ``shard_format.LABELS_SCHEMA``; those with a number instead of a value are passed over.
        policy: what goes before what.
        keys: the films wanted, each once; by default those of the table, sorted. Rows of others are passed over.
        names: the labels wanted, each once; by default those of the table that have values, sorted.
    """
    labels = labels.filter(pc.is_valid(labels["value"]))
    films = sorted(pc.unique(labels["key"]).to_pylist()) if keys is None else list(keys)
    columns = sorted(pc.unique(labels["label"]).to_pylist()) if names is None else list(names)
    words = _Words(labels, films, columns)
    cells = len(films) * len(columns)
    values, weights = np.full(cells, np.nan), np.zeros(cells)
    uncertain, sources = np.zeros(cells, np.bool_), np.full(cells, -1, np.int8)
    reasons = np.full(cells, _NOT_LABELLED, np.int8)
    silent, silent_sure = np.zeros(cells), np.zeros(cells)
    for source in MERGES[policy.merge]:
        for adjudicated in (True, False):
            votes, sure = words.votes(source, adjudicated)
            count, confidence = words.silent(source, adjudicated)
            silent, silent_sure = silent + count, silent_sure + confidence
            reasons[(reasons == _NOT_LABELLED) & (count > 0)] = _NOT_MENTIONED
            now = (sources < 0) & (votes.sum(axis=0) > 0)
            settled = _settled(votes[:, now], sure[:, now], policy)
            values[now], weights[now], uncertain[now], reasons[now] = settled
            sources[now] = SOURCES.index(source)
    if policy.not_mentioned == "absent":
        said = reasons == _NOT_MENTIONED
        values[said], weights[said], reasons[said] = 0, silent_sure[said] / silent[said], _KNOWN
    weightless = (reasons == _KNOWN) & (weights == 0)
    values[weightless], reasons[weightless] = np.nan, _WEIGHTLESS
    shape = len(films), len(columns)
    return Resolved(
        films,
        tuple(columns),
        values.astype(np.float32).reshape(shape),
        weights.astype(np.float32).reshape(shape),
        uncertain.reshape(shape),
        sources.reshape(shape),
        reasons.reshape(shape),
    )


def reconciled_value(one: str | None, other: str | None) -> str | None:
    """The value that remains of two entries of one source and reader about one film.

    Args:
        one: present, absent, uncertain or not_mentioned; None where the entry is a number.
        other: the same of the later entry.

    Returns:
        ``one`` where both are equal or one of them is a number, else uncertain: neither goes before the other.
    """
    return one if one is None or other is None or one == other else "uncertain"


class _Words:
    """The rows of a table of labels as cells (film × label, film by film)."""

    def __init__(self, labels: pa.Table, films: list[str], columns: list[str]) -> None:
        film = _places(labels["key"], films)
        column = _places(labels["label"], columns)
        wanted = (film >= 0) & (column >= 0)
        self._cells = len(films) * len(columns)
        self._cell = (film * len(columns) + column)[wanted]
        self._said = _places(labels["value"], list(_SAID))[wanted]  # -1: not mentioned
        self._source = _places(labels["source"], list(SOURCES))[wanted]
        self._adjudicated = _filled(labels["reader"], -1)[wanted] == ADJUDICATED
        self._confidence = _filled(labels["confidence"], 1.0)[wanted].astype(np.float64)

    def votes(self, source: str, adjudicated: bool) -> tuple[Votes, Votes]:
        """[3, cells] rows that say absent, present, uncertain; and the sum of their confidences."""
        rows = self._rows(source, adjudicated)
        chosen = [rows & (self._said == place) for place in range(len(_SAID))]
        count = [np.bincount(self._cell[one], minlength=self._cells).astype(np.float64) for one in chosen]
        sure = [np.bincount(self._cell[one], self._confidence[one], self._cells) for one in chosen]
        return np.stack(count), np.stack(sure)

    def silent(self, source: str, adjudicated: bool) -> tuple[Votes, Votes]:
        """[cells] rows that say that the finding is not mentioned; and the sum of their confidences."""
        rows = self._rows(source, adjudicated) & (self._said < 0)
        cell = self._cell[rows]
        count, sure = np.bincount(cell, minlength=self._cells), np.bincount(cell, self._confidence[rows], self._cells)
        return count.astype(np.float64), sure.astype(np.float64)

    def _rows(self, source: str, adjudicated: bool) -> Flags:
        rows: Flags = (self._source == SOURCES.index(source)) & (self._adjudicated == adjudicated)
        return rows


def _settled(votes: Votes, sure: Votes, policy: LabelPolicy) -> tuple[Votes, Votes, Flags, Codes]:
    """Value, weight, uncertain and reason of cells for which there are votes [3, cells] and their confidences."""
    if policy.readers == "mean":
        return _mean(votes, sure, policy)
    total = votes.sum(axis=0)
    needed = total if policy.readers == "ignore" else total // 2 + 1
    uncertain = votes[_UNSURE] >= needed
    if policy.uncertain in _COUNTS_AS:
        votes, sure = (_moved(one, _COUNTS_AS[policy.uncertain]) for one in (votes, sure))
    winner = votes.argmax(axis=0)
    most, most_sure = (np.take_along_axis(one, winner[None], axis=0)[0] for one in (votes, sure))
    soft = policy.soft_value if policy.uncertain == "soft" else np.nan
    values = np.where(most >= needed, np.array([0, 1, soft])[winner], np.nan)
    known = np.isfinite(values)
    weights = np.where(known | (uncertain & (policy.uncertain == "class")), most_sure / total, 0)
    reasons = np.where(known, _KNOWN, np.where(uncertain, _UNCERTAIN, _CONFLICT)).astype(np.int8)
    return values, weights, uncertain, reasons


def _mean(votes: Votes, sure: Votes, policy: LabelPolicy) -> tuple[Votes, Votes, Flags, Codes]:
    """The mean of the readers' values, weighed by their confidence; who is uncertain counts as the policy says."""
    uncertain = votes[:_UNSURE].sum(axis=0) == 0
    if policy.uncertain in _COUNTS_AS:
        votes, sure = (_moved(one, _COUNTS_AS[policy.uncertain]) for one in (votes, sure))
    if policy.uncertain != "soft":  # nor is there an uncertain vote left under positive and negative
        own_class = uncertain & (policy.uncertain == "class")
        votes, sure = (np.where(own_class | [[True], [True], [False]], one, 0) for one in (votes, sure))
    value = np.array([0, 1, policy.soft_value if policy.uncertain == "soft" else np.nan])[:, None]
    confidence = sure.sum(axis=0)
    total = np.where(sure > 0, value * sure, 0).sum(axis=0)
    values = np.divide(total, confidence, out=np.full(len(total), np.nan), where=confidence > 0)
    weights = confidence / np.maximum(votes.sum(axis=0), 1)
    counted = (votes.sum(axis=0) > 0) & ~(uncertain & (policy.uncertain == "class"))
    unknown = np.where(counted, _WEIGHTLESS, _UNCERTAIN)
    reasons = np.where(np.isfinite(values), _KNOWN, unknown).astype(np.int8)
    return values, weights, uncertain, reasons


def _moved(votes: Votes, place: int) -> Votes:
    """Votes [3, cells] with those that are uncertain among the ones at ``place``."""
    moved = votes.copy()
    moved[place] += moved[_UNSURE]
    moved[_UNSURE] = 0
    return moved


def _places(column: pa.ChunkedArray, words: list[str]) -> NDArray[np.int64]:
    """[rows] place of each word in ``words``, -1 where it is not there."""
    return _filled(pc.index_in(column, value_set=pa.array(words, pa.string())), -1).astype(np.int64)


def _filled(column: pa.ChunkedArray | pa.Array, empty: float) -> NDArray[np.float64]:
    return np.asarray(pc.fill_null(pc.cast(column, pa.float64()), empty))
