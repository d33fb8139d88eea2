"""The module that MLflow versions registered by 0.1 name as their loader; it stays until none of these is in use."""

from mae_rad.embedding.mlflow_encoder import _load_pyfunc

__all__ = ["_load_pyfunc"]
