"""Names of languages and formats as programs and people write them."""

from __future__ import annotations

import pytest

from sovits_service.api.spellings import accepted_media_type, language_code, media_type_name
from sovits_service.audio.encode import MEDIA_TYPES
from sovits_service.text.frontend import SUPPORTED_LANGUAGES


@pytest.mark.parametrize("code", SUPPORTED_LANGUAGES["v2"])
def test_the_codes_mean_themselves(code: str) -> None:
    for spelling in (code, code.upper(), code.replace("_", "-"), f" {code} "):
        assert language_code(spelling) == code


@pytest.mark.parametrize(
    ("code", "spellings"),
    [
        ("zh", ["zh-CN", "zh_CN", "ZH-cn", "zh-Hans", "zh-Hans-CN", "zh-TW", "cmn", "cmn-CN", "zho", "cn", "Chinese"]),
        ("yue", ["yue-HK", "zh-HK", "zh-Hant-HK", "zh-yue", "zh-MO", "Cantonese", "粵語", "廣東話"]),
        ("en", ["en-US", "en_GB", "EN-us", "eng", "English", "英文", "英语"]),
        ("ja", ["jp", "ja-JP", "JA_jp", "jpn", "Japanese", "日本語", "日语"]),
        ("ko", ["kr", "ko-KR", "kor", "Korean", "한국어", "韩语"]),
        ("all_zh", ["中文"]),
        ("all_ja", ["日文"]),
        ("all_ko", ["韩文"]),
        ("all_yue", ["粤语"]),
        ("auto", ["多语种混合"]),
        ("auto_yue", ["多语种混合(粤语)"]),
    ],
)
def test_usual_spellings(code: str, spellings: list[str]) -> None:
    assert {spelling: language_code(spelling) for spelling in spellings} == dict.fromkeys(spellings, code)


@pytest.mark.parametrize(
    "name", ["", "xx", "fr-FR", "zhh", "zh-", "zh--CN", "en-<script>", "english-klingon", "z h", "auto-zh"]
)
def test_what_is_no_language_here_stays_as_it_is(name: str) -> None:
    assert language_code(name) == name
    assert language_code(name) not in SUPPORTED_LANGUAGES["v2"]


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("audio/wav", "wav"), ("audio/x-wav", "wav"), ("WAVE", "wav"), ("audio/vnd.wave", "wav"), ("pcm", "raw"),
        ("audio/pcm;rate=32000", "raw"), ("audio/mpeg", "mp3"), ("audio/mp3", "mp3"), ("audio/mp4", "m4a"),
        ("audio/x-m4a", "m4a"), ("audio/ogg", "ogg"), ("audio/ogg; codecs=opus", "opus"),
        ('audio/ogg; codecs="vorbis"', "ogg"), ("audio/flac", "flac"), ("audio/x-flac", "flac"), ("audio/aac", "aac"),
    ],
)  # fmt: skip
def test_formats(name: str, media_type: str) -> None:
    assert media_type_name(name) == media_type
    assert media_type in MEDIA_TYPES


@pytest.mark.parametrize("name", ["", "xx", "video/mp4", "text/wav", "audio/", "audio/webm"])
def test_no_formats(name: str) -> None:
    assert media_type_name(name) not in MEDIA_TYPES


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "wav"),
        ("*/*", "wav"),
        ("application/json, text/plain, */*", "wav"),
        ("audio/mpeg", "mp3"),
        ("audio/mpeg, */*", "wav"),
        ("audio/mpeg, */*;q=0.8", "mp3"),
        ("audio/flac;q=0.5, audio/ogg;q=0.9", "ogg"),
        ("audio/wav;q=0, audio/mpeg;q=0.1", "mp3"),
        ("audio/mpeg;q=0", "wav"),
        ("audio/mpeg;q=high", "wav"),
        ("application/json", "wav"),
        # Firefox's media element, which plays all of these: the usual one is as good as any
        ("audio/webm,audio/ogg,audio/wav,audio/*;q=0.9,application/ogg;q=0.7,video/*;q=0.6,*/*;q=0.5", "wav"),
        (",;,audio/;q=1", "wav"),
    ],
)
def test_accept(accept: str, media_type: str) -> None:
    assert accepted_media_type(accept, "wav") == media_type
