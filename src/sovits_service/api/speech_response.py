"""HTTP answers with speech: a file, a stream or a link; the work ends when the client disconnects."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from sovits_service.api.cached_speech import CacheState, SpeechItems, StreamHead
from sovits_service.api.deps import ApiContext, context_of, until_disconnect
from sovits_service.api.links import own_address
from sovits_service.api.middleware import RequestTimings, timings_of
from sovits_service.api.stored import asks_for_part, file_response
from sovits_service.api.timed import Shape, ShapeChunk, fault_warning, timed_answer
from sovits_service.audio.encode import StreamEncoder, content_type, stream_encoder
from sovits_service.deadline import Deadline
from sovits_service.errors import DeadlineExceededError, InvalidRequestError
from sovits_service.settings import ServiceSettings
from sovits_service.storage.objects.objects import LocalObjects
from sovits_service.storage.results.cache import CachedAudio
from sovits_service.types import AudioChunk, SynthesisRequest

_WARNING_CHARACTERS = 512
_PART_BYTES = 32 * 1024
UNTIMED_STREAM = (
    "timestamps and subtitles do not go into this stream: ask for a whole answer (no streaming_mode, another format "
    "than pcm), or for events"
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the speech is handed over.

    Attributes:
        media_type: one of `audio.encode.MEDIA_TYPES`.
        use_cache: None leaves it to the seed.
        as_link: a link to a file in place of the file.
        encoder: of a stream, by media type and sample rate.
        warnings: about the request, for the headers.
        link_base: what a link to this service begins with, where the client says so itself.
        content_type: of the answer, where it is not that of the media type.
        subtitles: their format, of an answer with timestamps; empty leaves them out.
        shape: makes the JSON of a whole answer with timestamps; None takes that of `/tts`.
        shape_chunk: makes what is sent of a stream, by its encoder; None sends the bytes as they are.
        shape_kept: makes the body of `content_type` where a stream was asked for that the cache has whole; None hands
            over the file, or the JSON of an answer with timestamps.
    """

    media_type: str
    use_cache: bool | None = None
    as_link: bool = False
    encoder: Callable[[str, int], StreamEncoder] = stream_encoder
    warnings: tuple[str, ...] = ()
    content_type: str = ""
    link_base: str = ""
    subtitles: str = ""
    shape: Shape | None = None
    shape_chunk: Callable[[StreamEncoder], ShapeChunk] | None = None
    shape_kept: Callable[[CachedAudio], bytes] | None = None


async def speak(request: Request, tts_request: SynthesisRequest, delivery: Delivery, client: str) -> Response:
    """Answer a speech request. Its first chunk exists, and is encoded, when this returns. HEAD synthesises nothing.

    Args:
        request: whose body has been read.
        tts_request: what to say; its streaming mode decides between a whole file and a stream.
        client: whose request it is, for the bound on concurrent syntheses.

    Raises:
        SovitsError: whatever goes wrong before the first byte of audio.
        ClientDisconnect: the client went away meanwhile; the work has been dropped.
    """
    context = context_of(request)
    is_stream = bool(tts_request.streaming_mode) and not delivery.as_link
    if is_stream and tts_request.timestamps != "none" and delivery.shape_chunk is None:
        raise InvalidRequestError(UNTIMED_STREAM)
    if delivery.as_link:
        _require_links(request, delivery)
    try:
        return await _speak(request, tts_request, delivery, client)
    except DeadlineExceededError:
        raise DeadlineExceededError(_late(tts_request, context.settings)) from None


