"""Everything that can go wrong in a way that a user can mend; the root is shared with ``data_prep``.

UserError               one clear line, exit code 2; never a traceback
├── RunError            a run folder cannot be used, or is resumed with other settings or shards
├── WeightsError        weights are missing, damaged or do not fit
└── EvaluationError     labels, embeddings or tasks do not fit together
"""

from data_prep.errors import SettingsError, ShardFormatError, UserError

__all__ = ["EvaluationError", "RunError", "SettingsError", "ShardFormatError", "UserError", "WeightsError"]


class RunError(UserError):
    """A run folder cannot be used, or is resumed with other settings or shards."""


class WeightsError(UserError):
    """Weights are missing, damaged or do not fit the model."""


class EvaluationError(UserError):
    """Labels, embeddings or tasks do not fit together."""
