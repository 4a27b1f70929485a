"""JSON and YAML of a megabyte are read in a moment, however they are made."""

from __future__ import annotations

import json
import time

import pytest

from sovits_service.api.schemas import parse_tts
from sovits_service.errors import InvalidRequestError
from sovits_service.storage.voices.voice_template import MAX_TEMPLATE_BYTES, TemplateError, parse_template

MOST_CPU_S = 1.5


@pytest.mark.parametrize(
    "aux",
    [
        "[" + ",".join(["1"] * 500_000) + "]",
        "[" + ",".join(["[]"] * 300_000) + "]",
        json.dumps("[" * 900_000),
        json.dumps("[" + "1," * 400_000 + "1]"),
    ],
    ids=["numbers", "lists", "deep", "numbers in a string"],
)
def test_a_list_of_half_a_million_wrong_entries(aux: str) -> None:
    body = '{"text": "a", "text_lang": "en", "ref_audio_path": "x", "aux_ref_audio_paths": ' + aux + "}"
    assert len(body) < 2**20 + 1000
    started_s = time.process_time()
    with pytest.raises(InvalidRequestError):
        parse_tts(json.loads(body), version="v2")
    assert time.process_time() - started_s < MOST_CPU_S


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"k{number}: \n" for number in range(8_000)),
        "[" * 30_000,
        "- " * 30_000,
        "a: 1:" + "59:" * 20_000 + "5",
        'ref_audio: "' + "\\x00" * 15_000,
    ],
    ids=["keys", "deep", "lists", "base 60", "escapes"],
)
def test_a_template_of_the_longest_length(text: str) -> None:
    assert len(text) <= MAX_TEMPLATE_BYTES
    started_s = time.process_time()
    with pytest.raises(TemplateError):
        parse_template("a", text)
    assert time.process_time() - started_s < MOST_CPU_S
