"""Stage 4: phones with durations in, a trained `TextToSemantic` out: phonemes to exact tokens after a prompt."""

from __future__ import annotations

import argparse
import math
import random
from dataclasses import dataclass
from pathlib import Path

import codes as c
import torch
import torch.nn.functional as F
from torch import nn
from training import Run, descend

from sovits_service.models.gpt import GptConfig, TextToSemantic, prefix_mask
from sovits_service.text.symbols import symbol_ids

CONFIG = GptConfig(width=256, heads=4, layers=4, feed_forward=1024, phoneme_vocab=732, semantic_vocab=c.N_CODES + 1)
HELD_OUT = 120
MAX_PROMPT_S = 10


@dataclass
class Item:
    """One training sequence: text ids, clean tokens with the end, the text position of each, prompt length.

    `untold` are the tokens of the silence that ends the prompt: given, never to be predicted.
    """

    text: list[int]
    tokens: list[int]
    owners: list[int]
    prompt_tokens: int
    untold: int = 0


class Corpus:
    """Utterances by speaker, cut and joined at random into prompt and target."""

    def __init__(self, rows: list[dict[str, object]], clips: list[dict[str, object]] | None = None) -> None:
        self.clips = {str(row["speaker"]): row for row in clips or []}
        self.rows: dict[str, list[dict[str, object]]] = {}
        for row in rows:
            self.rows.setdefault(str(row["speaker"]), []).append(row)
        self.speakers = sorted(self.rows)
        self.ids = symbol_ids("v2")

    def utterance(
        self, row: dict[str, object], rng: random.Random, *, clause: bool
    ) -> tuple[list[str], list[int], list[int]]:
        """Symbols, codes and owners without the silences at both ends; `clause` may cut it at a comma."""
        phones, seconds = list(row["phones"]), list(row["seconds"])  # type: ignore[call-overload]
        tokens = c.encode(phones, c.fix_pauses(phones, seconds, rng))
        symbols, code, owner = list(tokens.symbols), list(tokens.codes), list(tokens.owners)
        commas = [i for i, s in enumerate(symbols) if s == ","]
        if clause and commas:
            cut = rng.choice(commas)
            if rng.random() < 0.6:
                keep = [i for i, o in enumerate(owner) if o <= cut]
                symbols = symbols[: cut + 1]
            else:
                keep = [i for i, o in enumerate(owner) if o > cut]
                symbols = symbols[cut + 1 :]
                owner = [o - cut - 1 for o in owner]
            code, owner = [code[i] for i in keep], [owner[i] for i in keep]
        while code and code[0] < c.PARTS:
            code, owner = code[1:], owner[1:]
        while code and code[-1] < c.PARTS:
            code, owner = code[:-1], owner[:-1]
        return symbols, code, owner

    def _longer(
        self, speaker: str, symbols: list[str], code: list[int], owner: list[int], rng: random.Random
    ) -> tuple[list[str], list[int], list[int]]:
        """A second utterance joined on without a pause, since the sentences of users are longer than the templates'."""
        more, more_code, more_owner = self.utterance(rng.choice(self.rows[speaker]), rng, clause=rng.random() < 0.5)
        while symbols and symbols[-1] in c.PUNCTUATION:
            symbols = symbols[:-1]
        return symbols + more, code + more_code, owner + [o + len(symbols) for o in more_owner]

    def item(self, speaker: str, rng: random.Random, kind: str) -> Item:
        """`short`: a clause; `single`: an utterance; `pair`: up to two utterances as prompt, then a target."""
        text: list[int] = []
        tokens: list[int] = []
        owners: list[int] = []
        prompt = untold = 0
        pieces = {"short": 1, "single": 1, "pair": rng.choice((2, 2, 2, 3))}[kind]
        clip = self.clips.get(speaker) if kind == "pair" and rng.random() < 0.5 else None
        if clip:  # the shipped references are prompts more often than others
            pieces = 2
        for piece in range(pieces):
            last = piece == pieces - 1
            if clip and not last:
                symbols, code, owner = self.utterance(clip, rng, clause=False)
            else:
                symbols, code, owner = self.utterance(
                    rng.choice(self.rows[speaker]), rng, clause=kind == "short" or rng.random() < 0.55
                )
            if last and kind != "short" and rng.random() < 0.4:
                symbols, code, owner = self._longer(speaker, symbols, code, owner, rng)
            if last and rng.random() < 0.1:  # the service starts a very short text with a full stop
                symbols, owner = [".", *symbols], [o + 1 for o in owner]
            # A target begins with one token of silence (the code of a new one), so that its first phone has an onset.
            lead = 1 if last and prompt else rng.choice((0, 0, 1, 2))
            # The service appends 0.6 s of silence, 15 tokens, to the reference.
            tail = rng.randint(3, 5) if last else rng.randint(15, 22) if piece == pieces - 2 else rng.randint(3, 10)
            symbols = [rng.choice("…-") if s in c.PUNCTUATION and rng.random() < 0.02 else s for s in symbols]
            base = len(text)
            text += [self.ids[s] for s in symbols]
            tokens += c.part_codes(c.SILENCE, lead) + code + c.part_codes(c.SILENCE, tail)
            owners += [base] * lead + [base + o for o in owner] + [len(text) - 1] * tail
            if not last:
                prompt, untold = len(tokens), max(0, tail - 4)
        return Item(text, [*tokens, c.END], [*owners, len(text) - 1], prompt, untold)


