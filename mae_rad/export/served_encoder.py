"""Loader module of the MLflow model versions registered by release 0.1; needed while any of them is in use."""

from mae_rad.embedding.mlflow_encoder import _load_pyfunc

__all__ = ["_load_pyfunc"]
