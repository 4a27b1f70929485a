"""Many requests at once on the shipped model: each gets what it gets alone, whole and streamed."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import numpy.typing as npt
import soundfile

from tests.e2e.conftest import ROOT, Served

TEXTS = ("你好，很高兴认识你。", "今天天气很好。", "Good morning.", "我们一起去公园吧。")
VOICES = ("female_calm", "male_narrator", "child_happy")
STEP = 1e-3 + 1 / 32_768  # of the wave, and of its 16-bit samples


def request_for(index: int, upload: str) -> dict[str, object]:
    """Sixteen requests, four voices: the templates, and a clip without a prompt."""
    text = {"text": TEXTS[index // 4], "text_lang": "auto", "seed": index, "cache": False}
    voice = index % 4
    return {**text, "voice_id": VOICES[voice]} if voice < 3 else {**text, "ref_audio_path": upload}


def speak(server: Served, request: dict[str, object]) -> npt.NDArray[np.float64]:
    answer = httpx.post(f"{server.url}/tts", json=request, timeout=300)
    assert answer.status_code == 200, answer.text
    return soundfile.read(io.BytesIO(answer.content))[0]


def upload_clip(server: Served) -> str:
    clip = (ROOT / "voices/male_narrator.wav").read_bytes()
    answer = httpx.post(f"{server.url}/upload_ref", files={"file": ("a.wav", clip)}, timeout=60)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["path"])


def test_sixteen_requests_with_four_voices_each_get_what_they_get_alone(server: Served) -> None:
    upload = upload_clip(server)
    requests = [request_for(index, upload) for index in range(16)]
    alone = [speak(server, request) for request in requests]
    with ThreadPoolExecutor(16) as clients:
        together = list(clients.map(lambda request: speak(server, request), requests))
    for index, (one, many) in enumerate(zip(alone, together, strict=True)):
        assert one.shape == many.shape, f"request {index} has another length in company"
        np.testing.assert_allclose(many, one, atol=STEP)
    # Equal texts and seeds in other voices do differ, so a leak would have been seen.
    other = speak(server, {**requests[0], "voice_id": VOICES[1]})
    assert other.shape != alone[0].shape or np.abs(other - alone[0]).max() > 0.05


def test_streams_are_as_long_as_the_whole_and_have_no_clicks(server: Served) -> None:
    request = {"text": TEXTS[0], "text_lang": "zh", "voice_id": VOICES[0], "seed": 3, "text_split_method": "cut0"}
    whole = speak(server, {**request, "cache": False})
    for mode in (2, 3):
        body = {**request, "streaming_mode": mode, "media_type": "raw", "cache": False}
        with httpx.stream("POST", f"{server.url}/tts", json=body, timeout=300) as answer:
            streamed = np.frombuffer(b"".join(answer.iter_raw()), np.int16) / 32_768
        assert len(streamed) == len(whole)
        assert np.abs(np.diff(streamed)).max() <= 1.5 * np.abs(np.diff(whole)).max() + STEP
