"""POST /read and `sovits-service read`: what will be said of a text, by place, without speaking."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from sovits_service.cli import main
from tests.api.fast_service import FastService

TEXT = "涨了3%，Привет你好"


async def test_read_tells_words_sounds_and_places(client: httpx.AsyncClient) -> None:
    answer = await client.post("/read", json={"text": TEXT, "text_lang": "zh", "text_split_method": "cut0"})
    assert answer.status_code == 200
    (fragment,) = answer.json()["fragments"]
    run = fragment["runs"][0]
    assert (run["language"], run["said"]) == ("zh", "涨了百分之三,你好.")
    assert run["sounds"][2] == {
        "start": 2,
        "end": 4,
        "text": "3%",
        "phonemes": ["b", "ai3", "f", "en1", "zh", "ir1", "s", "an1"],
    }
    assert answer.json()["dropped"] == [{"start": 5, "end": 11, "text": "Привет"}]


async def test_emoji_are_named_where_the_request_asks_for_it(client: httpx.AsyncClient) -> None:
    fields = {"text": "太好了👍", "text_lang": "zh"}
    said = [
        (await client.post("/read", json=fields | asked)).json()["fragments"][-1]["runs"][-1]["said"]
        for asked in ({}, {"read_emoji": True})
    ]
    assert said == ["太好了.", "太好了,拇指向上."]
    answer = await client.post("/read", json=fields | {"read_emoji": "perhaps"})
    assert answer.status_code == 400
    assert "read_emoji" in answer.text


async def test_every_phoneme_of_a_long_answer_is_somewhere_in_the_text(client: httpx.AsyncClient) -> None:
    text = "今天是2024年1月31日。\n[pause:0.5]Let's meet at 3pm! 東京"
    fragments = (await client.post("/read", json={"text": text})).json()["fragments"]
    sounds = [sound for fragment in fragments for run in fragment["runs"] for sound in run["sounds"]]
    assert all(text[sound["start"] : sound["end"]] == sound["text"] for sound in sounds)
    assert [fragment["pause_s"] for fragment in fragments].count(0.5) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": "。。。"}, "nothing to read"),
        ({"text": "hi", "text_lang": "xx"}, "xx is not supported"),
        ({"text": "hi", "text_split_method": "cut9"}, "text_split_method"),
        ({"text": 3}, "text"),
    ],
)
async def test_what_cannot_be_read_is_told(client: httpx.AsyncClient, body: dict[str, Any], reason: str) -> None:
    answer = await client.post("/read", json=body)
    assert answer.status_code == 400
    assert reason in answer.text


async def test_it_waits_for_the_model_whose_phonemes_it_tells(client: httpx.AsyncClient, service: FastService) -> None:
    service.is_ready = False
    assert (await client.post("/read", json={"text": "hi"})).status_code == 503


def test_the_command_prints_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["read", TEXT, "--lang", "zh", "--split", "cut0", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["dropped"] == [{"start": 5, "end": 11, "text": "Привет"}]
    assert main(["read", TEXT, "--lang", "zh", "--split", "cut0"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "zh  涨了百分之三,你好.",
        "    涨[zh ang3]  了[l e5]  3%[b ai3 f en1 zh ir1 s an1]  ，[,]  你[n i2]  好[h ao3]  -[.]",
        "not read: 'Привет' at 5",
    ]


@pytest.mark.parametrize(("arguments", "reason"), [(["--split", "cut9"], "cut9"), (["--lang", "xx"], "xx")])
def test_the_command_tells_what_is_wrong(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["read", "hi", *arguments]) == 2
    assert reason in capsys.readouterr().err
