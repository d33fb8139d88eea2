"""MLflow, behind a few small classes; nothing else imports it."""

from mae_rad.tracking.child_runs import COLOUR_TAG, ChildRun
from mae_rad.tracking.lineage import DataUsed
from mae_rad.tracking.outbox import Outbox
from mae_rad.tracking.public_values import public_value, public_values
from mae_rad.tracking.registry import RegisteredEncoder
from mae_rad.tracking.saved_views import Bars, Lines, Parallel, SavedView, address
from mae_rad.tracking.store import default_uri, open_command
from mae_rad.tracking.tracker import Tracker

__all__ = [
    "COLOUR_TAG",
    "Bars",
    "ChildRun",
    "DataUsed",
    "Lines",
    "Outbox",
    "Parallel",
    "RegisteredEncoder",
    "SavedView",
    "Tracker",
    "address",
    "default_uri",
    "open_command",
    "public_value",
    "public_values",
]
