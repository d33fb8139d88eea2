"""The shards that a run read, as MLflow dataset inputs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

_DIGEST_CHARACTERS = 12
"""Length of the digest in tables of runs; the source has the whole checksum."""


class DataUsed(NamedTuple):
    """Films that a run read; runs on the same films have the same name and digest.

    Attributes:
        name: name of the public folder, without its path.
        dataset_sha256: checksum of the shards.
        use: MLflow's context of a dataset.
        counts: numbers of films, patients and the like.
    """

    name: str
    dataset_sha256: str
    use: Literal["training", "evaluation"]
    counts: Mapping[str, int]

    def as_input(self) -> Any:
        """Convert to an MLflow ``DatasetInput``."""
        from mlflow.entities import Dataset, DatasetInput, InputTag  # noqa: PLC0415 - two seconds

        dataset = Dataset(
            name=self.name,
            digest=self.dataset_sha256[:_DIGEST_CHARACTERS],
            source_type="shards",
            source=json.dumps({"dataset_sha256": self.dataset_sha256}),
            profile=json.dumps(dict(self.counts)),
        )
        return DatasetInput(dataset=dataset, tags=[InputTag("mlflow.data.context", self.use)])


def as_inputs(data: Sequence[DataUsed]) -> list[Any]:
    """Convert each to an MLflow ``DatasetInput``."""
    return [films.as_input() for films in data]
