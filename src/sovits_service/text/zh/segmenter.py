"""Chinese word segmentation and part-of-speech tags (jieba's dictionary and hidden Markov model)."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from functools import lru_cache

from sovits_service.text.zh.hidden_markov import HiddenMarkovModel
from sovits_service.text.zh.tone_sandhi import Word
from sovits_service.text.zh.words import WordFrequencies, WordTags


class Segmenter:
    """jieba with its dictionary read here, so that nothing is cached in a temporary directory that others can write."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # jieba 0.42 has escapes that new Pythons warn about
            import jieba

            # jieba's own tagger, which is not used, would read all of the dictionary when its module is imported.
            jieba.dt.get_dict_file = io.BytesIO
            import jieba.posseg

            vars(jieba.dt).pop("get_dict_file", None)  # another thread may have been faster
        jieba.setLogLevel(logging.WARNING)
        self._tokenizer = jieba.Tokenizer()
        with self._tokenizer.get_dict_file() as dictionary:
            words = WordFrequencies(dictionary.read())
        self._tokenizer.FREQ, self._tokenizer.total = words, words.total
        self._tokenizer.initialized = True
        model = HiddenMarkovModel(
            jieba.posseg.char_state_tab_P, jieba.posseg.start_P, jieba.posseg.trans_P, jieba.posseg.emit_P
        )

        class Tagger(jieba.posseg.POSTokenizer):  # type: ignore[misc]
            """jieba's tagger with a faster model for what the dictionary does not know."""

            def _POSTokenizer__cut(self, sentence: str) -> Iterator[object]:
                return (jieba.posseg.pair(word, tag) for word, tag in model.words(sentence))

        # the tagger's constructor would read the dictionary
        self._tagger = Tagger.__new__(Tagger)
        self._tagger.tokenizer = self._tokenizer
        self._tagger.word_tag_tab = WordTags(words)
        self.subwords = lru_cache(maxsize=4096)(self._subwords)

    def words(self, clause: str) -> list[Word]:
        return [Word(pair.word, pair.flag) for pair in self._tagger.cut(clause)]

    def _subwords(self, word: str) -> list[str]:
        """The words within a word, shorter ones first as jieba's search mode gives them."""
        return list(self._tokenizer.cut_for_search(word))
