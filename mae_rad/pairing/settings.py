"""A strategy of pairs: (partner, relation, batches), in a YAML file of ``configs/pairs`` or in a config."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from data_prep.bounded_reading import MAX_YAML_BYTES, parse_yaml, read_bounded
from data_prep.settings import Settings
from mae_rad.errors import SettingsError
from mae_rad.pairing.column_relations import SameIdentity
from mae_rad.pairing.columns import ALL_LABELS, Column, is_label
from mae_rad.pairing.neighbours import MutualNeighbours
from mae_rad.pairing.partners import RULES, AnyPartner, PartnerRule
from mae_rad.pairing.relation_settings import AnyRelation

STRATEGIES = Path(__file__).resolve().parents[1] / "configs" / "pairs"
"""Folder of the strategies that come with the package."""
INSTANCE = "e0_instance"
"""Name of the default strategy."""
UNNAMED = "unnamed"
"""Name of a strategy that a config holds without one."""


class BatchStage(Settings):
    """A part of the run with other batches."""

    until: float = Field(gt=0, lt=1)
    """Share of the run at which it ends."""
    groups: int | None = Field(default=None, ge=1)
    """As in ``batches``; null draws from all films alike."""


class BatchSettings(Settings):
    """Composition of the films that a forward pass compares."""

    together: list[Column] = Field(min_length=1)
    """Columns: films with equal values are drawn together. Films with an unknown value are a stratum of their own."""
    groups: int = Field(default=1, ge=1)
    """Number of strata in a forward pass over all ranks, each with the same share of its films. Strata with fewer films
    than a share are merged, the smallest with the next larger one, until they fill it."""
    schedule: list[BatchStage] = Field(default_factory=list)
    """Earlier stages of the run with other batches, for example [{until: 0.5}] for batches from all films in the first
    half."""

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if any(later.until <= earlier.until for earlier, later in pairwise(self.schedule)):
            raise ValueError("until of the stages of batches must ascend")
        return self

    def check(self, films: int) -> None:
        """Check that a forward pass can be divided.

        Args:
            films: of a forward pass over all ranks.

        Raises:
            ValueError: they cannot be divided into the groups.
        """
        for groups in [stage.groups for stage in self.schedule] + [self.groups]:
            if groups is not None and films % groups:
                raise ValueError(
                    f"objective.pairs.batches.groups: {films} films of a forward pass are not divisible by {groups}."
                    " Choose a divisor"
                )


class PairSettings(Settings):
    """Which films belong together."""

    name: str = INSTANCE
    """Name of the strategy in tables and cards."""
    partner: AnyPartner = PartnerRule.model_validate(RULES["itself"])
    """Film that the second view shows: itself, study, other_view, patient, patient_same_part, patient_other_date,
    random, or a mapping with the columns same, other and agree."""
    relation: list[AnyRelation] = Field(default=[SameIdentity(of="film")])
    """Which vectors pull and which ignore each other, for objectives that compare pairs; all others push: film, study,
    patient, {same: [columns]}, {ignore: [columns]}, {kernel: column, sigma: s}, {threshold: column, most: m},
    {agreement: [labels]}, {neighbours: k, ring: r, every: steps}, {conflict: [labels]}."""
    own_in_denominator: bool = True
    """Whether pairs that pull stand in the denominator, too; false is the decoupled loss."""
    batches: BatchSettings | None = None
    """Composition of batches; null draws from all films alike."""

    @model_validator(mode="after")
    def _states_are_of_labels(self) -> Self:
        if wrong := [name for one in self.relation for name in one.states if not is_label(name)]:
            raise ValueError(f"{wrong[0]} is no label: write label.NAME, or {ALL_LABELS} for all labels")
        return self

    @property
    def compares(self) -> bool:
        """Whether relation or denominator differ from the default, which methods without pairs cannot use."""
        default = PairSettings.model_fields["relation"].default
        return self.relation != default or not self.own_in_denominator

    @property
    def neighbours(self) -> MutualNeighbours | None:
        """The relation that needs neighbours, if there is one."""
        return next((one for one in self.relation if isinstance(one, MutualNeighbours)), None)

    @property
    def columns_of_relation(self) -> tuple[str, ...]:
        """Columns that the relation reads of every film of a batch."""
        return tuple(name for relation in self.relation for name in relation.needs)

    @property
    def columns_of_order(self) -> tuple[str, ...]:
        """Columns that partners and batches read; none for a film that is its own partner."""
        partner = () if self.partner.is_itself else self.partner.needs
        return (*partner, *(self.batches.together if self.batches else ()))

    def check(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Check that columns hold what the relations need.

        Args:
            columns: column → [films] values.

        Raises:
            SettingsError: a number is needed and the column holds text, or the reverse.
        """
        for relation in self.relation:
            for name in relation.numbers:
                if not np.issubdtype(columns[name].dtype, np.floating):
                    raise SettingsError(f"objective.pairs: column {name!r} holds no numbers. Choose one that does.")
            for name in relation.states:
                if name != ALL_LABELS and np.issubdtype(columns[name].dtype, np.floating):
                    raise SettingsError(f"objective.pairs: {name!r} is a number, not a finding. Use kernel: {name}.")


def _read_strategy(value: object) -> object:
    """Read the file of a strategy that a config names; a mapping is its content already."""
    if isinstance(value, Mapping) and value:
        return {"name": UNNAMED} | dict(value)
    if not isinstance(value, str | Path):
        return value
    path = Path(value)
    if path.name == str(value) and not path.suffix and not path.exists():
        path = STRATEGIES / f"{value}.yaml"
    try:
        content = parse_yaml(read_bounded(path, MAX_YAML_BYTES).decode())
    except (OSError, ValueError):
        content = None
    if not isinstance(content, Mapping):
        names = ", ".join(strategy_names())
        raise ValueError(f"{value} is no readable YAML file of a strategy. Give one, or a name: {names}")
    return {"name": path.stem} | dict(content)


def strategy_names() -> Sequence[str]:
    """Names of the strategies that come with the package."""
    return sorted(path.stem for path in STRATEGIES.glob("*.yaml"))


Strategy = Annotated[PairSettings, BeforeValidator(_read_strategy)]
"""Type of a settings field for a strategy: a name of configs/pairs, a file or a mapping. A run records its content."""
