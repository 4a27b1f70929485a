"""`python -m benchmarks.references`: how many planted faults a check of references finds. Prints a table.

The clips are the demonstration voices' own, and pairs of sentences that they speak here; those whose tokens do not say
their text are left out. Each gets every fault once; clips without one show the false alarms.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr

from benchmarks.timestamps import CODES, ROOT, VOICES, phones_of, true_times
from sovits_service.service.build import build_service
from sovits_service.service.service import SpeechService
from sovits_service.settings import load_service_settings
from sovits_service.storage.voices.upload_details import UploadDetails
from sovits_service.text.symbols import symbol_ids
from sovits_service.tts_settings import load_tts_settings
from sovits_service.types import FloatArray, ReferenceAudio, SynthesisRequest, Voice

SENTENCES = ROOT / "tools/demo_voice/sentences.jsonl"
_PAUSE_S, _FIRST_SEED, _MARKS = 0.3, 1000, frozenset(",.?!…-")
_OTHER_WORDS = {"zh": "他从来没有去过海边的城市。", "en": "Nobody has seen the second letter yet."}
_OTHER_TEXT = {"zh": "昨天晚上的雨下得很大，路上都是水。", "en": "Seven ships left the harbor before the sun came up."}


@dataclass(frozen=True)
class Clip:
    """What somebody says in one or two parts, which the transcript has as well."""

    samples: FloatArray
    rate_hz: int
    parts: tuple[str, ...]
    language: str
    voice: str

    @property
    def text(self) -> str:
        return self.joined(*self.parts)

    def joined(self, *parts: str) -> str:
        return (" " if self.language == "en" else "").join(part.strip() for part in parts)


async def spoken_clips(service: SpeechService, count: int) -> list[Clip]:
    """Pairs of sentences, each pair of one voice."""
    lines = [json.loads(line) for line in SENTENCES.read_text(encoding="utf-8").splitlines() if line.strip()]
    clips: list[Clip] = []
    for number in range(2 * count):
        of_language = [line["text"] for line in lines if line["lang"] == ("zh", "en")[number % 2]]
        voice = await service.voices.get(VOICES[number % len(VOICES)])
        pair = tuple(of_language[(number // 2 * 5 + step) % len(of_language)] for step in (0, 3))
        pieces = [await _speak(service, voice, text, _FIRST_SEED + 2 * number + i) for i, text in enumerate(pair)]
        rate_hz = pieces[0][1]
        pause = np.zeros(round(_PAUSE_S * rate_hz), np.float32)
        clip = Clip(
            np.concatenate([pieces[0][0], pause, pieces[1][0]]), rate_hz, pair, ("zh", "en")[number % 2], voice.voice_id
        )
        if 3 <= len(clip.samples) / rate_hz <= 10 and _says_its_text(service, clip):
            clips.append(clip)
        if len(clips) == count:
            break
    return clips


async def own_clips(service: SpeechService) -> list[Clip]:
    """The voices' references, cut after a mark."""
    clips = []
    for name in VOICES:
        voice = await service.voices.get(name)
        samples, rate_hz = soundfile.read(ROOT / "voices" / voice.ref_audio, dtype="float32")
        cut = max(voice.prompt_text[:-1].rfind(mark) for mark in "，。！,") + 1
        parts = (voice.prompt_text[:cut], voice.prompt_text[cut:].strip())
        clips.append(Clip(samples, rate_hz, parts, voice.prompt_lang, name))
    return clips


async def _speak(service: SpeechService, voice: Voice, text: str, seed: int) -> tuple[FloatArray, int]:
    request = SynthesisRequest(
        text=text,
        text_lang="auto",
        voice_id=voice.voice_id,
        prompt_text=voice.prompt_text,
        prompt_lang=voice.prompt_lang,
        seed=seed,
        split_method="cut0",
    )
    synthesis = await service.synthesize(request)
    return np.concatenate([chunk.samples async for chunk in synthesis.chunks]), synthesis.sample_rate_hz


