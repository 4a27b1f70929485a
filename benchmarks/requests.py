"""Whole requests over HTTP, on a real server with full-size weights and a fixed number of tokens a character."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import uvicorn

from benchmarks.seeded import HAN
from sovits_service.api.app import create_app
from sovits_service.engine import semantic_runner
from sovits_service.settings import ServiceSettings

if TYPE_CHECKING:
    from sovits_service.engine.sequence import DecodeSequence  # an earlier commit has other names for these
    from sovits_service.service.service import SpeechService

TOKENS_PER_CHARACTER = 5  # five characters a second
SENTENCE = "清晨的阳光洒在安静的湖面上几只白鹭从远处慢慢飞来"  # 24 characters, and the full stop of the reading
PARAGRAPH = "。".join(SENTENCE[: 20 + 5 * (i % 2)] for i in range(8)) + "。"
_unread = itertools.count(4000)
REQUEST = {"text_lang": "zh", "voice_id": "female_calm", "seed": 1, "fragment_interval": 0.0}


def fix_token_counts() -> None:
    """Random weights would end anywhere: every sequence gets five tokens for each character."""

    def limit(_: semantic_runner.SemanticRunner, sequence: DecodeSequence) -> int:
        return TOKENS_PER_CHARACTER * len(sequence.segment.norm_text)

    semantic_runner.SemanticRunner._new_token_limit = limit  # type: ignore[method-assign]
    try:
        from sovits_service.engine import decode_state as where
    except ImportError:  # an earlier commit
        where = semantic_runner  # type: ignore[misc]
    where.MIN_NEW_TOKENS = 10**9


@asynccontextmanager
async def serving(service: SpeechService, settings: ServiceSettings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service behind a real server on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = uvicorn.Server(_server_config(service, settings))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
            yield client
        server.should_exit = True
        await running


def _server_config(service: SpeechService, settings: ServiceSettings) -> uvicorn.Config:
    app = create_app(service, settings)
    try:
        from sovits_service.api.connections import server_config
    except ModuleNotFoundError:  # an earlier commit
        return uvicorn.Config(app, log_level="warning")
    return server_config(app, settings)


async def speak(client: httpx.AsyncClient, text: str, seed: int = 1) -> tuple[float, float]:
    """Seconds that a whole answer took, and the seconds of audio in it."""
    start_s = time.perf_counter()
    answer = await client.post("/tts", json={**REQUEST, "text": text, "seed": seed, "cache": False})
    answer.raise_for_status()
    audio_s = (len(answer.content) - 44) / 2 / int(answer.headers["x-sample-rate"])
    return time.perf_counter() - start_s, audio_s


def _new_sentences(count: int) -> list[str]:
    """Sentences that were not read before, so that BERT reads them."""
    return [f"{SENTENCE[:12]}{HAN[next(_unread)]}{SENTENCE[13:]}" for _ in range(count)]


async def first_chunk_s(client: httpx.AsyncClient, mode: int, text: str) -> float:
    """Seconds to the first samples of a streamed sentence."""
    start_s = time.perf_counter()
    body = {**REQUEST, "text": text, "streaming_mode": mode, "media_type": "raw", "cache": False}
    async with client.stream("POST", "/tts", json=body) as answer:
        answer.raise_for_status()
        async for block in answer.aiter_bytes():
            if block:
                return time.perf_counter() - start_s
    raise RuntimeError("the stream was empty")


async def longest_gap_s(client: httpx.AsyncClient, text: str) -> float:
    """Longest wait between two chunks of a stream."""
    gaps_s: list[float] = []
    last_s: float | None = None
    body = {**REQUEST, "text": text, "streaming_mode": 3, "media_type": "raw", "cache": False}
    async with client.stream("POST", "/tts", json=body) as answer:
        answer.raise_for_status()
        async for block in answer.aiter_bytes():
            now_s = time.perf_counter()
            if block and last_s is not None:
                gaps_s.append(now_s - last_s)
            last_s = now_s
    return max(gaps_s)


async def measure_sentence(client: httpx.AsyncClient) -> dict[str, float]:
    """A whole answer, and the first samples of a stream; the best of a few, since other programs only ever delay."""
    await speak(client, SENTENCE)  # the voice is encoded, all is warm
    answers = [await speak(client, text) for text in _new_sentences(3)]
    results = {"sentence_s": min(took_s for took_s, _ in answers), "sentence_audio_s": answers[0][1]}
    for mode in (2, 3):
        results[f"first_chunk_ms_mode_{mode}"] = 1e3 * min(
            [await first_chunk_s(client, mode, text) for text in _new_sentences(3)]
        )
    return results


async def measure_clients(client: httpx.AsyncClient) -> dict[str, float]:
    """Seconds of audio per second that clients together get, each a sentence with a seed of its own."""
    await speak(client, SENTENCE)
    results: dict[str, float] = {}
    for clients in (4, 8):
        start_s = time.perf_counter()
        answers = await asyncio.gather(
            *(speak(client, text, seed) for seed, text in enumerate(_new_sentences(clients)))
        )
        wall_s = time.perf_counter() - start_s
        results[f"audio_s_per_s_{clients}_clients"] = sum(audio_s for _, audio_s in answers) / wall_s
    return results


async def measure_gaps(client: httpx.AsyncClient) -> dict[str, float]:
    """A paragraph, and the longest gap of a stream of it while four requests arrive."""
    took_s, audio_s = await speak(client, PARAGRAPH)
    results = {"paragraph_s": took_s, "paragraph_audio_s": audio_s, "paragraph_real_time_factor": took_s / audio_s}
    results["longest_gap_ms_alone"] = 1e3 * await longest_gap_s(client, SENTENCE)
    stream = asyncio.create_task(longest_gap_s(client, PARAGRAPH))
    await asyncio.gather(*(speak(client, f"{SENTENCE[:12]}{HAN[seed]}", seed) for seed in range(4)))
    results["longest_gap_ms_while_4_arrive"] = 1e3 * await stream
    return results


async def measure_requests(client: httpx.AsyncClient, parts: Collection[str]) -> dict[str, float]:
    measures = {"requests": measure_sentence, "clients": measure_clients, "gaps": measure_gaps}
    results: dict[str, float] = {}
    for part, measure in measures.items():
        if part in parts:
            results |= await measure(client)
    return results
