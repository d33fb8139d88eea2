"""Select the precision and device that are fast on this machine."""

from typing import Annotated, Literal

import torch
from pydantic import BeforeValidator, WithJsonSchema

_FAST_BF16 = ("avx512_bf16", "amx_bf16", "bf16")
"""CPU features, x86 and Arm, without which bf16 is emulated and 10 to 200 times slower than f32."""


def fast_precision() -> Literal["f32", "bf16"]:
    """Return bf16 on a GPU and on a CPU with bf16 instructions, else f32."""
    if torch.cuda.is_available():
        return "bf16"
    features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if any(features.get(name) for name in _FAST_BF16) else "f32"


def fast_device(process: int = 0) -> torch.device:
    """Return a GPU if there is one, else the CPU; ``process`` is the number of a process on this machine, from 0."""
    if torch.cuda.is_available():
        return torch.device("cuda", process % torch.cuda.device_count())
    return torch.device("cpu")


Precision = Annotated[
    Literal["f32", "bf16"],
    BeforeValidator(lambda given: fast_precision() if given == "auto" else given),
    WithJsonSchema({"enum": ["auto", "f32", "bf16"]}),
]
"""``auto`` is replaced when settings are read, so that a run records its precision."""
