"""Text that remembers where it came from: every character has its span of the request's text, through all rewriting."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from sovits_service.text.lazy_pattern import LazyPattern, Pattern, compiled

Span = tuple[int, int]
"""Start and end in the request's text; equal where a character was put in between."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """Characters, and for each the span of the request's text that it says.

    The methods are those of `str` and `re`; the spans follow. Of a replacement, what stands at its start and its end in
    the replaced text as well keeps its own span, and what is between them has the span of what it replaces.
    """

    text: str
    spans: tuple[Span, ...]

    @classmethod
    def of(cls, text: str) -> Spoken:
        """A request's text as it came."""
        return cls(text, tuple((i, i + 1) for i in range(len(text))))

    @classmethod
    def join(cls, parts: Iterable[Spoken | str], between: str = "") -> Spoken:
        """Parts one behind the other; plain strings have the place where they are put in."""
        texts: list[str] = []
        spans: list[Span] = []
        for i, part in enumerate(parts):
            for piece in (between, part) if i and between else (part,):
                if isinstance(piece, Spoken):
                    texts.append(piece.text)
                    spans += piece.spans
                else:
                    texts.append(piece)
                    place = spans[-1][1] if spans else 0
                    spans += [(place, place)] * len(piece)
        return cls("".join(texts), tuple(spans))

    def __len__(self) -> int:
        return len(self.text)

    def __bool__(self) -> bool:
        return bool(self.text)

    def __getitem__(self, part: slice) -> Spoken:
        return Spoken(self.text[part], self.spans[part])

    def __add__(self, other: Spoken | str) -> Spoken:
        return Spoken.join((self, other))

    def __radd__(self, other: str) -> Spoken:
        place = self.spans[0][0] if self.spans else 0
        return Spoken(other + self.text, ((place, place),) * len(other) + self.spans)

    def characters(self) -> Iterator[tuple[str, Span]]:
        return zip(self.text, self.spans, strict=True)

    def sub(self, pattern: Pattern, words: str | Callable[[re.Match[str]], str]) -> Spoken:
        """`pattern.sub(words, text)`."""
        if isinstance(pattern, LazyPattern):
            if not pattern.may_match(self.text):
                return self
            pattern = pattern.compiled
        if pattern.search(self.text) is None:
            return self
        if isinstance(words, str):
            template = words
            words = (lambda match: match.expand(template)) if "\\" in template else (lambda _: template)
        return self.rewrite((match.start(), match.end(), words(match)) for match in pattern.finditer(self.text))

    def rewrite(self, parts: Iterable[tuple[int, int, str]]) -> Spoken:
        """Every part (start, end, words), in order, replaced by its words."""
        texts: list[str] = []
        spans: list[Span] = []
        end = 0
        for start, stop, said in parts:
            texts += (self.text[end:start], said)
            spans += self.spans[end:start]
            spans += self._spans_of(start, stop, said)
            end = stop
        return Spoken("".join((*texts, self.text[end:])), (*spans, *self.spans[end:])) if texts else self

    def _spans_of(self, start: int, end: int, said: str) -> list[Span]:
        """Spans of what is said in place of a part."""
        old = self.text[start:end]
        shortest = min(len(old), len(said))
        head = next((i for i in range(shortest) if old[i] != said[i]), shortest)
        tail = next((i for i in range(shortest - head) if old[-1 - i] != said[-1 - i]), shortest - head)
        spans = [*self.spans[start : start + head], *self.spans[end - tail : end]]
        inner, outer = slice(start + head, end - tail), len(said) - head - tail
        if outer:
            spans[head:head] = [self._span(inner)] * outer
        elif head and inner.start < inner.stop:  # what is left out belongs to what stands before it
            spans[head - 1] = (spans[head - 1][0], self.spans[inner.stop - 1][1])
        elif tail and inner.start < inner.stop:
            spans[0] = (self.spans[inner.start][0], spans[0][1])
        return spans

    def _span(self, part: slice) -> Span:
        if part.start < part.stop:
            return self.spans[part.start][0], self.spans[part.stop - 1][1]
        place = self.spans[part.start - 1][1] if part.start else self.spans[0][0] if self.spans else 0
        return place, place

    def replace(self, old: str, new: str) -> Spoken:
        return self.sub(re.compile(re.escape(old)), lambda _: new) if old in self.text else self

    def each(self, say: Callable[[str], str]) -> Spoken:
        """Every character replaced by what is said of it, whatever stands beside it."""
        said = {character: say(character) for character in set(self.text)}
        if all(character == words for character, words in said.items()):
            return self
        spans = self.spans
        if any(len(words) != 1 for words in said.values()):
            spans = tuple(span for character, span in self.characters() for _ in said[character])
        return Spoken("".join(said[character] for character in self.text), spans)

    def translate(self, table: Mapping[int, int] | Mapping[int, str]) -> Spoken:
        if self.text.translate(table) == self.text:
            return self
        return self.each(lambda character: character.translate(table))

    def normalized(self, form: Literal["NFC", "NFKC"]) -> Spoken:
        """`unicodedata.normalize(form, text)`: a letter and the marks on it share their span."""
        whole = unicodedata.normalize(form, self.text)
        if whole == self.text:
            return self
        parts: list[tuple[str, Span]] = []
        start = 0
        for end in range(1, len(self.text) + 1):
            if end < len(self.text) and self._composes(end):
                continue
            said = unicodedata.normalize(form, self.text[start:end])
            span = self._span(slice(start, end))
            parts += ((character, span) for character in said)
            start = end
        if "".join(character for character, _ in parts) == whole:
            return Spoken(whole, tuple(span for _, span in parts))
        return Spoken(whole, tuple(self._spans_of(0, len(self.text), whole)))

    def _composes(self, i: int) -> bool:
        """Whether a character joins the one before it: a combining mark, or the jamo of one syllable."""
        character = self.text[i]
        return unicodedata.combining(character) != 0 or "\u1160" <= character <= "\u11ff"

    def split(self, pattern: Pattern) -> list[Spoken]:
        """`pattern.split(text)` for a pattern without groups; with one group, what it matched is there as well."""
        parts: list[Spoken] = []
        end = 0
        for match in pattern.finditer(self.text):
            parts.append(self[end : match.start()])
            if compiled(pattern).groups:
                parts.append(self[match.start(1) : match.end(1)])
            end = match.end()
        return [*parts, self[end:]]

    def strip(self, characters: str | None = None) -> Spoken:
        start = len(self.text) - len(self.text.lstrip(characters))
        return self[start : start + len(self.text.strip(characters))]
