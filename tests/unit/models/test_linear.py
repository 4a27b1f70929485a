"""The linear layer on oneDNN against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from sovits_service.models import linear as module
from sovits_service.models.linear import Linear, linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "x",
    [
        torch.randn(100, 48),
        torch.randn(2, 50, 48),
        torch.randn(3, 2, 10, 48),
        torch.randn(48, 2, 50).permute(1, 2, 0),
        torch.randn(100, 96)[:, 10:58],
        torch.randn(1, 48),
        torch.randn(0, 48),
    ],
)
def test_it_equals_pytorchs_own(x: torch.Tensor, bias: bool) -> None:
    weight = torch.randn(96, 96)[:80, 3:51]
    offset = torch.randn(80) if bias else None
    with torch.inference_mode():
        made = linear(x, weight, offset)
    torch.testing.assert_close(made, F.linear(x, weight, offset), atol=1e-5, rtol=1e-5)


def test_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Linear(48, 80), torch.randn(100, 48, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    assert x.grad is not None


def test_without_the_operator_it_is_pytorchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_has_onednn", lambda: False)
    x, weight = torch.randn(100, 48), torch.randn(80, 48)
    assert torch.equal(linear(x, weight), F.linear(x, weight))


def test_where_onednn_is_switched_off_in_pytorch_it_is_pytorchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(100, 48), torch.randn(80, 48)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert not module._has_onednn()
    assert torch.equal(linear(x, weight), F.linear(x, weight))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_pytorchs_own(dtype: torch.dtype) -> None:
    x, weight = torch.randn(100, 48, dtype=dtype), torch.randn(80, 48, dtype=dtype)
    with torch.inference_mode():
        assert torch.equal(linear(x, weight), F.linear(x, weight))
