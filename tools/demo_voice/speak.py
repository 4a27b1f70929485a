"""Sentences and a pack in; speech by the service's own pipeline, and a manifest for judge.py, out."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path

import numpy as np
import soundfile

from sovits_service.service import SpeechService, build_service
from sovits_service.settings import load_service_settings, load_tts_settings
from sovits_service.types import SynthesisRequest

VOICES_ROOT = Path(__file__).resolve().parents[2] / "voices"
VOICES = ("female_calm", "male_narrator", "child_happy")


def read_sentences(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


async def speak(service: SpeechService, text: str, language: str, voice_id: str, seed: int) -> tuple[np.ndarray, int]:
    """The samples of one request with the public defaults, and their rate."""
    voice = await service.get_voice(voice_id)
    request = SynthesisRequest(
        text=text,
        text_lang=language,
        voice_id=voice_id,
        prompt_text=voice.prompt_text,
        prompt_lang=voice.prompt_lang,
        seed=seed,
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
    spent, spoken = 0.0, 0.0
    with (folder / "manifest.jsonl").open("w", encoding="utf-8") as manifest:
        for index, sentence in enumerate(sentences):
            voice = VOICES[(index + args.seed) % len(VOICES)]
            started = time.process_time()
            samples, rate_hz = await speak(service, sentence["text"], sentence["lang"], voice, args.seed)
            spent += time.process_time() - started
            spoken += len(samples) / rate_hz
            wav = folder / f"{args.seed}_{index:03d}_{voice}.wav"
            soundfile.write(wav, samples, rate_hz, "PCM_16")
            row = {
                "wav": str(wav),
                "text": sentence["text"],
                "lang": sentence["lang"],
                "ref": str(VOICES_ROOT / f"{voice}.wav"),
            }
            manifest.write(json.dumps(row, ensure_ascii=False) + "\n")
    await service.stop(5.0)
    print(
        f"{len(sentences)} sentences, {spoken:.1f} s of speech in {spent:.1f} s of processor time: "
        f"real-time factor {spent / spoken:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_voice"))
    parser.add_argument("--pack", type=Path, default=Path("pretrained_models/demo"))
    parser.add_argument("--sentences", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="take every n-th sentence only")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
