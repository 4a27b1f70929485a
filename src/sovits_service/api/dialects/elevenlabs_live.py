"""The ElevenLabs WebSockets: `stream-input` for one text, `multi-stream-input` for several contexts."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.websockets import WebSocket

from sovits_service.api.deps import ApiContext, context_of
from sovits_service.api.dialects.elevenlabs import output_format, speech_fields
from sovits_service.api.live import Failure, LiveEvent, LiveSpeech, Sound
from sovits_service.api.say import understand
from sovits_service.api.sockets import CLOSE_AWAY, CLOSE_NORMAL, CLOSE_POLICY, Socket, admit
from sovits_service.api.voice_names import find_voice
from sovits_service.errors import DeadlineExceededError, InvalidRequestError, SovitsError

router = APIRouter(tags=["speech"])

_MOST_CONTEXTS = 8
_LONGEST_WAIT_S = 1.0
_PLACEHOLDER = "text"  # the fields are checked before there is any


@router.websocket("/v1/text-to-speech/{voice_id}/stream-input")
async def stream_input(websocket: WebSocket) -> None:
    """Say one text while it is written."""
    await _serve(websocket, has_contexts=False)


@router.websocket("/v1/text-to-speech/{voice_id}/multi-stream-input")
async def multi_stream_input(websocket: WebSocket) -> None:
    """Say several texts while they are written."""
    await _serve(websocket, has_contexts=True)


async def _serve(websocket: WebSocket, *, has_contexts: bool) -> None:
    socket = await admit(websocket)
    if socket is None:
        return
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            await _Session(websocket, socket, tasks, has_contexts=has_contexts).run()
    except BaseExceptionGroup as group:
        failure = group.exceptions[0]
    if isinstance(failure, SovitsError) and not isinstance(failure, DeadlineExceededError):
        await socket.send_json({"message": str(failure), "error": type(failure).__name__, "code": CLOSE_POLICY})
        await socket.close(CLOSE_POLICY)
    elif isinstance(failure, DeadlineExceededError | TimeoutError):
        await socket.close(CLOSE_AWAY)
    elif failure is not None:
        raise failure
    else:
        await socket.close(CLOSE_NORMAL)


class _Session:
    """One connection: its texts by context id; without contexts the only one is the empty id's."""

    def __init__(self, websocket: WebSocket, socket: Socket, tasks: asyncio.TaskGroup, *, has_contexts: bool) -> None:
        self._context: ApiContext = context_of(websocket)
        self._query: Mapping[str, str] = websocket.query_params
        self._voice_name: str = websocket.path_params["voice_id"]
        self._socket = socket
        self._tasks = tasks
        self._has_contexts = has_contexts
        self._speeches: dict[str, LiveSpeech] = {}
        self._is_closing = False
        self._is_first = True
        self._over = asyncio.Event()

    async def run(self) -> None:
        reading = self._tasks.create_task(self._read())
        await self._over.wait()
        reading.cancel()

    async def _read(self) -> None:
        connections = self._context.settings.connections
        while True:
            try:
                limit_s = connections.header_s if self._is_first else connections.idle_s
                message = await self._socket.receive(limit_s)
            except TimeoutError:
                if all(speech.is_idle for speech in self._speeches.values()):
                    raise
                continue
            if not self._is_closing:
                await self._take(message)

    async def _take(self, message: Mapping[str, Any]) -> None:
        client = await self._socket.authorize(message.get("xi_api_key"))
        if message.get("close_socket"):
            self._close()
            return
        context_id = str(message.get("context_id") or "")[:256] if self._has_contexts else ""
        speech = self._speeches.get(context_id)
        text = message.get("text")
        if text is not None and not isinstance(text, str):
            raise InvalidRequestError("text should be a valid string")
        if speech is None and text and (self._has_contexts or self._is_first):
            speech = await self._begin(context_id, message, client)
        if speech is not None:
            if text:
                await speech.write(text)
            if message.get("flush"):
                speech.flush()
            if message.get("close_context") and self._has_contexts:
                speech.finish()
        if text == "" and not self._has_contexts and not message.get("flush"):
            self._close()

    async def _begin(self, context_id: str, message: Mapping[str, Any], client: str) -> LiveSpeech:
        if len(self._speeches) >= _MOST_CONTEXTS:
            raise InvalidRequestError(f"at most {_MOST_CONTEXTS} contexts may be open; close one first")
        if not self._is_first:
            await self._context.access.count(client)
        self._is_first = False
        voice, _ = await find_voice(self._context, self._voice_name)
        chosen = output_format(self._query.get("output_format", ""))
        raw = {"language_code": self._query.get("language_code"), **message, "text": _PLACEHOLDER}
        fields = await self._socket.keep_references(speech_fields(raw, voice))
        asked = await understand(self._context, fields, client)

        async def emit(event: LiveEvent) -> None:
            if isinstance(event, Sound):
                audio = base64.b64encode(event.data).decode()
                await self._tell(context_id, audio=audio, isFinal=False, alignment=None, normalizedAlignment=None)
            elif isinstance(event, Failure):
                await self._tell(context_id, message=str(event.error), error=type(event.error).__name__)

        speech = LiveSpeech(self._context, client, asked.tts_request, chosen.encoder, emit, _LONGEST_WAIT_S)
        self._speeches[context_id] = speech
        self._tasks.create_task(self._speak(context_id, speech))
        return speech

    async def _speak(self, context_id: str, speech: LiveSpeech) -> None:
        await speech.run()
        await self._tell(context_id, audio=None, isFinal=True)
        del self._speeches[context_id]
        self._end_if_over()

    async def _tell(self, context_id: str, **content: Any) -> None:
        named = {"contextId": context_id} if self._has_contexts else {}
        await self._socket.send_json({**content, **named})

    def _close(self) -> None:
        self._is_closing = True
        for speech in self._speeches.values():
            speech.finish()
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self._is_closing and not self._speeches:
            self._over.set()
