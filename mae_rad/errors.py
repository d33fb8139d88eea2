"""Errors that a user can correct; the base class is shared with ``data_prep``.

UserError               one clear line, exit code 2; never a traceback
├── RunError            a run folder cannot be used, or is resumed with other settings or shards
├── WeightsError        weights are missing, damaged or do not fit
├── EvaluationError     labels, embeddings or tasks do not fit together
└── PredictionError     films cannot be predicted, or the results cannot be written
"""

from data_prep.errors import SettingsError, ShardFormatError, StorageError, UserError

__all__ = [
    "EvaluationError",
    "PredictionError",
    "RunError",
    "SettingsError",
    "ShardFormatError",
    "StorageError",
    "UserError",
    "WeightsError",
]


class RunError(UserError):
    """A run folder cannot be used, or is resumed with other settings or shards."""


class WeightsError(UserError):
    """Weights are missing, damaged or do not fit the model."""


class EvaluationError(UserError):
    """Labels, embeddings or tasks do not fit together."""


class PredictionError(UserError):
    """Films cannot be predicted, or their results cannot be written."""
