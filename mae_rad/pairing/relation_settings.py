"""The relations that a strategy can list, each with its settings.

=======================================  ====================================================================
film, study, patient                     vectors of one film, study or patient pull each other
{same: [columns]}                        films with equal values in all columns pull each other
{ignore: [columns]}                      films with equal values in all columns ignore each other
{kernel: column, sigma: s}               pull by exp(-(a - b)² / 2 s²)
{threshold: column, most: m}             films whose values differ by at most m pull each other
{agreement: [labels]}                    pull by the agreement of findings
{neighbours: k, ring: r, every: steps}   mutual neighbours in the encoder itself pull, a ring around them is ignored
{conflict: [labels]}                     films of which one has a finding and the other has not must push
=======================================  ====================================================================

The last five take ``within: [columns]``: films with equal values there only, all others push.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator

from data_prep.settings import ChosenByName
from mae_rad.pairing.column_relations import IgnoreSame, Kernel, SameColumns, SameIdentity, Threshold
from mae_rad.pairing.finding_relations import FindingAgreement, FindingConflict
from mae_rad.pairing.neighbours import MutualNeighbours
from mae_rad.pairing.relation import Relation

_RELATIONS: dict[str, type[Relation]] = {
    "of": SameIdentity,
    "same": SameColumns,
    "ignore": IgnoreSame,
    "kernel": Kernel,
    "threshold": Threshold,
    "agreement": FindingAgreement,
    "neighbours": MutualNeighbours,
    "conflict": FindingConflict,
}
"""Key that only this relation has → relation."""


def _key_of(values: Mapping[str, object]) -> str | None:
    return next((key for key in _RELATIONS if key in values), None)


def _as_mapping(value: object) -> object:
    if isinstance(value, str):
        return {"of": value}
    if isinstance(value, Mapping) and _key_of(value) is None:
        keys = ", ".join(list(_RELATIONS)[1:])
        raise ValueError(f"a relation is film, study, patient, or a mapping with one of {keys}")
    return value


AnyRelation = Annotated[
    Relation,
    ChosenByName(_RELATIONS, _key_of),
    BeforeValidator(_as_mapping),
]
"""Type of a settings field for any relation."""
