"""/tts: which requests are taken, which are refused, and with what words."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from sovits_service.types import Voice
from tests.api.fast_service import FastService

REFERENCE = "voices/amy.wav"
V2_LANGUAGES = "auto, auto_yue, en, zh, ja, yue, ko, all_zh, all_ja, all_yue, all_ko"
WHOLE = {"ref_audio_path": REFERENCE, "text": "hello", "text_lang": "en", "prompt_text": "hi", "prompt_lang": "en"}


def message(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/json"
    return str(answer.json()["message"])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "ref_audio_path is required"),
        ({"text": "hello", "text_lang": "xx"}, "ref_audio_path is required"),
        ({"ref_audio_path": ""}, "ref_audio_path is required"),
        ({"ref_audio_path": REFERENCE}, "text is required"),
        ({"ref_audio_path": REFERENCE, "text": ""}, "text is required"),
        ({"ref_audio_path": REFERENCE, "text": "hello"}, "text_lang is required"),
        ({**WHOLE, "text_lang": "xx"}, "text_lang: xx is not supported in version v2; use one of " + V2_LANGUAGES),
        ({**WHOLE, "prompt_lang": ""}, "prompt_lang is required"),
        ({**WHOLE, "prompt_lang": "xx"}, "prompt_lang: xx is not supported in version v2; use one of " + V2_LANGUAGES),
        (
            {**WHOLE, "text_lang": "xx", "prompt_lang": "yy"},
            "text_lang: xx is not supported in version v2; use one of " + V2_LANGUAGES,
        ),
        (
            {**WHOLE, "media_type": "xx"},
            "media_type: xx is not supported; use one of wav, raw, ogg, aac, mp3, flac, opus, m4a",
        ),
        (
            {**WHOLE, "text_split_method": "cut9"},
            "text_split_method:cut9 is not supported; use one of cut0, cut1, cut2, cut3, cut4, cut5",
        ),
        ({**WHOLE, "media_type": "xx", "prompt_lang": ""}, "prompt_lang is required"),
        ({**WHOLE, "streaming_mode": "4"}, "streaming_mode must be 0, 1, 2 or 3, or true or false"),
        ({**WHOLE, "streaming_mode": "fast"}, "streaming_mode must be 0, 1, 2 or 3, or true or false"),
        ({**WHOLE, "top_k": "-2"}, "top_k should be greater than or equal to -1"),
        ({**WHOLE, "top_k": "many"}, "top_k should be a valid integer, unable to parse string as an integer"),
        ({**WHOLE, "temperature": "nan"}, "temperature must be a finite number"),
        ({**WHOLE, "top_k": "-Infinity"}, "top_k must be a finite number"),
        ({**WHOLE, "speed_factor": "0"}, "speed_factor should be greater than or equal to 0.25"),
        ({**WHOLE, "seed": "-2"}, "seed should be greater than or equal to -1"),
        ({**WHOLE, "super_sampling": "perhaps"}, "super_sampling should be a valid boolean, unable to interpret input"),
        ({**WHOLE, "aux_ref_audio_paths": "[1"}, "aux_ref_audio_paths must be a list of strings"),
    ],
)
async def test_the_first_problem_is_told_the_same_in_get_and_post(
    client: httpx.AsyncClient, service: FastService, fields: dict[str, str], expected: str
) -> None:
    for answer in (await client.get("/tts", params=fields), await client.post("/tts", json=fields)):
        assert (answer.status_code, message(answer)) == (400, expected)
    assert service.requests == []


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("text", 5, "text should be a valid string"),
        ("text", ["hello"], "text should be a valid string"),
        ("text_lang", {}, "text_lang should be a valid string"),
        ("ref_audio_path", 1, "ref_audio_path should be a valid string"),
        ("voice_id", 7, "voice_id should be a valid string"),
        ("top_k", True, "top_k must be a number"),
        ("top_k", 1.5, "top_k should be a valid integer, got a number with a fractional part"),
        ("top_p", [], "top_p should be a valid number"),
        ("aux_ref_audio_paths", {"a": 1}, "aux_ref_audio_paths should be a valid list"),
        ("aux_ref_audio_paths", [1], "aux_ref_audio_paths.0 should be a valid string"),
        ("timbre_ref_audio_path", ["a"], "timbre_ref_audio_path should be a valid string"),
        ("streaming_mode", [], "streaming_mode must be 0, 1, 2 or 3, or true or false"),
        ("text", "\ud800", "text must be valid Unicode text"),
    ],
)
async def test_json_of_a_wrong_type_is_a_400_with_the_field(
    client: httpx.AsyncClient, field: str, value: Any, expected: str
) -> None:
    body = json.dumps({**WHOLE, field: value})
    answer = await client.post("/tts", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, message(answer)) == (400, expected)


@pytest.mark.parametrize(
    ("content", "content_type", "expected"),
    [
        (
            b"",
            "application/json",
            "the body is empty; send a JSON object with the header Content-Type: application/json, or a form",
        ),
        (b"{", "application/json", "the body is not valid JSON"),
        (b"\xff\xfe{}", "application/json", "the body is not valid JSON"),
        (b"[" * 100_000, "application/json", "the body is not valid JSON"),
        (b'{"seed": ' + b"9" * 10_000 + b"}", "application/json", "the body is not valid JSON"),
        (b"[]", "application/json", "the body must be a JSON object, that is, {...}"),
        (b"null", "application/json", "the body must be a JSON object, that is, {...}"),
        (
            b"text=hello",
            "application/octet-stream",
            "the body must be JSON: send a JSON object with the header Content-Type: application/json, or a form",
        ),
        (
            b"hello",
            "application/x-www-form-urlencoded",
            "the form cannot be read; send a JSON object with the header Content-Type: application/json, or a form",
        ),
        (
            b"a=1&" * 200,
            "application/x-www-form-urlencoded",
            "the form cannot be read; send a JSON object with the header Content-Type: application/json, or a form",
        ),
        (b"{broken", "text/plain", "the body is not valid JSON"),
        (
            b"nonsense",
            "multipart/form-data; boundary=x",
            "the form cannot be read; send text fields, and clips with /upload_ref",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="text"; filename="a"\r\n\r\nhello\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            "the form cannot be read; send text fields, and clips with /upload_ref",
        ),
    ],
)
async def test_a_body_that_is_no_json_object_is_a_400(
    client: httpx.AsyncClient, content: bytes, content_type: str, expected: str
) -> None:
    answer = await client.post("/tts", content=content, headers={"Content-Type": content_type})
    assert (answer.status_code, message(answer)) == (400, expected)


async def test_a_get_takes_strings_of_any_case(client: httpx.AsyncClient, service: FastService) -> None:
    query = {
        **WHOLE,
        "text_lang": "EN",
        "prompt_lang": "Auto",
        "media_type": "WAV",
        "text_split_method": "CUT0",
        "top_k": "5.0",
        "top_p": "0.9",
        "speed_factor": "1",
        "seed": "-1",
        "streaming_mode": "False",
        "split_bucket": "TRUE",
        "parallel_infer": "true",
        "super_sampling": "FALSE",
        "batch_size": "1",
        "batch_threshold": "0.75",
        "aux_ref_audio_paths": "[]",
        "temperature": "",
        "something_else": "ignored",
    }
    answer = await client.get("/tts", params=query)
    assert answer.status_code == 200, answer.text
    request = service.requests[0]
    assert (request.text_lang, request.prompt_lang, request.split_method) == ("en", "auto", "cut0")
    assert (request.sampling.top_k, request.sampling.top_p, request.sampling.temperature) == (5, 0.9, 1.0)
    assert (request.seed, request.streaming_mode, request.aux_ref_audio) == (None, 0, ())


@pytest.mark.parametrize("query", ["aux_ref_audio_paths=a&aux_ref_audio_paths=b", 'aux_ref_audio_paths=["a","b"]'])
async def test_a_get_takes_several_references(client: httpx.AsyncClient, service: FastService, query: str) -> None:
    answer = await client.get(f"/tts?text=hello&text_lang=en&voice_id=amy&{query}")
    assert answer.status_code == 200, answer.text
    assert service.requests[0].aux_ref_audio == ("a", "b")


async def test_json_fields_reach_the_service(client: httpx.AsyncClient, service: FastService) -> None:
    body = {
        **WHOLE,
        "text_lang": "ZH",
        "aux_ref_audio_paths": ["a", "b"],
        "timbre_ref_audio_path": "c",
        "top_k": 7,
        "repetition_penalty": 1.1,
        "speed_factor": 1.5,
        "fragment_interval": 0.1,
        "seed": 99,
        "streaming_mode": True,
        "overlap_length": 4,
        "min_chunk_length": 32,
        "sample_steps": 8,
        "super_sampling": True,
        "read_emoji": True,
        "timeout_s": 5,
        "prompt_text": None,
        "unknown": {"is": "ignored"},
    }
    answer = await client.post("/tts", json=body)
    assert answer.status_code == 200, answer.text
    request = service.requests[0]
    assert (request.text, request.text_lang, request.ref_audio) == ("hello", "zh", REFERENCE)
    assert (request.prompt_text, request.prompt_lang, request.aux_ref_audio) == ("", "en", ("a", "b"))
    assert request.timbre_ref_audio == "c"
    assert (request.sampling.top_k, request.sampling.repetition_penalty) == (7, 1.1)
    assert (request.speed, request.pause_s, request.seed, request.streaming_mode) == (1.5, 0.1, 99, 1)
    assert (request.overlap_tokens, request.min_chunk_tokens, request.cfm_steps) == (4, 32, 8)
    assert (request.super_sampling, request.read_emoji, request.timeout_s) == (True, True, 5.0)


async def test_a_reference_without_a_transcript_needs_no_language(
    client: httpx.AsyncClient, service: FastService
) -> None:
    answer = await client.post("/tts", json={"ref_audio_path": REFERENCE, "text": "hello", "text_lang": "en"})
    assert answer.status_code == 200
    assert service.requests[0].prompt_lang == ""


async def test_a_voice_fills_in_what_the_request_leaves_out(client: httpx.AsyncClient, service: FastService) -> None:
    await client.post("/tts", json={"voice_id": "amy", "text": "hello", "text_lang": "en"})
    await client.post("/tts", json={"voice_id": "amy", "text": "hello", "text_lang": "en", "speed_factor": 1.0})
    await client.get("/tts", params={"voice_id": "amy", "text": "hello", "text_lang": "en", "prompt_text": "other"})
    filled, named, prompted = service.requests
    assert (filled.voice_id, filled.ref_audio, filled.prompt_text, filled.prompt_lang) == (
        "amy",
        "",
        "hello there",
        "en",
    )
    assert (filled.speed, named.speed) == (1.25, 1.0)
    assert (prompted.prompt_text, prompted.prompt_lang) == ("other", "en")


async def test_another_clip_does_not_get_the_transcript_of_the_voice(
    client: httpx.AsyncClient, service: FastService
) -> None:
    fields = {"voice_id": "amy", "ref_audio_path": "voices/other.wav", "text": "hello", "text_lang": "en"}
    assert (await client.post("/tts", json=fields)).status_code == 200
    request = service.requests[0]
    assert (request.ref_audio, request.prompt_text, request.speed) == ("voices/other.wav", "", 1.25)


async def test_an_unknown_voice_is_a_404(client: httpx.AsyncClient) -> None:
    answer = await client.post("/tts", json={"voice_id": "nobody", "text": "hello", "text_lang": "en"})
    assert (answer.status_code, message(answer)) == (404, "there is no voice of this id; GET /voices lists them")


async def test_v1_models_know_fewer_languages(client: httpx.AsyncClient, service: FastService) -> None:
    service.version = "v1"
    answer = await client.post("/tts", json={**WHOLE, "text_lang": "ko"})
    assert (answer.status_code, message(answer)) == (
        400,
        "text_lang: ko is not supported in version v1; use one of auto, en, zh, ja, all_zh, all_ja",
    )
    assert (await client.post("/tts", json={**WHOLE, "text_lang": "all_ja"})).status_code == 200


async def test_a_default_reference_stands_in(client: httpx.AsyncClient, service: FastService) -> None:
    service.voices.default_reference = "voices/amy.wav"
    assert (await client.post("/tts", json={"text": "hello", "text_lang": "en"})).status_code == 200


async def test_an_echo_of_a_value_is_short_and_printable(client: httpx.AsyncClient) -> None:
    answer = await client.post("/tts", json={**WHOLE, "media_type": "\r\n" + "x" * 5000})
    assert message(answer).startswith(f"media_type: ??{'x' * 30} is not supported; use one of ")


@pytest.mark.parametrize("text", ["", "。", "😀", "   "])
async def test_text_with_nothing_to_say_is_a_400(client: httpx.AsyncClient, text: str) -> None:
    assert (await client.post("/tts", json={**WHOLE, "text": text})).status_code == 400


@pytest.mark.parametrize("settings", [{"max_text_characters": 10, "max_aux_references": 2, "max_request_bytes": 2048}])
async def test_limits_of_the_settings(client: httpx.AsyncClient, service: FastService) -> None:
    long = await client.post("/tts", json={**WHOLE, "text": "x" * 11})
    assert (long.status_code, message(long)) == (
        400,
        "text has 11 characters; at most 10 are accepted: send it in parts",
    )
    many = await client.post("/tts", json={**WHOLE, "aux_ref_audio_paths": ["a", "b", "c"]})
    assert (many.status_code, message(many)) == (400, "aux_ref_audio_paths has 3 references; at most 2 are accepted")
    big = await client.post("/tts", json={**WHOLE, "padding": "x" * 3000})
    assert (big.status_code, message(big)) == (
        413,
        "the request's body is too large: at most 2,048 bytes are accepted",
    )
    assert (await client.post("/tts", json={**WHOLE, "text": "x" * 10})).status_code == 200
    assert len(service.requests) == 1


async def test_a_body_without_a_length_is_limited_while_it_is_read(client: httpx.AsyncClient) -> None:
    async def four_mebibytes() -> Any:
        for _ in range(64):
            yield b" " * 65536

    answer = await client.post("/tts", content=four_mebibytes(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


async def test_a_deadline_is_never_longer_than_the_settings(client: httpx.AsyncClient, service: FastService) -> None:
    await client.post("/tts", json={**WHOLE, "timeout_s": 100_000})
    assert service.requests[0].timeout_s == 300.0


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/ld+json"]
)
async def test_json_under_any_name(client: httpx.AsyncClient, service: FastService, content_type: str | None) -> None:
    """`curl -d` calls JSON a form, and some programs call it nothing."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await client.post("/tts", content=json.dumps(WHOLE), headers=headers)
    assert (answer.status_code, service.requests[0].text) == (200, "hello")


