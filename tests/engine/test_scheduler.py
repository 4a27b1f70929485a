"""Admission, fairness and release of slots, without a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from sovits_service.engine.scheduler import Scheduler
from sovits_service.engine.sequence import DecodeSequence, Job, JobOptions
from sovits_service.types import AudioChunk, LanguageRun, SamplingParams, Segment, VoicePrompt

SEGMENT = Segment((LanguageRun("zh", "好", (1, 2), (2,)),))


@pytest.fixture
def event_loop_for_jobs() -> Iterator[Any]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def make_job(event_loop_for_jobs: Any) -> Any:
    def make(segments: int = 1, *, streaming_mode: int = 0, window: int = 32) -> Job:
        return Job(
            segments=(SEGMENT,) * segments,
            prompt_segment=None,
            references=(),
            options=JobOptions(SamplingParams(), seed=1, streaming_mode=streaming_mode),
            window=window,
            event_loop=event_loop_for_jobs,
            voice_prompt=VoicePrompt(None, None),
        )

    return make


class Prepared(Scheduler):
    """A scheduler for which the features of what it begins are there at once."""

    def admit(self, limit: int) -> list[DecodeSequence]:
        admitted: list[DecodeSequence] = []
        while len(admitted) < limit:
            while (sequence := self.begin()) is not None:
                sequence.is_prepared = True
            if not (one := super().admit(1)):
                break
            admitted += one
        return admitted


def received(job: Job) -> list[Any]:
    """What the reader would have got by now."""
    job.event_loop.run_until_complete(asyncio.sleep(0))
    items = []
    while not job.outbox.empty():
        items.append(job.outbox.get_nowait())
    return items


def test_a_job_takes_every_free_slot_when_it_is_alone(make_job: Callable[..., Job]) -> None:
    scheduler = Prepared(4)
    job = make_job(6)
    scheduler.submit(job)
    assert [sequence.index for sequence in scheduler.admit(10)] == [0, 1, 2, 3]
    assert scheduler.admit(10) == []
    assert scheduler.batch_rows == 4


def test_slots_are_shared_evenly_between_jobs(make_job: Callable[..., Job]) -> None:
    scheduler = Prepared(4)
    long, short = make_job(10), make_job(2)
    scheduler.submit(long)
    scheduler.submit(short)
    owners = [sequence.job for sequence in scheduler.admit(10)]
    assert owners.count(long) == 2
    assert owners.count(short) == 2


def test_a_freed_slot_goes_to_the_job_that_holds_fewest(make_job: Callable[..., Job]) -> None:
    scheduler = Prepared(2)
    first, second = make_job(10), make_job(1)
    scheduler.submit(first)
    running = scheduler.admit(10)
    scheduler.submit(second)
    assert scheduler.admit(10) == []
    scheduler.release(running[0])
    (joined,) = scheduler.admit(10)
    assert joined.job is second
    assert joined.slot == 0


def test_the_lowest_slot_is_taken_first_so_that_the_batch_stays_small(make_job: Callable[..., Job]) -> None:
    scheduler = Prepared(8)
    jobs = [make_job() for _ in range(4)]
    for job in jobs:
        scheduler.submit(job)
    sequences = scheduler.admit(10)
    assert scheduler.batch_rows == 4
    scheduler.release(sequences[3])
    scheduler.release(sequences[1])
    assert scheduler.batch_rows == 3
    late = make_job()
    scheduler.submit(late)
    (joined,) = scheduler.admit(10)
    assert joined.slot == 1


def test_admission_is_limited_per_step(make_job: Callable[..., Job]) -> None:
    scheduler = Prepared(8)
    scheduler.submit(make_job(8))
    assert len(scheduler.admit(3)) == 3
    assert len(scheduler.admit(3)) == 3
    assert len(scheduler.admit(3)) == 2


def test_a_stream_starts_with_one_segment_and_runs_little_ahead_of_its_reader(make_job: Callable[..., Job]) -> None:
    scheduler = Prepared(8)
    job = make_job(5, streaming_mode=1, window=2)
    scheduler.submit(job)
    assert len(scheduler.admit(10)) == 1
    job.deliver(0, AudioChunk(np.zeros(1, np.float32), 32000, is_fragment_end=True))
    assert len(scheduler.admit(10)) == 1  # the first is delivered but not yet taken by the reader
    job.consumed = 1
    assert len(scheduler.admit(10)) == 1
    assert scheduler.admit(10) == []


def test_a_slow_reader_of_a_long_text_bounds_what_is_started(make_job: Callable[..., Job]) -> None:
    scheduler = Prepared(4)
    job = make_job(100, window=6)
    scheduler.submit(job)
    for _ in range(10):
        for sequence in scheduler.admit(10):
            scheduler.release(sequence)
    assert job.next_to_start == 6


def test_removing_a_job_frees_its_slots(make_job: Callable[..., Job]) -> None:
    scheduler = Prepared(3)
    gone, stays = make_job(2), make_job(1)
    scheduler.submit(gone)
    scheduler.submit(stays)
    scheduler.admit(10)
    scheduler.remove(gone)
    assert scheduler.jobs == [stays]
    assert [sequence.job for sequence in scheduler.running] == [stays]
    scheduler.submit(make_job(5))
    assert len(scheduler.admit(10)) == 2


def test_waiting_jobs_are_those_without_a_slot(make_job: Callable[..., Job]) -> None:
    scheduler = Prepared(1)
    for _ in range(3):
        scheduler.submit(make_job())
    assert scheduler.waiting_jobs == 3
    scheduler.admit(10)
    assert scheduler.waiting_jobs == 2


def test_chunks_are_delivered_in_the_order_of_the_text(make_job: Callable[..., Job]) -> None:
    job = make_job(3)
    chunks = {i: AudioChunk(np.full(1, i, np.float32), 32000) for i in range(3)}
    job.deliver(2, chunks[2])
    job.deliver(1, chunks[1])
    assert received(job) == []
    job.deliver(0, chunks[0])
    assert received(job) == [chunks[0], chunks[1], chunks[2]]
    assert job.is_delivered


def test_fragments_are_delivered_in_order_and_in_parts(
    make_job: Callable[..., Job],
) -> None:
    job = make_job(2)
    part = AudioChunk(np.zeros(1, np.float32), 32000, is_fragment_end=False)
    end = AudioChunk(np.zeros(1, np.float32), 32000, is_fragment_end=True)
    second = AudioChunk(np.ones(1, np.float32), 32000, is_fragment_end=True)
    job.deliver(0, part)
    job.deliver(1, second)
    assert received(job) == [part]
    job.deliver(0, end)
    assert received(job) == [end, second]


def test_equal_seeds_give_equal_draws_and_segments_differ(make_job: Callable[..., Job]) -> None:
    first, second = make_job(2), make_job(2)
    draws = [[job.start_next().rng.random() for _ in range(2)] for job in (first, second)]
    assert draws[0] == draws[1]
    assert draws[0][0] != draws[0][1]


def test_a_reader_whose_event_loop_is_closed_counts_as_gone(make_job: Callable[..., Job]) -> None:
    job = make_job()
    job.event_loop.close()
    job.send(None)
    assert job.is_cancelled


def test_nothing_begins_without_voice_or_is_admitted_without_features(
    make_job: Callable[..., Job],
) -> None:
    scheduler = Scheduler(4)
    job = make_job(3)
    job.voice_prompt = None
    scheduler.submit(job)
    assert scheduler.begin() is None
    job.voice_prompt = VoicePrompt(None, None)
    first, second = scheduler.begin(), scheduler.begin()
    assert [first.index, second.index] == [0, 1]
    assert scheduler.begin() is None, "a job has no more than two segments before the slots"
    assert scheduler.admit(10) == []
    second.is_prepared = True
    assert scheduler.admit(10) == [second]
    assert scheduler.begin().index == 2


def test_what_a_listener_waits_for_begins_before_whole_answers(make_job: Callable[..., Job]) -> None:
    scheduler = Scheduler(4)
    whole, stream, dry = make_job(3), make_job(3, streaming_mode=2), make_job(3, streaming_mode=2)
    for job in (whole, stream, dry):
        scheduler.submit(job)
    stream.runs_dry_s, dry.runs_dry_s = 20.0, 10.0
    assert [scheduler.begin().job for _ in range(4)] == [dry, stream, whole, whole]


def test_a_removed_job_is_forgotten_where_it_was_begun(make_job: Callable[..., Job]) -> None:
    scheduler = Scheduler(4)
    gone = make_job(2)
    scheduler.submit(gone)
    sequence = scheduler.begin()
    assert scheduler.holds(sequence)
    scheduler.remove(gone)
    assert not scheduler.holds(sequence)
    sequence.is_prepared = True
    assert scheduler.admit(10) == []


def test_few_answers_hold_slots_at_a_time_and_streams_do_not_wait_for_them(make_job: Callable[..., Job]) -> None:
    scheduler = Prepared(8, 2)
    answers, stream = [make_job() for _ in range(4)], make_job(streaming_mode=3)
    for job in (*answers, stream):
        scheduler.submit(job)
    admitted = scheduler.admit(10)
    assert {sequence.job for sequence in admitted} == {answers[0], answers[1], stream}
    scheduler.release(next(sequence for sequence in admitted if sequence.job is stream))
    assert scheduler.admit(10) == []
    scheduler.release(next(sequence for sequence in admitted if sequence.job is answers[1]))
    assert [sequence.job for sequence in scheduler.admit(10)] == [answers[2]]


def test_a_further_take_is_bounded_as_first_ones_are(make_job: Callable[..., Job]) -> None:
    scheduler = Scheduler(8, 1)
    job = make_job(2)
    scheduler.submit(job)
    first = scheduler.begin()
    first.is_prepared = True
    scheduler.admit(10)
    scheduler.release(first)
    again, second = job.start_again(first), scheduler.begin()
    scheduler.begin_again(again)
    assert scheduler.begin() is again
    again.is_prepared = second.is_prepared = True
    assert len(scheduler.admit(10)) == 1
    assert len(scheduler.running) == 1
