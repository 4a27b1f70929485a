"""Neural grapheme-to-phoneme model for words that no dictionary has.

The weights are g2p_en's (Kyubyong Park, Apache-2.0): an encoder and a decoder GRU of 256 units. The original asks the
same network, so the acoustic models know its guesses. Formula of the GRU: Cho et al. 2014, gates in the order r, z, n.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sovits_service.text.en.tables import DATA
from sovits_service.types import FloatArray

MAX_PHONEMES = 20
_UNKNOWN_LETTER, _END_OF_WORD = 1, 2
_FIRST_LETTER = 3
_START, _END = 2, 3
_VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split()  # noqa: SIM905


def _phoneme_names() -> tuple[str | None, ...]:
    """Names by output unit; None for units that stand for no sound (padding, marks, a stray stressless UW)."""
    sounds: list[tuple[str, str | None]] = [(sound, sound) for sound in _CONSONANTS]
    sounds += [(vowel + stress, vowel + stress) for vowel in _VOWELS for stress in "012"]
    sounds.append(("UW", None))
    return (None, "UNK", None, None, *(name for _, name in sorted(sounds)))


class LettersToSounds:
    """Greedy decoding of one word at a time."""

    def __init__(self) -> None:
        with (DATA / "letters_to_sounds.npz").open("rb") as file, np.load(file) as weights:
            self._weights: dict[str, FloatArray] = {name: weights[name] for name in weights.files}
        self._names = _phoneme_names()

    def guess(self, word: str) -> tuple[str, ...]:
        """ARPAbet of a lower-case word, at most 20 phonemes; perhaps none."""
        letters = [ord(c) - ord("a") + _FIRST_LETTER if "a" <= c <= "z" else _UNKNOWN_LETTER for c in word]
        state = np.zeros(self._weights["enc_w_hh"].shape[1], np.float32)
        for letter in [*letters, _END_OF_WORD]:
            state = self._step("enc", letter, state)
        sounds: list[str] = []
        unit = _START
        for _ in range(MAX_PHONEMES):
            state = self._step("dec", unit, state)
            unit = int((self._weights["fc_w"] @ state + self._weights["fc_b"]).argmax())
            if unit == _END:
                break
            name = self._names[unit]
            if name is not None:
                sounds.append(name)
        return tuple(sounds)

    def _step(self, side: str, unit: int, state: FloatArray) -> FloatArray:
        """One GRU step. state: (hidden,) float32. Returns the next state, (hidden,) float32."""
        w = self._weights
        from_input = w[f"{side}_w_ih"] @ w[f"{side}_emb"][unit] + w[f"{side}_b_ih"]
        from_state = w[f"{side}_w_hh"] @ state + w[f"{side}_b_hh"]
        hidden = len(state)
        gates = 1 / (1 + np.exp(-(from_input[: 2 * hidden] + from_state[: 2 * hidden])))
        reset, update = gates[:hidden], gates[hidden:]
        new = np.tanh(from_input[2 * hidden :] + reset * from_state[2 * hidden :])
        mixed: FloatArray = (1 - update) * new + update * state
        return mixed


@lru_cache(maxsize=1)
def letters_to_sounds() -> LettersToSounds:
    """The network, loaded once in a process."""
    return LettersToSounds()
