"""When words are said, of the shipped model over HTTP: shapes, places in the text, pauses, speed, subtitles."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from websockets.sync.client import connect

from tests.e2e.conftest import Served
from tests.e2e.test_say import say

Words = list[dict[str, Any]]
MIXED = "2024年的春天，hello world, 我们走。"


def body(text: str = MIXED, **changes: Any) -> dict[str, Any]:
    return {"text": text, "text_lang": "auto", "voice_id": "female_calm", "seed": 1, "timestamps": "word", **changes}


def timed(server: Served, text: str = MIXED, **changes: Any) -> dict[str, Any]:
    answer = httpx.post(f"{server.url}/tts", json=body(text, **changes), timeout=300)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def require_order(words: Words, text: str, duration_s: float) -> None:
    assert words
    assert all(text[word["start"] : word["end"]] == word["text"] for word in words)
    times = [time for word in words for time in (word["start_s"], word["end_s"])]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= duration_s + 0.001


def test_words_are_parts_of_the_text_as_it_was_sent(server: Served) -> None:
    said = timed(server)
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(said["audio"])))
    assert said["duration_s"] == pytest.approx(len(samples) / rate_hz)
    assert said["aligned"] is True
    assert said["media_type"] == "audio/wav"
    assert [word["text"] for word in said["words"]] == ["2024年", *"的春天", "hello", "world", *"我们走"]
    require_order(said["words"], MIXED, said["duration_s"])
    assert all(0 < word["confidence"] <= 1 for word in said["words"])
    # Where the pause between the fragments is, nobody speaks.
    last, first = said["words"][3]["end_s"], said["words"][4]["start_s"]
    assert first - last >= 0.3
    quiet = samples[int((first - 0.28) * rate_hz) : int((first - 0.02) * rate_hz)]
    assert np.abs(quiet).max() < 0.02


@pytest.mark.parametrize(
    ("language", "text"), [("zh", "第3位，共12.5%。"), ("en", "I didn't pay $5 in the U.S. today.")]
)
@pytest.mark.parametrize("unit", ["word", "char", "phoneme"])
def test_each_unit_and_language(server: Served, language: str, text: str, unit: str) -> None:
    said = timed(server, text, text_lang=language, timestamps=unit)
    words = said["words"]
    if unit == "phoneme":
        assert all(word["text"] not in ",.!?" for word in words)
        assert len(words) > len(text) / 2
        words = [{**word, "text": text[word["start"] : word["end"]]} for word in words]
    require_order(words, text, said["duration_s"])


# The demonstration voice was not taught these languages: it says something, and where that is belongs to the text.
@pytest.mark.parametrize(
    ("language", "text", "first", "last"),
    [
        ("ja", "今日は2024年、東京へ行きます。", "今日", "ます"),
        ("ko", "오늘은 3시에 날씨가 좋네요.", "오늘은", "좋네요"),
        ("yue", "今日係2024年，天氣好好。", "今", "好"),
    ],
)
def test_words_of_other_languages_are_in_order_and_none_is_left_out(
    server: Served, language: str, text: str, first: str, last: str
) -> None:
    said = timed(server, text, text_lang=language)
    assert said["aligned"] is True
    require_order(said["words"], text, said["duration_s"])
    assert (said["words"][0]["text"], said["words"][-1]["text"]) == (first, last)
    covered = {place for word in said["words"] for place in range(word["start"], word["end"])}
    assert covered == {place for place, character in enumerate(text) if character.isalnum()}


@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_times_follow_the_speed(server: Served, speed: float) -> None:
    usual, changed = timed(server, "今天天气很好。"), timed(server, "今天天气很好。", speed_factor=speed)
    for one, other in zip(usual["words"], changed["words"], strict=True):
        assert other["end_s"] == pytest.approx(one["end_s"] / speed, abs=0.06)


def test_pauses_move_what_follows_them(server: Served) -> None:
    near = timed(server, "今天天气好吗？我们都很好。", fragment_interval=0.1)
    far = timed(server, "今天天气好吗？我们都很好。", fragment_interval=2.1)
    assert far["words"][-1]["end_s"] - near["words"][-1]["end_s"] == pytest.approx(2.0, abs=0.002)
    asked = timed(server, "今天天气好吗？[pause:3]我们都很好。", fragment_interval=0.1)
    assert asked["words"][-1]["end_s"] - near["words"][-1]["end_s"] == pytest.approx(2.9, abs=0.002)
    assert asked["words"][-1]["text"] == "好"
    assert asked["words"][-1]["start"] == len("今天天气好吗？[pause:3]我们都很")


def test_a_repeated_request_has_the_same_words_and_the_audio_those_of_none(server: Served) -> None:
    first, second = timed(server, cache=True), timed(server, cache=True)
    assert first == second
    plain = httpx.post(f"{server.url}/tts", json=body(timestamps="none"), timeout=300)
    assert plain.headers["content-type"] == "audio/wav"
    assert plain.content == base64.b64decode(first["audio"])


def events_of(answer: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [(name, json.loads(data)) for name, data in re.findall(r"event: (\w+)\ndata: (.*)\n\n", answer.text)]


def joined(events: list[tuple[str, dict[str, Any]]]) -> tuple[bytes, list[Words]]:
    """The audio, and the words of each fragment."""
    audio = b"".join(base64.b64decode(data["audio"]) for name, data in events if name == "audio")
    return audio, [data["words"] for name, data in events if name == "words"]


@pytest.mark.parametrize("mode", [1, 3])
def test_a_stream_that_was_heard_before_comes_from_the_cache(server: Served, mode: int) -> None:
    asked = body(streaming_mode=mode, media_type="raw", cache=True, guard="flag", seed=100 + mode)
    first, again = (httpx.post(f"{server.url}/tts", json=asked, timeout=300) for _ in range(2))
    assert [answer.headers["x-cache"] for answer in (first, again)] == ["miss", "hit"]
    assert joined(events_of(again)) == joined(events_of(first))
    assert events_of(again)[-1] == events_of(first)[-1] == ("done", {"takes": 3, "faults": []})
    whole = timed(server, media_type="raw", cache=True, guard="flag", seed=100 + mode)
    if mode == 1:  # whose speech is that of a whole answer
        assert base64.b64decode(whole["audio"]) == joined(events_of(first))[0]
        assert whole["words"] == [word for words in joined(events_of(first))[1] for word in words]


@pytest.mark.parametrize("mode", [1, 2, 3])
def test_a_stream_sends_audio_and_words_as_events(server: Served, mode: int) -> None:
    events = events_of(httpx.post(f"{server.url}/tts", json=body(streaming_mode=mode, media_type="raw"), timeout=300))
    assert events[-1][0] == "done"
    audio, fragments = joined(events)
    assert len(fragments) == 3
    words = [word for fragment in fragments for word in fragment]
    assert [word["text"] for word in words][-2:] == ["们", "走"]
    require_order(words, MIXED, len(audio) / 2 / 32_000)


def test_subtitles_have_a_cue_for_each_fragment(server: Served) -> None:
    srt = timed(server, subtitles="srt")["subtitles"]
    assert srt.count(" --> ") == 3
    assert "2024年的春天，" in srt
    assert timed(server, subtitles="vtt")["subtitles"].startswith("WEBVTT")
    lines = timed(server, subtitles="LRC", timestamps="none")["subtitles"].splitlines()
    assert lines[0] == "[00:00.00]2024年的春天，"
    assert all(re.fullmatch(r"\[\d\d:\d\d\.\d\d\].+", line) for line in lines)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"timestamps": "words"}, "timestamps must be none, word, char or phoneme"),
        ({"timestamps": 1}, "timestamps"),
        ({"subtitles": "ass"}, "subtitles must be srt, vtt or lrc"),
        ({"subtitles": "srt", "streaming_mode": 1}, "subtitles need a whole answer"),
    ],
)
def test_what_cannot_be_told_is_refused(server: Served, fields: dict[str, Any], message: str) -> None:
    answer = httpx.post(f"{server.url}/tts", json=body(**fields), timeout=60)
    assert answer.status_code == 400
    assert message in answer.text


def test_openai_clients_get_them_too(server: Served) -> None:
    fields = {"input": "今天很好。", "voice": "female_calm", "response_format": "wav", "timestamps": "char"}
    whole = httpx.post(f"{server.url}/v1/audio/speech", json=fields, timeout=300)
    assert [word["text"] for word in whole.json()["words"]] == list("今天很好")
    events = httpx.post(f"{server.url}/v1/audio/speech", json={**fields, "stream_format": "sse"}, timeout=300)
    assert '"type": "speech.audio.words"' in events.text
    assert events.text.rindex("speech.audio.done") > events.text.rindex("speech.audio.words")
    refused = httpx.post(f"{server.url}/v1/audio/speech", json={**fields, "response_format": "pcm"}, timeout=60)
    assert refused.status_code == 400


@pytest.mark.parametrize("path", ["with-timestamps", "stream/with-timestamps"])
def test_elevenlabs_clients_get_characters(server: Served, path: str) -> None:
    url = f"{server.url}/v1/text-to-speech/female_calm/{path}?output_format=pcm_24000"
    answer = httpx.post(url, json={"text": MIXED, "language_code": "auto"}, timeout=300)
    assert answer.status_code == 200, answer.text
    lines = [json.loads(line) for line in answer.text.splitlines()]
    lines = [line for line in lines if line["alignment"]]
    assert len(lines) == (1 if path == "with-timestamps" else 3)
    characters = [character for line in lines for character in line["alignment"]["characters"]]
    assert "".join(characters) == MIXED
    if path != "with-timestamps":  # punctuation goes with the fragment that it ends
        fragments = ["".join(line["alignment"]["characters"]) for line in lines]
        assert fragments == ["2024年的春天，", "hello world,", " 我们走。"]
    starts = [time for line in lines for time in line["alignment"]["character_start_times_seconds"]]
    ends = [time for line in lines for time in line["alignment"]["character_end_times_seconds"]]
    assert starts == sorted(starts)
    assert all(start <= end for start, end in zip(starts, ends, strict=True))
    audio = b"".join(base64.b64decode(line["audio_base64"]) for line in map(json.loads, answer.text.splitlines()))
    assert ends[-1] <= len(audio) / 2 / 24_000 + 0.01


def test_a_live_turn_tells_its_words(server: Served) -> None:
    first, second = "今天天气很好。", "我们明天再见。"
    messages: list[Any] = []
    with connect(server.url.replace("http", "ws") + "/ws/tts") as socket:
        start = {"type": "start", "voice_id": "female_calm", "timestamps": "word", "seed": 1}
        for message in (start, {"type": "text", "text": first + second}, {"type": "flush"}):
            socket.send(json.dumps(message))
        while not messages or messages[-1].get("type") != "done":
            received = socket.recv(timeout=60)
            messages.append({"type": "sound"} if isinstance(received, bytes) else json.loads(received))
    words = [word for message in messages if message["type"] == "words" for word in message["words"]]
    assert [word["text"] for word in words] == list("今天天气很好我们明天再见")
    require_order(words, first + second, messages[-1]["duration_s"])


def test_say_writes_subtitles_beside_the_sound(checkout: Path) -> None:
    result = say(checkout, "今天天气很好。我们明天再见。", "--seed", "3", "-o", "out.wav", "--subtitles", "srt")
    assert result.returncode == 0, result.stderr
    assert (checkout / "out.srt").read_text(encoding="utf-8").count(" --> ") == 2
    wrong = say(checkout, "你好。", "-o", "out.wav", "--subtitles", "txt")
    assert wrong.returncode != 0
    assert "subtitles must be srt, vtt or lrc" in wrong.stderr
