"""MLflow, behind one small class; nothing else imports it."""

from mae_rad.tracking.public_values import public_value, public_values
from mae_rad.tracking.tracker import Tracker, default_uri, open_command

__all__ = ["Tracker", "default_uri", "open_command", "public_value", "public_values"]