async def _speak(request: Request, tts_request: SynthesisRequest, delivery: Delivery, client: str) -> Response:
    context = context_of(request)
    timings = timings_of(request)
    speech = context.cached_speech
    tts_request = replace(tts_request, owner=context.access.owner(client))
    deadline = Deadline(tts_request.timeout_s or context.settings.timeout_s, spent_s=timings.elapsed_s)
    place = await deadline.wait(speech.place(tts_request, delivery.media_type, delivery.use_cache))
    kept = await deadline.wait(speech.look_up(place))
    if place is not None:
        tts_request = place.tts_request
    if kept is not None:
        timings.mark("cache")
        return await _hand_over(request, kept, delivery, "hit", tts_request, is_kept=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(await context.access.synthesis_slot(client))
        if request.method == "HEAD":
            await context.service.check(tts_request, deadline)
            return promised(delivery, tts_request)
        is_timed = tts_request.timestamps != "none"
        wants_part = place is not None and asks_for_part(request) and not is_timed
        if tts_request.streaming_mode == 0 or delivery.as_link or wants_part:
            making = speech.whole(tts_request, delivery.media_type, place, deadline, timings)
            audio, state = await until_disconnect(request.receive, making)
            kept = await speech.look_up(place) if wants_part else None
            return await _hand_over(request, kept or audio, delivery, state, tts_request, is_kept=kept is not None)
        items, state = speech.stream(tts_request, delivery.media_type, place, deadline)
        beginning = _begin(context, tts_request, delivery, items, timings)
        stream = await until_disconnect(request.receive, beginning)
        stream.headers["X-Cache"] = state
        stream.callback(stack.pop_all().close)
        return stream


def promised(delivery: Delivery, tts_request: SynthesisRequest) -> Response:
    """What HEAD answers where the speech is not there yet."""
    media_type = delivery.content_type or content_type(delivery.media_type)
    if delivery.as_link or (tts_request.timestamps != "none" and not tts_request.streaming_mode):
        media_type = "application/json"
    response = Response(media_type=media_type)
    del response.headers["content-length"]  # nobody knows
    return response


def _late(tts_request: SynthesisRequest, settings: ServiceSettings) -> str:
    if tts_request.timeout_s is not None and tts_request.timeout_s < settings.timeout_s:
        return (
            f"the speech was not ready within the request's timeout_s of {tts_request.timeout_s:g} s; "
            f"allow more, up to {settings.timeout_s:g} s"
        )
    what = "text" if tts_request.source is None else "recording"
    return f"the speech was not ready within {settings.timeout_s:g} s; send a shorter {what}, or stream it"


def _require_links(request: Request, delivery: Delivery) -> None:
    """Raise an InvalidRequestError where a link could not be given, before anything is made for it."""
    context = context_of(request)
    if context.service.objects is None:
        raise InvalidRequestError("response: url is switched off; set objects.backend in configs/service.yaml")
    is_known = bool(context.settings.objects.public_url or delivery.link_base)
    if not is_known and isinstance(context.service.objects, LocalObjects):
        own_address(request, context.settings)


async def _hand_over(
    request: Request,
    audio: CachedAudio,
    delivery: Delivery,
    state: CacheState,
    tts_request: SynthesisRequest,
    *,
    is_kept: bool,
) -> Response:
    context = context_of(request)
    url = ""
    if delivery.as_link:
        url = await context.cached_speech.link(audio, context.settings.objects.link_ttl_s)
        if url.startswith("/"):
            url = (delivery.link_base or own_address(request, context.settings)) + url
    warnings = (*delivery.warnings, *audio.warnings, *map(fault_warning, audio.faults))
    head = StreamHead(audio.sample_rate_hz, audio.seed, audio.dropped_characters, warnings)
    if delivery.shape_kept is not None:
        headers = {**_headers(head, timings_of(request), audio.takes), "X-Cache": state}
        return Response(delivery.shape_kept(audio), media_type=delivery.content_type, headers=headers)
    if tts_request.timestamps != "none":
        shaped = delivery.shape(audio, tts_request) if delivery.shape else None
        content = shaped or timed_answer(audio, tts_request, delivery.subtitles, url)
        return JSONResponse(content, headers={**_headers(head, timings_of(request), audio.takes), "X-Cache": state})
    if delivery.as_link:
        body = {
            "url": url,
            "duration_s": audio.duration_s,
            "sample_rate": audio.sample_rate_hz,
            "cached": state == "hit",
        }
        headers = {"X-Cache": state, "X-Seed": str(audio.seed), **_warning_header(warnings), **_takes(audio.takes)}
        return JSONResponse(body, headers=headers)
    return file_response(
        request,
        audio.data,
        audio.etag,
        media_type=content_type(audio.media_type),
        headers={**_headers(head, timings_of(request), audio.takes), "X-Cache": state},
        is_kept=is_kept,
    )


async def _begin(
    context: ApiContext,
    tts_request: SynthesisRequest,
    delivery: Delivery,
    items: SpeechItems,
    timings: RequestTimings,
) -> SpeechStream:
    try:
        head = await anext(items)
        assert isinstance(head, StreamHead)
        head = dataclasses.replace(head, warnings=(*delivery.warnings, *head.warnings))
        encoder = await asyncio.to_thread(delivery.encoder, delivery.media_type, head.sample_rate_hz)
        body = _encoded(items, encoder, timings, delivery.shape_chunk and delivery.shape_chunk(encoder))
        first, is_last = await anext(body)
    except BaseException:
        await items.aclose()
        raise
    elapsed_s = timings.mark("first_audio")
    context.metrics.first_audio_seconds.labels(streaming_mode=str(tts_request.streaming_mode)).observe(elapsed_s)
    return SpeechStream(
        (first, is_last),
        body,
        media_type=delivery.content_type or content_type(delivery.media_type),
        headers=_headers(dataclasses.replace(head, sample_rate_hz=encoder.output_rate_hz), timings),
        stall_s=context.settings.stall_s,
    )


Piece = tuple[bytes, bool]  # bytes of a stream, and whether they are the last of them


async def _encoded(
    items: SpeechItems, encoder: StreamEncoder, timings: RequestTimings, shape: ShapeChunk | None
) -> AsyncGenerator[Piece, None]:
    """The pieces of a stream; it owns the items, whose work ends when this is closed."""
    shape = shape or _as_it_is
    async with contextlib.aclosing(items):
        head, has_ended = encoder.start(), False
        async for item in items:
            assert isinstance(item, AudioChunk)
            data, head = shape(head + await asyncio.to_thread(encoder.encode, item.samples), item), b""
            if item.is_last:
                timings.mark("synthesis")
                data, has_ended = data + shape(await asyncio.to_thread(encoder.finish), None), True
            yield data, item.is_last
        if not has_ended:
            timings.mark("synthesis")
            yield shape(await asyncio.to_thread(encoder.finish), None), True


def _as_it_is(data: bytes, chunk: AudioChunk | None) -> bytes:
    return data


class SpeechStream(Response):
    """A chunked answer whose first bytes exist already; it ends the synthesis when the client goes away.

    Args:
        first: the first piece.
        body: the pieces after it; closed in any case.
        stall_s: how long a client may take nothing, since one that does not read would hold its place for ever. How
            long it takes for the whole is its own business.
    """

    def __init__(
        self,
        first: Piece,
        body: AsyncGenerator[Piece, None],
        *,
        media_type: str,
        headers: dict[str, str],
        stall_s: float,
    ) -> None:
        super().__init__(None, media_type=media_type, headers=headers)
        del self.headers["content-length"]
        self._first = first
        self._body_stream = body
        self._stall_s = stall_s
        self._is_complete = False
        self._callbacks = contextlib.ExitStack()

    def callback(self, release: Callable[[], None]) -> None:
        """Has `release` called when the stream is over, however it ends."""
        self._callbacks.callback(release)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._callbacks:
            async with contextlib.aclosing(self._body_stream):
                try:
                    await until_disconnect(receive, self._send_all(send))
                except ClientDisconnect:
                    if not self._is_complete:  # else it left with all it wanted
                        raise

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await self._send_piece(send, self._first)
        async for piece in self._body_stream:
            await self._send_piece(send, piece)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_piece(self, send: Send, piece: Piece) -> None:
        """In parts that a slow listener takes one after the other, each in time."""
        data, is_last = piece
        for start in range(0, len(data), _PART_BYTES):
            part = {"type": "http.response.body", "body": data[start : start + _PART_BYTES], "more_body": True}
            with anyio.move_on_after(self._stall_s) as stall:
                await send(part)
            if stall.cancelled_caught:
                raise DeadlineExceededError(f"the client read nothing of the answer for {self._stall_s:g} s")
        self._is_complete = self._is_complete or is_last


def _headers(head: StreamHead, timings: RequestTimings, takes: int = 0) -> dict[str, str]:
    return {
        "X-Seed": str(head.seed),
        "X-Sample-Rate": str(head.sample_rate_hz),
        "X-Dropped-Characters": str(head.dropped_characters),
        "Server-Timing": timings.header(),
        **_warning_header(head.warnings),
        **_takes(takes),
    }


def _takes(takes: int) -> dict[str, str]:
    return {"X-Takes": str(takes)} if takes else {}


def _warning_header(warnings: tuple[str, ...]) -> dict[str, str]:
    if not warnings:
        return {}
    joined = " ".join("; ".join(warnings).split())
    return {"X-Warnings": joined.encode("ascii", "replace").decode()[:_WARNING_CHARACTERS]}