def corrupt(tokens: list[int], prompt: int, rng: random.Random) -> list[int]:
    """The tokens as a listener of the prompt or a sampler may get them wrong."""
    rates, out = (rng.uniform(0.05, 0.45), rng.uniform(0.02, 0.2)), list(tokens)
    for i, code in enumerate(tokens):
        if rng.random() >= rates[0 if i < prompt else 1]:
            continue
        phone, part = divmod(code, c.PARTS)
        kind = rng.random()
        if kind < 0.3:
            out[i] = phone * c.PARTS + rng.randrange(c.PARTS)
        elif kind < 0.5:
            out[i] = tokens[max(0, i - 1)]
        elif kind < 0.6:
            out[i] = tokens[min(len(tokens) - 1, i + 1)] % c.N_CODES
        elif kind < 0.8 and c.PHONES[phone] in c.VOWELS:
            other = c.PHONE_INDEX.get(c.PHONES[phone][:-1] + rng.choice("12345012"), phone)
            out[i] = other * c.PARTS + part
        else:
            out[i] = rng.randrange(c.N_USED_CODES)
    return out


class Factors(nn.Module):
    """Tables of the model as sums of shared factors (base, tone, part) and a rest: rare codes learn from kin."""

    def __init__(self, width: int) -> None:
        super().__init__()
        bases = sorted({c.base_of(p) for p in c.PHONES})
        tones = sorted({c.tone_of(p) for p in c.PHONES})
        self.register_buffer(
            "base_index", torch.tensor([bases.index(c.base_of(p)) for p in c.PHONES]), persistent=False
        )
        self.register_buffer(
            "tone_index", torch.tensor([tones.index(c.tone_of(p)) for p in c.PHONES]), persistent=False
        )
        ids = symbol_ids("v2")
        self.register_buffer("text_rows", torch.tensor([ids.get(p, 0) for p in c.PHONES[1:]]), persistent=False)
        self.base, self.tone = (
            nn.Parameter(torch.randn(len(bases), width)),
            nn.Parameter(torch.randn(len(tones), width) * 0.7),
        )
        self.part = nn.Parameter(torch.randn(c.PARTS, width) * 0.7)
        self.rest_text = nn.Parameter(torch.randn(732, width) * 0.3)
        self.rest_audio = nn.Parameter(torch.randn(c.N_CODES + 1, width) * 0.2)
        self.out_base, self.out_tone = (
            nn.Parameter(torch.randn(len(bases), width) * 0.04),
            nn.Parameter(torch.randn(len(tones), width) * 0.03),
        )
        self.out_part, self.out_rest = (
            nn.Parameter(torch.randn(c.PARTS, width) * 0.03),
            nn.Parameter(torch.zeros(c.N_CODES + 1, width)),
        )

    def _codes(self, base: torch.Tensor, tone: torch.Tensor, part: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
        phone = base[self.base_index] + tone[self.tone_index]
        table = (phone[:, None] + part[None]).flatten(0, 1)
        return rest + F.pad(table, (0, 0, 0, rest.shape[0] - table.shape[0]))

    def tables(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Text embedding (732, W), token embedding (1025, W) and prediction rows (1025, W)."""
        phone = (self.base[self.base_index] + self.tone[self.tone_index])[1:]
        text = self.rest_text.index_add(0, self.text_rows, phone)
        audio = self._codes(self.base, self.tone, self.part, self.rest_audio)
        return text, audio, self._codes(self.out_base, self.out_tone, self.out_part, self.out_rest)


# (layer, head, what it should look at): of text rows, then of token rows.
TEXT_GUIDES = ((0, 0, -1), (0, 1, 1))
TOKEN_GUIDES = (
    (0, 2, "previous"), (0, 3, "second"), (1, 0, "here"), (1, 1, "previous"),
    (2, 0, "here"), (2, 1, "next"), (3, 0, "next"),
)  # fmt: skip


def attend(project: nn.Module, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Plain attention: with its backward pass twice as fast on a CPU at these sizes as the fused kernel."""
    scores = torch.matmul(q * (1 / math.sqrt(q.shape[-1])), k.transpose(2, 3)) + bias.to(q.dtype)
    mixed = torch.matmul(torch.softmax(scores, dim=-1, dtype=q.dtype), v)
    output: torch.Tensor = project(mixed.transpose(1, 2).flatten(2))
    return output


class Trainer(nn.Module):
    """The model with factored tables and the guided loss."""

    def __init__(self) -> None:
        super().__init__()
        self.model = TextToSemantic(CONFIG)
        for parameter in self.model.bert_proj.parameters():
            nn.init.zeros_(parameter)
            parameter.requires_grad_(False)
        self.factors = Factors(CONFIG.width)

    def export(self) -> TextToSemantic:
        """The plain model with the tables filled in."""
        text, audio, head = self.factors.tables()
        with torch.no_grad():
            self.model.ar_text_embedding.word_embeddings.weight.copy_(text)
            self.model.ar_audio_embedding.word_embeddings.weight.copy_(audio)
            self.model.ar_predict_layer.weight.copy_(head)
        return self.model

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Cross entropy, guide loss, mean squared log-partition and accuracy."""
        text_table, audio_table, head = self.factors.tables()
        model, text, inputs, target = self.model, batch["text"], batch["inputs"], batch["target"]
        t_text = text.shape[1]
        x = torch.cat(
            [
                model.ar_text_position(F.embedding(text, text_table)),
                model.ar_audio_position(F.embedding(inputs, audio_table)),
            ],
            dim=1,
        )
        mask = prefix_mask(t_text, inputs.shape[1], x.device)
        is_text = torch.arange(t_text) < batch["text_lengths"][:, None]
        mask = mask & F.pad(is_text, (0, inputs.shape[1]), value=True)[:, None, None, :]
        bias = torch.zeros(mask.shape, dtype=torch.bfloat16).masked_fill(~mask, -1e4)
        guide = x.new_zeros(())
        for index, layer in enumerate(model.h):
            q, k, v = layer.self_attn.project(x)
            guide = guide + self._guide(index, q, k, mask, batch, t_text)
            x = layer.finish(x, attend(layer.self_attn.out_proj, q, k, v, bias))
        after_text = (batch["text_lengths"] - 1)[:, None, None].expand(-1, 1, x.shape[2])
        x = torch.cat([x.gather(1, after_text), x[:, t_text:]], dim=1)
        keep = target >= 0
        logits = F.linear(x[keep], head).float()
        target = target[keep]
        log_z = torch.logsumexp(logits, dim=-1)
        loss = F.cross_entropy(logits, target)
        accuracy = (logits.argmax(-1) == target).float().mean()
        return loss, guide, (log_z**2).mean(), accuracy

    @staticmethod
    def _guide(
        index: int, q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor, batch: dict[str, torch.Tensor], t_text: int
    ) -> torch.Tensor:
        total = q.new_zeros((), dtype=torch.float32)
        owners, text_lengths = batch["owners"], batch["text_lengths"]  # owners: -9 on padding

        def log_attention(head: int, rows: slice) -> torch.Tensor:
            scores = (q[:, head, rows] @ k[:, head].transpose(1, 2)).float() / math.sqrt(q.shape[-1])
            return F.log_softmax(scores.masked_fill(~mask[:, 0, rows], -1e4), dim=-1)

        for layer, head, shift in TEXT_GUIDES:
            if layer == index:
                where = torch.arange(t_text)[None].expand(len(owners), -1) + shift
                valid = (where >= 0) & (where < text_lengths[:, None]) & (where - shift < text_lengths[:, None])
                picked = log_attention(head, slice(0, t_text)).gather(2, where.clamp(0, t_text - 1)[..., None])[..., 0]
                total = total - picked[valid].mean()
        for layer, head, what in TOKEN_GUIDES:
            if layer != index:
                continue
            logs = log_attention(head, slice(t_text, None))
            if what in ("here", "next"):
                where = owners + (what == "next")
                valid = (owners >= 0) & (where < text_lengths[:, None])
                picked = logs.gather(2, where.clamp(0, t_text - 1)[..., None])[..., 0]
            else:
                wanted = owners - (1 if what == "previous" else 2)
                hit = (owners[:, None, :] == wanted[:, :, None]) & (wanted[:, :, None] >= 0)
                valid = (owners >= 0) & hit.any(-1)
                picked = torch.logsumexp(logs[:, :, t_text:].masked_fill(~hit, -1e4), dim=-1)
            total = total - picked[valid].mean()
        return total


def collate(items: list[Item], rng: random.Random) -> dict[str, torch.Tensor]:
    """Pad a list of items; targets and owners are -100 and -9 on padding."""
    t_text, t_sem = max(len(i.text) for i in items), max(len(i.tokens) for i in items)
    text = torch.zeros(len(items), t_text, dtype=torch.long)
    inputs = torch.zeros(len(items), t_sem - 1, dtype=torch.long)
    target = torch.full((len(items), t_sem), -100)
    owners = torch.full((len(items), t_sem - 1), -9)
    for row, item in enumerate(items):
        n = len(item.tokens)
        text[row, : len(item.text)] = torch.tensor(item.text)
        inputs[row, : n - 1] = torch.tensor(corrupt(item.tokens[:-1], item.prompt_tokens, rng))
        target[row, :n] = torch.tensor(item.tokens)
        target[row, item.prompt_tokens - item.untold : item.prompt_tokens] = -100
        owners[row, : n - 1] = torch.tensor(item.owners[:-1])
    lengths = torch.tensor([len(i.text) for i in items])
    return {"text": text, "inputs": inputs, "target": target, "owners": owners, "text_lengths": lengths}


@torch.no_grad()
def sample(
    model: TextToSemantic, items: list[Item], *, scale: float = 1.0, seed: int = 0, limit: int = 250
) -> list[tuple[list[int], bool]]:
    """Continue each item's (corrupted) prompt with the public defaults; the new codes and whether they ended."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    capacity = max(len(i.text) + i.prompt_tokens for i in items) + limit + 1
    cache = model.new_cache(len(items), capacity)
    prompts = [corrupt(i.tokens[: i.prompt_tokens], i.prompt_tokens, rng) for i in items]
    seen = [list(p) for p in prompts]
    logits = torch.stack(
        [
            model.prefill(
                torch.tensor(i.text), torch.zeros(len(i.text), 1024), torch.tensor(p, dtype=torch.long), cache, slot
            )
            for slot, (i, p) in enumerate(zip(items, prompts, strict=False))
        ]
    )
    out: list[list[int]] = [[] for _ in items]
    ended = [False] * len(items)
    for step in range(limit):
        scores = logits.float() * scale
        if step < 11:
            scores[:, c.END] = -torch.inf
        stop = scores.argmax(-1) == c.END
        for row, tokens in enumerate(seen):
            used = torch.tensor(sorted(set(tokens)), dtype=torch.long)
            kept = scores[row, used]
            scores[row, used] = torch.where(kept < 0, kept * 1.35, kept / 1.35)
        cut = scores.topk(15, dim=-1).values[:, -1:]
        drawn = torch.multinomial(
            torch.softmax(scores.masked_fill(scores < cut, -torch.inf), -1), 1, generator=generator
        )[:, 0]
        for row, token in enumerate(drawn.tolist()):
            if not ended[row]:
                ended[row] = token == c.END or bool(stop[row])
                if not ended[row]:
                    out[row].append(token)
                    seen[row].append(token)
        if all(ended):
            break
        positions = torch.tensor([i.prompt_tokens + step for i in items])
        places = torch.tensor([len(i.text) + i.prompt_tokens + step for i in items])
        logits = model.decode_step(drawn.clamp(max=c.N_CODES), positions, places, cache, int(places.max()) + 1)
    return list(zip(out, ended, strict=False))


def evaluate(
    model: TextToSemantic, corpus: Corpus, count: int = 18, scale: float = 1.0, seed: int = 1
) -> dict[str, float]:
    """Phone error of sampled tokens after a prompt, share without an end, and length against the source."""
    rng = random.Random(seed)
    items = [corpus.item(rng.choice(corpus.speakers), rng, "pair") for _ in range(count)]
    errors, wrong, ratios = [], 0, []
    for item, (codes, ended) in zip(items, sample(model, items, scale=scale, seed=seed), strict=False):
        expected = c.collapse(item.tokens[item.prompt_tokens : -1])
        errors.append(min(1.0, c.edit_rate(expected, c.collapse(codes))))
        ratio = len(codes) / (len(item.tokens) - 1 - item.prompt_tokens)
        ratios.append(ratio)
        wrong += (not ended) or not 0.6 <= ratio <= 1.6
    return {"error": sum(errors) / count, "wrong_length": wrong / count, "length": sum(ratios) / count}


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    rows = list(c.read_rows(args.work / "durations.jsonl"))
    clips = c.read_rows(args.work / "clips.jsonl")
    held, corpus = Corpus(rows[:HELD_OUT], clips), Corpus(rows[HELD_OUT:], clips)
    trainer = Trainer()
    optimizer = torch.optim.AdamW(
        [p for p in trainer.parameters() if p.requires_grad], lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01
    )
    run = Run("gpt", args.work / "gpt.pt", args.steps, trainer, {"optimizer": optimizer})
    rng = run.rng(args.seed)
    bucket: dict[str, list[list[Item]]] = {"short": [], "single": [], "pair": []}
    for step in run:
        stage = step / args.steps
        kind = rng.choices(
            ("short", "single", "pair"),
            (0.85, 0.15, 0) if stage < 0.12 else (0.3, 0.3, 0.4) if stage < 0.3 else (0.1, 0.2, 0.7),
        )[0]
        if not bucket[kind]:  # sort a few batches by length: less padding
            size, batches = {"short": 32, "single": 20, "pair": 10}[kind], 6
            pool = [corpus.item(rng.choice(corpus.speakers), rng, kind) for _ in range(size * batches)]
            pool.sort(key=lambda i: len(i.tokens) + len(i.text))
            bucket[kind] = [pool[i * size : (i + 1) * size] for i in range(batches)]
            rng.shuffle(bucket[kind])
        run.set_lr(optimizer, args.lr)
        with torch.autocast("cpu", torch.bfloat16):
            loss, guide, log_z, accuracy = trainer(collate(bucket[kind].pop(), rng))
        weight = 0.3 if stage < 0.5 else 0.1
        descend(loss + weight * guide + 0.02 * log_z, optimizer, 1.0)
        if run.done(loss=loss, guide=guide, log_z2=log_z, accuracy=accuracy):
            smooth = run.smooth(Trainer())
            run.say(f"sampled: {evaluate(smooth.export().eval(), held)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_voice"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1234)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
