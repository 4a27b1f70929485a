"""Stage 3b: exact tokens, phonemes and a reference in, trained `enc_p`, `flow` and `ref_enc` of `Vits` out.

The latents are a fixed map of log mels (features.py), so this stage needs neither waves nor the decoder. It regresses
them through the flow, which so is a second network behind the prior that knows the style. A likelihood as in Glow-TTS
would use the flow's noise too, but its four mean-only couplings cannot shape these latents well enough: a critic of
latents takes its place, and a reader (critic.py). The reader needs no recording, so some of the utterances are of the
many of which the durations alone are known.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import codes as c
import features
import numpy as np
import torch
from codebook import codebook
from critic import Listeners, said_by
from sizes import SOVITS
from torch import Tensor, nn
from training import Run, descend, loadable

from sovits_service.audio.dsp import linear_spectrogram
from sovits_service.models.sovits.attention import MultiHeadAttention
from sovits_service.models.sovits.vits import Vits
from sovits_service.text.symbols import symbol_ids

REF_FRAMES = 150
NOISE_SCALE = 0.5  # of synthesis
RECORDED, UNRECORDED = 7, 3
CUT, FEWEST_TOKENS = 0.25, 24  # how often, and how short at least, speech is cut as streaming does
GUIDE_WEIGHT = 0.1
LISTENED_FROM, TRUST_AFTER = 100, 200  # steps until the critic, which is new, says something, and counts in full
HEARD_WEIGHTS = {"critical": 0.3, "matching": 1.0, "misread": 0.15}


def new_vits() -> Vits:
    """With its codebook, and with little noise on the latents to begin with."""
    model = Vits(SOVITS)
    with torch.no_grad():
        model.enc_p.proj.weight[SOVITS.inter_channels :] = 0.0
        model.enc_p.proj.bias[SOVITS.inter_channels :] = -3.0  # type: ignore[index]
    model.quantizer.codebook.embed.copy_(codebook())
    return model


class Batches:
    """Utterances by speaker in batches of similar length, each with another utterance of the speaker as reference."""

    def __init__(self, work: Path, rng: random.Random, *, held: bool = False) -> None:
        self.work, self.rng, self.held = work, rng, held
        self.loaded: set[str] = set()
        self.by_speaker: dict[str, list[features.Utterance]] = {}
        self.refresh()
        self.latents = features.Latents(work, [u for us in self.by_speaker.values() for u in us])
        self.ids = symbol_ids("v2")
        self.queue: list[list[features.Utterance]] = []

    def refresh(self) -> None:
        for utterance in features.fresh(self.work, self.loaded, held=self.held, seconds=(1.2, 9.0)):
            self.by_speaker.setdefault(utterance.speaker, []).append(utterance)

    def reference(self, speaker: str) -> Tensor:
        """(704, 150) linear spectrum of a random window of the speaker."""
        wave = torch.cat([self.rng.choice(self.by_speaker[speaker]).samples() for _ in range(2)])
        length = REF_FRAMES * features.HOP
        start = self.rng.randint(0, max(0, len(wave) - length))
        wave = wave[start : start + length]
        wave = nn.functional.pad(wave, (0, length - len(wave)))
        return linear_spectrogram(wave[None], features.FFT, features.HOP)[0, : SOVITS.ref_spec_bins]

    def batch(self, size: int, more: Sequence[features.Utterance] = ()) -> dict[str, Any]:
        """`size` utterances, followed by `more`."""
        if not self.queue:
            pool = []
            others = [s for s in self.by_speaker if s not in features.SHIPPED]
            for _ in range(size * 8):
                shipped = self.rng.random() < 0.75 or not others
                pool.append(self.rng.choice(self.by_speaker[self.rng.choice(features.SHIPPED if shipped else others)]))
            pool.sort(key=lambda u: len(u.tokens.codes))
            self.queue = [pool[i * size : (i + 1) * size] for i in range(8)]
            self.rng.shuffle(self.queue)
        return self.collate([*self.queue.pop(), *more])

    def lead(self, utterance: features.Utterance) -> int:
        """Tokens to leave out in front: often all silence but one token, as in what the GPT makes."""
        silent = next(i for i, code in enumerate(utterance.tokens.codes) if code >= features.c.PARTS)
        return max(0, silent - 1) if self.rng.random() < 0.7 else 0

    def length(self, n_tokens: int) -> int:
        """How many tokens to take: now and then fewer than there are, as while a stream is being made."""
        cut = self.rng.random() < CUT and n_tokens > FEWEST_TOKENS
        return self.rng.randint(FEWEST_TOKENS, n_tokens) if cut else n_tokens

    def collate(self, items: list[features.Utterance]) -> dict[str, Any]:
        """Padded tensors; `z` stays empty for an utterance without audio, `owners` is -1 on padding."""
        leads = [self.lead(u) for u in items]
        n_codes = [self.length(len(u.tokens.codes) - lead) for u, lead in zip(items, leads, strict=True)]
        n_text = [len(u.tokens.symbols) for u in items]
        codes = torch.zeros(len(items), max(n_codes), dtype=torch.long)
        text = torch.zeros(len(items), max(n_text), dtype=torch.long)
        owners = torch.full((len(items), 2 * max(n_codes)), -1)
        z = torch.zeros(len(items), SOVITS.inter_channels, 2 * max(n_codes))
        for row, (u, lead) in enumerate(zip(items, leads, strict=True)):
            taken = slice(lead, lead + n_codes[row])
            codes[row, : n_codes[row]] = torch.tensor(u.tokens.codes[taken])
            owners[row, : 2 * n_codes[row]] = torch.tensor(u.tokens.owners[taken]).repeat_interleave(2)
            codes[row, 0] = u.tokens.codes[0]  # a silence counts from its first token on
            text[row, : n_text[row]] = torch.tensor([self.ids[s] for s in u.tokens.symbols])
            if len(u.wave):
                z[row, :, : 2 * n_codes[row]] = self.latents(u).float().t()[:, 2 * lead : 2 * taken.stop]
        return {
            "codes": codes, "text": text, "z": z, "owners": owners,
            "lengths": torch.tensor(n_codes) * 2, "text_lengths": torch.tensor(n_text),
            "items": items, "leads": leads, "recorded": sum(len(u.wave) > 0 for u in items),
            "ref": torch.stack([self.reference(u.speaker) for u in items]),
        }  # fmt: skip


def without_audio(work: Path) -> list[features.Utterance]:
    """Utterances of the shipped voices of which durations alone are known."""
    rng, out = random.Random(11), []
    for row in c.read_rows(work / "durations.jsonl"):
        names, seconds = list(row["phones"]), list(row["seconds"])  # type: ignore[call-overload]
        if 1.5 < sum(seconds) < 7:
            tokens = c.encode(names, c.fix_pauses(names, seconds, rng))
            silence = np.zeros(0, np.int16)
            out.append(features.Utterance(str(row["speaker"]), str(row["language"]), str(row["text"]), silence, tokens))
    return out


def predict(model: Vits, batch: dict[str, Any], noise_scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """(B, 96, T) latents as synthesis makes them, their (B, 1, T) mask, and the (B, 128, 1) style."""
    style = model.ref_enc(batch["ref"])
    quantized = model.quantizer.decode(batch["codes"]).repeat_interleave(2, dim=-1)
    prior = model.encode_quantized(quantized, batch["text"], style, batch["lengths"], batch["text_lengths"])
    return model.latents(prior, style, torch.randn_like(prior.mean), noise_scale).float(), prior.mask, style


class Guide:
    """Where `mrte` looks in the text: its frames are told to look at the phoneme that they belong to."""

    def __init__(self, model: Vits) -> None:
        self._attention = model.enc_p.mrte.cross_attention
        self._attention.register_forward_pre_hook(self._see)
        self._seen: tuple[Tensor, Tensor, Tensor] = ()  # type: ignore[assignment]

    def _see(self, _: MultiHeadAttention, seen: tuple[Tensor, Tensor, Tensor]) -> None:
        self._seen = seen

    def weights(self) -> Tensor:
        """(B, heads, T, P) log weights of the last prediction's frames over the text."""
        frames, text, text_mask = self._seen
        heads = (self._attention.n_heads, self._attention.head_channels)
        query = self._attention.conv_q(frames).unflatten(1, heads)
        key = self._attention.conv_k(text).unflatten(1, heads)
        scores = torch.einsum("bhct,bhcs->bhts", query, key).float() / heads[1] ** 0.5
        return scores.masked_fill(text_mask[:, :, None] == 0, -1e4).log_softmax(-1)

    def __call__(self, owners: Tensor) -> tuple[Tensor, Tensor]:
        """The last prediction's attention loss, and the share of frames whose greatest weight is right.

        Args:
            owners: (B, T) phoneme of each frame, -1 on padding.
        """
        weights, told = self.weights(), owners >= 0
        index = owners.clamp(min=0)[:, None, :, None].expand(-1, weights.shape[1], -1, 1)
        picked = weights.gather(3, index)[..., 0].mean(1)
        right = weights.exp().mean(1).argmax(-1) == owners
        return -picked[told].mean(), right[told].float().mean()