@pytest.mark.parametrize("is_multipart", [False, True])
async def test_a_form_is_read_as_a_query_is(
    client: httpx.AsyncClient, service: FastService, is_multipart: bool
) -> None:
    fields = {**WHOLE, "text": "héllo 你好", "seed": "7", "streaming_mode": "true", "top_k": "", "media_type": "raw"}
    paths = ["voices/one.wav", "voices/two.wav"]
    if is_multipart:
        parts = [*fields.items(), *(("aux_ref_audio_paths", path) for path in paths)]
        answer = await client.post("/tts", files=[(name, (None, value)) for name, value in parts])
    else:
        answer = await client.post("/tts", data={**fields, "aux_ref_audio_paths": paths})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/raw")
    asked = service.requests[0]
    assert (asked.text, asked.seed, asked.streaming_mode, asked.sampling.top_k) == ("héllo 你好", 7, 1, 15)
    assert asked.aux_ref_audio == tuple(paths)


async def test_openais_route_takes_a_form(client: httpx.AsyncClient, service: FastService) -> None:
    service.templates["amy"] = Voice("amy", "amy.wav", "hello", "en")
    answer = await client.post("/v1/audio/speech", data={"input": "hello", "voice": "amy", "speed": "2"})
    assert (answer.status_code, service.requests[0].speed) == (200, 2.0)


