"""MLflow behind a few small classes; no other package imports it."""

from mae_rad.tracking.child_runs import COLOUR_TAG, ChildRun
from mae_rad.tracking.dataset_lineage import DataUsed
from mae_rad.tracking.delayed_writes import DelayedWrites
from mae_rad.tracking.mlflow_run import Tracker
from mae_rad.tracking.mlflow_saved_views import Bars, Lines, Parallel, SavedView, address
from mae_rad.tracking.model_registry import ModelInterface, RegisteredModel
from mae_rad.tracking.store import chosen_experiment, chosen_store, default_uri, open_command
from mae_rad.tracking.values_allowed_in_mlflow import public_value, public_values

__all__ = [
    "COLOUR_TAG",
    "Bars",
    "ChildRun",
    "DataUsed",
    "DelayedWrites",
    "Lines",
    "ModelInterface",
    "Parallel",
    "RegisteredModel",
    "SavedView",
    "Tracker",
    "address",
    "chosen_experiment",
    "chosen_store",
    "default_uri",
    "open_command",
    "public_value",
    "public_values",
]