def distance(predicted: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Of latents and of their changes over time, per value."""
    error = (predicted - wanted) * mask
    total = error.abs().sum() + 0.5 * error.square().sum() + 0.5 * error.diff(dim=-1).abs().sum()
    return total / mask.sum() / SOVITS.inter_channels


class Objective:
    """What the prior is trained for, apart from what a decoder makes of it.

    Attributes:
        kept: what a checkpoint needs of it.
    """

    def __init__(self, model: Vits) -> None:
        self._quantizer, self._guide, self._listeners = model.quantizer, Guide(model), Listeners()
        self.kept = {"listeners": self._listeners.nets, "l_optimizer": self._listeners.optimizer}

    def load(self, saved: dict[str, Any]) -> None:
        """From a checkpoint of another stage."""
        self._listeners.nets.load_state_dict(loadable(saved["listeners"]))
        self._listeners.optimizer.load_state_dict(saved["l_optimizer"])

    def __call__(
        self, batch: dict[str, Any], predicted: Tensor, mask: Tensor, style: Tensor, trust: float = 1.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the last prediction and its figures; the listeners, who count with `trust`, learn first."""
        n = batch["recorded"]
        unguided, right = self._guide(batch["owners"])
        far = distance(predicted[:n], batch["z"][:n], mask[:n])
        said = said_by(self._quantizer.decode(batch["codes"]).repeat_interleave(2, dim=-1), style)
        learnt, wanted = self._listeners.learn(predicted, said, batch, mask)
        heard = self._listeners.judge(predicted, said, batch, mask, wanted)
        loss = far + GUIDE_WEIGHT * unguided
        for name, figure in heard.items():
            loss = loss + trust * HEARD_WEIGHTS[name] * figure
        return loss, {"distance": far, "attention": unguided, "right": right, "critic": learnt, **heard}


def trained(model: Vits) -> nn.ModuleDict:
    """The parts that this stage trains."""
    return nn.ModuleDict({"enc_p": model.enc_p, "flow": model.flow, "ref_enc": model.ref_enc})


@torch.no_grad()
def held_figures(model: Vits, batches: list[dict[str, Any]]) -> str:
    """The distance, and the share of frames that look at their phoneme."""
    guide, rows = Guide(model), []
    for batch in batches:
        z, mask, _ = predict(model, batch, 0.0)
        rows.append((float(distance(z, batch["z"], mask)), float(guide(batch["owners"])[1])))
    far, right = (sum(column) / len(rows) for column in zip(*rows, strict=True))
    return f"held-out {far:.4f} right {right:.3f}"


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    model = new_vits()
    parts, objective = trained(model), Objective(model)
    optimizer = torch.optim.AdamW(parts.parameters(), lr=args.lr, betas=(0.8, 0.98), weight_decay=0.01)
    kept = {"optimizer": optimizer, **objective.kept}
    run = Run("prior", args.work / "prior.pt", args.steps, parts, kept, save_every=args.save_every)
    batches, held = Batches(args.work, run.rng(args.seed)), Batches(args.work, random.Random(7), held=True)
    held_batches, unrecorded = [held.batch(8) for _ in range(4)], without_audio(args.work)
    for step in run:
        run.set_lr(optimizer, args.lr)
        batch = batches.batch(RECORDED, batches.rng.sample(unrecorded, UNRECORDED))
        with torch.autocast("cpu", torch.bfloat16):
            predicted, mask, style = predict(model, batch, NOISE_SCALE)
        trust = min(1.0, max(0.0, (step - LISTENED_FROM) / TRUST_AFTER))
        loss, figures = objective(batch, predicted, mask, style, trust)
        descend(loss, optimizer, 5.0)
        if run.done(**figures):
            smooth = new_vits()
            run.smooth(trained(smooth))
            run.say(held_figures(smooth.eval(), held_batches))
            batches.refresh()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_voice"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--seed", type=int, default=1234)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
