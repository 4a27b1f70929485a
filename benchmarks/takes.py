"""How well the guard tells faulty takes from good ones, and what taking again gains.

`python -m benchmarks.takes speak DIR TEXTS` speaks each text (lines of {"text", "lang"}) with each seed, with `off` and
with `retry`, as files, with `manifest.jsonl` of what happened and `listen.jsonl` for a listener; `--stressed` draws
tokens so wildly that faults abound. `tools/demo_voice/judge.py DIR/listen.jsonl --out DIR/report.json --words` hears
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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.timestamps import CODES, MARKS, VOICES, edits, phoneme_names, phones_of
from sovits_service.engine.guard import Take
from sovits_service.engine.sequence import DecodeSequence
from sovits_service.service.service import SpeechService, build_service
from sovits_service.settings import load_service_settings, load_tts_settings
from sovits_service.types import SamplingParams, Segment, SynthesisRequest

STRESSED = SamplingParams(top_k=50, temperature=1.6, repetition_penalty=1.0)
_WORD = 2  # phones in a row, of which fewer are a slip


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the tokens of an answer say; phones in runs of two and more, of all its fragments.

    Attributes:
        cost: of the guard, the largest of the fragments'.
    """

    cost: float
    faults: list[str]
    missing: int
    extra: int


def said(segment: Segment, tokens: Sequence[int], codes: Mapping[str, Any]) -> tuple[int, int]:
    """Phones that are missing from tokens, and those that are too much."""
    names = phoneme_names(segment)
    found = [(i, j) for i, j in edits(names, phones_of(list(tokens), codes["phones"], codes["parts"]))]
    found = [(i, j) for i, j in found if i is None or names[i] not in MARKS]
    return _in_runs(j is None for _, j in found), _in_runs(i is None for i, _ in found)


def _in_runs(flags: Iterable[bool]) -> int:
    lengths = [len(list(run)) for flag, run in itertools.groupby(flags) if flag]
    return sum(length for length in lengths if length >= _WORD)


def spoken(fragments: Iterable[tuple[Segment, Take]], codes: Mapping[str, Any]) -> Spoken:
    fragments = list(fragments)
    counts = [said(segment, take.tokens, codes) for segment, take in fragments]
    faults = [kind for _, take in fragments for kind in take.faults]
    missing, extra = (sum(part) for part in zip(*counts, strict=True))
    return Spoken(max(take.cost for _, take in fragments), faults, missing, extra)


class Speaker:
    """Speaks texts through the service, and sees the takes."""

    def __init__(self, service: SpeechService, sampling: SamplingParams, folder: Path) -> None:
        self._service, self._sampling, self._folder = service, sampling, folder
        self._codes = json.loads(CODES.read_text(encoding="utf-8"))
        self._settled: dict[int, DecodeSequence] = {}
        judge = service._models.current.worker.judge
        settle = judge.settle

        def watched(sequence: DecodeSequence, take: Take) -> bool:
            self._settled[sequence.index] = sequence  # of the last take, which knows them all
            return settle(sequence, take)

        judge.settle = watched  # type: ignore[method-assign]

    async def row(self, number: int, text: Mapping[str, str], seed: int) -> dict[str, Any]:
        voice = await self._service.get_voice(VOICES[number % len(VOICES)])
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
        sequences = list(self._settled.values())
        row["fragments"] = len(sequences)
        row["first"] = asdict(spoken(((s.segment, s.takes[0]) for s in sequences), self._codes))
        row["kept"] = asdict(spoken(((s.segment, s.kept or s.takes[0]) for s in sequences), self._codes))
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


async def speak(folder: Path, texts: Sequence[Mapping[str, str]], seeds: int, *, is_stressed: bool) -> None:
    service = build_service(load_tts_settings(section="demo"), load_service_settings())
    await service.start()
    speaker = Speaker(service, STRESSED if is_stressed else SamplingParams(), folder)
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
    fragments, takes = (sum(row[key] for row in rows) for key in ("fragments", "takes"))
    print(f"{len(rows)} answers, {fragments} fragments, {takes} takes")
    labels = {"tokens say": [row["first"]["missing"] + row["first"]["extra"] > 0 for row in rows]}
    path = folder / "report.json"
    listened: dict[str, Understood] = {}
    if path.exists():
        listened = {row["wav"]: understood(row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]}
        texts: dict[int, list[Understood]] = {}
        for row in rows:
            texts.setdefault(row["number"], []).append(listened[row["off"]])
        labels["listener, any error"] = [listened[row["off"]].error > 0 for row in rows]
        labels["listener, of this take alone"] = [
            is_faulty(one, [other for other in texts[row["number"]] if other is not one])
            for row in rows
            for one in [listened[row["off"]]]
        ]
    cost = np.array([row["first"]["cost"] for row in rows])
    blamed = np.array([bool(row["first"]["faults"]) for row in rows])
    print("| faulty by | answers | AUC of the cost | blamed | blamed of the others |\n|---|---|---|---|---|")
    for name, values in labels.items():
        wrong = np.array(values)
        hits, alarms = blamed[wrong].sum(), blamed[~wrong].sum()
        area = auc(cost[wrong], cost[~wrong]) if 0 < wrong.sum() < len(wrong) else float("nan")
        print(f"| {name} | {wrong.sum()} | {area:.2f} | {hits} | {alarms} of {(~wrong).sum()} |")
    print("| | off | retry |\n|---|---|---|")
    for what in ("missing", "extra"):
        print(
            f"| phones {what} | {sum(row['first'][what] for row in rows)} | {sum(row['kept'][what] for row in rows)} |"
        )
    if listened:
        before, after = ([listened[row[mode]] for row in rows] for mode in MODES)
        print(f"| mean error | {np.mean([u.error for u in before]):.4f} | {np.mean([u.error for u in after]):.4f} |")
        for what, count in (("left out", lambda u: sum(u.left_out)), ("added", lambda u: sum(u.added.values()))):
            print(f"| words and syllables {what} | {sum(map(count, before))} | {sum(map(count, after))} |")
    print(
        f"| s of the processor | {sum(row['off_s'] for row in rows):.1f} | {sum(row['retry_s'] for row in rows):.1f} |"
    )


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
    parser.add_argument("--stressed", action="store_true")
    args = parser.parse_args()
    if args.action == "report":
        report(args.folder)
    else:
        texts = [json.loads(line) for line in args.texts.read_text(encoding="utf-8").splitlines() if line.strip()]
        args.folder.mkdir(parents=True, exist_ok=True)
        asyncio.run(speak(args.folder, texts, args.seeds, is_stressed=args.stressed))


if __name__ == "__main__":
    main()
