"""URLs, e-mail and IP addresses, versions, file names, hashtags and handles in English words."""

from __future__ import annotations

import re

from sovits_service.text.en.numbers import cardinal, spell_digits
from sovits_service.text.lazy_pattern import LazyPattern
from sovits_service.text.spoken import Spoken

_TLDS = (
    "com|org|net|edu|gov|mil|int|io|ai|dev|app|co|uk|us|ca|de|fr|jp|cn|hk|tw|kr|in|eu|au|ru|br|it|es|nl|se|ch|me|"
    "tv|info|biz|xyz|cc|ly|gg|sh|tech|shop|site|online|wiki|blog|news|cloud|live|to|fm"
)
_EXTENSIONS = (
    "pdf|docx?|xlsx?|pptx?|txt|md|csv|json|ya?ml|xml|html?|css|js|ts|jsx|tsx|py|rs|go|java|cpp|sh|exe|dll|zip|"
    "tar|gz|rar|7z|png|jpe?g|gif|svg|webp|bmp|mp3|mp4|wav|ogg|flac|avi|mkv|mov|log|ini|cfg|toml|iso|apk|dmg|ckpt|"
    "pth|onnx|net"
)
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,62})\.){1,8}"
_TAIL = r"(?::\d{1,5})?(?:[/?#][^\s<>\"'，。！？、；]{0,500})?"

_EMAIL = LazyPattern(
    r"(?<![\w.+\-])([A-Za-z0-9][\w.+\-]{0,63})@((?:[A-Za-z0-9][A-Za-z0-9\-]{0,62}\.){1,8}[A-Za-z]{2,24})(?![\w@])",
    needs="@",
)
_URL = LazyPattern(r"(?<![\w@])(?:([A-Za-z][A-Za-z0-9+]{1,9})://)([^\s<>\"'，。！？、；]{1,600})", needs=":")
_WWW = LazyPattern(r"(?<![\w@.])(www\.[^\s<>\"'，。！？、；]{1,600})", re.IGNORECASE, needs=".")
_DOMAIN = LazyPattern(rf"(?<![\w@.\-/])({_HOST}(?:{_TLDS}){_TAIL})(?![\w@])(?!\.\w)", needs=".")
_IP = LazyPattern(r"(?<![\w.])(\d{1,3}(?:\.\d{1,3}){3})(?::(\d{1,5}))?(/\d{1,2})?(?![\w]|\.\d)", needs=".")
_VERSION = LazyPattern(r"(?<![\w.])(?:([vV])(?:\.|er\.?)? ?)(\d{1,4}(?:\.\d{1,6}){0,4})(?![\w]|\.\d)", needs="Vv")
_DOTTED_NUMBER = LazyPattern(
    r"(?<![\w.])(?!\d{3}\.\d{3}\.\d{4}(?!\d)|(?:[0-3]?\d\.[01]?\d\.[12]\d{3}|[12]\d{3}\.[01]?\d\.[0-3]?\d)(?!\d|"
    r"\.\d))(\d{1,6}(?:\.\d{1,6}){2,5})(?!\w|\.\d)",
    needs=".",
)
_FILE = LazyPattern(
    rf"(?<![\w.])([A-Za-z0-9][\w\-]{{0,80}}(?:\.[\w\-]{{1,40}}){{0,3}})\.({_EXTENSIONS})(?![\w])",
    re.IGNORECASE,
    needs=".",
)
_DOT_NAME = LazyPattern(r"(?<![\w.])\.(NET|js|env|gitignore|bashrc|htaccess|dockerignore)\b", needs=".")
_HASHTAG = LazyPattern(r"(?<![\w&#])#([A-Za-z_]\w{0,100})", needs="#")
_HANDLE = LazyPattern(r"(?<![\w@])@([A-Za-z_]\w{0,60})", needs="@")
_PATH = LazyPattern(r"(?<![\w/.])((?:~|[A-Za-z]:)?(?:[/\\][\w.\-]{1,80}){2,12}[/\\]?)(?!\w)", needs="/\\")

