"""English part-of-speech tagger (Penn Treebank tags).

A greedy averaged perceptron with the weights and features of Matthew Honnibal's tagger (MIT), whose descendant the
original asks through NLTK. On the 110 labelled homographs it chooses as well as that one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

from sovits_service.text.en.tables import load_table

_AFTER = ("-END-", "-END2-")


def tag_words(words: Sequence[str]) -> list[str]:
    """One tag for each word, from left to right; punctuation counts as a word."""
    table = load_table("tagger.txt.gz")
    tags: list[str] = []
    context = ["-START-", "-START2-", *(_shape(word) for word in words), *_AFTER]
    previous, before = "-START-", "-START2-"
    for i, word in enumerate(words):
        tag = table.find(f"= {word}") or _best_tag(_features(i + 2, word, context, previous, before))
        tags.append(tag)
        previous, before = tag, previous
    return tags


def _shape(word: str) -> str:
    if "-" in word and not word.startswith("-"):
        return "!HYPHEN"
    if word.isdigit() and len(word) == 4:
        return "!YEAR"
    if word[:1].isdigit():
        return "!DIGITS"
    return word.lower()


def _features(i: int, word: str, context: Sequence[str], previous: str, before: str) -> tuple[str, ...]:
    return (
        "bias",
        f"i suffix {word[-3:]}",
        f"i pref1 {word[:1]}",
        f"i-1 tag {previous}",
        f"i-2 tag {before}",
        f"i tag+i-2 tag {previous} {before}",
        f"i word {context[i]}",
        f"i-1 tag+i word {previous} {context[i]}",
        f"i-1 word {context[i - 1]}",
        f"i-1 suffix {context[i - 1][-3:]}",
        f"i-2 word {context[i - 2]}",
        f"i+1 word {context[i + 1]}",
        f"i+1 suffix {context[i + 1][-3:]}",
        f"i+2 word {context[i + 2]}",
    )


def _best_tag(features: tuple[str, ...]) -> str:
    scores: defaultdict[str, float] = defaultdict(float)
    for feature in features:
        for tag, weight in _weights(feature):
            scores[tag] += weight
    return max(scores, key=lambda tag: (scores[tag], tag)) if scores else "NN"


@lru_cache(maxsize=20_000)
def _weights(feature: str) -> tuple[tuple[str, float], ...]:
    line = load_table("tagger.txt.gz").find(feature)
    if line is None:
        return ()
    return tuple((tag, float(weight)) for tag, _, weight in (part.rpartition(":") for part in line.split(" ")))
