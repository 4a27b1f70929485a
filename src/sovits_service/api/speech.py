"""A synthesis request in, an audio answer out: whole or streamed, encoded off the event loop, ended with its client."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

import anyio
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sovits_service.api.deps import ApiContext, context_of, until_gone
from sovits_service.api.middleware import RequestTimings, timings_of
from sovits_service.audio.encode import StreamEncoder, content_type, encode_whole, stream_encoder
from sovits_service.errors import DeadlineExceededError, SynthesisError
from sovits_service.types import FloatArray, SynthesisRequest

if TYPE_CHECKING:
    from sovits_service.service import Synthesis

_WARNING_CHARACTERS = 512
_NO_AUDIO = "the model made no audio; try again, or with another seed"

MakeEncoder = Callable[[str, int], StreamEncoder]


async def speak(
    request: Request, wanted: SynthesisRequest, media_type: str, client: str, make_encoder: MakeEncoder = stream_encoder
) -> Response:
    """Answers a speech request. Its first chunk exists, and is encoded, when this returns.

    Args:
        request: whose body has been read.
        wanted: what to say; its streaming mode decides between a whole file and a stream.
        media_type: one of `audio.encode.MEDIA_TYPES`.
        client: whose request it is, for the bound on concurrent syntheses.
        make_encoder: the encoder of a stream, by media type and sample rate.

    Raises:
        SovitsError: whatever goes wrong before the first byte of audio.
        ClientDisconnect: the client went away meanwhile; the work has been dropped.
    """
    context = context_of(request)
    timings = timings_of(request)
    with contextlib.ExitStack() as stack:
        stack.enter_context(context.access.synthesis_slot(client))
        if wanted.streaming_mode == 0:
            return await until_gone(request.receive, _whole(context, wanted, media_type, timings))
        answering = _begin(context, wanted, media_type, timings, make_encoder)
        stream = await until_gone(request.receive, answering)
        stream.callback(stack.pop_all().close)
        return stream


async def _whole(context: ApiContext, wanted: SynthesisRequest, media_type: str, timings: RequestTimings) -> Response:
    synthesis = await context.service.synthesize(wanted)
    _note_first_audio(context, wanted, timings)
    async with contextlib.aclosing(synthesis.chunks) as chunks:
        pieces: list[FloatArray] = [chunk.samples async for chunk in chunks]
    timings.mark("synthesis")
    samples = sum(map(len, pieces))
    if not samples:
        raise SynthesisError(_NO_AUDIO)
    started_s = time.perf_counter()
    body = await asyncio.to_thread(_encode_pieces, pieces, synthesis.sample_rate_hz, media_type)
    timings.add("encode", time.perf_counter() - started_s)
    _note_end(context, timings, samples / synthesis.sample_rate_hz)
    return Response(body, media_type=content_type(media_type), headers=_headers(synthesis, timings))


def _encode_pieces(pieces: list[FloatArray], sample_rate_hz: int, media_type: str) -> bytes:
    return encode_whole(np.concatenate(pieces), sample_rate_hz, media_type)


async def _begin(
    context: ApiContext,
    wanted: SynthesisRequest,
    media_type: str,
    timings: RequestTimings,
    make_encoder: MakeEncoder,
) -> SpeechStream:
    synthesis = await context.service.synthesize(wanted)
    body = _encoded(context, synthesis, functools.partial(make_encoder, media_type), timings)
    head = await anext(body)
    _note_first_audio(context, wanted, timings)
    return SpeechStream(
        head,
        body,
        media_type=content_type(media_type),
        headers=_headers(synthesis, timings),
        timeout_s=wanted.timeout_s or context.settings.timeout_s,
    )


async def _encoded(
    context: ApiContext, synthesis: Synthesis, make_encoder: Callable[[int], StreamEncoder], timings: RequestTimings
) -> AsyncGenerator[bytes, None]:
    """The bytes of a stream; it owns the synthesis, which ends when this is closed."""
    rate_hz = synthesis.sample_rate_hz
    audio_s = 0.0
    async with contextlib.aclosing(synthesis.chunks) as chunks:
        encoder = await asyncio.to_thread(make_encoder, rate_hz)
        head = encoder.start()
        async for chunk in chunks:
            yield head + await asyncio.to_thread(encoder.encode, chunk.samples)
            head = b""
            audio_s += len(chunk.samples) / rate_hz
    if not audio_s:
        raise SynthesisError(_NO_AUDIO)
    timings.mark("synthesis")
    _note_end(context, timings, audio_s)
    yield await asyncio.to_thread(encoder.finish)


class SpeechStream(Response):
    """A chunked answer whose first bytes exist already; it ends the synthesis when the client goes away.

    Args:
        head: the first bytes.
        body: the bytes after them; closed in any case.
        timeout_s: how long sending may take, since a client that does not read would hold its place for ever.
    """

    def __init__(
        self,
        head: bytes,
        body: AsyncGenerator[bytes, None],
        *,
        media_type: str,
        headers: dict[str, str],
        timeout_s: float,
    ) -> None:
        super().__init__(None, media_type=media_type, headers=headers)
        del self.headers["content-length"]
        self._head = head
        self._body_stream = body
        self._timeout_s = timeout_s
        self._callbacks = contextlib.ExitStack()

    def callback(self, release: Callable[[], None]) -> None:
        """Has `release` called when the stream is over, however it ends."""
        self._callbacks.callback(release)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._callbacks:
            async with contextlib.aclosing(self._body_stream):
                await until_gone(receive, self._send_all(send))

    async def _send_all(self, send: Send) -> None:
        with anyio.move_on_after(self._timeout_s) as deadline:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self._head, "more_body": True})
            async for data in self._body_stream:
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        if deadline.cancelled_caught:
            raise DeadlineExceededError("the answer was not read within the request's deadline")


def _note_first_audio(context: ApiContext, wanted: SynthesisRequest, timings: RequestTimings) -> None:
    elapsed_s = timings.mark("first_audio")
    context.metrics.first_audio_seconds.labels(streaming_mode=str(wanted.streaming_mode)).observe(elapsed_s)


def _note_end(context: ApiContext, timings: RequestTimings, audio_s: float) -> None:
    context.metrics.audio_seconds.inc(audio_s)
    context.metrics.real_time_factor.observe(timings.stages_ms["synthesis"] / 1000 / audio_s)


def _headers(synthesis: Synthesis, timings: RequestTimings) -> dict[str, str]:
    headers = {
        "X-Seed": str(synthesis.seed),
        "X-Sample-Rate": str(synthesis.sample_rate_hz),
        "X-Dropped-Characters": str(synthesis.dropped_characters),
        "Server-Timing": timings.header(),
    }
    if synthesis.warnings:
        joined = " ".join("; ".join(synthesis.warnings).split())
        headers["X-Warnings"] = joined.encode("ascii", "replace").decode()[:_WARNING_CHARACTERS]
    return headers
