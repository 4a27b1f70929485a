"""A finished pack and some speech of stage 1 in; checkpoints out from which `prior`, `tune` and `gpt` go on.

For a machine that has the pack but not the work folder it came from. What no pack holds is found again: the linear map
from log mels to latents by least squares on what the pack's own decoder makes of its latents, and the listener's scale
by trial. Discriminators and optimizers start anew.
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path

import features
import torch
import torch.nn.functional as F
from content import Clips, Content, score
from gpt import Trainer
from pack import SHARPEN
from prior import NOISE_SCALE, Batches, new_vits, predict, trained
from torch import nn
from tqdm import tqdm
from training import loadable
from transformers import HubertModel

from sovits_service.models.checkpoint import read_gpt, read_sovits
from sovits_service.models.sovits.vits import Vits

UTTERANCES, RIDGE = 64, 1e-3


def save(path: Path, model: nn.Module) -> None:
    """Write a checkpoint of step 0, unless the stage has one of its own."""
    if path.exists():
        raise SystemExit(f"{path} exists: this work folder needs no pack to go on")
    state = {key: value.clone() for key, value in model.state_dict().items()}
    torch.save({"model": state, "average": state, "step": 0}, path)
    print(path)


@torch.no_grad()
def find_latents(work: Path, model: Vits) -> None:
    """Write `latents.pt`: the map under which speech of the decoder has the latents that it was made of."""
    unmapped = {"mean": torch.zeros(208), "basis": torch.zeros(208, features.LATENTS), "kept": 0.0}
    torch.save(unmapped, work / "latents.pt")  # the batches need a map, not this one's values
    batches = Batches(work, random.Random(5))
    xs, zs = [], []
    for _ in tqdm(range(UTTERANCES // 4), desc="latents"):
        batch = batches.batch(4)
        z, _, style = predict(model, batch, NOISE_SCALE)
        for row, length in enumerate(batch["lengths"].tolist()):
            one = z[row : row + 1, :, :length]
            xs.append(features.log_mels(model.dec(one, style[row : row + 1])[0, 0], length))
            zs.append(one[0].t())
    x, z = torch.cat(xs).double(), torch.cat(zs).double()
    inputs = F.pad(x - x.mean(0), (0, 1), value=1.0)
    solved = torch.linalg.solve(inputs.t() @ inputs + RIDGE * len(x) * torch.eye(209), inputs.t() @ z)
    basis, offset = solved[:-1], solved[-1]
    kept = 1 - float((inputs @ solved - z).var(0).sum() / z.var(0).sum())
    mean = x.mean(0) - torch.linalg.pinv(basis.t()) @ offset
    torch.save({"mean": mean.float(), "basis": basis.float(), "kept": kept}, work / "latents.pt")
    print(f"latents: {kept:.3f} of the variance found")


@torch.no_grad()
def find_scale(work: Path, content: Content) -> None:
    """Set the listener's scale to the likeliest one."""
    clips = Clips(work, random.Random(5))
    content.log_scale.zero_()
    pairs = [(content(samples), target) for samples, target in (clips.batch() for _ in range(3))]

    def loss(log_scale: float) -> float:
        return sum(float(score(logits * math.exp(log_scale), target)[0]) for logits, target in pairs)

    content.log_scale.fill_(min((i / 4 for i in range(-24, 1)), key=loss))
    print(f"listener: log scale {float(content.log_scale):.2f}")


def plain_trainer(gpt: Path) -> Trainer:
    """The packed GPT with its tables as rests of factors that are zero."""
    weights = {key: value.float() for key, value in read_gpt(gpt).state.items()}
    trainer = Trainer()
    for parameter in trainer.factors.parameters():
        nn.init.zeros_(parameter)
    trainer.model.load_state_dict(weights)
    with torch.no_grad():
        trainer.factors.rest_text.copy_(weights["ar_text_embedding.word_embeddings.weight"])
        trainer.factors.rest_audio.copy_(weights["ar_audio_embedding.word_embeddings.weight"])
        trainer.factors.out_rest.copy_(weights["ar_predict_layer.weight"] / SHARPEN)
    return trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/demo_voice"))
    parser.add_argument("--pack", type=Path, default=Path("pretrained_models/demo"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = new_vits()
    model.load_state_dict(loadable({k: v.float() for k, v in read_sovits(args.pack / "sovits.pth").state.items()}))
    model.eval()
    content = Content()
    content.hubert = HubertModel.from_pretrained(args.pack / "hubert").float()
    content.ssl_proj.load_state_dict(model.ssl_proj.state_dict())
    content.eval()
    save(args.work / "gpt.pt", plain_trainer(args.pack / "gpt.ckpt"))
    find_scale(args.work, content)
    save(args.work / "content.pt", content)
    find_latents(args.work, model)
    save(args.work / "prior.pt", trained(model))
    save(args.work / "vocoder.pt", model.dec)


if __name__ == "__main__":
    main()
