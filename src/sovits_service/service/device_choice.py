"""What a model runs on, and in which numbers: what is asked for, as far as this machine has it."""

from __future__ import annotations

import structlog
import torch

from sovits_service.errors import SettingsError
from sovits_service.models.semantic_model import Backend, Precision
from sovits_service.settings import ServiceSettings

log = structlog.get_logger(__name__)


def choose_device(device: str, *, is_half: bool) -> tuple[torch.device, torch.dtype]:
    """The device and dtype that are there: float32 on the CPU in place of CUDA, or of half precision, that is not."""
    if device == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu"), torch.float32
        device = "cuda"
    wanted = torch.device(device)
    if wanted.type == "cuda" and not torch.cuda.is_available():
        log.warning("no_cuda", advice="device: cuda is configured but torch sees none; going on in float32 on the CPU")
        return torch.device("cpu"), torch.float32
    if wanted.type == "cpu" and is_half:
        log.warning("no_half_on_cpu", advice="is_half: true is for CUDA; going on in float32 on the CPU")
        return wanted, torch.float32
    if wanted.type == "cuda" and is_half and not can_compute_half(wanted):
        log.warning("no_half_on_this_card", advice="float16 is slow or wrong on it; going on in float32")
        return wanted, torch.float32
    return wanted, torch.float16 if is_half else torch.float32


def can_compute_half(device: torch.device) -> bool:
    """Whether a CUDA card computes float16 rightly and faster than float32.

    Cards before Volta (capability 7.0) are slower in it; the GTX 16 series, which has no tensor cores, gives NaN where
    others do not.
    """
    is_gtx_16 = "GTX 16" in torch.cuda.get_device_name(device)
    return torch.cuda.get_device_capability(device) >= (7, 0) and not is_gtx_16


def can_compute_bfloat16(device: torch.device) -> bool:
    """Whether a device has it; a CPU without instructions for it is slow."""
    return device.type == "cpu" or torch.cuda.get_device_capability(device) >= (8, 0)


def has_bfloat16_instructions() -> bool:
    """Whether the processor has instructions for products in bfloat16; others take longer for them than for float32."""
    return torch.cpu._is_avx512_bf16_supported()


def choose_backend(settings: ServiceSettings, device: torch.device, dtype: torch.dtype) -> tuple[Backend, Precision]:
    """What the GPT runs on, and in which numbers: ONNX Runtime and int8 on a CPU, torch elsewhere, unless asked.

    Raises:
        SettingsError: what is asked for does not go together.
    """
    backend, is_bfloat16 = settings.backend, settings.precision == "bfloat16"
    if backend == "auto":
        backend = "onnx" if device.type == "cpu" and not is_bfloat16 else "torch"
    if backend == "onnx" and device.type != "cpu":
        raise SettingsError("backend: onnx runs on a CPU, and device is cuda; set backend: torch, or device: cpu")
    if backend == "torch":
        if settings.precision == "int8":
            raise SettingsError("precision: int8 needs backend: onnx on a CPU; set precision: auto")
        if is_bfloat16 and can_compute_bfloat16(device):
            return backend, "bfloat16"
        if is_bfloat16:
            log.warning("no_bfloat16_on_this_card", advice="it needs compute capability 8.0; going on without it")
        return backend, "float16" if dtype == torch.float16 else "float32"
    if is_bfloat16:
        raise SettingsError("precision: bfloat16 needs backend: torch; set backend: auto, or another precision")
    return backend, "float32" if settings.precision == "float32" else "int8"
