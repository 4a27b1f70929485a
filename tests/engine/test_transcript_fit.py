"""Words that a clip does not say, and others that it says, from an attention that was made for it."""

from __future__ import annotations

import numpy as np

from sovits_service.engine.alignment import align
from sovits_service.engine.transcript_fit import Reading, find_misfits
from sovits_service.types import ReferenceFinding

PHONEMES, EACH = 24, 4  # tokens of each phoneme that is said


def misfits(said: list[int], *, silent: range = range(0), mark: int | None = None) -> list[ReferenceFinding]:
    """Of a clip whose tokens attend to these phonemes, -1 to all alike; each phoneme is two characters."""
    attention = np.full((len(said), PHONEMES), 0.01, np.float32)
    for row, phoneme in enumerate(said):
        if phoneme >= 0:
            attention[row, phoneme] = 1.0
    is_silent = np.zeros(len(said), bool)
    is_silent[list(silent)] = True
    is_mark = np.arange(PHONEMES) == (-1 if mark is None else mark)
    spans = [(2 * i, 2 * i + 2) for i in range(PHONEMES)]
    return find_misfits(align(attention), Reading(is_mark, spans, is_silent))


def saying(*phonemes: int) -> list[int]:
    return [phoneme for phoneme in phonemes for _ in range(EACH)]


def test_a_clip_that_says_its_transcript_has_no_finding() -> None:
    assert misfits(saying(*range(PHONEMES))) == []
    # Two that are swallowed are no fault of the transcript.
    assert misfits(saying(*range(8), *range(10, PHONEMES))) == []


def test_words_that_are_not_said_are_told_with_their_characters() -> None:
    (finding,) = misfits(saying(*range(8), *range(14, PHONEMES)))
    assert (finding.code, finding.severity) == ("transcript_not_said", "warning")
    assert finding.text_span == (16, 28)
    assert finding.start_s == finding.end_s == 8 * EACH / 25
    (at_end,) = misfits(saying(*range(16)))
    assert at_end.text_span == (32, 48)


def test_what_the_transcript_lacks_is_told_with_its_time() -> None:
    (finding,) = misfits([*saying(*range(12)), *[-1] * 30, *saying(*range(12, PHONEMES))])
    assert finding.code == "transcript_differs"
    assert finding.start_s is not None
    assert finding.end_s is not None
    assert abs(finding.start_s - 12 * EACH / 25) < 0.2
    assert abs(finding.end_s - (12 * EACH + 30) / 25) < 0.2
    assert finding.text_span is not None
    assert 20 <= finding.text_span[0] <= finding.text_span[1] <= 28


def test_a_pause_fits_every_transcript() -> None:
    said = [*saying(*range(12)), *[-1] * 30, *saying(*range(12, PHONEMES))]
    assert misfits(said, silent=range(12 * EACH, 12 * EACH + 30)) == []
    assert misfits(said, silent=range(len(said))) == []


def test_a_phoneme_or_a_mark_that_never_ends_hides_other_words() -> None:
    said = [*saying(*range(11)), *[11] * 40, *saying(*range(12, PHONEMES))]
    for mark in (None, 11):
        assert [finding.code for finding in misfits(said, mark=mark)] == ["transcript_differs"]
    assert misfits(said, mark=11, silent=range(11 * EACH + 5, 11 * EACH + 40)) == []


def test_many_places_are_told_as_one_and_no_place_as_a_whole() -> None:
    places = [*saying(*range(4)), *saying(*range(8, 12)), *saying(*range(16, 20)), *[-1] * 30]
    (finding,) = misfits(places)
    assert finding.code == "transcript"
    assert finding.text_span is not None
    assert finding.text_span[0] == 8
    (vague,) = misfits([phoneme if i % 3 else -1 for i, phoneme in enumerate(saying(*range(PHONEMES)))])
    assert (vague.code, vague.start_s, vague.text_span) == ("transcript", None, None)
