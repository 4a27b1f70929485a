"""`python -m benchmarks.timestamps`: borders of words in speech of the demonstration voice, against its tokens.

The demonstration model's tokens are phones by the recipe of its voice (`tools/demo_voice/codes.py`): which token begins
a word is read in the tokens themselves, without an aligner. Prints a table, and what an alignment costs.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from sovits_service.engine.aligner import ENCODER, Aligner, Utterance
from sovits_service.engine.alignment import Alignment
from sovits_service.engine.guard import Take
from sovits_service.engine.sequence import DecodeSequence
from sovits_service.models.gpt import BERT_WIDTH
from sovits_service.models.sovits.text_attention import text_attention
from sovits_service.service.build import build_service
from sovits_service.service.loaded_models import Model
from sovits_service.service.service import SpeechService
from sovits_service.settings import load_service_settings
from sovits_service.text.frontend import Frontend
from sovits_service.text.symbols import pause_ids, symbol_ids
from sovits_service.text.timing import parts
from sovits_service.tts_settings import load_tts_settings
from sovits_service.types import ReferenceAudio, Segment, SynthesisRequest

ROOT = Path(__file__).parents[1]
CODES = ROOT / "pretrained_models/demo/codes.json"
SENTENCES = ROOT / "tools/demo_voice"
FILES = ("sentences.jsonl", "sentences_mixed.jsonl", "sentences_numbers.jsonl")
VOICES = ("female_calm", "male_narrator", "child_happy")
TOKEN_MS = 40
MARKS = ",.?!…-"
_MARK_COST, _OTHER_TONE, _OTHER_PHONE = 0.1, 0.4, 1.2


@dataclass
class Heard:
    """What a run has seen: sequences and their alignments, and seconds of the processor."""

    found: list[tuple[DecodeSequence, Alignment | None]] = field(default_factory=list)
    aligning_s: float = 0.0


def phones_of(tokens: list[int], names: list[str], thirds: int) -> list[tuple[str, int, int]]:
    """(phone, first token, end) of each phone in tokens, silences left out: it ends where its thirds begin anew."""
    found: list[tuple[str, int, int]] = []
    last = (-1, 0)
    for i, token in enumerate(tokens):
        phone, third = divmod(token, thirds)
        if phone >= len(names):
            continue
        if phone == last[0] and third >= last[1]:
            found[-1] = (names[phone], found[-1][1], i + 1)
        else:
            found.append((names[phone], i, i + 1))
        last = phone, third
    return [item for item in found if item[0] != "SIL"]


def edits(phonemes: list[str], said: list[tuple[str, int, int]]) -> list[tuple[int | None, int | None]]:
    """The cheapest way from the text's phonemes to the tokens' phones.

    Returns:
        (i, j) said as it is or as another phone, (i, None) left out, (None, j) said beside the text.
    """
    rows, columns = len(phonemes), len(said)
    left_out = [_MARK_COST if name in MARKS else 1.0 for name in phonemes]
    costs = np.zeros((rows + 1, columns + 1))
    costs[1:, 0], costs[0] = np.cumsum(left_out), np.arange(columns + 1)
    for i, j in itertools.product(range(rows), range(columns)):
        swapped = costs[i, j] + _swap_cost(phonemes[i], said[j][0])
        costs[i + 1, j + 1] = min(swapped, costs[i, j + 1] + left_out[i], costs[i + 1, j] + 1)
    pairs: list[tuple[int | None, int | None]] = []
    i, j = rows, columns
    while i or j:
        swap = costs[i - 1, j - 1] + _swap_cost(phonemes[i - 1], said[j - 1][0]) if i and j else np.inf
        if np.isclose(costs[i, j], swap):
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif i and np.isclose(costs[i, j], costs[i - 1, j] + left_out[i - 1]):
            i -= 1
            pairs.append((i, None))
        else:
            j -= 1
            pairs.append((None, j))
    return pairs[::-1]


def _swap_cost(one: str, other: str) -> float:
    if one == other:
        return 0.0
    return _OTHER_TONE if one.rstrip("012345") == other.rstrip("012345") else _OTHER_PHONE


def true_times(phonemes: list[str], said: list[tuple[str, int, int]]) -> list[tuple[int, int] | None]:
    """For each phoneme when it is said; None where another one is, or none."""
    times: list[tuple[int, int] | None] = [None] * len(phonemes)
    for i, j in edits(phonemes, said):
        if i is not None and j is not None and _swap_cost(phonemes[i], said[j][0]) < 1:
            times[i] = said[j][1:]
    return times


def phoneme_names(segment: Segment) -> list[str]:
    names = {number: name for name, number in symbol_ids("v2").items()}
    return [names[number] for number in segment.phoneme_ids]


def word_errors_ms(text: str, sequence: DecodeSequence, alignment: Alignment, codes: dict[str, Any]) -> list[int]:
    """Of the beginning and the end of each word that the tokens say."""
    phonemes = phoneme_names(sequence.segment)
    truth = true_times(phonemes, phones_of(sequence.tokens, codes["phones"], codes["parts"]))
    errors: list[int] = []
    for part in parts(text, sequence.segment, "word"):
        first, last = truth[part.first], truth[part.last - 1]
        if first is not None:
            errors.append(abs(int(alignment.starts[part.first]) - first[0]) * TOKEN_MS)
        if last is not None:
            errors.append(abs(int(alignment.ends[part.last - 1]) - last[1]) * TOKEN_MS)
    return errors


def use_encoder(model: Model) -> None:
    """Align by the attention of the SoVITS encoder, however sure the GPT is."""
    heads = [(ENCODER, number) for number in range(model.vits.enc_p.mrte.cross_attention.n_heads)]
    encoder = functools.partial(text_attention, model.vits)
    model.worker.judge.aligner = Aligner(model.gpt, pause_ids(model.spec.symbols), heads, encoder=encoder)


async def measure(count: int, *, by_encoder: bool) -> None:
    service = build_service(load_tts_settings(section="demo"), load_service_settings())
    await service.start()
    if by_encoder:
        use_encoder(service._models.current)
    worker, heard = service._models.current.worker, Heard()
    examine = worker.judge.examine

    def watched(sequence: DecodeSequence) -> Take:
        begun_s = time.thread_time()
        take = examine(sequence)
        heard.aligning_s += time.thread_time() - begun_s
        heard.found.append((sequence, take.alignment))
        return take

    worker.judge.examine = watched  # type: ignore[method-assign]
    lines = [line for name in FILES for line in (SENTENCES / name).read_text(encoding="utf-8").splitlines()]
    sentences = [json.loads(line) for line in lines if line.strip()][:count]
    codes = json.loads(CODES.read_text(encoding="utf-8"))
    errors: dict[str, list[int]] = {}
    unsure = 0
    begun_s = time.process_time()
    for index, sentence in enumerate(sentences):
        voice = await service.voices.get(VOICES[index % len(VOICES)])
        language = sentence["lang"] if sentence["lang"] in ("zh", "en") else "auto"
        request = SynthesisRequest(
            text=sentence["text"],
            text_lang=language,
            voice_id=voice.voice_id,
            prompt_text=voice.prompt_text,
            prompt_lang=voice.prompt_lang,
            seed=index,
            timestamps="word",
        )
        heard.found.clear()
        async for _ in (await service.synthesize(request)).chunks:
            pass
        for sequence, alignment in heard.found:
            if alignment is None:
                unsure += 1
                continue
            errors.setdefault(sentence["lang"], []).extend(word_errors_ms(sentence["text"], sequence, alignment, codes))
    spent_s = time.process_time() - begun_s
    await service.stop(0.0)
    print_errors(errors)
    print(f"{len(sentences)} sentences, {unsure} fragments not sure; alignment takes ", end="")
    print(f"{100 * heard.aligning_s / spent_s:.1f} % of the processor's time")


def print_errors(errors: Mapping[str, Sequence[float]]) -> None:
    print(f"| language | borders | median | within {60} ms | within {120} ms |\n|---|---|---|---|---|")
    for language, values in {**errors, "all": [value for part in errors.values() for value in part]}.items():
        found = np.array(values)
        near, far = (100 * np.mean(found <= limit) for limit in (60, 120))
        print(f"| {language} | {len(found)} | {np.median(found):.0f} ms | {near:.1f} % | {far:.1f} % |")


async def measure_recorded(folder: Path, count: int, *, by_encoder: bool) -> None:
    """Speech that the voice's source synthesizer made, after the voice's clip, against the durations that it gave."""
    service = build_service(load_tts_settings(section="demo"), load_service_settings())
    await service.start()
    model, frontend = service._models.current, Frontend()
    if by_encoder:
        use_encoder(model)
    lines = (folder / "utterances.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["speaker"] in VOICES][:count]
    prompts = {name: await prompt_of(service, name, frontend) for name in VOICES}
    errors: dict[str, list[float]] = {}
    aligned = 0
    for row in rows:
        segment = frontend.transcript(row["text"], row["language"] if row["language"] in ("zh", "en") else "auto", "v2")
        begins_s = [0.0, *itertools.accumulate(row["seconds"])]
        names, phones = zip(*[(n, s) for n, s in zip(row["phones"], begins_s, strict=False) if n != "SIL"], strict=True)
        prompt, prompt_tokens, clip = prompts[row["speaker"]]
        features = torch.zeros(len(prompt.phoneme_ids) + len(segment.phoneme_ids), BERT_WIDTH)
        tokens = model.checker._prompts.tokens(read_clip(folder / "wav" / f"{row['id']}.wav"))
        aligner = model.worker.judge.aligner
        assert aligner is not None
        alignment = aligner.align(Utterance(segment, features, prompt, prompt_tokens, tokens, clip))
        if alignment is None or phoneme_names(segment) != list(names):
            continue
        aligned += 1
        for part in parts(row["text"], segment, "word"):
            # Beginnings alone: the source counts a pause as part of the vowel before it.
            error_s = abs(alignment.starts[part.first] * TOKEN_MS / 1000 - phones[part.first])
            errors.setdefault(row["language"], []).append(1000 * error_s)
    await service.stop(0.0)
    print_errors(errors)
    print(f"{aligned} of {len(rows)} recordings are aligned, and have the source's phonemes")


async def prompt_of(
    service: SpeechService, name: str, frontend: Frontend
) -> tuple[Segment, torch.Tensor, ReferenceAudio]:
    """What the clip of a voice says, its tokens, and the clip."""
    voice = await service.get_voice(name)
    clip = read_clip(ROOT / "voices" / voice.ref_audio)
    tokens = torch.tensor(service._models.current.checker._prompts.tokens(clip), dtype=torch.int64)
    return frontend.transcript(voice.prompt_text, voice.prompt_lang, "v2"), tokens, clip


def read_clip(path: Path) -> ReferenceAudio:
    samples, rate_hz = soundfile.read(path, dtype="float32")
    return ReferenceAudio(samples, rate_hz, path.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=80, help="how many of the judge's sentences")
    parser.add_argument("--encoder", action="store_true", help="align by the SoVITS encoder in place of the GPT")
    parser.add_argument("--recorded", type=Path, metavar="DIR", help="recordings of the recipe's stage data instead")
    args = parser.parse_args()
    if args.recorded:
        asyncio.run(measure_recorded(args.recorded, args.sentences, by_encoder=args.encoder))
    else:
        asyncio.run(measure(args.sentences, by_encoder=args.encoder))


if __name__ == "__main__":
    main()
