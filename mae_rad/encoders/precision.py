"""f32 or bf16, GPU or CPU: what this machine multiplies fast."""

from typing import Annotated, Literal

import torch
from pydantic import BeforeValidator

_FAST_BF16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Instructions, x86 and Arm, without which a CPU emulates bf16, ten to two hundred times slower than f32."""


def fast_precision() -> Literal["f32", "bf16"]:
    """bf16 on a GPU and on a CPU with instructions for it, f32 elsewhere."""
    if torch.cuda.is_available():
        return "bf16"
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if any(known.get(name) for name in _FAST_BF16) else "f32"


def fast_device(process: int = 0) -> torch.device:
    """A GPU where there is one, else the CPU; ``process`` is the number of one of several processes on this machine."""
    if torch.cuda.is_available():
        return torch.device("cuda", process % torch.cuda.device_count())
    return torch.device("cpu")


Precision = Annotated[
    Literal["f32", "bf16"], BeforeValidator(lambda given: fast_precision() if given == "auto" else given)
]
"""``auto`` becomes what is fast here when the settings are read, so that a run records which it was."""
