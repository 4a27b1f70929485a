"""The real service with a tiny model behind a real HTTP server, and the keys of two users and an administrator."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile

from sovits_service.service.build import build_service
from sovits_service.service.service import SpeechService
from sovits_service.settings import ServiceSettings
from sovits_service.tts_settings import load_tts_settings
from tests.api.conftest import serving
from tests.tiny_pack import write_pack

_SCOPES = {"ann": ("synth", "upload"), "bob": ("synth", "upload"), "boss": ("synth", "upload", "admin")}
# The key of each is its name.
KEYS = tuple(
    {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "scopes": scopes}
    for name, scopes in _SCOPES.items()
)


def clip(pitch_hz: float = 220.0, duration_s: float = 3.5) -> bytes:
    times_s = np.arange(int(duration_s * 16_000)) / 16_000
    sink = io.BytesIO()
    soundfile.write(sink, 0.3 * np.sin(2 * np.pi * pitch_hz * times_s), 16_000, format="WAV")
    return sink.getvalue()


@contextlib.asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[tuple[SpeechService, httpx.AsyncClient]]:
    """A service whose folders are under `folder`, with a voice `operators` that no key wrote, and a client of it."""
    voices = folder / "voices"
    voices.mkdir(exist_ok=True)
    (voices / "operators.wav").write_bytes(clip(180.0))
    (voices / "operators.yaml").write_text("ref_audio: operators.wav")
    defaults: dict[str, Any] = {
        "voices_roots": (voices,),
        "bundled_voices": False,
        "upload_dir": folder / "uploads",
        "weights_roots": (folder / "weights",),
        "max_seq_tokens": 400,
        "cache": {"dir": folder / "cache"},
        "objects": {"dir": folder / "objects"},
        "api_keys": KEYS,
    }
    checked = ServiceSettings(**{**defaults, **settings})
    service = build_service(load_tts_settings(write_pack(folder / "pack")), checked)
    await service.start()
    try:
        async with (
            serving(service, checked) as url,  # type: ignore[arg-type]
            httpx.AsyncClient(base_url=url, timeout=60.0) as client,
        ):
            yield service, client
    finally:
        await service.stop(0.0)


async def upload(client: httpx.AsyncClient, key: str, data: bytes, **fields: str) -> httpx.Response:
    return await client.post("/upload_ref", files={"file": ("clip.wav", data)}, data=fields, headers={"X-API-Key": key})


async def put_voice(client: httpx.AsyncClient, key: str, voice_id: str, /, **fields: Any) -> httpx.Response:
    return await client.put(f"/voices/{voice_id}", json=fields, headers={"X-API-Key": key})


async def say(client: httpx.AsyncClient, key: str, **fields: Any) -> httpx.Response:
    body = {"text": "你好。", "text_lang": "zh", "seed": 1, "top_k": 1, **fields}
    return await client.post("/tts", json=body, headers={"X-API-Key": key})
