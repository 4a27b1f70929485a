"""Single flight: equal concurrent requests share one piece of work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """One task per key at a time. It belongs to nobody: it ends early only when everyone who waits has gone."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """The result of `work`, or of the equal work that is on its way.

        Returns:
            The result, and whether somebody else's work made it.

        Raises:
            Whatever `work` raises, to everyone who waits.
        """
        flight = self._flights.get(key)
        shared = flight is not None
        if flight is None:
            flight = _Flight(asyncio.ensure_future(work()))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda _: self._forget(key, flight))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task), shared
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._forget(key, flight)
                flight.task.cancel()

    def _forget(self, key: str, flight: _Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        # Errors went to those who waited; where nobody did, there is nobody to tell.
        if flight.task.done() and not flight.task.cancelled():
            flight.task.exception()


class _Flight(Generic[T]):
    def __init__(self, task: asyncio.Future[T]) -> None:
        self.task = task
        self.waiting = 0


class SharedStreams(Generic[T]):
    """The same for streams: each reader gets every item from the first on, made once."""

    def __init__(self) -> None:
        self._streams: dict[str, _SharedStream[T]] = {}

    def open(self, key: str, source: Callable[[], AsyncIterator[T]]) -> tuple[SharedReader[T], bool]:
        """A reader of the stream of `key`, which `source` makes where it is not on its way.

        The reader must be closed when it is left early; the source is closed with the last reader.

        Returns:
            The reader, and whether somebody else's source feeds it.
        """
        stream = self._streams.get(key)
        shared = stream is not None
        if stream is None:
            stream = _SharedStream(source, lambda ended: self._forget(key, ended))
            self._streams[key] = stream
        return stream.reader(), shared

    def _forget(self, key: str, stream: _SharedStream[T]) -> None:
        if self._streams.get(key) is stream:
            del self._streams[key]


class _SharedStream(Generic[T]):
    def __init__(self, source: Callable[[], AsyncIterator[T]], on_end: Callable[[_SharedStream[T]], object]) -> None:
        self._items: list[T] = []
        self._changed = asyncio.Event()
        self._readers = 0
        self._on_end = on_end
        self._pump_task = asyncio.ensure_future(self._pump(source))
        self._pump_task.add_done_callback(self._end)

    def reader(self) -> SharedReader[T]:
        self._readers += 1
        return SharedReader(self)

    async def item(self, index: int) -> T:
        """Item number `index`, when it is there.

        Raises:
            StopAsyncIteration: there will be none; or what the source raised.
        """
        while index >= len(self._items):
            if self._pump_task.done():
                raise self._pump_task.exception() or StopAsyncIteration
            await self._changed.wait()
        return self._items[index]

    async def leave(self) -> None:
        self._readers -= 1
        if self._readers == 0 and not self._pump_task.done():
            self._on_end(self)
            self._pump_task.cancel()
            await asyncio.wait([self._pump_task])

    async def _pump(self, source: Callable[[], AsyncIterator[T]]) -> None:
        iterator = source()
        try:
            async for item in iterator:
                self._items.append(item)
                self._wake()
        finally:
            close = getattr(iterator, "aclose", None)  # an async generator has one, a plain iterator need not
            if close is not None:
                await close()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _end(self, task: asyncio.Future[None]) -> None:
        if not task.cancelled():
            task.exception()  # marks it as seen: it is raised by `item`, to whoever still reads
        self._on_end(self)
        self._wake()


class SharedReader(Generic[T]):
    """One reader's place in a shared stream."""

    def __init__(self, stream: _SharedStream[T]) -> None:
        self._stream: _SharedStream[T] | None = stream
        self._next = 0

    def __aiter__(self) -> SharedReader[T]:
        return self

    async def __anext__(self) -> T:
        if self._stream is None:
            raise StopAsyncIteration
        item = await self._stream.item(self._next)
        self._next += 1
        return item

    async def aclose(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.leave()