_SPOKEN = {
    ".": "dot", "/": "slash", "\\": "backslash", ":": "colon", "@": "at", "-": "dash", "_": "underscore",
    "?": "question mark", "=": "equals", "&": "and", "#": "hash", "%": "percent", "+": "plus", "~": "tilde",
}  # fmt: skip
_PIECE = LazyPattern(r"[A-Za-z]+|\d+|[^\w\s]|_")
_AS_WORDS = {
    "www": "W W W", "http": "H T T P", "https": "H T T P S", "js": "J S", "io": "I O", "ai": "A I", "pdf": "P D F",
}  # fmt: skip


def read_addresses(text: Spoken) -> Spoken:
    """Everything that is written for machines, as a person would say it."""
    text = text.sub(_EMAIL, lambda m: f" {speak(m[1], hyphen='dash')} at {speak(m[2], hyphen='dash')} ")
    text = text.sub(_URL, _url)
    text = text.sub(_WWW, lambda m: _with_ending(m[1]))
    text = text.sub(_IP, _ip)
    text = text.sub(_VERSION, lambda m: f" version {points(m[2])}")
    text = text.sub(_DOTTED_NUMBER, lambda m: points(m[1]))
    text = text.sub(_FILE, lambda m: f"{speak(m[1])} dot {_extension(m[2])}")
    text = text.sub(_DOMAIN, lambda m: _with_ending(m[1]))
    text = text.sub(_DOT_NAME, lambda m: f"dot {m[1].lower() if m[1] == 'NET' else m[1]}")
    text = text.sub(_PATH, lambda m: _with_ending(m[1]))
    text = text.sub(_HASHTAG, lambda m: m[1].replace("_", " "))
    return text.sub(_HANDLE, lambda m: m[1].replace("_", " "))


def speak(address: str, hyphen: str = "dash") -> str:
    """Pieces of an address with the names of its signs between them."""
    words = []
    for piece in _PIECE.compiled.findall(address):
        if piece.isdigit():
            words.append(cardinal(piece) if len(piece) <= 2 and not piece.startswith("0") else spell_digits(piece))
        elif piece == "-":
            words.append(hyphen)
        elif piece in _SPOKEN:
            words.append(_SPOKEN[piece])
        elif piece[0].isalpha():
            words.append(_AS_WORDS.get(piece.lower(), piece if len(piece) > 1 else piece.upper()))
    return " ".join(words)


def points(version: str) -> str:
    """`2.10.3` as two point ten point three."""
    return " point ".join(spell_digits(p) if len(p) > 1 and p[0] == "0" else cardinal(p) for p in version.split("."))


def _url(match: re.Match[str]) -> str:
    return _with_ending(match[2])


def _with_ending(address: str) -> str:
    """The address said, and the sentence's punctuation that stuck to it."""
    bare = address.rstrip(".,;:!?)]}*_")
    return f" {speak(bare.rstrip('/'))}{address[len(bare) :]} "


def _ip(match: re.Match[str]) -> str:
    parts = match[1].split(".")
    if any(int(part) > 255 for part in parts):
        return points(match[1])
    said = " dot ".join(spell_digits(part) for part in parts)
    if match[2]:
        said += f" port {cardinal(match[2]) if len(match[2]) < 3 else spell_digits(match[2])}"
    return said + (f" slash {cardinal(match[3][1:])}" if match[3] else "")


_SAID_AS_WORDS = "zip exe log net java go tar toml wav doc flac ini iso json docx".split()  # noqa: SIM905


def _extension(extension: str) -> str:
    known = extension.lower()
    if known in _SAID_AS_WORDS:
        return {"docx": "doc X", "exe": "E X E", "ini": "I N I", "iso": "I S O", "wav": "wave"}.get(known, known)
    return " ".join(known.upper())
