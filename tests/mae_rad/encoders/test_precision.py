import pytest
import torch
from pydantic import ValidationError

from data_prep.settings import Settings
from mae_rad.encoders.precision import Precision, fast_device, fast_precision


class _Settings(Settings):
    precision: Precision = "bf16"


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True}, "f32"),
        ({"avx512_f": True, "avx512_bf16": False}, "f32"),
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
    ],
)
def test_auto_is_bf16_only_where_the_processor_has_instructions_for_it(
    capabilities: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert _Settings.model_validate({"precision": "auto"}).precision == expected


def test_a_gpu_trains_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert fast_precision() == "bf16"


def test_processes_share_the_gpus_and_take_the_cpu_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [str(fast_device(process)) for process in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert str(fast_device(3)) == "cpu"


def test_a_given_precision_is_kept_and_an_unknown_one_refused() -> None:
    assert _Settings.model_validate({"precision": "f32"}).precision == "f32"
    with pytest.raises(ValidationError):
        _Settings.model_validate({"precision": "f16"})
