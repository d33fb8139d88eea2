"""Settings that the targets of every task share: which films they apply to, and their name."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from data_prep.settings import Settings
from mae_rad.data.shard_reader import Condition

Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""One label or a list of them."""


class TargetSettings(Settings):
    """What a head predicts of a film."""

    where: dict[str, Condition] = Field(default_factory=dict)
    """Index column → value, or list of values, of the films that the target applies to; on others it is unknown."""
    name: str = ""
    """Name in tables and predictions; by default that of the label or column."""

    @property
    def title(self) -> str:
        """The name, by default that of the label or column."""
        return self.name

    @property
    def label_names(self) -> tuple[str, ...]:
        """Labels of labels.parquet that it is read from; none for an index column."""
        return ()


def duplicate_titles(targets: tuple[TargetSettings, ...]) -> list[str]:
    """Names that several targets of a task have."""
    titles = [target.title for target in targets]
    return sorted({title for title in titles if titles.count(title) > 1})
