"""A clause of Chinese in, words with part-of-speech tags out (jieba's dictionary and hidden Markov model)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from functools import lru_cache

from sovits_service.text.zh.hidden_markov import HiddenMarkovModel
from sovits_service.text.zh.tone_sandhi import Word


class Segmenter:
    """jieba with its dictionary read here, so that nothing is cached in a temporary directory that others can write."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # jieba 0.42 has escapes that new Pythons warn about
            import jieba
            import jieba.posseg
        jieba.setLogLevel(logging.WARNING)
        self._tokenizer = jieba.Tokenizer()
        with self._tokenizer.get_dict_file() as dictionary:
            self._tokenizer.FREQ, self._tokenizer.total = _prefix_frequencies(dictionary.read())
        self._tokenizer.initialized = True
        model = HiddenMarkovModel(
            jieba.posseg.char_state_tab_P, jieba.posseg.start_P, jieba.posseg.trans_P, jieba.posseg.emit_P
        )

        class Tagger(jieba.posseg.POSTokenizer):  # type: ignore[misc]
            """jieba's tagger with a faster model for what the dictionary does not know."""

            def _POSTokenizer__cut(self, sentence: str) -> Iterator[object]:
                return (jieba.posseg.pair(word, tag) for word, tag in model.words(sentence))

        # the tagger's constructor would read the dictionary a second time for tags that the module already holds
        self._tagger = Tagger.__new__(Tagger)
        self._tagger.tokenizer = self._tokenizer
        self._tagger.word_tag_tab = jieba.posseg.dt.word_tag_tab
        self.subwords = lru_cache(maxsize=4096)(self._subwords)

    def words(self, clause: str) -> list[Word]:
        return [Word(pair.word, pair.flag) for pair in self._tagger.cut(clause)]

    def _subwords(self, word: str) -> list[str]:
        """The words within a word, shorter ones first as jieba's search mode gives them."""
        return list(self._tokenizer.cut_for_search(word))


def _prefix_frequencies(dictionary: bytes) -> tuple[dict[str, int], int]:
    """jieba's table of words and their prefixes; a prefix that is no word has frequency 0."""
    frequencies: dict[str, int] = {}
    prefixes: set[str] = set()
    total = 0
    for line in dictionary.decode("utf-8").splitlines():
        word, frequency, _ = line.split(" ")
        count = int(frequency)
        frequencies[word] = count
        total += count
        prefix = word[:-1]
        while prefix and prefix not in prefixes:  # the prefixes of a prefix that is known are known
            prefixes.add(prefix)
            prefix = prefix[:-1]
    for prefix in prefixes:
        frequencies.setdefault(prefix, 0)
    return frequencies, total
