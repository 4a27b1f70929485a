"""Incremental synthesis: what the WebSocket routes share, which speak a text while it is being written."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import numpy as np

from sovits_service.api.cached_speech import StreamHead
from sovits_service.api.deps import ApiContext
from sovits_service.audio.encode import StreamEncoder
from sovits_service.deadline import Deadline
from sovits_service.errors import InvalidRequestError, SovitsError
from sovits_service.text.growing import GrowingText, Piece
from sovits_service.types import AudioChunk, SynthesisRequest, TimedText

_QUEUED_EVENTS = 8  # made and not taken yet; then the making waits
_PART_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class SegmentStart:
    """The sound that follows says characters `start` to `end` of the turn's text."""

    index: int
    start: int
    end: int
    sample_rate_hz: int
    seed: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sound:
    """Bytes of the turn's one stream."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Words:
    """What the fragment that has just been sent says, with places in the turn's text and seconds of its audio."""

    words: tuple[TimedText, ...]


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """All that was written before a flush has been said."""

    duration_s: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Characters `start` to `end` of the turn could not be said; what follows them is tried all the same."""

    error: SovitsError
    start: int
    end: int


LiveEvent = SegmentStart | Sound | Words | TurnEnd | Failure
Emit = Callable[[LiveEvent], Awaitable[None]]


class _Flush:
    """The end of a turn among the pieces."""


@dataclass(slots=True)
class _Turn:
    """What has been made of a turn.

    Attributes:
        rate_hz: of the samples that go into the encoder.
    """

    encoder: StreamEncoder | None = None
    rate_hz: int = 0
    segments: int = 0
    samples: int = 0


class LiveSpeech:
    """Turns, one after the other: text is added, cut into sentences as these end, and said in order.

    A turn is one stream of audio and one request to the rate limit; a flush ends it. Everything is bounded: text that
    has not been said by the settings' `max_text_characters`, speech that has not been taken by a few chunks.

    Args:
        client: whose it is, as `authorize` returned it; the first turn has been counted.
        tts_request: everything but the text.
        encoder: makes one for each turn, by the rate of its samples.
        emit: tells the client; it may take its time, and ends the session by raising.
        max_wait_s: how long text may wait for the end of its sentence.
    """

    def __init__(
        self,
        context: ApiContext,
        client: str,
        tts_request: SynthesisRequest,
        encoder: Callable[[int], StreamEncoder],
        emit: Emit,
        max_wait_s: float,
    ) -> None:
        self._context = context
        self._client = client
        self._tts_request = replace(
            tts_request, owner=context.access.owner(client), streaming_mode=tts_request.streaming_mode or 1
        )
        self._encoder = encoder
        self._emit = emit
        self._max_wait_s = max_wait_s
        self._text = GrowingText()
        self._ready: deque[Piece | _Flush | None] = deque()
        self._unsaid = 0
        self._changed = asyncio.Event()
        self._waiting_since_s: float | None = None
        self._events: asyncio.Queue[tuple[int, LiveEvent] | None] = asyncio.Queue(_QUEUED_EVENTS)
        self._generation = 0  # what was made before a cancel is not heard after it
        self._making: asyncio.Task[None] | None = None
        self._emitting: asyncio.Task[None] | None = None
        self._is_counted = True

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to say, and nothing being said."""
        return (
            not len(self._text)
            and not self._ready
            and self._making is None
            and self._emitting is None
            and self._events.empty()
        )

    async def write(self, text: str) -> None:
        """Add text to the turn.

        Raises:
            InvalidRequestError: more than may wait, or than a turn may have.
            RateLimitedError: it would begin one turn too many.
        """
        limit = self._context.settings.max_text_characters
        if self._text.length + len(text) > limit or self._unsaid + len(self._text) + len(text) > limit:
            raise InvalidRequestError(
                f"at most {limit:,} characters may be in a turn, or wait to be said; send flush, and wait for done"
            )
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise InvalidRequestError("text must be valid Unicode text")
        if not self._is_counted:
            await self._context.access.count(self._client)
            self._is_counted = True
        self._offer(self._text.write(text))
        if self._waiting_since_s is None and len(self._text):
            self._waiting_since_s = asyncio.get_running_loop().time()
        self._changed.set()

    def flush(self) -> None:
        """End the turn: all that was written is said, then a TurnEnd comes.

        Raises:
            InvalidRequestError: too many turns wait already.
        """
        if len(self._ready) > self._context.settings.max_text_characters:
            raise InvalidRequestError("too much is waiting to be said; wait for done")
        self._offer(self._text.rest())
        self._ready.append(_Flush())
        self._begin_text()

    def finish(self) -> None:
        """End the session when all is said; `run` returns then."""
        self.flush()
        self._ready.append(None)

    async def cancel(self) -> None:
        """Drop what is not said yet; no sound of it is emitted after this returns."""
        self._drop()
        await _stop(*filter(None, (self._making, self._emitting)))

    async def run(self) -> None:
        """Speak until `finish` and the last word. To be cancelled where the client goes away."""
        tasks = {asyncio.create_task(self._deliver()), asyncio.create_task(self._make())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            await _stop(*tasks)

    def _begin_text(self) -> None:
        self._text = GrowingText()
        self._waiting_since_s = None
        self._is_counted = False
        self._changed.set()

    def _drop(self) -> None:
        self._generation += 1
        has_ended = None in self._ready
        self._ready.clear()
        if has_ended:
            self._ready.append(None)
        self._unsaid = 0
        drained = [self._events.get_nowait() for _ in range(self._events.qsize())]
        if None in drained:
            self._events.put_nowait(None)
        self._begin_text()

    def _offer(self, pieces: list[Piece]) -> None:
        self._ready.extend(pieces)
        self._unsaid += sum(len(piece.text) for piece in pieces)
        if pieces:
            self._waiting_since_s = None

    async def _take(self) -> Piece | _Flush | None:
        """The next thing to say; text that has waited long enough goes before its sentence is over."""
        loop = asyncio.get_running_loop()
        while not self._ready:
            self._changed.clear()
            since_s = self._waiting_since_s
            wait_s = None if since_s is None else max(0.0, since_s + self._max_wait_s - loop.time())
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                self._waiting_since_s = None  # what cannot go yet waits for more
                self._offer(self._text.give_way())
        return self._ready.popleft()

    async def _make(self) -> None:
        turn, generation = _Turn(), self._generation
        while (item := await self._take()) is not None:
            if generation != self._generation:
                turn, generation = _Turn(), self._generation
            self._making = asyncio.create_task(self._make_one(turn, item, generation))
            try:
                await _settled(self._making)
            finally:
                self._making = None
            if isinstance(item, _Flush):
                turn = _Turn()
        await self._events.put(None)

    async def _make_one(self, turn: _Turn, item: Piece | _Flush, generation: int) -> None:
        try:
            if isinstance(item, _Flush):
                await self._end(turn, generation)
            else:
                await self._say(turn, item, generation)
        except SovitsError as error:
            place = (0, 0) if isinstance(item, _Flush) else (item.start, item.end)
            await self._events.put((generation, Failure(error, *place)))
        finally:
            if isinstance(item, Piece) and generation == self._generation:
                self._unsaid -= len(item.text)

    async def _say(self, turn: _Turn, piece: Piece, generation: int) -> None:
        tts_request = replace(self._tts_request, text=piece.text)
        deadline = Deadline(tts_request.timeout_s or self._context.settings.timeout_s)
        start_s = 0.0
        with await self._context.access.synthesis_slot(self._client):
            items, _ = self._context.cached_speech.stream(tts_request, "", None, deadline)
            async with contextlib.aclosing(items):
                async for item in items:
                    if isinstance(item, StreamHead):
                        await self._begin(turn, piece, item, generation)
                        start_s = turn.samples / turn.rate_hz
                    else:
                        await self._encode(turn, item, generation)
                        if tts_request.timestamps != "none" and item.is_fragment_end:
                            words = tuple(_moved(word, piece.start, start_s) for word in item.words)
                            await self._events.put((generation, Words(words)))

    async def _begin(self, turn: _Turn, piece: Piece, head: StreamHead, generation: int) -> None:
        if turn.encoder is None or turn.rate_hz != head.sample_rate_hz:
            # A weights switch in the middle of a turn may change the rate: the stream restarts then.
            turn.encoder = await asyncio.to_thread(self._encoder, head.sample_rate_hz)
            turn.rate_hz = head.sample_rate_hz
            opening = turn.encoder.start()
        else:
            silence = np.zeros(int(self._tts_request.pause_s * turn.rate_hz), dtype=np.float32)
            opening = await asyncio.to_thread(turn.encoder.encode, silence)
            turn.samples += len(silence)
        start = SegmentStart(
            turn.segments, piece.start, piece.end, turn.encoder.output_rate_hz, head.seed, head.warnings
        )
        turn.segments += 1
        await self._events.put((generation, start))
        await self._put_sound(opening, generation)

    async def _encode(self, turn: _Turn, chunk: AudioChunk, generation: int) -> None:
        assert turn.encoder is not None
        turn.samples += len(chunk.samples)
        await self._put_sound(await asyncio.to_thread(turn.encoder.encode, chunk.samples), generation)

    async def _end(self, turn: _Turn, generation: int) -> None:
        if turn.encoder is not None:
            await self._put_sound(await asyncio.to_thread(turn.encoder.finish), generation)
        await self._events.put((generation, TurnEnd(turn.samples / turn.rate_hz if turn.rate_hz else 0.0)))

    async def _put_sound(self, data: bytes, generation: int) -> None:
        for start in range(0, len(data), _PART_BYTES):
            await self._events.put((generation, Sound(data[start : start + _PART_BYTES])))

    async def _deliver(self) -> None:
        while (entry := await self._events.get()) is not None:
            generation, event = entry
            if generation != self._generation:
                continue
            self._emitting = asyncio.create_task(self._hand_over(event))
            try:
                await _settled(self._emitting)
            finally:
                self._emitting = None

    async def _hand_over(self, event: LiveEvent) -> None:
        await self._emit(event)


def _moved(word: TimedText, characters: int, seconds: float) -> TimedText:
    return word._replace(
        start=word.start + characters,
        end=word.end + characters,
        start_s=round(word.start_s + seconds, 3),
        end_s=round(word.end_s + seconds, 3),
    )


async def _settled(task: asyncio.Task[None]) -> None:
    """Wait for a task that `cancel` may stop; raises what it raised."""
    try:
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()
    finally:
        await _stop(task)


async def _stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
