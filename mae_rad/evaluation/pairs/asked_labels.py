"""The labels by which pairs are judged, and which of them a strategy has read itself."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.folder_url import PublicFolder
from data_prep.object_storage.published_files import local_file
from data_prep.shard_format.label_policy import LabelPolicy, resolve_labels
from data_prep.shard_format.label_schema import LABELS_SCHEMA
from data_prep.shard_format.label_tables import LABELS_FILE, SOURCES, read_labels
from data_prep.shard_format.rare_values import MIN_PATIENTS
from mae_rad.pairing.columns import ALL_LABELS, is_label
from mae_rad.pairing.settings import PairSettings

_EXPERT = SOURCES.index("expert")


class AskedLabel(NamedTuple):
    """A finding by which pairs are judged.

    Attributes:
        name: of the label.
        states: [films] int64: 1 present, 0 absent, -1 not known.
        is_of_experts: whether experts say so; else reports or other metadata do.
        is_read_of_experts: whether a strategy that reads the label in this run reads what experts say of a film.
    """

    name: str
    states: NDArray[np.int64]
    is_of_experts: bool
    is_read_of_experts: bool

    def is_circular(self, pairs: PairSettings) -> bool:
        """Whether a strategy was told what is asked: then its pairs, and what is trained by them, prove nothing.

        A strategy that reads reports is judged by experts alone.

        Args:
            pairs: the strategy.
        """
        read = labels_read(pairs)
        if not read:
            return False
        reads_it = ALL_LABELS in read or f"label.{self.name}" in read
        return not self.is_of_experts or (reads_it and self.is_read_of_experts)


def labels_read(pairs: PairSettings) -> set[str]:
    """Columns of labels that a strategy reads.

    Args:
        pairs: the strategy.
    """
    return {name for name in (*pairs.columns_of_relation, *pairs.columns_of_order) if is_label(name)}


def read_asked(
    keys: Sequence[str], patients: NDArray[np.int64], shards: Sequence[PublicFolder], policy: LabelPolicy
) -> tuple[list[AskedLabel], list[str]]:
    """Read the findings of the training films.

    Args:
        keys: [films] keys of the training films, whose rows alone are read.
        patients: [films] numbers of their patients.
        shards: public folders.
        policy: how a strategy reads labels in the run.

    Returns:
        Labels of which MIN_PATIENTS patients and more have each state; names of those of which fewer have one.

    Raises:
        ShardFormatError: a table of labels is damaged.
    """
    wanted = pa.array(keys, pa.string())
    tables = [read_labels(folder) for folder in shards if local_file(folder, LABELS_FILE).exists()]
    table = pa.concat_tables([*tables, LABELS_SCHEMA.empty_table()])
    table = table.filter(pc.and_(pc.is_in(table["key"], value_set=wanted), pc.is_valid(table["value"])))
    asked: list[AskedLabel] = []
    rare: list[str] = []
    for name in sorted(pc.unique(table["label"]).to_pylist()):
        read = resolve_labels(table, policy, keys=list(keys), names=[name])
        is_read_of_experts = bool((read.sources[:, 0] == _EXPERT).any())
        experts = resolve_labels(
            table, policy.model_copy(update={"merge": "expert_only"}), keys=list(keys), names=[name]
        )
        is_of_experts = bool(np.isfinite(experts.values[:, 0]).any())
        values = (experts if is_of_experts else read).values[:, 0]
        states = np.where(np.isnan(values), -1, values >= 0.5).astype(np.int64)
        if min(len(np.unique(patients[states == state])) for state in (0, 1)) < MIN_PATIENTS:
            rare.append(name)
        else:
            asked.append(AskedLabel(name, states, is_of_experts, is_read_of_experts))
    return asked, rare
