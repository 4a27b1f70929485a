"""From phoneme times to words with seconds, in terms of the request's own text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from sovits_service.text.symbols import symbol_ids
from sovits_service.types import AudioChunk, PhonemeTimes, Segment, SymbolSet, TimedText, Timestamps

# Written without spaces between words: a character, or what is read as one, stands for itself.
_UNSPACED = re.compile(r"[\u3005-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
# A figure and what is counted are one word: 2024年, 3点.
_COUNTED = frozenset("年月日号號点點时時分秒元块塊岁歲度")
_SAID = re.compile(r"[^\W_]")


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the text, and the phonemes that say it, from and to."""

    start: int
    end: int
    first: int
    last: int


@dataclass(slots=True)
class TextClock:
    """Follows the chunks of a request and adds to each the words that end with it.

    Attributes:
        text: of the request.
        segments: its fragments.
        pauses_s: the silence after each, which its last chunk has at its end.
        unit: what is told apart.
        symbols: of the model, whose names phonemes are told by.
    """

    text: str
    segments: Sequence[Segment]
    pauses_s: Sequence[float]
    unit: Timestamps
    symbols: SymbolSet
    _fragment_start_samples: int = field(default=0, init=False)
    _samples: int = field(default=0, init=False)

    def add(self, chunk: AudioChunk) -> AudioChunk:
        """The chunk with its words and its cue, where a fragment ends with it; chunks come in order, with pauses."""
        self._samples += len(chunk.samples)
        if not chunk.is_fragment_end or self.unit == "none":
            return chunk
        rate, segment = chunk.sample_rate_hz, self.segments[chunk.fragment]
        pause = round(self.pauses_s[chunk.fragment] * rate)
        start_s = self._fragment_start_samples / rate
        end_s = max(start_s, (self._samples - pause) / rate)
        self._fragment_start_samples = self._samples
        words: tuple[TimedText, ...] = ()
        if chunk.times is not None:
            words = tuple(self._timed(segment, chunk.times, start_s, end_s))
        return replace(chunk, words=words, cue=self._cue(segment, words, start_s, end_s))

    def _timed(self, segment: Segment, times: PhonemeTimes, start_s: float, end_s: float) -> Iterator[TimedText]:
        token_s = (end_s - start_s) / max(1, times.tokens)
        names = {number: name for name, number in symbol_ids(self.symbols).items()} if self.unit == "phoneme" else {}
        for part in parts(self.text, segment, self.unit):
            phonemes = slice(part.first, part.last)
            said = [i for i in range(part.first, part.last) if times.ends[i] > times.starts[i]]
            begin = times.starts[said[0]] if said else times.starts[part.first]
            end = times.ends[said[-1]] if said else begin
            sure = sum(times.confidence[phonemes]) / (part.last - part.first)
            name = names[segment.phoneme_ids[part.first]] if names else self.text[part.start : part.end]
            yield TimedText(
                name,
                part.start,
                part.end,
                round(start_s + begin * token_s, 3),
                round(start_s + end * token_s, 3),
                round(sure, 3),
            )

    def _cue(self, segment: Segment, words: Sequence[TimedText], start_s: float, end_s: float) -> TimedText | None:
        """The whole fragment; from its first word to its last where they are known."""
        spans = [span for span in segment.spans if span[1] > span[0]]
        if not spans:
            return None
        start, end = min(span[0] for span in spans), max(span[1] for span in spans)
        if words:
            start_s, end_s = words[0].start_s, max(word.end_s for word in words)
        sure = sum(word.confidence for word in words) / len(words) if words else 0.0
        return TimedText(self.text[start:end].strip(), start, end, round(start_s, 3), round(end_s, 3), round(sure, 3))


def parts(text: str, segment: Segment, unit: Timestamps) -> list[_Part]:
    """What is told apart in a segment, in its order: phonemes, what is read as one, or words. Marks are left out."""
    numbered = enumerate(segment.spans)
    found: list[_Part] = []
    if unit == "phoneme":
        found = [_Part(start, end, i, i + 1) for i, (start, end) in numbered]
    else:
        for (start, end), group in groupby(numbered, key=lambda item: item[1]):
            places = [i for i, _ in group]
            found.append(_Part(start, end, places[0], places[-1] + 1))
    found = [part for part in found if _SAID.search(text[part.start : part.end])]
    return _joined(text, found) if unit == "word" else found


def _joined(text: str, found: Sequence[_Part]) -> list[_Part]:
    """Parts that stand together in one word of a script with spaces, as one."""
    words: list[_Part] = []
    for part in found:
        if words and _is_one_word(text, words[-1], part):
            last = words[-1]
            words[-1] = _Part(min(last.start, part.start), max(last.end, part.end), last.first, part.last)
        else:
            words.append(part)
    return words


def _is_one_word(text: str, last: _Part, part: _Part) -> bool:
    if part.start < last.end:
        return True
    if text[last.end - 1].isdigit() and part.start == last.end and text[part.start : part.end] in _COUNTED:
        return True
    between = text[last.end : part.start]
    if any(not (character in "'’-_@." or character.isalnum()) for character in between):
        return False
    return not _UNSPACED.search(text[last.end - 1]) and not _UNSPACED.search(text[part.start])
