"""The secret for pseudonyms in the environment of this process. Imported by ``mae_rad``."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

SECRET_VARIABLE = "MAE_RAD_KEY"
"""Environment variable that holds the secret."""


@contextmanager
def without_secret() -> Iterator[None]:
    """Remove the secret from the environment, which the processes that are started meanwhile inherit."""
    secret = os.environ.pop(SECRET_VARIABLE, None)
    try:
        yield
    finally:
        if secret is not None:
            os.environ[SECRET_VARIABLE] = secret
