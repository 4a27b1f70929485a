"""The WebSocket `/ws/tts`: speech while its text is being written.

JSON in: `start` with the fields of `/tts`, `text`, `flush`, `cancel`, `end`. Binary audio and JSON out: `started`,
`segment`, `done`, `error`. `done` follows each flush; after a cancel it says so, and nothing of before follows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.websockets import WebSocket

from sovits_service.api.deps import ApiContext, context_of
from sovits_service.api.live import Failure, LiveEvent, LiveSpeech, SegmentStart, Sound, Words
from sovits_service.api.say import Asked, understand
from sovits_service.api.schemas import over_defaults
from sovits_service.api.sockets import CLOSE_AWAY, CLOSE_NORMAL, CLOSE_POLICY, Socket, admit, error_message
from sovits_service.api.timed import word_fields
from sovits_service.api.voice_names import default_voice
from sovits_service.audio.encode import stream_encoder
from sovits_service.errors import DeadlineExceededError, InvalidRequestError, SovitsError

router = APIRouter(tags=["speech"])

_PLACEHOLDER = "text"  # the fields are checked before there is any
_USUAL_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0


@router.websocket("/ws/tts")
async def speak_live(websocket: WebSocket) -> None:
    """Speak while it is being written to."""
    context = context_of(websocket)
    socket = await admit(websocket)
    if socket is None:
        return
    code = CLOSE_POLICY
    try:
        speech, asked = await _start(context, socket)
        await socket.send_json({"type": "started", "media_type": asked.fields.media_type, "warnings": asked.warnings})
        code = await _converse(context, socket, speech)
    except TimeoutError:
        code = CLOSE_AWAY
    except DeadlineExceededError:  # a listener that does not read gets no message either
        code = CLOSE_AWAY
    except SovitsError as error:
        context.metrics.errors.labels(kind=type(error).__name__).inc()
        await socket.send_json(error_message(error))
    await socket.close(code)


async def _start(context: ApiContext, socket: Socket) -> tuple[LiveSpeech, Asked]:
    message = await socket.receive(context.settings.connections.header_s)
    if message.pop("type", None) != "start":
        raise InvalidRequestError("the first message must be start")
    client = await socket.authorize(message.pop("key", None))
    max_wait_s = _max_wait_s(message.pop("max_wait_s", None))
    has_reference = context.service.voices.default_reference is not None
    if not message.get("voice_id") and not message.get("ref_audio_path") and not has_reference:
        message["voice_id"] = (await default_voice(context)).voice_id
    usual = {"text_lang": "auto", "media_type": "raw", "streaming_mode": 1}
    raw = await socket.keep_references({**over_defaults(usual, message), "text": _PLACEHOLDER})
    asked = await understand(context, raw, client)

    async def emit(event: LiveEvent) -> None:
        if isinstance(event, Sound):
            await socket.send_bytes(event.data)
        else:
            await socket.send_json(_shape(event))

    media_type = asked.fields.media_type
    speech = LiveSpeech(
        context, client, asked.tts_request, lambda rate_hz: stream_encoder(media_type, rate_hz), emit, max_wait_s
    )
    return speech, asked


def _max_wait_s(value: object) -> float:
    if value in (None, ""):
        return _USUAL_WAIT_S
    try:
        wait_s = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        wait_s = 0.0
    if not 0.05 <= wait_s <= _LONGEST_WAIT_S:
        raise InvalidRequestError(f"max_wait_s must be a number of seconds from 0.05 to {_LONGEST_WAIT_S:g}")
    return wait_s


def _shape(event: LiveEvent) -> dict[str, Any]:
    if isinstance(event, SegmentStart):
        return {
            "type": "segment",
            "index": event.index,
            "start": event.start,
            "end": event.end,
            "sample_rate": event.sample_rate_hz,
            "seed": event.seed,
            "warnings": event.warnings,
        }
    if isinstance(event, Failure):
        return {**error_message(event.error), "start": event.start, "end": event.end}
    if isinstance(event, Words):
        return {"type": "words", "words": [word_fields(word) for word in event.words], "aligned": bool(event.words)}
    assert not isinstance(event, Sound)
    return {"type": "done", "duration_s": round(event.duration_s, 3), "cancelled": False}


async def _converse(context: ApiContext, socket: Socket, speech: LiveSpeech) -> int:
    """Read and speak until one of both is over; the code to close with."""
    reading = asyncio.create_task(_read(context.settings.connections.idle_s, socket, speech))
    speaking = asyncio.create_task(speech.run())
    try:
        await asyncio.wait({reading, speaking}, return_when=asyncio.FIRST_COMPLETED)
        (speaking if speaking.done() else reading).result()
        return CLOSE_NORMAL
    finally:
        for task in (reading, speaking):
            task.cancel()
        await asyncio.gather(reading, speaking, return_exceptions=True)


async def _read(idle_s: float, socket: Socket, speech: LiveSpeech) -> None:
    """Takes messages until the client goes away; after `end` there is nothing left to do but cancel."""
    has_ended = False
    while True:
        try:
            message = await socket.receive(idle_s)
        except TimeoutError:
            if speech.is_idle:
                raise
            continue
        match message.get("type"):
            case "text" | "flush" | "end" if has_ended:
                raise InvalidRequestError("after end, only cancel is accepted; open another WebSocket")
            case "text":
                await _write(socket, speech, message)
            case "flush":
                speech.flush()
            case "cancel":
                await speech.cancel()
                await socket.send_json({"type": "done", "duration_s": 0.0, "cancelled": True})
            case "end":
                speech.finish()
                has_ended = True
            case _:
                raise InvalidRequestError("the type of a message must be text, flush, cancel or end")


async def _write(socket: Socket, speech: LiveSpeech, message: Mapping[str, Any]) -> None:
    text = message.get("text")
    if not isinstance(text, str):
        raise InvalidRequestError("text must be text")
    try:
        await speech.write(text)
    except SovitsError as error:  # too much, or too often: what was written before is said all the same
        await socket.send_json(error_message(error))
