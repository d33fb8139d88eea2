"""MLflow, behind two small classes; nothing else imports it."""

from mae_rad.tracking.outbox import Outbox
from mae_rad.tracking.public_values import public_value, public_values
from mae_rad.tracking.tracker import Tracker, default_uri, open_command

__all__ = ["Outbox", "Tracker", "default_uri", "open_command", "public_value", "public_values"]
