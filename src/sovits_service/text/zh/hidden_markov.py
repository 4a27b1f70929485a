"""jieba's hidden Markov model: words and part-of-speech tags for characters that the dictionary does not join.

The same result as `jieba.posseg.viterbi`, which takes 9 ms a character where each may be in 50 states; this takes 0.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

State = tuple[str, str]
"""Whether a character begins, continues or ends a word or is one (B, M, E, S), and the word's tag."""

_UNSEEN = -3.14e100
_Indices = npt.NDArray[np.intp]
_Scores = npt.NDArray[np.float64]
_Marks = npt.NDArray[np.bool_]


class HiddenMarkovModel:
    """Finds the most probable states of a text.

    Args:
        states: the states that a character may be in; any may be for a character that is not there.
        start, transitions, emissions: log probabilities by state.
    """

    def __init__(
        self,
        states: Mapping[str, tuple[State, ...]],
        start: Mapping[State, float],
        transitions: Mapping[State, Mapping[State, float]],
        emissions: Mapping[State, Mapping[str, float]],
    ) -> None:
        # of two that are equally probable jieba takes the later name, and argmax the first index
        self._names = sorted(transitions, reverse=True)
        index = {name: i for i, name in enumerate(self._names)}
        self._allowed = states
        self._index = index
        self._emissions = [emissions[name] for name in self._names]
        self._start = np.array([start[name] for name in self._names])
        self._transitions = np.full((len(index), len(index)), -np.inf)
        self._follows = np.zeros((len(index), len(index)), dtype=np.bool_)
        for name, following in transitions.items():
            for after, score in following.items():
                self._transitions[index[name], index[after]] = score
                self._follows[index[name], index[after]] = True
        self._has_next: _Marks = np.logical_or.reduce(self._follows, axis=1)
        self._of_character = lru_cache(maxsize=4096)(self._states_of)
        self._step = lru_cache(maxsize=128)(self._step_to)

    def words(self, text: str) -> Iterator[tuple[str, str]]:
        """Words of a text of one character or more, each with its tag."""
        start = done = 0
        path = self.states(text)
        for i, (place, tag) in enumerate(path):
            if place == "B":
                start = i
            elif place in "ES":
                yield text[start if place == "E" else i : i + 1], tag
                done = i + 1
        if done < len(text):
            yield text[done:], path[done][1]

    def states(self, text: str) -> list[State]:
        """The most probable state of each character."""
        current, emitted = self._of_character(text[0])
        scores = self._start[current] + emitted
        steps: list[tuple[_Indices, _Indices]] = []  # states of a character, and the best state before each
        for character in text[1:]:
            goes_on, before, current, transitions, emitted = self._step(current.tobytes(), character)
            reached = scores[goes_on][:, None] + transitions + emitted
            best = reached.argmax(axis=0)
            steps.append((current, before[best]))
            scores = reached[best, np.arange(len(current))]
        state = int(current[scores.argmax()])
        path = [self._names[state]]
        for states, origins in reversed(steps):
            state = int(origins[np.searchsorted(states, state)])
            path.append(self._names[state])
        return path[::-1]

    def _step_to(self, states: bytes, character: str) -> tuple[_Marks, _Indices, _Indices, _Scores, _Scores]:
        """From the states of one character to those of the next.

        Returns:
            Which of `states` go on and their numbers, the next ones, the scores between them, the next ones' emissions.
        """
        before = np.frombuffer(states, dtype=np.intp)
        goes_on = self._has_next[before]
        before = before[goes_on]
        possible: _Marks = np.logical_or.reduce(self._follows[before], axis=0)
        current, emitted = self._of_character(character)
        is_possible = possible[current]
        if is_possible.any():
            current, emitted = current[is_possible], emitted[is_possible]
        else:
            current = np.flatnonzero(possible)
            emitted = self._emitted(character, current)
        return goes_on, before, current, self._transitions[before[:, None], current], emitted

    def _states_of(self, character: str) -> tuple[_Indices, _Scores]:
        names = self._allowed.get(character)
        indices = range(len(self._names)) if names is None else sorted(self._index[name] for name in names)
        states = np.array(indices, dtype=np.intp)
        return states, self._emitted(character, states)

    def _emitted(self, character: str, states: _Indices) -> _Scores:
        return np.array([self._emissions[state].get(character, _UNSEEN) for state in states])
