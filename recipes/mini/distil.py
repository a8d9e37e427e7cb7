"""Step 2: half of the layers do the work of all.

The shortened encoder reads the same pieces as the whole one, so every token's state has its counterpart: each of its
layers is drawn to the layer of the whole encoder that it should have arrived at (after Jiao et al. 2020, TinyBERT), the
last one also in its mean, which is what the whole encoder was trained for. No label, no pack.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer

from . import data, loop, model, tokens

STEP_TOKENS = 5000
LENGTH = 160
RATE = 4e-4


def texts(root: Path) -> list[str]:
    """Running text, sentences, headings and passages of both languages, in equal parts."""
    to_traditional = data.script_map(data.dictionary(root))
    chinese = (
        data.paragraphs(root, "zh", 4000) + list(data.pair_texts(root, "zh")) + [a for a, _ in data.parallel(root)]
    )
    english = (
        data.paragraphs(root, "en", 4000) + list(data.pair_texts(root, "en")) + [b for _, b in data.parallel(root)]
    )
    draw = random.Random(5)
    count = min(len(chinese), len(english))
    chosen = draw.sample(chinese, count) + draw.sample(english, count)
    return [text.translate(to_traditional) if draw.random() < 0.1 else text for text in chosen]


def distil(root: Path, whole: Path, start: Path, out: Path, work: Path, minutes: float) -> None:
    """Train the encoder in `start` for `minutes` to do what the one in `whole` does, and write it to `out`."""
    teacher = model.load(whole).encoder.bfloat16().eval()
    master = model.load(start)
    student = model.load(start).bfloat16()
    for each in (master, student):
        each.encoder.bert.embeddings.word_embeddings.requires_grad_(False)
    ids = tokens.Tokens(Tokenizer.from_file(str(start / "tokenizer.json")))
    every = texts(root)
    layers = len(master.encoder.bert.encoder.layer)
    stride = len(teacher.bert.encoder.layer) // layers

    def loss_of(step: int, fraction: float) -> torch.Tensor:
        draw = random.Random(f"distil{step}")
        length = LENGTH if draw.random() < 0.7 else 48
        rows = []
        while sum(map(len, rows)) < STEP_TOKENS:
            content = ids(draw.choice(every))
            begin = draw.randrange(max(1, len(content) - length + 1))
            rows.append([tokens.CLS, *content[begin : begin + length], tokens.SEP])
        losses = []
        for part in tokens.parts(list(map(len, rows))):
            batch, mask = tokens.padded([rows[i] for i in part])
            share = sum(len(rows[i]) for i in part) / sum(map(len, rows))
            with torch.no_grad():
                wanted = teacher.states(batch, mask)
            found = student.encoder.states(batch, mask)
            kept = mask.unsqueeze(-1)
            for layer in range(1, layers + 1):
                target = wanted[stride * layer]
                spread = target.float().var((0, 1)).mean()
                error = ((found[layer] - target) * kept).float().square().mean() / kept.float().mean()
                losses.append(share * (2.0 if layer == layers else 1.0) * error / spread)
            mean, aim = model.mean_state(found[-1], mask), model.mean_state(wanted[-1], mask)
            losses.append(share * 10 * (1 - (mean * aim).sum(-1)).mean())
            near = torch.nn.functional.kl_div(
                ((mean @ aim.T) / 0.03).log_softmax(-1), ((aim @ aim.T) / 0.03).softmax(-1), reduction="batchmean"
            )
            losses.append(share * near)
        return torch.stack(losses).sum()

    body = [p for n, p in master.named_parameters() if n.startswith("encoder.") and p.requires_grad]
    loop.train("distil", master, [{"params": body, "lr": RATE}], loss_of, minutes=minutes, work=work, computing=student)
    master.encoder.bert.save_pretrained(out)
    (out / "tokenizer.json").write_bytes((start / "tokenizer.json").read_bytes())
