"""From weights files to models: a path, a device and a dtype in; a module ready for inference out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sovits_service.errors import CheckpointError
from sovits_service.models.checkpoint import Checkpoint, read_gpt, read_sovits, read_tensors
from sovits_service.models.checkpoint_lora import merge_lora
from sovits_service.models.gpt import GptConfig, TextToSemantic, stays_float32
from sovits_service.models.sovits.bigvgan import BigVgan, BigVganConfig
from sovits_service.models.sovits.cfm_synthesizer import CfmConfig, CfmSynthesizer
from sovits_service.models.sovits.config import SovitsConfig
from sovits_service.models.sovits.hifigan import V4_VOCODER, Hifigan
from sovits_service.models.sovits.spec import VERSIONS
from sovits_service.models.sovits.vits import Vits
from sovits_service.models.sovits.weight_norm import fold_weight_norm
from sovits_service.models.speaker import ERes2NetV2
from sovits_service.models.super_sampling import SuperSampler, SuperSamplerConfig

Module = TypeVar("Module", bound=nn.Module)

_BIGVGAN_NAMES = ("bigvgan_generator.safetensors", "bigvgan_generator.pt")
_ROTARY_RATES = "cfm.estimator.rotary_embed.inv_freq"  # in half precision, late frames would get wrong positions


def load_gpt(path: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> TextToSemantic:
    """Load a GPT file. Raises CheckpointError as `read_gpt` does, and where a tensor is missing or too many."""
    checkpoint = read_gpt(path)
    try:
        config = GptConfig.from_checkpoint(checkpoint.config, checkpoint.state)
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError("the GPT file lacks the tensors or config from which its sizes are read") from error
    return build_gpt(config, checkpoint.state, device=device, dtype=dtype)


def build_gpt(
    config: GptConfig,
    state: dict[str, Tensor],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> TextToSemantic:
    """Build a GPT from its tensors, which are consumed; in bfloat16 some stay in float32, see `stays_float32`."""
    with without_weights():
        model = TextToSemantic(config)
    float32 = tuple(filter(stays_float32, state)) if dtype == torch.bfloat16 else ()
    return fill(model, state, "GPT", device, dtype, float32=float32)


def load_vits(path: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Vits:
    """Load a SoVITS file of v1 to v2ProPlus. Raises CheckpointError as `read_sovits` does, and for a v3 or v4 file."""
    return build_vits(read_sovits(path), device=device, dtype=dtype)


def build_vits(
    checkpoint: Checkpoint, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Vits:
    """Build the model of a checkpoint that has been read; its tensors are consumed, so that they are not held twice."""
    if checkpoint.version is None:
        raise CheckpointError("the file is not a SoVITS file")
    config = SovitsConfig.from_checkpoint(checkpoint.config, checkpoint.state, checkpoint.version)
    if config.spec.flow_matching is not None:
        raise CheckpointError(f"a {checkpoint.version} file needs the flow-matching decoder")
    fold_weight_norm(checkpoint.state, dtype)
    with without_weights():
        model = Vits(config, weight_norm=False)
    return fill(model, checkpoint.state, "SoVITS", device, dtype)


def load_sovits(
    path: Path,
    *,
    base: Checkpoint | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Vits | CfmSynthesizer:
    """Load a SoVITS file of any version.

    Args:
        path: of the file.
        base: the full weights of the same version, which a LoRA file is merged into; not needed for other files.

    Raises:
        CheckpointError: as `read_sovits`, `merge_lora` and `fill` do; for a LoRA file without its base it names that.
    """
    return build_sovits(read_sovits(path), base=base, device=device, dtype=dtype)


def build_sovits(
    checkpoint: Checkpoint,
    *,
    base: Checkpoint | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Vits | CfmSynthesizer:
    """Build the model of a checkpoint that has been read; its tensors are consumed, so that they are not held twice."""
    version = checkpoint.version
    if version is None or VERSIONS[version].flow_matching is None:
        return build_vits(checkpoint, device=device, dtype=dtype)
    if checkpoint.lora_rank is not None:
        checkpoint = merge_lora(base, checkpoint, dtype)
    config = CfmConfig.from_checkpoint(checkpoint.config, checkpoint.state, version)
    fold_weight_norm(checkpoint.state, dtype)
    with without_weights():
        model = CfmSynthesizer(config)
    # Parts that serve training alone; published files may still hold them.
    unused = ("linear_mel.", "dec.", "flow.")
    return fill(model, checkpoint.state, "SoVITS", device, dtype, unused=unused, float32=(_ROTARY_RATES,))


def load_bigvgan(folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> BigVgan:
    """Load the vocoder of v3 from its folder, `config.json` and `bigvgan_generator.pt`."""
    state = read_tensors(_first_file(folder, _BIGVGAN_NAMES, "v3 vocoder"), "v3 vocoder")
    try:
        config = BigVganConfig.from_json(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise CheckpointError("the v3 vocoder folder has no config.json that can be read") from error
    return build_bigvgan(config, state, device=device, dtype=dtype)


def build_bigvgan(
    config: BigVganConfig,
    state: dict[str, Tensor],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> BigVgan:
    """Build the vocoder of v3; its low-pass filters are computed, not read."""
    for key in [key for key in state if key.endswith(".filter")]:
        del state[key]
    fold_weight_norm(state, dtype)
    with without_weights():
        model = BigVgan(config)
    return fill(model, state, "v3 vocoder", device, dtype)


def load_v4_vocoder(path: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Hifigan:
    """Load the vocoder of v4, `vocoder.pth`."""
    return build_v4_vocoder(read_tensors(path, "v4 vocoder"), device=device, dtype=dtype)


def build_v4_vocoder(
    state: dict[str, Tensor], *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Hifigan:
    """Build the vocoder of v4, whose file comes without sizes: they are fixed but for the channels."""
    fold_weight_norm(state, dtype)
    first = state.get("conv_pre.weight")
    if first is None:
        raise CheckpointError("the v4 vocoder file lacks 'conv_pre.weight'")
    with without_weights():
        model = Hifigan(replace(V4_VOCODER, in_channels=first.shape[1], upsample_initial_channel=first.shape[0]))
    return fill(model, state, "v4 vocoder", device, dtype)


def load_super_sampler(path: Path, *, device: torch.device | str = "cpu") -> SuperSampler:
    """Load the super-sampling network, `g_24kto48k.zip` with `config.json` beside it; always in float32."""
    state = read_tensors(path, "super-sampling")
    try:
        config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError("the super-sampling file has no config.json beside it that can be read") from error
    sizes = SuperSamplerConfig.from_checkpoint(config, state)
    with without_weights():
        model = SuperSampler(sizes)
    return fill(model, state, "super-sampling", device, torch.float32)


def _first_file(folder: Path, names: Iterable[str], what: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(f"the {what} folder has none of {', '.join(names)}")


def load_speaker(path: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> ERes2NetV2:
    """Load the speaker verification file of v2Pro and v2ProPlus."""
    state = read_tensors(path, "speaker verification")
    with without_weights():
        model = ERes2NetV2()
    return fill(model, state, "speaker verification", device, dtype, unused=("seg_1.",))


@contextmanager
def without_weights() -> Iterator[None]:
    """Build modules on the meta device, without memory, without initial values and without the work of drawing them."""
    with torch.device("meta"), _WithoutInitialValues():
        yield


class _WithoutInitialValues(TorchFunctionMode):
    """Skips `torch.nn.init`, which on the meta device imports the compiler: 3.5 s for values that nothing reads."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def fill(
    model: Module,
    state: dict[str, Tensor],
    what: str,
    device: torch.device | str,
    dtype: torch.dtype,
    unused: Iterable[str] = (),
    float32: Iterable[str] = (),
) -> Module:
    """Give a model its weights, strictly, tensor by tensor.

    Args:
        model: built on the meta device.
        state: the weights; emptied on the way, so that each tensor is held once.
        what: the file's role, for messages.
        device: where the weights go.
        dtype: of the floating-point weights.
        unused: prefixes of keys that the file has and the model does not need.
        float32: keys that stay in float32 whatever the dtype of the others.

    Returns:
        The model, in inference mode.

    Raises:
        CheckpointError: a key is missing, unexpected or of another shape; the message names it.
    """
    for key in [key for key in state if key.startswith(tuple(unused))]:
        del state[key]
    expected = model.state_dict()
    _require_none(sorted(expected.keys() - state.keys()), f"the {what} file lacks")
    _require_none(sorted(state.keys() - expected.keys()), f"the {what} file has unexpected weights:")
    for key, wanted in expected.items():
        if state[key].shape != wanted.shape:
            raise CheckpointError(
                f"the {what} file has {key!r} in the shape {tuple(state[key].shape)}; {tuple(wanted.shape)} is needed"
            )
    placed: dict[str, Tensor] = {}
    for key, wanted in expected.items():
        value = state.pop(key)
        kept = key in float32 or not wanted.is_floating_point()
        placed[key] = value.to(device, wanted.dtype if kept else dtype)
    model.load_state_dict(placed, strict=True, assign=True)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(device))  # those that are computed, and in no checkpoint
    return model.requires_grad_(False).eval()


def _require_none(keys: list[str], sentence: str) -> None:
    if keys:
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        raise CheckpointError(f"{sentence} {keys[0]!r}{more}")
