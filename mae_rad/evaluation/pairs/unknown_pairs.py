"""How many pairs of films a relation cannot decide, since a value that it needs is not known."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mae_rad.data.batch import Meta
from mae_rad.pairing.columns import expanded
from mae_rad.pairing.finding_relations import FindingConflict
from mae_rad.pairing.relation import OfColumns, Relation


def unknown_pairs(relation: Relation, rows: Meta, columns: Meta) -> Tensor | None:
    """Mark the pairs of which a needed value is not known.

    Args:
        relation: the relation.
        rows: what is known of N films.
        columns: what is known of M films.

    Returns:
        [N, M] bool: no label of those that it compares is known of both films, or one of its other columns is not
        known of either; None for a relation that reads no column.
    """
    if not relation.needs:
        return None
    labels = expanded(relation.states, rows) if relation.states else []
    others = [name for name in relation.needs if name not in relation.states]
    parts = [~torch.stack([_both_known(name, rows, columns) for name in labels]).any(dim=0)] if labels else []
    parts += [~_both_known(name, rows, columns) for name in others]
    return torch.stack(parts).any(dim=0)


def treatment(relation: Relation) -> str:
    """What the relation does with such a pair: push or ignore.

    Args:
        relation: a relation that reads columns.
    """
    ignores = isinstance(relation, OfColumns) and not isinstance(relation, FindingConflict) and relation.ignores_unknown
    return "ignore" if ignores else "push"


def relation_name(relation: Relation) -> str:
    """Name of a relation in tables: its settings without those at their default.

    Args:
        relation: the relation.
    """
    values: Mapping[str, object] = relation.model_dump(mode="json", exclude_unset=True)
    named = sorted(values.items(), key=lambda item: item[0] == "within")
    return ", ".join(f"{name} {_text(value)}" for name, value in named)


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _both_known(name: str, rows: Meta, columns: Meta) -> Tensor:
    return _known(rows[name])[:, None] & _known(columns[name])[None]


def _known(values: Tensor) -> Tensor:
    return ~values.isnan() if values.is_floating_point() else values >= 0
