"""Figures of back ends in; a table with their ratios, and the ratios by themselves, out."""

from __future__ import annotations

from collections.abc import Mapping

Figures = dict[str, float]

# The original on one thread of an AVX2 machine with the same weights, for reference: not measured in these runs.
ORIGINAL: Mapping[str, float] = {
    "gpt_decode_tokens_per_s_batch_1": 31,
    "gpt_decode_tokens_per_s_batch_4": 43,
    "gpt_decode_tokens_per_s_batch_8": 54,
    "sovits_s_per_audio_s": 0.31,
    "sentence_s": 7.1,
    "first_chunk_ms_mode_2": 2400,
    "first_chunk_ms_mode_3": 2000,
    "peak_memory_mb": 3900,
}
_MORE_IS_BETTER = ("tokens_per_s", "audio_s_per_s")
_NO_RATIO = ("audio_s",)  # lengths of what was spoken


def ratio(name: str, before: float, after: float) -> float:
    """How many times better `after` is than `before`."""
    if any(part in name for part in _MORE_IS_BETTER):
        return after / before
    return before / after


def ratios(columns: Mapping[str, Figures]) -> dict[str, dict[str, float]]:
    """For each column but the first, how many times better each of its figures is than the first's."""
    (_, before), *others = columns.items()
    return {
        column: {
            name: round(ratio(name, before[name], value), 3)
            for name, value in figures.items()
            if name in before and value and not name.endswith(_NO_RATIO)
        }
        for column, figures in others
    }


def table(title: str, columns: Mapping[str, Figures]) -> str:
    """A line for each figure: each column's value, its ratio to the first, and the original's."""
    better = ratios(columns)
    width = max(len(name) for figures in columns.values() for name in figures)
    lines = [f"{title:{width}}  " + "  ".join(f"{column:>20}" for column in columns) + f"  {'original (AVX2)':>16}"]
    for name in sorted({name for figures in columns.values() for name in figures}):
        cells = []
        for column, figures in columns.items():
            value = f"{figures[name]:.2f}" if name in figures else "-"
            times = f" ({better[column][name]:.2f}x)" if name in better.get(column, {}) else ""
            cells.append(f"{value + times:>20}")
        original = f"{ORIGINAL[name]:g}" if name in ORIGINAL else "-"
        lines.append(f"{name:{width}}  " + "  ".join(cells) + f"  {original:>16}")
    return "\n".join(lines)
