"""Report configuration problems: what is ready, what is doubtful, what must be fixed first."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnxruntime
import torch
from safetensors.torch import save_file

from sovits_service.audio.load import decode_reference
from sovits_service.audio.quality import measure_reference, validate_reference
from sovits_service.errors import SettingsError, SovitsError
from sovits_service.models.checkpoint import Checkpoint, is_safetensors, read_gpt, read_sovits
from sovits_service.models.checkpoint_encoders import load_bert, load_hubert
from sovits_service.models.checkpoint_models import load_gpt, load_speaker
from sovits_service.service.device_choice import can_compute_half, choose_backend, choose_device
from sovits_service.settings import ServiceSettings
from sovits_service.storage.stores import open_voices
from sovits_service.storage.voices.voice_folder import VoiceFolder
from sovits_service.tts_settings import TtsSettings
from sovits_service.types import Voice

Level = Literal["ok", "warn", "FAIL"]

_PYTHONS = ((3, 11), (3, 14))
_SAFE_TORCH = (2, 10)  # older ones have known holes in weights_only loading


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: `advice` says what to do about it."""

    level: Level
    subject: str
    detail: str
    advice: str = ""


def examine(tts: TtsSettings, service: ServiceSettings) -> list[Finding]:
    """Look at the machine, every configured file and every voice; nothing is changed."""
    return [*_machine(tts), _backend(tts, service), *_files(tts), *_voices(service)]


def _machine(tts: TtsSettings) -> Iterator[Finding]:
    version = sys.version_info[:2]
    supported = _PYTHONS[0] <= version <= _PYTHONS[1]
    yield Finding(
        "ok" if supported else "warn",
        "Python",
        platform.python_version(),
        "" if supported else "use Python 3.11 to 3.14",
    )
    torch_version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    safe = torch_version >= _SAFE_TORCH
    yield Finding(
        "ok" if safe else "FAIL",
        "torch",
        f"{torch.__version__}, {torch.get_num_threads()} threads",
        "" if safe else "install torch 2.10 or newer: older ones can be made to run code by a weights file",
    )
    if torch.cuda.is_available():
        yield from _cuda(tts)
    elif tts.device in ("auto", "cpu"):
        yield Finding("ok", "device", f"CPU, float32 (device: {tts.device})")
    else:
        yield Finding(
            "warn",
            "device",
            f"{tts.device} is configured but torch sees no CUDA device: float32 on the CPU",
            "install a CUDA build of torch and the driver, or set device: auto",
        )
    if tts.is_half and tts.device == "cpu":
        yield Finding("warn", "is_half", "has no effect on a CPU: float32", "set is_half: false")


def _backend(tts: TtsSettings, service: ServiceSettings) -> Finding:
    """What the GPT will run on; whether this processor's int8 kernels may be used is seen when the model loads."""
    try:
        device, dtype = choose_device(tts.device, is_half=tts.is_half and service.precision != "float32")
        backend, precision = choose_backend(service, device, dtype)
    except SettingsError as error:
        return Finding("FAIL", "back end", str(error), "correct backend and precision in configs/service.yaml")
    library = f"ONNX Runtime {onnxruntime.__version__}" if backend == "onnx" else f"torch {torch.__version__}"
    found = f"the GPT runs on {library} in {precision}"
    if service.precision == "bfloat16" and precision != "bfloat16":
        return Finding("warn", "back end", f"{found}: this card has no bfloat16", "set precision: auto")
    return Finding("ok", "back end", found)


def _cuda(tts: TtsSettings) -> Iterator[Finding]:
    count = torch.cuda.device_count()
    name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    yield Finding("ok", "CUDA", f"{torch.version.cuda}, {count} x {name} ({capability[0]}.{capability[1]})")
    if tts.device == "cpu":
        yield Finding("warn", "device", "CPU is configured though there is a CUDA device", "set device: auto")
    elif not tts.is_half:
        yield Finding("ok", "FP16", "off: float32 on CUDA, about half as fast")
    elif not can_compute_half(torch.device("cuda")):
        yield Finding("warn", "FP16", "slow or wrong on this card: float32 is used", "set is_half: false")
    else:
        yield Finding("ok", "FP16", "on")


def _files(tts: TtsSettings) -> Iterator[Finding]:
    for key, path in tts.required_files().items():
        if path.exists():
            yield _file(key, path, tts)
        else:
            yield Finding("FAIL", key, f"{path} is missing", tts.remedy([path]))
    if tts.bert_base_path is None:
        yield Finding("ok", "bert_base_path", "empty: zero BERT features")


