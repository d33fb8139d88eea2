"""Relations: which vectors of a batch pull, push or ignore each other.

A relation is a pure function of what rows and columns show, and marks pairs; :func:`relate` combines the marks of a
list of relations into the (w, d) of ``mae_rad.losses.pair_nce``. For a pair of vectors

    own view > conflict > ignore > pull > push

where the own view is another view of the same draw, whatever film it shows. Pairs that no relation marks push. Two
films of one study never push, unless a relation names the study.

Legend: N rows (vectors of this rank), M columns (vectors of all ranks).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mae_rad.data.batch import Batch, Members, Meta
from mae_rad.pairing.relation import Relation


class Shown(NamedTuple):
    """What N vectors show.

    Attributes:
        members: who they are.
        meta: column → [N, …] values.
    """

    members: Members
    meta: Meta

    @classmethod
    def of(cls, batch: Batch, views: Sequence[str]) -> "Shown":
        """Stack what views show, in their order, as their vectors are stacked.

        Args:
            batch: B draws.
            views: names of V views.

        Returns:
            Of V x B vectors.
        """
        members = Members(*(torch.cat(parts) for parts in zip(*(batch.members[name] for name in views), strict=True)))
        known: Mapping[str, Tensor] = batch.meta.get(views[0], {})
        return cls(members, {column: torch.cat([batch.meta[name][column] for name in views]) for column in known})

    def each(self, change: Callable[[Tensor], Tensor]) -> "Shown":
        """Apply ``change`` to every tensor, for example ``gather_columns``."""
        return Shown(
            Members(*map(change, self.members)), {column: change(values) for column, values in self.meta.items()}
        )


def relate(
    relations: Sequence[Relation], rows: Shown, columns: Shown, *, own_in_denominator: bool = True
) -> tuple[Tensor, Tensor]:
    """Combine relations.

    Args:
        relations: of a strategy; none pulls the own view only.
        rows: what the N vectors of this rank show.
        columns: what the M vectors of all ranks show.
        own_in_denominator: whether pairs that pull stand in the denominator, too; the decoupled loss leaves them out.

    Returns:
        weights w [N, M] and d [N, M], the weight in the denominator, both float32 and not negative.
    """
    own, others = rows.members, columns.members
    is_same_draw = own.position[:, None] == others.position[None]
    is_self = is_same_draw & (own.view[:, None] == others.view[None])
    pull = torch.zeros(is_self.shape, device=is_self.device)
    conflict, is_ignored = pull.clone(), torch.zeros_like(is_self)
    for relation in relations:
        marks = relation.marks(rows.members, columns.members, rows.meta, columns.meta)
        pull = pull if marks.pull is None else torch.maximum(pull, marks.pull)
        conflict = conflict if marks.conflict is None else torch.maximum(conflict, marks.conflict)
        is_ignored = is_ignored if marks.ignore is None else is_ignored | marks.ignore
    is_ignored &= conflict == 0
    weights = pull.masked_fill(is_ignored | (conflict > 0), 0.0).masked_fill(is_same_draw, 1.0)
    denominator = torch.where(conflict > 0, conflict, torch.ones_like(conflict)).masked_fill(is_ignored, 0.0)
    if not any(relation.names_study for relation in relations):
        denominator = denominator.masked_fill(own.study[:, None] == others.study[None], 0.0)
    denominator = denominator.masked_fill(weights > 0, 1.0 if own_in_denominator else 0.0)
    return weights.masked_fill(is_self, 0.0), denominator.masked_fill(is_self, 0.0)
