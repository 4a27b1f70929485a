"""Accepted spellings of languages and audio formats."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sovits_service.audio.encode import MEDIA_TYPES
from sovits_service.text.frontend import SUPPORTED_LANGUAGES

# The names of api.py and of the original's pages, whose 中文 reads nothing but Chinese, then what else people write.
_LANGUAGE_NAMES: Mapping[str, str] = {
    "中文": "all_zh", "粤语": "all_yue", "英文": "en", "日文": "all_ja", "韩文": "all_ko",
    "中英混合": "zh", "粤英混合": "yue", "日英混合": "ja", "韩英混合": "ko",
    "多语种混合": "auto", "多语种混合(粤语)": "auto_yue", "多语种混合（粤语）": "auto_yue",
    "chinese": "zh", "mandarin": "zh", "汉语": "zh", "普通话": "zh", "国语": "zh", "國語": "zh", "英语": "en",
    "cantonese": "yue", "广东话": "yue", "廣東話": "yue", "粵語": "yue", "english": "en", "英語": "en",
    "japanese": "ja", "日语": "ja", "日語": "ja", "日本語": "ja",
    "korean": "ko", "韩语": "ko", "韓語": "ko", "한국어": "ko",
}  # fmt: skip
# ISO 639 in two and three letters, and the country codes that stand for the language in many programs.
_LANGUAGE_CODES: Mapping[str, str] = {
    "zh": "zh", "zho": "zh", "chi": "zh", "cmn": "zh", "cn": "zh", "yue": "yue",
    "en": "en", "eng": "en", "ja": "ja", "jpn": "ja", "jp": "ja", "ko": "ko", "kor": "ko", "kr": "ko",
}  # fmt: skip
_CANTONESE_SUBTAGS = frozenset({"yue", "hk", "mo"})
_OWN_CODES = frozenset(SUPPORTED_LANGUAGES["v2"])

_MEDIA_NAMES: Mapping[str, str] = {
    "wave": "wav", "vnd.wave": "wav", "pcm": "raw", "mpeg": "mp3", "mpeg3": "mp3", "mp4": "m4a", "vorbis": "ogg",
}  # fmt: skip
_QUALITY = re.compile(r"q\s*=\s*([01](?:\.\d{0,3})?)")


def language_code(name: str) -> str:
    """`zh-CN`, `jp`, `English` or `中文` as one of the codes of `text_lang`; a name that is not known as it came."""
    folded = name.strip().casefold()
    own = folded.replace("-", "_")
    if own in _OWN_CODES:
        return own
    if folded in _LANGUAGE_NAMES:
        return _LANGUAGE_NAMES[folded]
    primary, *subtags = own.split("_")
    code = _LANGUAGE_CODES.get(primary)
    if code is None or not all(re.fullmatch(r"[a-z0-9]{2,8}", subtag) for subtag in subtags):
        return name
    return "yue" if code == "zh" and _CANTONESE_SUBTAGS.intersection(subtags) else code


def media_type_name(name: str) -> str:
    """`audio/mpeg`, `audio/x-wav` or `PCM` as one of `audio.encode.MEDIA_TYPES`; what is not known in lower case."""
    kind, *parameters = [part.strip() for part in name.casefold().split(";")]
    short = kind.removeprefix("audio/").removeprefix("x-")
    if short == "ogg" and "opus" in "".join(parameters):
        return "opus"
    return _MEDIA_NAMES.get(short, short)


def accepted_media_type(accept: str, usual: str) -> str:
    """The format that an `Accept` header asks for.

    The usual one, unless another is named and liked better: players name many formats, and programs none.
    """
    liked: dict[str, float] = {}
    for entry in accept.split(","):
        kind, *parameters = [part.strip() for part in entry.casefold().split(";")]
        if not kind.startswith("audio/") and kind != "*/*":
            continue
        found = _QUALITY.fullmatch(next((part for part in parameters if part.startswith("q")), "q=1"))
        name = usual if kind in ("audio/*", "*/*") else media_type_name(";".join([kind, *parameters]))
        if name in MEDIA_TYPES and found is not None:
            liked[name] = max(liked.get(name, 0.0), float(found[1]))
    best = max(liked, key=lambda name: (liked[name], name == usual), default=usual)
    return best if liked.get(best) else usual