def _file(key: str, path: Path, tts: TtsSettings) -> Finding:
    describe: dict[str, Callable[[Path], str]] = {
        "t2s_weights_path": _describe_gpt,
        "cnhuhbert_base_path": lambda folder: _size(load_hubert(folder)),
        "bert_base_path": lambda folder: _size(load_bert(folder)),
        "sv_path": lambda file: _size(load_speaker(file)),
    }
    try:
        if key == "vits_weights_path":
            return _sovits(path, tts)
        return Finding("ok", key, f"{path}: {describe[key](path)}" if key in describe else f"{path} is there")
    except SovitsError as error:
        return Finding("FAIL", key, f"{path}: {error}", "put back the file that was published, or name another one")


def _describe_gpt(path: Path) -> str:
    config = load_gpt(path).config
    return f"GPT, {config.layers} layers of {config.width}, {config.phoneme_vocab} phonemes"


def _sovits(path: Path, tts: TtsSettings) -> Finding:
    checkpoint = read_sovits(path)
    detail = f"{path}: SoVITS {checkpoint.version}"
    if checkpoint.lora_rank is not None and checkpoint.version is not None:
        detail += f", LoRA of rank {checkpoint.lora_rank}"
        base = tts.base_vits_for(checkpoint.version)
        if not base.exists():
            advice = f"get its base file with: sovits-service download {checkpoint.version}"
            return Finding("FAIL", "vits_weights_path", f"{detail}, but {base} is missing", advice)
    if checkpoint.version == tts.version:
        return Finding("ok", "vits_weights_path", detail)
    advice = f"set version: {checkpoint.version}, so that the files it needs beside are looked for"
    return Finding("warn", "vits_weights_path", f"{detail}, but version: {tts.version} is configured", advice)


def _size(model: torch.nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M parameters"


def _voices(service: ServiceSettings) -> Iterator[Finding]:
    store = open_voices(service)
    for voice_id, problem in store.problems().items():
        yield Finding("warn", f"voice {voice_id}", problem, "mend or delete its template")
    voices = store.list()
    if not voices:
        yield Finding("warn", "voices", "there are none", "add one to voices/ (docs/voices.md), or with PUT /voices/ID")
    for voice in voices:
        yield _clip(store, voice, "")
        for emotion in voice.emotions:
            yield _clip(store, voice, emotion)


def _clip(store: VoiceFolder, voice: Voice, emotion: str) -> Finding:
    name = f"voice {voice.voice_id}" + (f", {emotion}" if emotion else "")
    try:
        reference = decode_reference(store.reference_path(voice, emotion))
        warnings = validate_reference(reference)
    except SovitsError as error:
        return Finding("warn", name, str(error), "replace its clip")
    quality = measure_reference(reference)
    detail = (
        f"{quality.duration_s:.1f} s at {quality.sample_rate_hz} Hz, speech {quality.speech_level_dbfs:.0f} dBFS, "
        f"noise floor {quality.noise_floor_dbfs:.0f} dBFS, clipped {quality.clipped_share:.1%}, "
        f"silent {quality.silent_share:.0%}"
    )
    return Finding("warn" if warnings else "ok", name, detail, "; ".join(warnings))


def convert_weights(tts: TtsSettings) -> list[Path]:
    """Write a safetensors copy beside the configured GPT and SoVITS files, which can hold no code at all.

    Returns:
        The copies that were written; files that are safetensors already are left out.

    Raises:
        CheckpointError: a file cannot be read.
    """
    written: list[Path] = []
    for path, read in ((tts.t2s_weights_path, read_gpt), (tts.vits_weights_path, read_sovits)):
        if not is_safetensors(path):
            written.append(_write_safetensors(read(path), path.with_suffix(".safetensors")))
    return written


def _write_safetensors(checkpoint: Checkpoint, path: Path) -> Path:
    metadata = {"config": json.dumps(checkpoint.config, ensure_ascii=False, default=str)}
    if checkpoint.version is not None:
        metadata["version"] = checkpoint.version
    if checkpoint.lora_rank is not None:
        metadata["lora_rank"] = str(checkpoint.lora_rank)
    part = path.with_name(path.name + ".part")
    save_file({key: tensor.clone().contiguous() for key, tensor in checkpoint.state.items()}, part, metadata)
    part.replace(path)
    return path
