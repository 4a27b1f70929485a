"""`python -m benchmarks.quality`: what the guard finds of faults that were planted in the demonstration voice's tokens.

Every fragment of the judge's sentences is spoken once as it is; then its tokens are changed (phonemes dropped, said
twice, tokens of the reference in front, a loop, noise in the waveform) and judged again. Prints how many are found, and
how many of the unchanged ones are suspected.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.timestamps import FILES, SENTENCES, VOICES, use_encoder
from sovits_service.engine.guard import Take, loop_start, wave_faults
from sovits_service.engine.model_worker import ModelWorker
from sovits_service.engine.sequence import DecodeSequence
from sovits_service.service.build import build_service
from sovits_service.service.service import SpeechService
from sovits_service.settings import load_service_settings
from sovits_service.tts_settings import load_tts_settings
from sovits_service.types import AudioChunk, GuardMode, SynthesisRequest, Voice

GUARD_MODES: tuple[GuardMode, ...] = ("off", "flag", "retry")
MIDDLE = 4  # phonemes that are left as they are at either end
LOOP_PERIOD = 12


@dataclass
class Heard:
    """What a run has seen: fragments with what is needed to judge them again, and their waveforms."""

    fragments: list[tuple[DecodeSequence, Take]] = field(default_factory=list)
    chunks: list[AudioChunk] = field(default_factory=list)


async def speak(service: SpeechService, worker: ModelWorker, count: int) -> Heard:
    heard = Heard()
    find = worker.judge.examine

    def watched(sequence: DecodeSequence) -> Take:
        take = find(sequence)
        copy = DecodeSequence(sequence.job, sequence.index, sequence.segment, sequence.rng, bert=sequence.bert)
        heard.fragments.append((copy, take))
        return take

    worker.judge.examine = watched  # type: ignore[method-assign]
    for index, sentence in enumerate(sentences()[:count]):
        voice = await service.voices.get(VOICES[index % len(VOICES)])
        request = request_of(sentence, voice, index)
        heard.chunks += [chunk async for chunk in (await service.synthesize(request)).chunks if len(chunk.samples)]
    worker.judge.examine = find  # type: ignore[method-assign]
    return heard


def request_of(sentence: dict[str, str], voice: Voice, seed: int) -> SynthesisRequest:
    return SynthesisRequest(
        text=sentence["text"],
        text_lang=sentence["lang"] if sentence["lang"] in ("zh", "en") else "auto",
        voice_id=voice.voice_id,
        prompt_text=voice.prompt_text,
        prompt_lang=voice.prompt_lang,
        seed=seed,
        guard="flag",
    )


def sentences() -> list[dict[str, str]]:
    lines = [line for name in FILES for line in (SENTENCES / name).read_text(encoding="utf-8").splitlines()]
    return [json.loads(line) for line in lines if line.strip()]


def dropped(take: Take, phonemes: int) -> list[int] | None:
    """Without the tokens of some phonemes from the middle."""
    cut = middle(take, phonemes)
    return [*take.tokens[: cut[0]], *take.tokens[cut[1] :]] if cut else None


def doubled(take: Take, phonemes: int) -> list[int] | None:
    """Some phonemes from the middle twice."""
    cut = middle(take, phonemes)
    return [*take.tokens[: cut[1]], *take.tokens[cut[0] :]] if cut else None


def middle(take: Take, phonemes: int) -> tuple[int, int] | None:
    """Tokens of phonemes from the middle, each of which has one; None where the fragment is too short."""
    assert take.alignment is not None
    first = len(take.alignment.starts) // 2 - phonemes // 2
    if first < MIDDLE or first + phonemes + MIDDLE > len(take.alignment.starts):
        return None
    start, end = int(take.alignment.starts[first]), int(take.alignment.ends[first + phonemes - 1])
    return (start, end) if end > start else None


def plants(worker: ModelWorker) -> Iterator[tuple[str, str, Callable[[DecodeSequence, Take], list[int] | None]]]:
    """(what, the fault to be found, how)."""
    for count in (3, 5, 8):
        yield f"{count} phonemes dropped", "missing", lambda _, take, count=count: dropped(take, count)
    for count in (4, 6, 8):
        yield f"{count} phonemes twice", "repeated", lambda _, take, count=count: doubled(take, count)
    for count in (10, 20, 40):

        def leaked(sequence: DecodeSequence, take: Take, count: int = count) -> list[int]:
            job = sequence.job
            assert job.voice_prompt is not None
            return [
                *worker._prompts.prompt_tokens(job.voice_prompt, job.prompt_segment).tolist()[-count:],
                *take.tokens,
            ]

        yield f"{count} tokens of the reference in front", "leak", leaked
    yield "a loop at the end", "loop", lambda _, take: [*take.tokens, *(take.tokens[-LOOP_PERIOD:] * 5)]
    yield (
        "a loop with every eighth token another",
        "repeated",
        lambda _, take: [*take.tokens, *uneven_loop(take.tokens)],
    )
    yield "30 tokens of the beginning at the end", "repeated", lambda _, take: [*take.tokens, *take.tokens[:30]]


def uneven_loop(tokens: Sequence[int]) -> list[int]:
    """Every eighth token is another one."""
    circle = list(tokens[-LOOP_PERIOD:]) * 5
    circle[::8] = [token + 1 for token in circle[::8]]
    return circle


def with_noise(samples: np.ndarray, rng: np.random.Generator, rate_hz: int) -> np.ndarray:
    """A second of noise behind the speech, 10 dB below its level."""
    level = np.sqrt(np.square(samples).mean()) * 10 ** (-10 / 20)
    return np.concatenate([samples, level * rng.standard_normal(rate_hz)]).astype(np.float32)


def judge(worker: ModelWorker, sequence: DecodeSequence, tokens: list[int]) -> Take:
    again = DecodeSequence(
        sequence.job, sequence.index, sequence.segment, sequence.rng, bert=sequence.bert, tokens=tokens
    )
    again.has_looped = loop_start(tokens) is not None
    return worker.judge.examine(again)


async def measure(count: int, *, by_encoder: bool) -> None:
    service = build_service(load_tts_settings(section="demo"), load_service_settings())
    await service.start()
    if by_encoder:
        use_encoder(service._models.current)
    worker = service._models.current.worker
    heard = await speak(service, worker, count)
    await service.stop(0.0)
    suspected = [take for _, take in heard.fragments if take.faults]
    unsure = sum(take.alignment is None for _, take in heard.fragments)
    print(f"{len(heard.fragments)} fragments, {unsure} not aligned; as they are, suspected: {len(suspected)}")
    print(f"  of: {[(take.faults, len(take.tokens)) for take in suspected]}")
    print("| planted | found | by its name |\n|---|---|---|")
    for what, kind, plant in plants(worker):
        takes = []
        for sequence, take in heard.fragments:
            tokens = plant(sequence, take) if take.alignment is not None and not take.faults else None
            if tokens is not None:
                takes.append(judge(worker, sequence, tokens))
        found = np.mean([bool(take.faults) for take in takes])
        named = np.mean([kind in take.faults for take in takes])
        print(f"| {what} ({len(takes)}) | {100 * found:.0f} % | {100 * named:.0f} % |", flush=True)
    rng = np.random.default_rng(0)
    noisy = [wave_faults(with_noise(c.samples, rng, c.sample_rate_hz), c.sample_rate_hz) for c in heard.chunks]
    clean = [wave_faults(chunk.samples, chunk.sample_rate_hz) for chunk in heard.chunks]
    print(f"| a second of noise behind ({len(noisy)}) | {100 * np.mean([bool(f) for f in noisy]):.0f} % | |")
    print(f"waveforms as they are, suspected: {sum(map(bool, clean))} of {len(clean)}")


async def measure_cost(count: int) -> None:
    """What the guard adds to the time of the processor, and to the wait for the first audio of a stream."""
    service = build_service(load_tts_settings(section="demo"), load_service_settings())
    await service.start()
    spent_s: dict[GuardMode, list[float]] = {mode: [] for mode in GUARD_MODES}
    waits_s: dict[GuardMode, list[float]] = {mode: [] for mode in GUARD_MODES}
    for index, sentence in enumerate(sentences()[:count]):
        voice = await service.voices.get(VOICES[index % len(VOICES)])
        for mode in GUARD_MODES:
            asked = replace(request_of(sentence, voice, index), guard=mode)
            begun_s = time.process_time()
            async for _ in (await service.synthesize(asked)).chunks:
                pass
            spent_s[mode].append(time.process_time() - begun_s)
        for mode in GUARD_MODES:
            asked = replace(request_of(sentence, voice, index), guard=mode, streaming_mode=1)
            begun_s = time.perf_counter()
            chunks = (await service.synthesize(asked)).chunks
            await anext(chunks)
            waits_s[mode].append(time.perf_counter() - begun_s)
            async for _ in chunks:
                pass
    await service.stop(0.0)
    print(f"{count} sentences | s of the processor | ms to the first audio in mode 1, median")
    for mode in GUARD_MODES:
        # The first sentences encode the voices and choose the heads.
        spent, wait_ms = sum(spent_s[mode][len(VOICES) :]), 1000 * np.median(waits_s[mode][len(VOICES) :])
        print(f"{mode} | {spent:.1f} | {wait_ms:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=60, help="how many of the judge's sentences")
    parser.add_argument("--encoder", action="store_true", help="align by the SoVITS encoder in place of the GPT")
    parser.add_argument("--cost", action="store_true", help="what the guard costs, in place of what it finds")
    args = parser.parse_args()
    asyncio.run(measure_cost(args.sentences) if args.cost else measure(args.sentences, by_encoder=args.encoder))


if __name__ == "__main__":
    main()
