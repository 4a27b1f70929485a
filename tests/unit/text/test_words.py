"""jieba's dictionary read a character at a time holds what it holds as a whole."""

from __future__ import annotations

import jieba
import pytest

from sovits_service.text.zh.words import WordFrequencies, WordTags

LINES = "AT&T 3 nz\nB超 3 n\nA座 10 n\n中国 200 ns\n中国人民 7 n\n中 12 f\né 4 x\n𠮷野 5 nr\n𠮷 1 x\n"


@pytest.fixture
def words() -> WordFrequencies:
    return WordFrequencies(LINES.encode())


def test_words_prefixes_and_tags_are_found(words: WordFrequencies) -> None:
    assert words.total == 245
    assert words["中国"] == 200
    assert words["A座"] == 10
    assert words["AT&T"] == 3
    assert words["𠮷野"] == 5
    assert words["é"] == 4
    assert words["中国人"] == 0  # a prefix that is no word
    assert "AT" in words
    assert WordTags(words).get("中国", "x") == "ns"


@pytest.mark.parametrize("word", ["", "国", "中国人民们", "AT&", "zz", "\ud800", "𠮸"])
def test_what_is_no_word_is_none(words: WordFrequencies, word: str) -> None:
    assert (word in words) == (word == "AT&")
    assert not words.get(word)
    assert WordTags(words).get(word, "x") == "x"


def test_all_of_the_dictionary_is_there() -> None:
    with jieba.Tokenizer().get_dict_file() as file:
        dictionary = file.read()
    words = WordFrequencies(dictionary)
    expected: dict[str, int] = {}
    tags: dict[str, str] = {}
    for line in dictionary.decode("utf-8").splitlines():
        word, frequency, tag = line.split(" ")
        expected[word], tags[word] = int(frequency), tag
    assert all(words.tag(word, "") == tag for word, tag in tags.items())
    assert {word: count for word, count in words.items() if count} == expected
    assert words.total == sum(int(line.split(b" ")[1]) for line in dictionary.splitlines())


def test_an_empty_dictionary_knows_nothing() -> None:
    assert "中" not in WordFrequencies(b"")
