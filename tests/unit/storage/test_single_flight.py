"""Equal work at the same time is done once, and goes on for those who stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sovits_service.errors import SynthesisError
from sovits_service.storage.results.single_flight import SharedStreams, SingleFlight


class Work:
    """Work that waits for the test's word, and counts."""

    def __init__(self) -> None:
        self.started = self.ended = self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self) -> str:
        self.started += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.ended += 1
        return f"result {self.ended}"

    async def stream(self) -> AsyncIterator[int]:
        self.started += 1
        try:
            yield 0
            await self.go.wait()
            for item in range(1, 5):
                yield item
        finally:
            self.ended += 1


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_fifty_equal_requests_cost_one_piece_of_work() -> None:
    flight, work = SingleFlight[str](), Work()
    waiting = [asyncio.ensure_future(flight.run("key", work)) for _ in range(50)]
    await settle()
    work.go.set()
    results = await asyncio.gather(*waiting)
    assert work.started == 1
    assert {result for result, _ in results} == {"result 1"}
    assert sum(shared for _, shared in results) == 49


async def test_other_keys_and_later_requests_are_work_of_their_own() -> None:
    flight, work = SingleFlight[str](), Work()
    work.go.set()
    results = await asyncio.gather(flight.run("a", work), flight.run("b", work))
    assert work.started == 2
    assert not any(shared for _, shared in results)
    await flight.run("a", work)
    assert work.started == 3


async def test_a_leader_who_leaves_takes_nothing_along() -> None:
    flight, work = SingleFlight[str](), Work()
    leader = asyncio.ensure_future(flight.run("key", work))
    await settle()
    follower = asyncio.ensure_future(flight.run("key", work))
    await settle()
    leader.cancel()
    await settle()
    work.go.set()
    assert await follower == ("result 1", True)
    assert work.cancelled == 0


async def test_work_that_nobody_waits_for_stops() -> None:
    flight, work = SingleFlight[str](), Work()
    waiting = [asyncio.ensure_future(flight.run("key", work)) for _ in range(3)]
    await settle()
    for task in waiting:
        task.cancel()
    await settle()
    assert work.cancelled == 1
    work.go.set()
    assert await flight.run("key", work) == ("result 1", False)


async def test_an_error_goes_to_all_and_is_not_kept() -> None:
    flight = SingleFlight[str]()

    async def fail() -> str:
        await asyncio.sleep(0)
        raise SynthesisError("no")

    outcomes = await asyncio.gather(*(flight.run("key", fail) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(outcome, SynthesisError) for outcome in outcomes)
    work = Work()
    work.go.set()
    assert (await flight.run("key", work))[0] == "result 1"


async def test_every_reader_gets_the_whole_stream_made_once() -> None:
    streams, work = SharedStreams[int](), Work()
    readers = [streams.open("key", work.stream)[0] for _ in range(50)]
    collected = [asyncio.ensure_future(_collect(reader)) for reader in readers]
    await settle()
    late, shared = streams.open("key", work.stream)
    assert shared
    work.go.set()
    assert await asyncio.gather(*collected) == [[0, 1, 2, 3, 4]] * 50
    assert await _collect(late) == [0, 1, 2, 3, 4]
    assert (work.started, work.ended) == (1, 1)
    again, shared = streams.open("key", work.stream)
    assert not shared
    assert await _collect(again) == [0, 1, 2, 3, 4]


async def test_the_first_item_comes_before_the_last_is_made() -> None:
    streams, work = SharedStreams[int](), Work()
    reader, _ = streams.open("key", work.stream)
    assert await anext(reader) == 0
    assert work.ended == 0
    work.go.set()
    assert await _collect(reader) == [1, 2, 3, 4]


async def test_the_source_is_closed_with_the_last_reader() -> None:
    streams, work = SharedStreams[int](), Work()
    first, _ = streams.open("key", work.stream)
    second, _ = streams.open("key", work.stream)
    assert [await anext(first), await anext(second)] == [0, 0]
    await first.aclose()
    assert work.ended == 0
    await second.aclose()
    await second.aclose()
    assert work.ended == 1
    third, shared = streams.open("key", work.stream)
    assert not shared
    work.go.set()
    assert await _collect(third) == [0, 1, 2, 3, 4]


async def test_a_source_that_fails_fails_every_reader_after_what_it_gave() -> None:
    streams = SharedStreams[int]()

    async def source() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0)
        raise SynthesisError("no")

    readers = [streams.open("key", source)[0] for _ in range(3)]
    for reader in readers:
        assert await anext(reader) == 1
        with pytest.raises(SynthesisError):
            await anext(reader)


async def _collect(reader: AsyncIterator[int]) -> list[int]:
    return [item async for item in reader]
