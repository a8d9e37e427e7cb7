"""Step 4: the cross-encoder: softmax cross-entropy inside groups of one positive and hard and random negatives.

To the labels come the similarities of the bi-encoders (MiniLM for English, the distilled one for Chinese) as soft
targets: a query has one labelled answer, but its other passages are not all equally wrong.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy, kl_div
from transformers import BertForSequenceClassification, BertModel, BertTokenizerFast

from . import data, harden, loop, vocabulary
from .distil import embed

HARD, RANDOM = 4, 1
GROUP = 1 + HARD + RANDOM
PAIRS_PER_STEP = 8 * GROUP
HARDEN_FROM = 0.5  # share of the budget after which part of the groups are hardened
TRANSLATIONS, STUFFED = 0.12, 0.35  # shares of groups then
SOFT_WEIGHT = {"en": 0.7, "zh": 0.3}
SOFT_TEMPERATURE = 0.05
TEACHER_LENGTH = 128
LENGTHS = ((128, 0.55), (224, 0.3), (384, 0.15))
WEIGHTS = {
    "toyhom-zh": 2.0,
    "medquad-en": 1.8,
    "drcd-zh": 0.9,
    "drcd-zhs": 0.9,
    "cmrc-zh": 1.2,
    "csl-zh": 0.8,
    "tatqa-en": 0.7,
    "covidqa-en": 0.9,
    "pubmedqa-en": 0.5,
    "dureader-zh": 0.2,
    "pairs-zh": 2.4,
    "pairs-en": 2.2,
    "pairs-xling": 0.8,
}


def examples(root: Path, leave_out: frozenset[str] = frozenset()) -> dict[str, list[data.Example]]:
    """Training examples by source, without the packs named in `leave_out`."""
    by_source = {name: data.pack_examples(data.load_pack(root, name)) for name in data.PACKS if name not in leave_out}
    by_source |= {f"pairs-{name}": data.pair_examples(root, name) for name in ("zh", "en", "xling")}
    return by_source


def _group(draw: random.Random, source: list[data.Example]) -> tuple[str, list[str]]:
    """A query and its passages, the positive first."""
    example = draw.choice(source)
    hard = list(draw.sample(example.negatives, min(HARD, len(example.negatives))))
    while len(hard) < HARD + RANDOM:
        other = draw.choice(draw.choice(source).positives)
        if other not in example.positives:
            hard.append(other)
    return example.query, [draw.choice(example.positives), *hard]


class Teacher:
    """A frozen bi-encoder that says how similar a query and its passages are."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = BertTokenizerFast.from_pretrained(folder)
        self._model = BertModel.from_pretrained(folder, attn_implementation="sdpa").to(loop.device()).eval()

    @torch.no_grad()
    def targets(self, queries: list[str], passages: list[list[str]]) -> torch.Tensor:
        """Softmax of the similarities inside each group, shape (queries, passages of a group)."""
        flat = [text for group in passages for text in group]
        order = sorted(range(len(flat)), key=lambda i: len(flat[i]))
        parts = [self._embed([flat[i] for i in part]) for part in (order[: len(order) // 2], order[len(order) // 2 :])]
        vectors = torch.cat(parts)[torch.tensor(order).argsort().to(loop.device())].view(
            len(queries), -1, parts[0].shape[1]
        )
        similarity = (vectors @ self._embed(queries).unsqueeze(-1)).squeeze(-1)
        return (similarity / SOFT_TEMPERATURE).softmax(-1)

    def _embed(self, texts: list[str]) -> torch.Tensor:
        batch = self._tokenizer(texts, truncation=True, max_length=TEACHER_LENGTH, padding=True, return_tensors="pt")
        return embed(self._model, batch)


def _language(text: str) -> str:
    return "zh" if any("一" <= char <= "鿿" for char in text) else "en"


def train(
    root: Path, start: Path, out: Path, work: Path, minutes: float, leave_out: frozenset[str] = frozenset()
) -> None:
    """Train a cross-encoder from the encoder in `start` for `minutes` and write it to `out`."""
    tokenizer = BertTokenizerFast.from_pretrained(start)
    model = BertForSequenceClassification.from_pretrained(
        start, num_labels=1, attn_implementation="sdpa", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    ).to(loop.device())
    teachers = {"en": Teacher(vocabulary.teacher_folder()), "zh": Teacher(start)}
    by_source = examples(root, leave_out)
    names = [name for name in WEIGHTS if by_source.get(name)]
    weights = [WEIGHTS[name] for name in names]
    to_traditional = data.script_map(data.dictionary(root))

    sentences = data.parallel(root)

    def drawn(draw: random.Random, groups: int, hard: bool) -> tuple[list[str], list[list[str]], list[bool]]:
        queries, passages, labelled_only = [], [], []
        for name in draw.choices(names, weights, k=groups):
            query, texts = _group(draw, by_source[name])
            kind = draw.random() if hard else 1.0
            if kind < TRANSLATIONS:
                query, texts = harden.translation_group(draw, sentences, GROUP)
            elif kind < TRANSLATIONS + STUFFED:
                if draw.random() < 0.6:
                    texts[0] = harden.thinned(draw, query, texts[0])
                texts[-2:] = [
                    harden.stuffed(draw, query, draw.choice(draw.choice(by_source[name]).positives)) for _ in range(2)
                ]
            labelled_only.append(kind < TRANSLATIONS + STUFFED)
            if draw.random() < 0.1:
                query, texts = query.translate(to_traditional), [t.translate(to_traditional) for t in texts]
            queries.append(query)
            passages.append(texts)
        return queries, passages, labelled_only

    def logits_of(queries: list[str], passages: list[list[str]], length: int) -> torch.Tensor:
        repeated = [query[: 2 * length] for query in queries for _ in range(GROUP)]
        flat = [text[: 8 * length] for group in passages for text in group]
        encoded = tokenizer(repeated, flat, truncation="longest_first", max_length=length)
        order = sorted(range(len(flat)), key=lambda i: len(encoded["input_ids"][i]))
        parts = []
        for part in (order[: len(order) // 2], order[len(order) // 2 :]):
            rows = {key: [values[i] for i in part] for key, values in encoded.items()}
            padded = tokenizer.pad(rows, return_tensors="pt").to(loop.device())
            with loop.autocast():
                parts.append(model(**padded).logits.float().flatten())
        return torch.cat(parts)[torch.tensor(order).argsort().to(loop.device())].view(len(queries), GROUP)

    def loss_of(step: int, fraction: float) -> torch.Tensor:
        draw = random.Random(step)
        (length,) = draw.choices([n for n, _ in LENGTHS], [share for _, share in LENGTHS])
        groups = max(2, PAIRS_PER_STEP * 160 // (GROUP * length))
        queries, passages, labelled_only = drawn(draw, groups, fraction > HARDEN_FROM)
        logits = logits_of(queries, passages, length)
        loss = cross_entropy(logits, torch.zeros(len(queries), dtype=torch.long, device=logits.device))
        languages = [_language(query) for query in queries]
        for language, teacher in teachers.items():
            own = [i for i, found in enumerate(languages) if found == language and not labelled_only[i]]
            if own:
                target = teacher.targets([queries[i] for i in own], [passages[i] for i in own])
                soft = kl_div(logits[own].log_softmax(-1), target, reduction="sum") / len(queries)
                loss = loss + SOFT_WEIGHT[language] * soft
        return loss

    heads = [p for n, p in model.named_parameters() if n.startswith(("classifier", "bert.pooler"))]
    embeddings = [model.bert.embeddings.word_embeddings.weight]
    known = {id(p) for p in [*heads, *embeddings]}
    body = [p for p in model.parameters() if id(p) not in known]
    groups = [
        {"params": heads, "lr": 5e-4},
        {"params": embeddings, "lr": 3e-4, "weight_decay": 0.0},
        {"params": body, "lr": 1.2e-4},
    ]
    loop.train("train", model, groups, loss_of, minutes=minutes, work=work)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