def _says_its_text(service: SpeechService, clip: Clip) -> bool:
    """Whether its tokens, which are phones by the recipe of the demonstration model, leave out no word."""
    codes = json.loads(CODES.read_text(encoding="utf-8"))
    names = {number: name for name, number in symbol_ids("v2").items()}
    phonemes = [names[i] for i in service._texts.frontend.transcript(clip.text, clip.language, "v2").phoneme_ids]
    tokens = service._models.current.worker._prompts.tokens(ReferenceAudio(clip.samples, clip.rate_hz, ""))
    times = true_times(phonemes, phones_of(tokens, codes["phones"], codes["parts"]))
    said = "".join("1" if time else "0" for name, time in zip(phonemes, times, strict=True) if name not in _MARKS)
    return "0000" not in said


def planted(clip: Clip, other_voice: Clip, rng: np.random.Generator) -> Iterator[tuple[str, str, FloatArray, str]]:
    """(fault, the code's beginning, samples, transcript)."""
    samples, rate_hz, text, other = clip.samples, clip.rate_hz, clip.text, _OTHER_WORDS[clip.language]
    yield "none: false alarms", "", samples, text
    level = float(np.sqrt(np.mean(samples**2)))
    noise = rng.standard_normal(len(samples)).astype(np.float32)
    yield "clipped at half of the peak", "clipping", np.clip(samples, *(np.array([-0.5, 0.5]) * samples.max())), text
    yield "white noise 20 dB below the speech", "noise", samples + 0.1 * level * noise, text
    yield "white noise 25 dB below the speech", "noise", samples + 0.056 * level * noise, text
    narrow = soxr.resample(soxr.resample(samples, rate_hz, 8000), 8000, rate_hz)
    yield "nothing above 4 kHz", "bandwidth", narrow, text
    middle = len(samples) // 2
    pause = np.zeros(round(2.5 * rate_hz), np.float32)
    yield "2.5 s of silence put in", "silence", np.concatenate([samples[:middle], pause, samples[middle:]]), text
    half = round(2.5 * rate_hz)
    yield "another voice from 2.5 s on", "speakers", np.concatenate([samples[:half], other_voice.samples[-half:]]), ""
    first, second = clip.parts
    for fault, said in (
        ("a sentence more at the end", clip.joined(text, other)),
        ("a sentence more at the beginning", clip.joined(other, text)),
        ("a sentence more in the middle", clip.joined(first, other, second)),
        ("the last part is missing", first),
        ("the first part is missing", second),
        ("another last part", clip.joined(first, other)),
        ("another first part", clip.joined(other, second)),
        ("another text altogether", clip.joined(other, _OTHER_TEXT[clip.language])),
        ("a text in the other language", _OTHER_TEXT["en" if clip.language == "zh" else "zh"]),
    ):
        yield f"transcript: {fault}", "transcript", samples, said


def encode(samples: FloatArray, rate_hz: int) -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, samples, rate_hz, format="WAV", subtype="PCM_16")
    return sink.getvalue()


async def measure(count: int) -> None:
    service = build_service(load_tts_settings(section="demo"), load_service_settings())
    await service.start()
    clips = [*await own_clips(service), *await spoken_clips(service, count)]
    rng = np.random.default_rng(0)
    found: dict[str, list[bool]] = {}
    for clip in clips:
        other_voice = next(other for other in clips if other.voice != clip.voice)
        for fault, code, samples, text in planted(clip, other_voice, rng):
            details = UploadDetails(text, "auto") if text else None
            report = await service.voices.check_reference(encode(samples, clip.rate_hz), details)
            codes = [finding.code for finding in report.findings]
            found.setdefault(fault, []).append(any(name.startswith(code) for name in codes))
    await service.stop(0.0)
    print("| fault | found |\n|---|---|")
    for fault, hits in found.items():
        print(f"| {fault} | {sum(hits)} of {len(hits)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--clips", type=int, default=40, help="how many pairs of sentences beside the voices' own clips"
    )
    asyncio.run(measure(parser.parse_args().clips))


if __name__ == "__main__":
    main()
