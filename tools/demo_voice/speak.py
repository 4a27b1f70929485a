"""Sentences and a pack in; speech by the service's own pipeline, and a manifest for judge.py, out.

Lengths are held against the source synthesizer's for the same voice, where its phonemes are known (no digits, no
mixed sentences).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import phones
import soundfile
from data import SPEAKERS, Kokoro

from sovits_service.service.build import build_service
from sovits_service.service.service import SpeechService
from sovits_service.settings import load_service_settings
from sovits_service.tts_settings import load_tts_settings
from sovits_service.types import SynthesisRequest

VOICES_ROOT = Path(__file__).resolve().parents[2] / "voices"
VOICES = ("female_calm", "male_narrator", "child_happy")


def read_sentences(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def manifest_row(wav: Path, sentence: dict[str, Any], voice: str) -> dict[str, Any]:
    """A line for judge.py."""
    return {
        "wav": str(wav),
        "text": sentence["text"],
        "lang": sentence["lang"],
        "spoken": sentence.get("spoken", False),
        "voice": voice,
        "ref": str(VOICES_ROOT / f"{voice}.wav"),
        "others": [str(VOICES_ROOT / f"{other}.wav") for other in VOICES if other != voice],
    }


def source_seconds(kokoro: Kokoro, text: str, language: str, voice: str) -> float | None:
    """How long the source synthesizer speaks, without the silence at both ends; None where it cannot say the text."""
    try:
        groups = phones.read(text, language)
        speaker = SPEAKERS[voice]
        _, durations = kokoro(phones.source_string(groups), speaker.source, speaker.speed)
    except (KeyError, IndexError, ValueError):
        return None
    return sum(seconds for _, seconds in phones.align(groups, durations)[1:-1]) / speaker.pitch


async def speak(
    service: SpeechService, text: str, language: str, voice_id: str, seed: int, streaming_mode: int
) -> tuple[np.ndarray, int]:
    """The samples of one request with the public defaults, and their rate."""
    voice = await service.voices.get(voice_id)
    request = SynthesisRequest(
        text=text,
        text_lang=language,
        voice_id=voice_id,
        prompt_text=voice.prompt_text,
        prompt_lang=voice.prompt_lang,
        seed=seed,
        streaming_mode=streaming_mode,  # type: ignore[arg-type]
    )
    synthesis = await service.synthesize(request)
    return np.concatenate([chunk.samples async for chunk in synthesis.chunks]), synthesis.sample_rate_hz


async def run(args: argparse.Namespace) -> None:
    pack: Path = args.pack
    paths = {
        "cnhuhbert_base_path": pack / "hubert",
        "t2s_weights_path": pack / "gpt.ckpt",
        "vits_weights_path": pack / "sovits.pth",
    }
    tts = load_tts_settings(section="demo").model_copy(update=paths)
    service = build_service(tts, load_service_settings())
    await service.start()
    folder = args.work / "judge"
    folder.mkdir(parents=True, exist_ok=True)
    sentences = read_sentences(args.sentences)[:: args.every]
    kokoro = Kokoro(args.work, audio=False)
    spent, spoken, wrong = 0.0, 0.0, 0
    with (folder / "manifest.jsonl").open("w", encoding="utf-8") as manifest:
        for index, sentence in enumerate(sentences):
            voice = VOICES[(index + args.seed) % len(VOICES)]
            started = time.process_time()
            samples, rate_hz = await speak(service, sentence["text"], sentence["lang"], voice, args.seed, args.mode)
            spent += time.process_time() - started
            spoken += len(samples) / rate_hz
            wav = folder / f"{args.seed}_{index:03d}_{voice}.wav"
            soundfile.write(wav, samples, rate_hz, "PCM_16")
            row = manifest_row(wav, sentence, voice)
            expected = source_seconds(kokoro, sentence["text"], sentence["lang"], voice)
            if expected and not 0.6 <= len(samples) / rate_hz / expected <= 1.6:
                wrong += 1
                print(f"{len(samples) / rate_hz:.1f} s in place of {expected:.1f} s: {wav.name}")
            manifest.write(json.dumps(row, ensure_ascii=False) + "\n")
    await service.stop(5.0)
    print(
        f"{len(sentences)} sentences, {spoken:.1f} s of speech in {spent:.1f} s of processor time: "
        f"real-time factor {spent / spoken:.3f}; {wrong} of a wrong length"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_voice"))
    parser.add_argument("--pack", type=Path, default=Path("pretrained_models/demo"))
    parser.add_argument("--sentences", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mode", type=int, default=0, help="streaming mode, 0 to 3")
    parser.add_argument("--every", type=int, default=1, help="take every n-th sentence only")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