@pytest.mark.parametrize("spelling", ["zh-CN", "ZH", "Chinese", "cmn-Hans-CN"])
async def test_languages_in_usual_spellings(client: httpx.AsyncClient, service: FastService, spelling: str) -> None:
    fields = {**WHOLE, "text_lang": spelling, "prompt_lang": "English"}
    for answer in (await client.get("/tts", params=fields), await client.post("/tts", json=fields)):
        assert answer.status_code == 200
    assert {(asked.text_lang, asked.prompt_lang) for asked in service.requests} == {("zh", "en")}


async def test_a_language_that_the_model_does_not_know_in_any_spelling(
    client: httpx.AsyncClient, service: FastService
) -> None:
    service.version = "v1"
    answer = await client.post("/tts", json={**WHOLE, "text_lang": "ko-KR"})
    assert (answer.status_code, message(answer)[:46]) == (400, "text_lang: ko-KR is not supported in version v")


@pytest.mark.parametrize("top_k", [0, -1, "0", "-1"])
async def test_top_k_without_a_limit(client: httpx.AsyncClient, service: FastService, top_k: object) -> None:
    assert (await client.post("/tts", json={**WHOLE, "top_k": top_k, "top_p": 1.5})).status_code == 200
    sampling = service.requests[0].sampling
    assert sampling.top_k > 1025  # more than there are tokens
    assert sampling.top_p == 1.0


