"""Documents of jobs are read in processes of their own: what goes wrong there costs one answer, never the service."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sovits_service.audio.decoder_process import ProcessLimits
from sovits_service.errors import InvalidRequestError
from sovits_service.jobs.reading import isolated
from sovits_service.jobs.reading.isolated import read_isolated
from sovits_service.jobs.reading.read import read_document
from tests.api.job_files import CHINESE, ENTITIES, HTML, MARKDOWN, SRT, epub

ROLES = json.dumps({"text": "abc", "voice": "amy", "speed_factor": 1.5, "chapter": "One"})
LABELLED = '<meta charset="gb18030"><p>甲乙'.encode("gb18030")


@pytest.mark.parametrize(
    ("kind", "data", "options"),
    [
        ("epub", epub(), {}),
        ("html", HTML.encode(), {}),
        ("html", LABELLED, {}),
        ("md", MARKDOWN.encode(), {}),
        ("srt", SRT.encode(), {}),
        ("jsonl", ROLES.encode(), {}),
        ("txt", CHINESE, {"encoding": "gb18030"}),
    ],
)
def test_what_is_read_is_the_same(kind: str, data: bytes, options: dict[str, Any]) -> None:
    assert read_isolated(data, kind=kind, **options) == read_document(data, kind=kind, **options)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.epub", b"PK no zip", "epub"),
        ("a.epub", epub({"OEBPS/book.opf": ENTITIES}), "declares XML entities"),
        ("a.doc", b"abc", "type of the file"),
        ("a.txt", b"abc\0def", "not text"),
        ("a.txt", b"a " * 600, "at most 100"),
    ],
)
def test_what_is_refused_is_refused_in_the_same_words(name: str, data: bytes, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said) as here:
        read_document(data, name=name, max_characters=100)
    with pytest.raises(InvalidRequestError) as there:
        read_isolated(data, name=name, max_characters=100)
    assert str(there.value) == str(here.value)


@pytest.mark.parametrize("limits", [ProcessLimits(memory_bytes=2**20), ProcessLimits(wall_s=0.001)])
def test_what_takes_too_much_is_refused(limits: ProcessLimits) -> None:
    page = "<p>abc</p>" * 200_000
    with pytest.raises(InvalidRequestError, match="limits of memory and time"):
        read_isolated(page.encode(), kind="html", limits=limits)


@pytest.mark.parametrize(
    "answer", ['{"chapters": 1', "[]", "{}", '{"chapters": [["a", [[1]]]], "title": "", "author": "", "cover": null}']
)
def test_an_answer_of_a_process_that_was_taken_over_is_refused(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "_ask", lambda *_: answer.encode())
    with pytest.raises(InvalidRequestError, match="limits of memory and time"):
        read_isolated(b"abc")
