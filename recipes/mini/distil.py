"""Step 3: Chinese from English by translation (Reimers and Gurevych 2020).

The student's embedding of a Chinese sentence is drawn to the teacher's embedding of its English twin (cosine), and
away from the other English sentences of the batch (contrast). Dictionary entries teach words, English paragraphs keep
the student's English.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy, normalize
from transformers import BatchEncoding, BertModel, BertTokenizerFast

from . import data, loop, vocabulary

SENTENCES, WORDS, ENGLISH = 96, 64, 32
LENGTH = 64
TEMPERATURE = 0.05


def embed(model: BertModel, batch: BatchEncoding) -> torch.Tensor:
    """Mean-pooled, normalised sentence embeddings, shape (batch, 384), float32."""
    place = loop.device()
    mask = batch["attention_mask"].to(place)
    with loop.autocast():
        hidden = model(batch["input_ids"].to(place), mask).last_hidden_state
    weights = mask.unsqueeze(-1).float()
    return normalize((hidden.float() * weights).sum(1) / weights.sum(1), dim=-1)


def distil(root: Path, start: Path, out: Path, work: Path, minutes: float) -> None:
    """Train `start` for `minutes` against the English teacher and write it to `out`."""
    teacher_tokenizer = BertTokenizerFast.from_pretrained(vocabulary.teacher_folder())
    teacher = (
        BertModel.from_pretrained(vocabulary.teacher_folder(), attn_implementation="sdpa").to(loop.device()).eval()
    )
    tokenizer = BertTokenizerFast.from_pretrained(start)
    student = BertModel.from_pretrained(start, attn_implementation="sdpa").to(loop.device())
    entries = data.dictionary(root)
    to_traditional = data.script_map(entries)
    sentences, english = data.parallel(root), data.paragraphs(root, "en", 2000)

    def drawn(draw: random.Random) -> list[tuple[str, str]]:
        pairs = []
        for chinese, translation in draw.sample(sentences, SENTENCES):
            other = chinese.translate(to_traditional) if draw.random() < 0.25 else chinese
            pairs.append((other, translation))
        for simplified, traditional, gloss in draw.sample(entries, WORDS):
            pairs.append((draw.choice((simplified, traditional)), gloss))
        pairs += [(text[:300], text[:300]) for text in draw.sample(english, ENGLISH)]
        return sorted(pairs, key=lambda pair: len(pair[1]))

    def loss_of(step: int, fraction: float) -> torch.Tensor:
        pairs = drawn(random.Random(step))
        targets, outputs = [], []
        for part in (pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]):
            options = {"truncation": True, "max_length": LENGTH, "padding": True, "return_tensors": "pt"}
            with torch.no_grad():
                targets.append(embed(teacher, teacher_tokenizer([p[1] for p in part], **options)))
            outputs.append(embed(student, tokenizer([p[0] for p in part], **options)))
        target, output = torch.cat(targets), torch.cat(outputs)
        similarity = output @ target.T
        contrast = cross_entropy(similarity / TEMPERATURE, torch.arange(len(pairs), device=similarity.device))
        return contrast + 10 * (1 - similarity.diagonal()).mean()

    embeddings = [student.embeddings.word_embeddings.weight]
    body = [p for n, p in student.named_parameters() if "word_embeddings" not in n and "pooler" not in n]
    loop.train(
        "distil",
        student,
        [{"params": embeddings, "lr": 2e-3, "weight_decay": 0.0}, {"params": body, "lr": 2e-4}],
        loss_of,
        minutes=minutes,
        work=work,
    )
    student.save_pretrained(out)
    tokenizer.save_pretrained(out)
