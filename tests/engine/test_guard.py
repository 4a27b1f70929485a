"""Faults in a take: found in stored speech of the demonstration voice, and taken again by the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from sovits_service.deadline import Deadline
from sovits_service.engine.aligner import Aligner
from sovits_service.engine.guard import Guard, Take, loop_start, recurrence_start, wave_faults, wrong_length
from sovits_service.engine.sequence import JobOptions
from sovits_service.text.frontend import Frontend
from sovits_service.text.symbols import pause_ids
from sovits_service.types import AudioChunk, FaultKind, FloatArray
from tests.engine.conftest import collect, joined, options, segment, voice
from tests.engine.test_alignment import STORED, demo_gpt, utterance

RATE_HZ = 16_000
WHOLE = [spoken for spoken in STORED if spoken["text"].count("，") == 0]  # the others' tokens are of the first fragment


@cache
def heads() -> tuple[tuple[int, int], ...]:
    found: list[list[tuple[int, int]]] = []
    Aligner(demo_gpt(), pause_ids("v2"), remember=lambda heads: found.append(list(heads))).align(
        utterance(STORED[0], Frontend())
    )
    return tuple(found[0])


def judged(spoken: dict[str, Any], tokens: list[int]) -> Take:
    """A take with these tokens of a stored fragment."""
    said = utterance({**spoken, "tokens": tokens}, Frontend())
    guard = Guard(pause_ids("v2"))
    alignment = Aligner(demo_gpt(), pause_ids("v2"), heads()).align(said)
    pace = guard.pace(said.prompt, len(said.prompt_tokens))
    return guard.judge(said.segment, tokens, alignment, pace, has_looped=False)


def stretch(spoken: dict[str, Any], phonemes: int) -> tuple[int, int]:
    """The tokens of some phonemes from the middle."""
    known = [times for times in spoken["truth"] if times is not None]
    first = len(known) // 2 - phonemes // 2
    return known[first][0], known[first + phonemes - 1][1]


def planted(spoken: dict[str, Any]) -> Iterator[tuple[FaultKind, list[int]]]:
    tokens: list[int] = spoken["tokens"]
    start, end = stretch(spoken, 6)
    yield "missing", tokens[:start] + tokens[end:]
    yield "repeated", tokens[:end] + tokens[start:]
    yield "leak", spoken["prompt_tokens"][-20:] + tokens
    yield "loop", tokens + tokens[-8:] * 6


@pytest.mark.parametrize("index", range(len(WHOLE)))
def test_right_takes_have_no_fault(index: int) -> None:
    take = judged(WHOLE[index], WHOLE[index]["tokens"])
    assert take.faults == ()
    assert take.cost < 0.5


def test_half_a_sentence_is_too_short_and_words_are_missing() -> None:
    (half,) = [spoken for spoken in STORED if spoken not in WHOLE]
    assert set(judged(half, half["tokens"]).faults) == {"missing", "too_short"}


@pytest.mark.parametrize("kind", ["missing", "repeated", "leak", "loop"])
def test_planted_faults_are_found_by_their_names(kind: FaultKind) -> None:
    takes = [judged(spoken, dict(planted(spoken))[kind]) for spoken in WHOLE]
    assert np.mean([kind in take.faults for take in takes]) >= 0.95
    assert all(take.cost > 1 for take in takes if take.faults)


def test_where_no_alignment_is_sure_nothing_is_said_of_words() -> None:
    spoken = STORED[0]
    said, guard = utterance(spoken, Frontend()), Guard(pause_ids("v2"))
    start, end = stretch(spoken, 6)
    tokens = spoken["tokens"][:start] + spoken["tokens"][end:]
    alignment = Aligner(demo_gpt(), pause_ids("v2"), heads()).align(utterance({**spoken, "tokens": tokens}, Frontend()))
    assert alignment is not None
    for unsure in (None, replace(alignment, confidence=0.3)):
        assert guard.judge(said.segment, tokens, unsure, None, has_looped=False).faults == ()


@pytest.mark.parametrize(("tokens", "kind"), [(17, "too_short"), (18, None), (163, None), (164, "too_long")])
def test_length_is_compared_with_the_clip(tokens: int, kind: str | None) -> None:
    assert list(wrong_length(tokens, phonemes=20, pace=2.5)) == ([kind] if kind else [])


def test_without_a_transcript_no_length_is_wrong() -> None:
    assert Guard(()).pace(None, 0) is None
    assert wrong_length(1500, 1, None) == {}


@pytest.mark.parametrize("period", [1, 2, 12, 30, 50])
def test_a_loop_ends_with_its_first_round(period: int) -> None:
    rng = np.random.default_rng(period)
    before, circle = rng.integers(0, 500, 40).tolist(), list(range(600, 600 + period))
    enough = max(25, 2 * period) // period + 2
    assert loop_start(before + circle * enough) == 40 + period
    assert loop_start(before + circle * enough + [1]) is None
    assert loop_start(before + circle * 2) is None
    assert loop_start(before) is None


def circle_with_variations(period: int, rounds: int) -> list[int]:
    """Every tenth token is another one."""
    rng = np.random.default_rng(period)
    round_ = list(range(600, 600 + period))
    return [token if rng.random() > 0.1 else int(rng.integers(0, 500)) for token in round_ * rounds]


@pytest.mark.parametrize("period", [6, 12, 25])
def test_a_circle_with_variations_ends_where_the_speech_is_too_long_for_its_text(period: int) -> None:
    spoken = WHOLE[0]
    said, guard = utterance(spoken, Frontend()), Guard(pause_ids("v2"))
    pace = guard.pace(said.prompt, len(said.prompt_tokens))
    assert pace is not None
    phonemes = int(np.count_nonzero(~np.isin(said.segment.phoneme_ids, list(pause_ids("v2")))))
    tokens = spoken["tokens"] + circle_with_variations(period, 400 // period)
    assert loop_start(tokens) is None
    ends = [end for end in range(len(tokens)) if guard.loop_start(said.segment, tokens[:end], pace) is not None]
    assert 2 * phonemes * pace < ends[0] < 3 * phonemes * pace + 50, "a text may go in a circle for a while"
    start = guard.loop_start(said.segment, tokens[: ends[0]], pace)
    assert start is not None
    assert phonemes * pace - 1 <= start <= max(phonemes * pace, len(spoken["tokens"]) + 2 * period) + 1
    assert guard.loop_start(said.segment, tokens, None) is None, "nothing tells how long the text is"


def test_speech_that_is_too_long_but_goes_on_is_not_ended() -> None:
    spoken = WHOLE[0]
    said, guard = utterance(spoken, Frontend()), Guard(pause_ids("v2"))
    different = [token for other in WHOLE for token in other["tokens"]]
    assert guard.loop_start(said.segment, different, 1.0) is None
    assert recurrence_start(different) is None


def speech() -> FloatArray:
    """Two seconds of vowels: a pulse train of a pitch that moves, through two resonances, in syllables."""
    times = np.arange(2 * RATE_HZ) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * times)) / RATE_HZ
    wave = sum(np.sin(k * phase) * np.exp(-(((k * 120 - 600) / 500) ** 2)) for k in range(1, 30))
    samples: FloatArray = (0.2 * wave * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * times)) ** 2).astype(np.float32)
    return samples


def test_waveforms() -> None:
    rng = np.random.default_rng(1)
    noise = (0.05 * rng.standard_normal(RATE_HZ)).astype(np.float32)
    assert wave_faults(speech(), RATE_HZ) == ()
    assert wave_faults(np.concatenate([speech(), noise]), RATE_HZ) == ("noise",)
    assert wave_faults(np.concatenate([speech(), noise[: RATE_HZ // 4]]), RATE_HZ) == (), "a hiss as long as an s"
    assert wave_faults(np.concatenate([speech(), noise / 500]), RATE_HZ) == (), "of a room"
    assert wave_faults(speech() * 1e-4, RATE_HZ) == ("silence",)
    assert wave_faults(speech() * 20, RATE_HZ) == ("clipping",)
    assert wave_faults(np.zeros(3, np.float32), RATE_HZ) == ()


class Strict(Guard):
    """Suspects takes by their tokens: the same ones of the same takes, whoever speaks beside them."""

    def judge(self, segment: Any, tokens: Any, alignment: Any, pace: Any, *, has_looped: bool) -> Take:
        badness = sum(tokens) % 7
        faults: tuple[FaultKind, ...] = ("missing",) if badness > 1 else ()
        return Take(tuple(tokens), alignment, faults, float(badness))


def speak(engine: Any, worker: Any, asked: JobOptions, texts: int = 3) -> Any:
    segments = [segment(seed) for seed in range(texts)]
    admission = engine.admit()
    return collect(engine.synthesize(admission, worker, segments, segment(99), [voice(0)], asked, Deadline(60.0)))


def ends(chunks: list[AudioChunk]) -> list[AudioChunk]:
    return [chunk for chunk in chunks if chunk.is_fragment_end]


@pytest.fixture
def strict(worker: Any) -> Any:
    worker.judge.guard = Strict(())
    return worker


async def test_off_and_flag_give_the_same_samples_and_flag_says_what_it_found(engine: Any, strict: Any) -> None:
    off = await speak(engine, strict, options(5))
    flag = await speak(engine, strict, options(5, guard="flag"))
    np.testing.assert_array_equal(joined(flag), joined(off))
    assert [chunk.takes for chunk in ends(off)] == [0, 0, 0]
    assert [chunk.takes for chunk in ends(flag)] == [1, 1, 1]
    assert any("missing" in chunk.faults for chunk in ends(flag))
    assert engine.counters.takes == 3
    assert engine.counters.faults["missing"] == sum("missing" in chunk.faults for chunk in ends(flag))


async def test_a_faulty_fragment_is_taken_again_and_the_others_are_as_they_were(engine: Any, strict: Any) -> None:
    flag = ends(await speak(engine, strict, options(5, guard="flag")))
    retry = ends(await speak(engine, strict, options(5, guard="retry", max_takes=3)))
    for once, again in zip(flag, retry, strict=True):
        if not once.faults:
            assert again.takes == 1
            np.testing.assert_array_equal(again.samples, once.samples)
        else:
            assert again.takes == 3 if again.faults else 1 < again.takes <= 3
    assert any(chunk.takes > 1 for chunk in retry)


@pytest.mark.parametrize("mode", [0, 1])
async def test_retakes_do_not_depend_on_company(engine: Any, strict: Any, mode: int) -> None:
    asked = options(5, guard="retry", max_takes=4, streaming_mode=mode)
    alone = await speak(engine, strict, asked)
    company = [speak(engine, strict, options(seed, guard="retry", max_takes=4)) for seed in range(20, 24)]
    together, *_ = await asyncio.gather(speak(engine, strict, asked), *company)
    assert [chunk.takes for chunk in ends(together)] == [chunk.takes for chunk in ends(alone)]
    np.testing.assert_array_equal(joined(together), joined(alone))


async def test_the_best_of_n_candidates_is_kept(engine: Any, strict: Any) -> None:
    costs: list[list[float]] = []
    judge = strict.judge.guard.judge

    class Noting(Strict):
        def judge(self, *args: Any, **kwargs: Any) -> Take:
            take = judge(*args, **kwargs)
            costs.append([take.cost])
            return take

    strict.judge.guard = Noting(())
    (chunk,) = ends(await speak(engine, strict, options(5, candidates=5), texts=1))
    assert chunk.takes == 5
    assert len(costs) == 5
    assert bool(chunk.faults) == (min(costs)[0] > 1)


@pytest.mark.parametrize("mode", [2, 3])
async def test_what_was_streamed_by_chunks_is_never_taken_again(engine: Any, strict: Any, mode: int) -> None:
    plain = await speak(engine, strict, options(5, streaming_mode=mode))
    retry = await speak(engine, strict, options(5, streaming_mode=mode, guard="retry", max_takes=3))
    np.testing.assert_array_equal(joined(retry), joined(plain))
    assert [chunk.takes for chunk in ends(retry)] == [1, 1, 1]


@pytest.mark.parametrize("mode", [0, 3])
async def test_a_loop_is_ended_within_a_second_of_tokens(engine: Any, worker: Any, speaker: Any, mode: int) -> None:
    asked = options(5, guard="flag", max_new_tokens=300, streaming_mode=mode)
    with speaker.ar_predict_layer.register_forward_hook(lambda layer, inputs, logits: _only(logits, 7)):
        endless = joined(await speak(engine, worker, replace(asked, guard="off"), texts=1))
        steps = engine.counters.decode_steps
        chunks = await speak(engine, worker, asked, texts=1)
    assert "loop" in ends(chunks)[0].faults
    assert engine.counters.decode_steps - steps <= 25 + 8
    assert 0 < len(joined(chunks)) < len(endless) / 5
    assert engine.counters.faults["loop"] == 1


def _only(logits: torch.Tensor, token: int) -> torch.Tensor:
    return logits.index_fill(-1, torch.tensor([token]), 1000.0)


async def test_waves_that_are_silent_are_made_anew_and_the_best_of_them_is_sent(engine: Any, worker: Any) -> None:
    """The decoder is silent for the first two takes."""
    advance, calls = worker.decoder.advance, [0]

    def silent(streams: Any) -> Any:
        pieces = advance(streams)
        is_end = not streams[0].has_work
        calls[0] += is_end
        return [piece * 1e-6 for piece in pieces] if calls[0] + (not is_end) <= 2 else pieces

    worker.decoder.advance = silent
    (chunk,) = ends(await speak(engine, worker, options(5, guard="retry", max_takes=3), texts=1))
    assert chunk.takes == 3
    assert "silence" not in chunk.faults
    assert np.abs(chunk.samples).max() > 0.01
    assert engine.counters.faults["silence"] == 2


async def test_the_end_of_a_stream_is_not_judged_as_if_it_were_the_whole(engine: Any, worker: Any) -> None:
    advance = worker.decoder.advance
    worker.decoder.advance = lambda streams: [
        piece * (1e-6 if streams[0].is_final else 1.0) for piece in advance(streams)
    ]
    (end,) = ends(await speak(engine, worker, options(5, guard="flag", streaming_mode=3), texts=1))
    assert "silence" not in end.faults
    assert engine.counters.faults["silence"] == 0


async def test_a_cancelled_job_ends_between_two_takes(engine: Any, strict: Any) -> None:
    chunks = engine.synthesize(
        engine.admit(),
        strict,
        [segment(seed) for seed in range(6)],
        segment(99),
        [voice(0)],
        options(5, streaming_mode=1, guard="retry", max_takes=10),
        Deadline(60.0),
    )
    await anext(chunks)
    await chunks.aclose()
    await engine.until(lambda: engine.stats().active_jobs == 0 and strict.is_idle)
    assert strict.running_sequences == 0
