"""Turn an allocation that fails into an error of the user."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from mae_rad.command_line import is_out_of_memory
from mae_rad.errors import RunError


@contextmanager
def explain_out_of_memory(advice: Callable[[], str]) -> Iterator[None]:
    """Report that memory has run out within the context, and what needs less.

    Args:
        advice: called after the failure.

    Raises:
        RunError: a GPU or the machine has run out of memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:  # torch's own error is a RuntimeError
        if not is_out_of_memory(error):
            raise
        memory = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
        place = f"the GPU, which has {memory / 2**30:.1f} GiB," if memory else "this machine"
        raise RunError(f"{place} has run out of memory. {advice()}") from None
