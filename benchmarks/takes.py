"""How well the guard tells faulty takes from good ones, and what taking again gains.

`python -m benchmarks.takes speak DIR TEXTS` speaks each text (lines of {"text", "lang"}) with each seed, with `off` and
with `retry`, as files, with `manifest.jsonl` of what happened and `listen.jsonl` for a listener; `--temperature 1.6`
and more makes faults abound. `tools/demo_voice/judge.py DIR/listen.jsonl --out DIR/report.json --words` hears
them, and `python -m benchmarks.takes report DIR` prints the tables. What a take really says is known twice: from its
tokens, which are phones by the recipe of the voice, and from the listener, whose own misunderstandings are told from
faults of a take by the other seeds of the same text.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soundfile

from benchmarks.timestamps import CODES, MARKS, VOICES, edits, phoneme_names, phones_of
from sovits_service.engine.guard import Take
from sovits_service.engine.sequence import DecodeSequence
from sovits_service.service.build import build_service
from sovits_service.service.service import SpeechService
from sovits_service.settings import load_service_settings
from sovits_service.tts_settings import load_tts_settings
from sovits_service.types import SamplingParams, SynthesisRequest

_WORD_PHONES, _WORD_TOKENS = 2, 4
Item, Key = TypeVar("Item"), TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Said:
    """What the tokens of a take say, in phones.

    Attributes:
        missing: phones of the text that are not said, two and more in a row.
        extra: phones that are said beside it, two and more in a row that last for 160 ms and more: less is a slip.
    """

    missing: int = 0
    extra: int = 0

    @classmethod
    def of(cls, phonemes: Sequence[str], tokens: Sequence[int], codes: Mapping[str, Any]) -> Said:
        phones = [
            (*max(run, key=lambda phone: phone[2] - phone[1])[:1], run[0][1], run[-1][2])
            for run in _alike(phones_of(list(tokens), codes["phones"], codes["parts"]))
        ]
        pairs = [(i, j) for i, j in edits(list(phonemes), phones) if i is None or phonemes[i] not in MARKS]
        missing = [len(run) for is_missing, run in _runs(pairs, lambda pair: pair[1] is None) if is_missing]
        extra = [
            len(run)
            for is_extra, run in _runs(pairs, lambda pair: pair[0] is None)
            if is_extra and sum(phones[j][2] - phones[j][1] for _, j in run if j is not None) >= _WORD_TOKENS
        ]
        return cls(*(sum(length for length in lengths if length >= _WORD_PHONES) for lengths in (missing, extra)))

    @property
    def is_faulty(self) -> bool:
        return self.missing + self.extra > 0


def _alike(phones: list[tuple[str, int, int]]) -> Iterator[list[tuple[str, int, int]]]:
    """A phone that begins anew, or changes its tone, is one phone all the same."""
    return (run for _, run in _runs(phones, lambda phone: phone[0].rstrip("012345")))


def _runs(items: Iterable[Item], key: Callable[[Item], Key]) -> Iterator[tuple[Key, list[Item]]]:
    return ((value, list(run)) for value, run in itertools.groupby(items, key))


class Speaker:
    """Speaks texts through the service, and sees the takes."""

    def __init__(self, service: SpeechService, sampling: SamplingParams, folder: Path) -> None:
        self._service, self._sampling, self._folder = service, sampling, folder
        self._settled: dict[int, DecodeSequence] = {}
        judge = service._models.current.worker.judge
        settle = judge.settle

        def watched(sequence: DecodeSequence, take: Take) -> bool:
            self._settled[sequence.index] = sequence  # of the last take, which knows them all
            return settle(sequence, take)

        judge.settle = watched  # type: ignore[method-assign]

    async def row(self, number: int, text: Mapping[str, str], seed: int) -> dict[str, Any]:
        voice = await self._service.voices.get(VOICES[number % len(VOICES)])
        off = SynthesisRequest(
            text=text["text"],
            text_lang=text["lang"],
            voice_id=voice.voice_id,
            prompt_text=voice.prompt_text,
            prompt_lang=voice.prompt_lang,
            seed=10_000 * seed + number,
            sampling=self._sampling,
        )
        row = {"text": text["text"], "lang": text["lang"], "number": number, "seed": seed}
        row["off"], row["off_s"], _ = await self._speak(off)
        self._settled.clear()
        row["retry"], row["retry_s"], row["takes"] = await self._speak(replace(off, guard="retry"))
        row["fragments"] = [
            {
                "phonemes": phoneme_names(sequence.segment),
                "kept": sequence.takes.index(sequence.kept) if sequence.kept else 0,
                "takes": [{"tokens": take.tokens, "faults": take.faults, "cost": take.cost} for take in sequence.takes],
            }
            for sequence in self._settled.values()
        ]
        return row

    async def _speak(self, request: SynthesisRequest) -> tuple[str, float, int]:
        """The file that holds it, seconds of the processor, and takes."""
        begun_s = time.process_time()
        synthesis = await self._service.synthesize(request)
        chunks = [chunk async for chunk in synthesis.chunks]
        spent_s = time.process_time() - begun_s
        samples = np.concatenate([chunk.samples for chunk in chunks])
        wav = self._folder / f"{hashlib.sha256(samples.tobytes()).hexdigest()[:16]}.wav"
        soundfile.write(wav, samples, synthesis.sample_rate_hz)
        return str(wav), spent_s, sum(chunk.takes for chunk in chunks)


async def speak(folder: Path, texts: Sequence[Mapping[str, str]], seeds: int, sampling: SamplingParams) -> None:
    service = build_service(load_tts_settings(section="demo"), load_service_settings())
    await service.start()
    speaker = Speaker(service, sampling, folder)
    with (folder / "manifest.jsonl").open("w") as manifest, (folder / "listen.jsonl").open("w") as listen:
        for (number, text), seed in itertools.product(enumerate(texts), range(seeds)):
            row = await speaker.row(number, text, seed)
            print(json.dumps(row), file=manifest, flush=True)
            for wav in {row[mode] for mode in MODES}:
                print(json.dumps({"wav": wav, "text": row["text"], "lang": row["lang"]}), file=listen, flush=True)
    await service.stop(0.0)


MODES = ("off", "retry")


@dataclass(frozen=True, slots=True)
class Understood:
    """What a listener made of an answer.

    Attributes:
        heard: for each unit that was asked for, whether it was heard.
        left_out: for each, whether nothing was heard in its place.
        added: units heard where none was asked for, by the unit that they come before.
    """

    error: float
    heard: tuple[bool, ...]
    left_out: tuple[bool, ...]
    added: Mapping[int, int]


def understood(row: Mapping[str, Any]) -> Understood:
    asked, heard = row["asked_units"], row["heard_units"]
    is_heard, is_left_out, added = [False] * len(asked), [False] * len(asked), {}
    for kind, start, end, first, last in SequenceMatcher(None, asked, heard, autojunk=False).get_opcodes():
        is_heard[start:end] = [kind == "equal"] * (end - start)
        spare = (last - first) - (end - start)
        is_left_out[start:end] = [spare < 0] * (end - start)
        if spare > 0:
            added[start] = spare
    return Understood(row["error"], tuple(is_heard), tuple(is_left_out), added)


def is_faulty(one: Understood, others: Sequence[Understood]) -> bool:
    """Whether a unit is left out that all other takes of the text say, or one added where none of them has any."""
    is_missing = any(left_out and all(other.heard[i] for other in others) for i, left_out in enumerate(one.left_out))
    return is_missing or any(not any(place in other.added for other in others) for place in one.added)


def report(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    codes = json.loads(CODES.read_text(encoding="utf-8"))
    fragments = [fragment for row in rows for fragment in row["fragments"]]
    print(f"{len(rows)} answers, {len(fragments)} fragments, {sum(row['takes'] for row in rows)} takes")
    before = [[said_of(fragment, 0, codes) for fragment in row["fragments"]] for row in rows]
    after = [[said_of(fragment, fragment["kept"], codes) for fragment in row["fragments"]] for row in rows]
    labels = {"tokens": [any(said.is_faulty for said in answer) for answer in before]}
    listened = listener(folder)
    if listened:
        labels |= heard_labels(rows, listened)
    cost = np.array([max(fragment["takes"][0]["cost"] for fragment in row["fragments"]) for row in rows])
    blamed = np.array([any(fragment["takes"][0]["faults"] for fragment in row["fragments"]) for row in rows])
    print("| faulty by | answers | AUC of the cost | blamed | blamed of the others |\n|---|---|---|---|---|")
    for name, values in labels.items():
        wrong = np.array(values)
        hits, alarms = blamed[wrong].sum(), blamed[~wrong].sum()
        area = auc(cost[wrong], cost[~wrong]) if 0 < wrong.sum() < len(wrong) else float("nan")
        print(f"| {name} | {wrong.sum()} | {area:.2f} | {hits} | {alarms} of {(~wrong).sum()} |")
    print("| | off | retry |\n|---|---|---|")
    for what in ("missing", "extra"):
        counts = [sum(getattr(said, what) for answer in answers for said in answer) for answers in (before, after)]
        print_row(f"phones {what}, by tokens", counts)
    if listened:
        heard = [[listened[row[mode]] for row in rows] for mode in MODES]
        print_row("mean error", [round(float(np.mean([one.error for one in answers])), 4) for answers in heard])
        print_row("words left out", [sum(sum(one.left_out) for one in answers) for answers in heard])
        print_row("words added", [sum(sum(one.added.values()) for one in answers) for answers in heard])
    print_row("s of the processor", [round(sum(row[f"{mode}_s"] for row in rows), 1) for mode in MODES])


def print_row(name: str, values: Iterable[object]) -> None:
    print(f"| {name} | " + " | ".join(map(str, values)) + " |")


def said_of(fragment: Mapping[str, Any], take: int, codes: Mapping[str, Any]) -> Said:
    return Said.of(fragment["phonemes"], fragment["takes"][take]["tokens"], codes)


def listener(folder: Path) -> dict[str, Understood]:
    """What the listener made of each file; nothing where it has not listened."""
    path = folder / "report.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return {row["wav"]: understood(row) for row in rows}


def heard_labels(rows: Sequence[Mapping[str, Any]], listened: Mapping[str, Understood]) -> dict[str, list[bool]]:
    """Which answers are faulty by the listener: with any error, and with one that other seeds do not have."""
    texts: dict[int, list[Understood]] = {}
    for row in rows:
        texts.setdefault(row["number"], []).append(listened[row["off"]])
    own = [
        is_faulty(listened[row["off"]], [other for other in texts[row["number"]] if other is not listened[row["off"]]])
        for row in rows
    ]
    return {"listener, any error": [listened[row["off"]].error > 0 for row in rows], "listener, this take alone": own}


def auc(higher: np.ndarray, lower: np.ndarray) -> float:
    """How often one of the former is above one of the latter; equals count half (Mann and Whitney, 1947)."""
    difference = higher[:, None] - lower[None]
    return float((np.mean(difference > 0) + np.mean(difference >= 0)) / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["speak", "report"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("texts", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--temperature", type=float, help="draw so wildly, from the 50 likeliest and without a penalty")
    args = parser.parse_args()
    if args.action == "report":
        report(args.folder)
    else:
        texts = [json.loads(line) for line in args.texts.read_text(encoding="utf-8").splitlines() if line.strip()]
        args.folder.mkdir(parents=True, exist_ok=True)
        sampling = SamplingParams()
        if args.temperature:
            sampling = SamplingParams(top_k=50, temperature=args.temperature, repetition_penalty=1.0)
        asyncio.run(speak(args.folder, texts, args.seeds, sampling))


if __name__ == "__main__":
    main()
