"""api.py's requests on a real service: a default reference that is really spoken with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Served
from tests.e2e.tiny_server import clip, start_tiny, write_tiny


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    served = start_tiny(write_tiny(tmp_path), SOVITS_ADMIN__ENABLED="true", SOVITS_MAX_SEQ_TOKENS="400")
    yield served
    served.process.kill()
    served.process.wait()


def test_a_default_reference_speaks_until_a_request_names_another(server: Served) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        asked = {"text": "你好。", "text_language": "中文", "seed": "1"}
        missing = client.get("/", params=asked)
        assert (missing.status_code, missing.json()["code"]) == (400, 400)
        assert missing.json()["message"].startswith("refer_wav_path is required")

        paths = [client.post("/upload_ref", files={"file": ("a.wav", clip(n))}).json()["path"] for n in (1, 9)]
        refer = {"refer_wav_path": paths[0], "prompt_text": "你好", "prompt_language": "中文"}
        assert client.post("/change_refer", json=refer).json() == {"code": 0, "message": "Success"}
        spoken = client.get("/", params=asked)
        assert (spoken.status_code, spoken.headers["content-type"]) == (200, "audio/wav"), spoken.text
        named = client.post("/", json={**asked, **refer})
        assert named.content == spoken.content

        windows = "C:\\data\\" + paths[1].replace("/", "\\")
        other = client.post("/", json={**asked, **refer, "refer_wav_path": windows})
        assert (other.status_code, other.content == spoken.content) == (200, False)

        unusable = client.get("/change_refer", params={"refer_wav_path": "C:\\nowhere.wav"})
        assert (unusable.status_code, unusable.json()["code"]) == (400, 400)
        assert client.get("/", params=asked).content == spoken.content
