"""MLflow's empty database, made once in a process: its sixty migrations would take most of a small training."""

import sqlite3
import warnings
from functools import wraps
from typing import Any


def copy_instead_of_migrating() -> None:
    """From the second sqlite store of this process on, a new store begins as a copy of what the first began with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow and its dependencies, about themselves
        from mlflow.store.db import utils
    if hasattr(utils._initialize_tables, "__wrapped__"):
        return
    migrate, empty = utils._initialize_tables, list[bytes]()

    @wraps(migrate)
    def initialise(engine: Any) -> None:
        if engine.dialect.name != "sqlite":
            migrate(engine)
            return
        if not empty:
            migrate(engine)
        raw = engine.raw_connection()
        try:
            if not empty:
                empty.append(raw.driver_connection.serialize())
                return
            source = sqlite3.connect(":memory:")
            source.deserialize(empty[0])
            source.backup(raw.driver_connection)
            source.close()
        finally:
            raw.close()

    utils._initialize_tables = initialise
