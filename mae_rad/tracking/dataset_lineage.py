"""What a run was made from, as MLflow shows it: the shards that it read."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

_DIGEST = 12
"""Characters of the digest that tables of runs show; the source has all."""


class DataUsed(NamedTuple):
    """Films that a run read; runs on the same films have the same name and digest.

    Attributes:
        name: of the public folder, without its path.
        dataset_sha256: of the shards.
        use: what for, in MLflow's words.
        counts: what is in it, such as films and patients.
    """

    name: str
    dataset_sha256: str
    use: Literal["training", "evaluation"]
    counts: Mapping[str, int]

    def as_input(self) -> Any:
        """An MLflow ``DatasetInput``."""
        from mlflow.entities import Dataset, DatasetInput, InputTag  # noqa: PLC0415 - two seconds

        dataset = Dataset(
            name=self.name,
            digest=self.dataset_sha256[:_DIGEST],
            source_type="shards",
            source=json.dumps({"dataset_sha256": self.dataset_sha256}),
            profile=json.dumps(dict(self.counts)),
        )
        return DatasetInput(dataset=dataset, tags=[InputTag("mlflow.data.context", self.use)])


def as_inputs(data: Sequence[DataUsed]) -> list[Any]:
    """MLflow ``DatasetInput`` of each."""
    return [one.as_input() for one in data]