@pytest.mark.parametrize(
    ("fields", "accept", "content_type"),
    [
        ({}, "audio/mpeg", "audio/mpeg"),
        ({}, "application/json, text/plain, */*", "audio/wav"),
        ({"media_type": "flac"}, "audio/mpeg", "audio/flac"),
        ({"media_type": "audio/x-wav"}, "*/*", "audio/wav"),
        ({"media_type": "PCM"}, "*/*", "audio/raw"),
    ],
)
async def test_the_format_is_named_or_accepted(
    client: httpx.AsyncClient, fields: dict[str, str], accept: str, content_type: str
) -> None:
    for answer in (
        await client.get("/tts", params={**WHOLE, **fields}, headers={"Accept": accept}),
        await client.post("/tts", json={**WHOLE, **fields}, headers={"Accept": accept}),
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)


async def test_a_templates_format_wins_over_accept(client: httpx.AsyncClient, service: FastService) -> None:
    service.templates["amy"] = Voice("amy", "amy.wav", "hello", "en", defaults={"media_type": "flac"})
    fields = {"text": "hello", "text_lang": "en", "voice_id": "amy"}
    answer = await client.get("/tts", params=fields, headers={"Accept": "audio/mpeg"})
    assert answer.headers["content-type"] == "audio/flac"


async def test_audio_is_never_compressed_again(client: httpx.AsyncClient) -> None:
    answer = await client.get("/tts", params=WHOLE, headers={"Accept-Encoding": "gzip, br, deflate"})
    assert answer.content[:4] == b"RIFF"
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("empty", ["", None])
async def test_a_reference_left_empty_leaves_the_template_its_transcript(
    client: httpx.AsyncClient, service: FastService, empty: str | None
) -> None:
    fields = {"text": "hello", "text_lang": "en", "voice_id": "amy", "ref_audio_path": empty}
    assert (await client.post("/tts", json=fields)).status_code == 200
    assert (service.requests[0].prompt_text, service.requests[0].prompt_lang) == ("hello there", "en")
