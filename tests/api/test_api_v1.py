"""The requests of api.py, the original's first server, as its clients send them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from sovits_service.settings import ServiceSettings
from tests.api.conftest import serving
from tests.api.fast_service import FastService

OWN = {
    "refer_wav_path": "voices/amy.wav",
    "prompt_text": "一二三。",
    "prompt_language": "zh",
    "text": "先帝创业未半",
    "text_language": "中文",
}
ADMIN = {"admin": {"enabled": True}}


async def send(client: httpx.AsyncClient, method: str, fields: dict[str, Any], path: str = "/") -> httpx.Response:
    return await (client.get(path, params=fields) if method == "GET" else client.post(path, json=fields))


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_its_fields_are_those_of_tts(client: httpx.AsyncClient, service: FastService, method: str) -> None:
    fields = {**OWN, "top_k": 20, "top_p": 0.6, "temperature": 0.7, "speed": 1.5, "sample_steps": 8, "if_sr": True}
    references = ['"voices/one.wav"', "voices/two.wav"]  # quotation marks, as in the original's own example
    answer = await send(client, method, {**fields, "inp_refs": references})
    assert (answer.status_code, answer.headers["content-type"], answer.content[:4]) == (200, "audio/wav", b"RIFF")
    asked = service.requests[0]
    assert (asked.text, asked.text_lang, asked.ref_audio) == ("先帝创业未半", "all_zh", "voices/amy.wav")
    assert (asked.prompt_text, asked.prompt_lang) == ("一二三。", "zh")
    assert (asked.sampling.top_k, asked.sampling.top_p, asked.sampling.temperature) == (20, 0.6, 0.7)
    assert (asked.speed, asked.cfm_steps, asked.super_sampling) == (1.5, 8, True)
    assert asked.aux_ref_audio == ("voices/one.wav", "voices/two.wav")
    assert asked.streaming_mode == 0


async def test_one_further_reference_in_a_query(client: httpx.AsyncClient, service: FastService) -> None:
    await client.get("/", params={**OWN, "inp_refs": '"voices/one.wav"'})
    assert service.requests[0].aux_ref_audio == ("voices/one.wav",)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("中文", "all_zh"), ("英文", "en"), ("日文", "all_ja"), ("粤语", "all_yue"), ("韩文", "all_ko"),
        ("中英混合", "zh"), ("日英混合", "ja"), ("多语种混合", "auto"), ("多语种混合(粤语)", "auto_yue"), ("ZH", "zh"),
    ],
)  # fmt: skip
async def test_languages_by_their_chinese_names(
    client: httpx.AsyncClient, service: FastService, name: str, code: str
) -> None:
    assert (await client.post("/", json={**OWN, "text_language": name, "prompt_language": name})).status_code == 200
    assert (service.requests[0].text_lang, service.requests[0].prompt_lang) == (code, code)


@pytest.mark.parametrize(
    ("fields", "text", "method"),
    [
        ({}, "一，二。三", "cut5"),
        ({"cut_punc": ""}, "一，二。三", "cut0"),
        ({"cut_punc": "。"}, "一，二。\n三", "cut0"),
        ({"cut_punc": "，。x]^"}, "一，\n二。\n三", "cut0"),
        ({"cut_punc": "，。", "text_split_method": "cut3"}, "一，\n二。\n三", "cut3"),
    ],
)
async def test_marks_to_cut_at(
    client: httpx.AsyncClient, service: FastService, fields: dict[str, str], text: str, method: str
) -> None:
    assert (await client.post("/", json={**OWN, "text": "一，二。三", **fields})).status_code == 200
    assert (service.requests[0].text, service.requests[0].split_method) == (text, method)


async def test_fields_of_tts_stand_beside_and_win(client: httpx.AsyncClient, service: FastService) -> None:
    fields = {
        "text": "hello",
        "text_language": "中文",
        "text_lang": "en",
        "voice_id": "amy",
        "media_type": "mp3",
        "seed": 7,
    }
    answer = await client.post("/", json=fields)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")
    asked = service.requests[0]
    assert (asked.text_lang, asked.voice_id, asked.seed, asked.prompt_text) == ("en", "amy", 7, "hello there")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": None}, "text is required"),
        ({"text_language": None}, "text_language is required"),
        ({"prompt_language": None}, "prompt_language is required"),
        (
            {"text_language": "火星文"},
            "text_language: 火星文 is not supported in version v2; use one of auto, auto_yue, en, ",
        ),
        ({"speed": "9"}, "speed should be less than or equal to 4"),
        ({"inp_refs": "[1"}, "inp_refs must be a list of strings"),
        ({"refer_wav_path": "/etc/passwd"}, "refer_wav_path is not a file under an allowed root, nor an upload"),
        ({"refer_wav_path": ""}, "refer_wav_path is required: there is no default reference"),
        ({"text": "。"}, "text has nothing to read"),
        ({"text": "broken"}, "tts failed: the model's output is not finite"),
    ],
)
async def test_errors_have_its_shape_and_its_names(
    client: httpx.AsyncClient, method: str, change: dict[str, Any], message: str
) -> None:
    fields = {name: value for name, value in {**OWN, **change}.items() if value is not None}
    answer = await send(client, method, fields)
    body = answer.json()
    assert (answer.status_code, set(body), body["code"]) == (400, {"code", "message"}, 400)
    assert body["message"].startswith(message)


async def test_a_request_without_anything(client: httpx.AsyncClient) -> None:
    page = await client.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    bare = await client.get("/")
    assert (bare.status_code, bare.json()["code"]) == (400, 400)
    assert (await client.post("/", content=b"")).json()["code"] == 400
    assert (await client.delete("/")).json() == {"code": 405, "message": "Method Not Allowed"}


@pytest.mark.parametrize("settings", [{"default_voice": "bob"}])
async def test_the_voice_of_the_settings_is_the_default(client: httpx.AsyncClient, service: FastService) -> None:
    for fields in ({}, {"refer_wav_path": "", "prompt_text": "", "prompt_language": ""}, {"refer_wav_path": None}):
        answer = await client.post("/", json={"text": "hello", "text_language": "en", **fields})
        assert answer.status_code == 200
    assert {(asked.voice_id, asked.prompt_text) for asked in service.requests} == {("bob", "good day")}


@pytest.mark.parametrize("settings", [{"default_voice": "bob", **ADMIN}])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_default_reference_with_its_transcript(
    client: httpx.AsyncClient, service: FastService, method: str
) -> None:
    fields = {"refer_wav_path": "voices/one.wav", "prompt_text": "一", "prompt_language": "中文"}
    changed = await send(client, method, fields, "/change_refer")
    assert (changed.status_code, changed.json()) == (200, {"code": 0, "message": "Success"})
    await client.get("/", params={"text": "hello", "text_language": "en"})
    assert service.voices.default_reference == "voices/one.wav"
    assert (service.requests[0].prompt_text, service.requests[0].prompt_lang) == ("一", "all_zh")
    # what is left out stays
    assert (await send(client, method, {"prompt_text": "二"}, "/change_refer")).status_code == 200
    await client.get("/", params={"text": "hello", "text_language": "en"})
    assert (service.voices.default_reference, service.requests[1].prompt_text) == ("voices/one.wav", "二")
    # a request's own wins
    await client.get("/", params=OWN)
    assert (service.requests[2].ref_audio, service.requests[2].prompt_text) == ("voices/amy.wav", "一二三。")


@pytest.mark.parametrize("settings", [ADMIN])
@pytest.mark.parametrize(
    "fields", [{}, {"prompt_text": "hi"}, {"refer_wav_path": "/etc/passwd"}, {"refer_wav_path": 5}]
)
async def test_a_default_reference_that_cannot_be_used(
    client: httpx.AsyncClient, service: FastService, fields: dict[str, Any]
) -> None:
    answer = await client.post("/change_refer", json=fields)
    assert (answer.status_code, answer.json()["code"]) == (400, 400)
    assert service.voices.default_reference is None


@pytest.mark.parametrize("settings", [ADMIN])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_pair_of_weights(client: httpx.AsyncClient, service: FastService, method: str) -> None:
    fields = {"gpt_model_path": "me-e15.ckpt", "sovits_model_path": "me_e8.pth"}
    answer = await send(client, method, fields, "/set_model")
    assert (answer.status_code, answer.json()) == (200, {"code": 0, "message": "Success"})
    assert service.switched == [("gpt", "me-e15.ckpt"), ("sovits", "me_e8.pth")]
    for wrong in ({"gpt_model_path": "a"}, {}, {**fields, "gpt_model_path": "/etc/passwd"}):
        answer = await send(client, method, wrong, "/set_model")
        assert (answer.status_code, answer.json()["code"]) == (400, 400)


@pytest.mark.parametrize("path", ["/change_refer", "/set_model", "/control"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_administration_is_locked_as_shipped(
    client: httpx.AsyncClient, service: FastService, path: str, method: str
) -> None:
    fields = {"refer_wav_path": "voices/a.wav", "gpt_model_path": "a", "sovits_model_path": "b", "command": "exit"}
    answer = await send(client, method, fields, path)
    assert answer.status_code == 403
    assert "admin" in answer.json()["message"]
    assert service.switched == []


async def test_control_by_post(service: FastService) -> None:
    commands: list[str] = []
    async with (
        serving(service, ServiceSettings(**ADMIN), on_control=commands.append) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        assert (await client.post("/control", json={"command": "restart"})).json() == {"message": "success"}
        assert (await client.post("/control", json={})).json() == {"message": "command is required"}
        assert (await client.post("/control", json={"command": ["x"]})).status_code == 400
    assert commands == ["restart"]


async def test_keys_hold_here_too() -> None:
    settings = ServiceSettings(api_keys=[{"name": "one", "sha256": "0" * 64}])  # type: ignore[arg-type]
    async with serving(FastService(), settings) as url, httpx.AsyncClient(base_url=url) as client:
        for answer in (await client.get("/", params=OWN), await client.post("/", json=OWN)):
            assert (answer.status_code, answer.json()["code"]) == (401, 401)


@pytest.mark.parametrize("settings", [{"dialects": {"api_v1": False}}])
async def test_it_can_be_switched_off(client: httpx.AsyncClient, service: FastService) -> None:
    for answer in (await client.get("/", params=OWN), await client.post("/", json=OWN)):
        assert answer.status_code == 400
        assert "/tts" in answer.json()["message"]
    assert (await client.get("/change_refer")).status_code == 404
    assert service.requests == []
