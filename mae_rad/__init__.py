"""Shards of radiographs → self-supervised encoders, embeddings and their comparison."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mae_rad.api.encoder import load_encoder
    from mae_rad.api.predictor import load_predictor
    from mae_rad.api.shards import open_shards

__all__ = ["load_encoder", "load_predictor", "open_shards"]

_MODULES = {"load_encoder": "encoder", "load_predictor": "predictor", "open_shards": "shards"}


def __getattr__(name: str) -> Any:
    """Import a public function at its first use, so that the commands of ``data_prep`` need no torch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"mae_rad.api.{_MODULES[name]}"), name)
