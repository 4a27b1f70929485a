"""Replace emoji by their CLDR names in the text's language, or by pauses."""

from __future__ import annotations

import re
from functools import lru_cache

from sovits_service.text.lazy_pattern import LazyPattern
from sovits_service.text.spoken import Spoken

# Pictures, flags and skin tones; hearts, stars and check marks belong to the readers, which say some of them.
_PICTURES = "\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff"
_JOINED = "(?:[\\u200d\\ufe0f]|(?<=\\u200d)[\\u2600-\\u27bf])*"  # a woman is a person joined to a sign
_PICTURE = re.compile(rf"[ \t]?[{_PICTURES}]{_JOINED}")
_MAY_HAVE_FACE = re.compile(
    r"[_^]|[:;=]'?-?[DPp)(oO/\\|3*\[\]]|<3|[xX]D|[QT]AT|[QT][AW]Q|orz|OTZ|[・´•°□▽∀ωд≧≦︶﹏︿￣]"
)
_FACE = LazyPattern(
    r"(?<![A-Za-z0-9])(?:([Tt])[_^.]\1|([Oo0])_[Oo0]|([QUXx])_\3|[>＞]_[<＜.]|\^[_-]?\^|-_-+|=_=|;_;|TAT|Q[AW]Q|orz|OTZ)"
    r"(?![A-Za-z0-9.])"
    r"|(?:^|(?<=\s))(?:[:;=]'?-?(?:[DPp)(]+|[oO/\\|3*\[\]])|<3|[xX]D)(?=\s|[,.!?，。！？]|$)"
    r"|[(（](?=[^()（）]{0,12}[・´•°□▽∀ωд≧≦︶﹏︿￣])[^()（）A-Za-z0-9\u4e00-\u9fff\s]{2,14}[)）][ノﾉっ╯ｏ]?"
)
_HAS_NAMES = {"en": "en", "zh": "zh", "yue": "zh", "ja": "ja", "ko": "ko"}


def without_faces(text: Spoken) -> Spoken:
    """Text without faces that are written with marks and letters: T_T, :D, (´・ω・`)."""
    return text.sub(_FACE.compiled, _face) if _MAY_HAVE_FACE.search(text.text) else text


def _face(match: re.Match[str]) -> str:
    """Nothing, or a pause where it stands between words."""
    before, after = match.string[match.start() - 1 : match.start()], match.string[match.end() : match.end() + 1]
    if not (before.isalnum() and after.isalnum()):
        return ""
    return ", " if after.isascii() else "，"


def silent_emoji(text: Spoken) -> Spoken:
    """Text without pictures: a pause where one stands between two sentences."""
    if max(text.text, default="") < _PICTURES[0]:
        return text
    return text.sub(_ends_a_sentence(), _pause).sub(_PICTURE, "")


@lru_cache(maxsize=1)
def _ends_a_sentence() -> re.Pattern[str]:
    """Compiled when a text has a picture: it takes longer than reading most sentences."""
    return re.compile(
        rf"(?<=[^\W_])(?=([ \t]*[{_PICTURES}\u200d\ufe0f\u2640\u2642\u2695]{{1,40}}))\1"
        r"(?=[ \t]*[A-Z\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3])"
    )


def _pause(match: re.Match[str]) -> str:
    return ". " if match.string[match.end() :].lstrip()[:1].isascii() else "，"


def named_emoji(text: Spoken, language: str) -> Spoken:
    """Every emoji as its name between pauses."""
    import emoji

    table = _HAS_NAMES[language]
    comma = ", " if language in ("en", "ko") else "，"

    def parts() -> list[tuple[int, int, str]]:
        found: list[tuple[int, int, str]] = []
        for item in emoji.emoji_list(text.text):
            name = emoji.demojize(item["emoji"], language=table).strip(":").replace("_", " ")
            before = text.text[: item["match_start"]].rstrip()
            lead = comma if before and before[-1].isalnum() else ""
            after = text.text[item["match_end"] :].lstrip()[:1]
            end = comma if after.isalnum() or emoji.is_emoji(after) else ""
            found.append((len(before) if lead else item["match_start"], item["match_end"], f"{lead}{name}{end}"))
        return found

    return text.rewrite(parts())
