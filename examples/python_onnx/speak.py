"""Speak with an exported model, with numpy and onnxruntime alone.

sovits-service export model --voice female_calm && sovits-service read "你好，世界。" --ids > text.json
ORT_DISABLE_TELEMETRY=1 python speak.py model female_calm text.json hello.wav --seed 1
"""

import argparse
import json
import wave
from pathlib import Path

import numpy as np
import onnxruntime


class Speaker:
    def __init__(self, folder, voice, options):
        self.options, self.config = options, read_json(folder / "config.json")
        self.sessions = {path.stem: onnxruntime.InferenceSession(str(path)) for path in folder.glob("*.onnx")}
        self.words = read_json(folder / "tokenizer.json")["model"]["vocab"] if "bert" in self.sessions else {}
        self.voice = read_json(folder / "voices" / f"{voice}.json")
        self.prompt = np.array(self.voice["prompt_tokens"], np.int64)
        self.style = np.array(self.voice["style_embedding"], np.float32)[None, :, None]

    def run(self, graph, **inputs):
        return self.sessions[graph].run(None, inputs)[0]

    def features(self, run):
        """(phonemes, 1024): BERT's vector of each character for each of its phonemes; zeros in other languages."""
        if not self.words or not run["word2ph"]:
            return np.zeros((len(run["phoneme_ids"]), 1024), np.float32)
        pieces = ["[CLS]", *run["text"], "[SEP]"]
        hidden = self.run("bert", ids=np.array([self.words.get(piece, self.words["[UNK]"]) for piece in pieces]))
        return np.repeat(hidden[1:-1], run["word2ph"], axis=0)

    def tokens(self, runs, rng):
        """Semantic tokens of a fragment, drawn one after the other."""
        gpt, runs = self.config["gpt"], self.voice["runs"] + runs
        names = [f"{part}_{layer}" for layer in range(gpt["layers"]) for part in ("keys", "values")]
        bert = np.concatenate([self.features(run) for run in runs])
        inputs = {"phoneme_ids": phonemes(runs), "bert": bert, "prompt_tokens": self.prompt}
        logits, *entries = self.sessions["gpt_prefill"].run(["logits", *names], inputs)
        length, step = entries[0].shape[2], self.sessions["gpt_step"].io_binding()
        for name, entry in zip(names, entries, strict=True):  # a cache is read and written in the same memory
            cache = np.pad(entry, ((0, 0), (0, 0), (0, gpt["max_new_tokens"]), (0, 0)))
            cache = onnxruntime.OrtValue.ortvalue_from_numpy(cache)
            step.bind_ortvalue_input(name, cache)
            step.bind_ortvalue_output(f"new_{name}", cache)
        drawn, seen = [], np.isin(np.arange(logits.shape[1]), self.prompt)
        for count in range(gpt["max_new_tokens"]):
            token, is_over = self.draw(logits[0], seen, rng.random(dtype=np.float32), count >= gpt["min_new_tokens"])
            if is_over:
                break
            places = {"tokens": token, "positions": len(self.prompt) + count, "lengths": length + count}
            for name, value in places.items():
                step.bind_cpu_input(name, np.array([value]))
            step.bind_output("logits")
            self.sessions["gpt_step"].run_with_iobinding(step)
            logits, seen[token] = step.get_outputs()[-1].numpy(), True
            drawn.append(token)
        return np.array(drawn, np.int64)

    def draw(self, logits, seen, uniform, may_end):
        """A token, and whether the speech is over; the end token is the last."""
        end, penalty = len(logits) - 1, np.float32(self.options.repetition_penalty)
        logits = np.where(seen, np.where(logits < 0, logits * penalty, logits / penalty), logits)
        logits[end] = logits[end] if may_end else -np.inf
        order = np.argsort(-logits, kind="stable")
        ordered = logits[order]
        shares = np.cumsum(np.exp(ordered - ordered[0]))
        ordered[1:][(shares[1:] > self.options.top_p * shares[-1]) & (self.options.top_p < 1)] = -np.inf
        ordered = ordered / np.float32(max(self.options.temperature, 1e-5))
        ordered[ordered < ordered[min(max(self.options.top_k, 1), end + 1) - 1]] = -np.inf
        cumulative = np.cumsum(np.exp(ordered - ordered[0]))
        place = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
        token = int(order[min(place, np.isfinite(ordered).sum() - 1)])
        return token, token == end or order[0] == end

    def fragment(self, runs, index):
        """(T,) samples of one fragment."""
        token_rng, rng = (np.random.default_rng([self.options.seed, index, *stream]) for stream in ((), (1,)))
        encoded = self.encode(self.tokens(runs, token_rng), runs, self.options.speed, rng)
        inputs = {"latents": encoded, "style_embedding": self.style}
        samples = self.match_flow(encoded, rng) if "cfm" in self.config else self.run("vocoder", **inputs)[0, 0]
        return samples / max(1.0, np.abs(samples).max())

    def encode(self, tokens, runs, speed, rng):
        """Latents of v1 to v2ProPlus; what v3 and v4 draw the mel from."""
        inputs = {"semantic_tokens": tokens[None], "phoneme_ids": phonemes(runs), "style_embedding": self.style}
        rates, count = self.config["frames_per_token"].items(), len(tokens)
        frames = {name: int(rate * count / speed) + (speed != 1) for name, rate in rates}
        if "cfm" in self.config:
            return self.run("sovits", **inputs, **{name: np.array([count]) for name, count in frames.items()})
        return self.run("sovits", **inputs, noise=self.noise(rng, frames["latent_frames"]))

    def noise(self, rng, frames):
        return rng.standard_normal((frames, self.config["noise_channels"]), np.float32).T[None]

    def match_flow(self, features, rng):
        """Window by window, each with the end of what was drawn before as its prompt, joined by cross-fades."""
        cfm, vocoder, steps = self.config["cfm"], self.config["vocoder"], self.options.steps
        before, hop = self.encode(self.prompt, self.voice["runs"], 1, rng), vocoder["hop_samples"]
        mel = np.array(self.voice["ref_mel"], np.float32)[None]
        end = min(mel.shape[2], before.shape[2])
        size = min(end, cfm["prompt_frames"])
        mel, before = mel[..., end - size : end], before[..., end - size : end]
        room = max(cfm["smallest_window_frames"], cfm["window_frames"] - size)
        waiting, tail, pieces = mel[..., :0], np.zeros(0, np.float32), []
        for start in range(0, features.shape[2], room):
            both = np.concatenate((before, features[..., start : start + room]), 2)
            prompt = np.pad(mel, ((0, 0), (0, 0), (0, both.shape[2] - size)))
            x = np.concatenate((np.zeros_like(mel), self.noise(rng, both.shape[2] - size)), 2)
            given = {"features": both, "prompt": prompt, "step_size": np.array([1 / steps], np.float32)}
            for step in range(steps):
                velocity = self.run("cfm_step", mel=x, time=np.array([step / steps], np.float32), **given)
                x[..., size:] += velocity[..., size:] / np.float32(steps)
            before, mel = both[..., -size:], np.concatenate((mel, x[..., size:]), 2)[..., -size:]
            whole = np.concatenate((waiting, x[..., size:]), 2)
            samples = self.run("vocoder", mel=whole)[0, 0, waiting.shape[2] * hop - len(tail) :]
            rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(len(tail)) + 0.5) / max(len(tail), 1))
            samples[: len(tail)] = tail * (1 - rise) + samples[: len(tail)] * rise
            held = cfm["joint_frames"] if start + room < features.shape[2] else 0
            spoken, tail = np.split(samples, [len(samples) - held * hop])
            waiting, pieces = whole[..., max(0, whole.shape[2] - held - vocoder["context_frames"]) :], [*pieces, spoken]
        return np.concatenate(pieces)


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def phonemes(runs):
    return np.array([number for run in runs for number in run["phoneme_ids"]], np.int64)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("model", "voice", "text", "out"):
        parser.add_argument(name)
    sampling = {"seed": 0, "top_k": 15, "top_p": 1.0, "temperature": 1.0, "repetition_penalty": 1.35}
    for name, value in {**sampling, "speed": 1.0, "steps": 32}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = parser.parse_args()
    speaker, pieces = Speaker(Path(options.model), options.voice, options), []
    rate_hz = speaker.config["vocoder"]["sample_rate_hz"]
    for index, part in enumerate(read_json(options.text)["fragments"]):
        pieces += [speaker.fragment(part["runs"], index), np.zeros(round(part["pause_s"] * rate_hz), np.float32)]
    with wave.open(options.out, "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(np.clip(np.rint(np.concatenate(pieces) * 32768), -32768, 32767).astype("<i2").tobytes())
