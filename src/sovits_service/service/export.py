"""Export configured weights as a folder of ONNX graphs with all that a program needs to speak from them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sovits_service.audio.dsp import kaldi_mel_filters, mel_filters
from sovits_service.audio.load import decode_reference
from sovits_service.engine.cfm_decoder import SMALLEST_WINDOW_FRAMES
from sovits_service.engine.decode_state import MAX_NEW_TOKENS, MIN_NEW_TOKENS
from sovits_service.engine.prompt_encoder import SPEAKER_RATE_HZ, PromptEncoder
from sovits_service.engine.wave_graphs import JOINT_FRAMES
from sovits_service.errors import CheckpointError, InvalidRequestError, StorageError
from sovits_service.models.checkpoint_encoders import load_bert, load_hubert
from sovits_service.models.checkpoint_models import load_gpt, load_speaker
from sovits_service.models.gpt import GptConfig
from sovits_service.models.hubert import SAMPLE_RATE_HZ
from sovits_service.models.onnx.export import graphs
from sovits_service.models.onnx.export.readme import describe_folder
from sovits_service.models.sovits.bigvgan import BigVgan
from sovits_service.models.sovits.cfm_synthesizer import CfmSynthesizer, audible_frames_per_token
from sovits_service.models.sovits.hifigan import Hifigan
from sovits_service.models.sovits.vits import Vits
from sovits_service.service.model_store import require_fit
from sovits_service.service.weights import load_sovits, load_vocoder
from sovits_service.settings import ServiceSettings
from sovits_service.storage.stores import open_voices
from sovits_service.text.explain import as_ids
from sovits_service.text.frontend import Frontend
from sovits_service.text.lexicon_file import LexiconFile
from sovits_service.text.symbols import symbol_ids
from sovits_service.tts_settings import TtsSettings
from sovits_service.types import Voice, VoicePrompt

FORMAT = "sovits-service export 1"
_CONFIG = "config.json"
_CPU, _FLOAT32 = torch.device("cpu"), torch.float32


def export_model(
    tts: TtsSettings,
    settings: ServiceSettings,
    folder: Path,
    *,
    voices: Sequence[str] = (),
    is_fused: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write the configured model as ONNX graphs. Blocks.

    Args:
        folder: where to; it appears when it is complete.
        voices: templates whose voices are encoded and written along.
        is_fused: use operators that only ONNX Runtime has, where there are any.
        overwrite: replace an earlier export; any other folder is never deleted.

    Returns:
        The files, seen from the folder.

    Raises:
        InvalidRequestError: there is something in the folder.
        CheckpointError: a file of weights cannot be used.
        UnknownVoiceError, ReferenceAudioError: a voice cannot be used.
        StorageError: the disk is full or the folder cannot be written.
    """
    _require_free(folder, overwrite=overwrite)
    templates = [open_voices(settings).get(voice_id) for voice_id in voices]
    with _written_whole(folder) as temporary:
        _Export(tts, settings, temporary, is_fused=is_fused).write(templates)
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


class _Export:
    def __init__(self, tts: TtsSettings, settings: ServiceSettings, folder: Path, *, is_fused: bool) -> None:
        self._tts = tts
        self._settings = settings
        self._folder = folder
        self._is_fused = is_fused

    def write(self, voices: Sequence[Voice]) -> None:
        tts, folder = self._tts, self._folder
        sovits = load_sovits(tts.vits_weights_path, tts, self._settings.weights_roots, _CPU, _FLOAT32)
        gpt = load_gpt(tts.t2s_weights_path)
        require_fit(gpt.config, sovits)
        graphs.write_gpt(gpt, folder, is_fused=self._is_fused)
        gpt_config = gpt.config
        del gpt  # models are held one after the other, so that the largest is what the export needs
        if tts.bert_base_path is not None:
            graphs.write_bert(load_bert(tts.bert_base_path), folder, is_fused=self._is_fused)
        hubert = load_hubert(tts.cnhuhbert_base_path)
        graphs.write_hubert(hubert, sovits, folder)
        speaker = None
        if sovits.config.speaker_embedding_channels:
            if not tts.sv_path.exists():
                raise CheckpointError(
                    f"{sovits.config.version} needs the speaker verification file, {tts.sv_path.name}; "
                    f"get it with: sovits-service download {sovits.config.version}"
                )
            speaker = load_speaker(tts.sv_path)
            graphs.write_speaker(speaker, kaldi_mel_filters(SPEAKER_RATE_HZ, 512, 80), folder)
        graphs.write_sovits(sovits, folder)
        self._write_voices(voices, sovits, PromptEncoder(sovits, hubert, speaker))
        del hubert, speaker
        vocoder: Hifigan | BigVgan
        if isinstance(sovits, Vits):
            vocoder = sovits.dec
        else:
            mel = sovits.flow_matching.mel
            filters = mel_filters(mel.sample_rate_hz, mel.fft_samples, mel.n_mels)
            graphs.write_mel(mel, filters, folder)
            vocoder = load_vocoder(tts, sovits.config.version, _CPU, _FLOAT32)
            graphs.write_vocoder(vocoder, sovits.config.spec.output_rate_hz, folder)
        _write_json(folder / _CONFIG, _config(gpt_config, sovits, vocoder, is_fused=self._is_fused))
        _write_json(folder / "symbols.json", dict(symbol_ids(sovits.config.spec.symbols)))
        title = f"A GPT-SoVITS {sovits.config.version} model as ONNX graphs"
        (folder / "README.md").write_text(describe_folder(folder, title), encoding="utf-8")

    def _write_voices(self, voices: Sequence[Voice], sovits: Vits | CfmSynthesizer, encoder: PromptEncoder) -> None:
        if not voices:
            return
        frontend = Frontend(lexicon=LexiconFile(self._settings.lexicon_path).lexicon, g2pw_dir=self._tts.g2pw_dir)
        store = open_voices(self._settings)
        (self._folder / "voices").mkdir()
        for voice in voices:
            clips = store.read_clips(voice)
            names = (voice.ref_audio, *voice.aux_ref_audio)
            timbre = decode_reference(clips[voice.timbre_ref_audio].data) if voice.timbre_ref_audio else None
            if timbre is not None and sovits.config.spec.flow_matching is not None:
                raise InvalidRequestError(
                    f"voice {voice.voice_id!r} has a timbre_ref_audio, which exported programs cannot speak with in "
                    f"{sovits.config.version}: leave it out of the template"
                )
            prompt = encoder.encode([decode_reference(clips[name].data) for name in names], timbre)
            if not voice.prompt_text and sovits.config.spec.flow_matching is not None:
                raise InvalidRequestError(
                    f"voice {voice.voice_id!r} has no prompt_text, which {sovits.config.version} needs: "
                    "write into its template what its clip says"
                )
            segments = []
            if voice.prompt_text:
                symbols = sovits.config.spec.symbols
                segments = [frontend.transcript(voice.prompt_text, voice.prompt_lang, symbols)]
            content = _voice(
                prompt, [run for fragment in as_ids(segments, 0.0)["fragments"] for run in fragment["runs"]]
            )
            _write_json(self._folder / "voices" / f"{voice.voice_id}.json", content)


def _config(
    gpt: GptConfig, sovits: Vits | CfmSynthesizer, vocoder: Hifigan | BigVgan, *, is_fused: bool
) -> Mapping[str, Any]:
    """What a program needs beside the graphs; units are in the names."""
    config, spec = sovits.config, sovits.config.spec
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": config.version,
        "operators": "com.microsoft" if is_fused else "standard",
        "gpt": {
            "layers": gpt.layers,
            "heads": gpt.heads,
            "head_dim": gpt.width // gpt.heads,
            "end_token": gpt.end_token,
            "min_new_tokens": MIN_NEW_TOKENS,
            "max_new_tokens": MAX_NEW_TOKENS,
        },
        "frames_per_token": {"latent_frames": config.ssl_stride},
        "noise_channels": config.inter_channels,
        "vocoder": {
            "sample_rate_hz": spec.output_rate_hz,
            "hop_samples": vocoder.hop_samples,
            "context_frames": vocoder.context_frames,
        },
        "reference": {"hubert_hz": SAMPLE_RATE_HZ, "style_hz": config.sampling_rate},
    }
    if config.speaker_embedding_channels:
        content["reference"]["speaker_hz"] = SPEAKER_RATE_HZ
    if spec.flow_matching is not None:
        matching = spec.flow_matching
        content["reference"]["mel_hz"] = matching.mel.sample_rate_hz
        content["noise_channels"] = matching.mel.n_mels
        content["frames_per_token"]["audible_frames"] = audible_frames_per_token(matching.frames_per_latent)
        content["cfm"] = {
            "n_mels": matching.mel.n_mels,
            "prompt_frames": matching.prompt_frames,
            "window_frames": matching.window_frames,
            "smallest_window_frames": SMALLEST_WINDOW_FRAMES,
            "joint_frames": JOINT_FRAMES,
        }
    return content


def _voice(prompt: VoicePrompt, runs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    # Without its text, the tokens of a clip say nothing that the GPT could go on from.
    content: dict[str, Any] = {
        "runs": runs,
        "prompt_tokens": prompt.prompt_tokens.tolist() if runs else [],
        "style_embedding": prompt.style_embedding.flatten().tolist(),
    }
    if prompt.ref_mel is not None:
        content["ref_mel"] = prompt.ref_mel[0].tolist()
    return content


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    indent = 1 if path.name == _CONFIG else None
    path.write_text(json.dumps(content, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


def _require_free(folder: Path, *, overwrite: bool) -> None:
    try:
        if not folder.exists() or not any(folder.iterdir()):
            return
    except NotADirectoryError:
        raise InvalidRequestError(f"{folder} is a file; name a folder") from None
    except OSError as error:
        raise StorageError(f"{folder} cannot be read: {error.strerror}") from error
    if not overwrite:
        raise InvalidRequestError(f"{folder} is not empty; name another folder, or replace it with --overwrite")
    if not _is_export(folder):
        raise InvalidRequestError(
            f"{folder} contains something other than an export and is not deleted; name another one"
        )


def _is_export(folder: Path) -> bool:
    try:
        content = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and str(content.get("format", "")).startswith("sovits-service export ")


@contextmanager
def _written_whole(folder: Path) -> Iterator[Path]:
    """A temporary folder beside the one that is asked for, whose place it takes when the block has ended well."""
    place = folder.resolve()
    temporary = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
    replaced = temporary.with_suffix(".old")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        for path in temporary.rglob("*"):
            _sync(path)
        if place.exists():
            place.rename(replaced)
        temporary.rename(place)
    except OSError as error:
        if replaced.exists() and not place.exists():
            replaced.rename(place)
        raise StorageError(f"{folder} could not be written: {error.strerror or type(error).__name__}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _sync(path: Path) -> None:
    """To the disk, so that a loss of power leaves no whole folder of empty files."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
