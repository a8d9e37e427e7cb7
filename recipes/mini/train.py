"""Step 4: the cross-encoder: softmax cross-entropy inside groups, towards the label and towards two teachers.

A group is a query, one answer and hard negatives drawn evenly from BM25's top 50, which is what it will have to order.
The label says which passage answers; the teachers (the bi-encoder's cosine, and BM25's own standardised score) say
that the others are not equally wrong, and keep what both of them know already.

Two phases, so that transfer costs no second run: the first leaves out the packs of `LEFT_OUT`, and its result is
measured on them; the second goes on with every pack. Most of the time texts are cut to the window that shares most
with the query, because tokens are the budget; the last fifth reads them as the product does, from the beginning.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
from collections import Counter
from pathlib import Path

import torch
from torch.nn.functional import kl_div
from transformers import BertModel, BertTokenizerFast

from . import data, loop, vocabulary
from .harden import translation_group
from .model import Ranker, load, match_levels

log = logging.getLogger("recipe")

LEFT_OUT = frozenset({"toyhom-zh", "dureader-zh", "medquad-en", "tatqa-en", "covidqa-en"})
GROUP = 6
STEP_TOKENS = 6000
PART_TOKENS = 2304
TRANSLATIONS = 0.10
MATCH_DROPOUT = 0.10
TRADITIONAL = 0.08
SHORT, LONG = 104, 448
LONG_FROM = 0.8
TEACHER_TOKENS = 104
TEACHER_TEMPERATURE = 0.06
LEXICAL = {"en": 0.6, "zh": 0.9}
SOFT = 0.6
TAUGHT = {"en": 0.4, "zh": 0.25}  # share of groups that see the teachers: their reading costs a third of a step
LAST_SPECIAL, CLS, SEP = 4, 2, 3
WEIGHTS = {
    "toyhom-zh": 2.4,
    "medquad-en": 2.0,
    "covidqa-en": 1.2,
    "tatqa-en": 1.0,
    "drcd-zh": 0.6,
    "drcd-zhs": 0.6,
    "cmrc-zh": 0.6,
    "csl-zh": 0.4,
    "pubmedqa-en": 0.5,
    "dureader-zh": 0.3,
    "pairs-zh": 1.2,
    "pairs-en": 1.0,
    "pairs-xling": 0.6,
}


def examples(root: Path, leave_out: frozenset[str] = frozenset()) -> dict[str, list[data.Example]]:
    """Training examples by source, without the packs named in `leave_out`."""
    by_source = {name: data.pack_examples(data.load_pack(root, name)) for name in data.PACKS if name not in leave_out}
    by_source |= {f"pairs-{name}": data.pair_examples(root, name) for name in ("zh", "en", "xling")}
    return by_source


class Tokens:
    """Token ids of texts, remembered, and the frequency of each id among the passages that were read."""

    def __init__(self, tokenizer: BertTokenizerFast) -> None:
        self._tokenizer = tokenizer.backend_tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._ids: dict[str, list[int]] = {}
        self._documents: Counter[int] = Counter()

    def __call__(self, text: str) -> list[int]:
        """Ids of the first 3,000 characters, without special tokens."""
        found = self._ids.get(text)
        if found is None:
            found = self._tokenizer.encode(text[:3000], add_special_tokens=False).ids[:520]
            self._ids[text] = found
            self._documents.update(set(found))
        return found

    def rarity(self, token: int) -> float:
        """Inverse document frequency."""
        return math.log((len(self._ids) + 2) / (self._documents[token] + 1))

    def window(self, query: list[int], document: list[int], size: int, draw: random.Random) -> list[int]:
        """The part of a document, `size` tokens long, that shares most rare tokens with the query."""
        if len(document) <= size:
            return document
        wanted = {token: self.rarity(token) for token in query}
        gains = [wanted.get(token, 0.0) for token in document]
        step = max(8, size // 6)
        starts = range(0, len(document) - size + step, step)
        best = max(starts, key=lambda start: (sum(gains[start : start + size]), -start))
        best = max(0, min(len(document) - size, best + draw.randint(-step, step)))
        return document[best : best + size]


class Teacher:
    """A frozen bi-encoder; the vectors of passages are remembered."""

    def __init__(self, folder: Path) -> None:
        self._tokens = Tokens(BertTokenizerFast.from_pretrained(folder))
        vocabulary_size = BertTokenizerFast.from_pretrained(folder)
        self._cls, self._sep = vocabulary_size.cls_token_id, vocabulary_size.sep_token_id
        self._model = BertModel.from_pretrained(folder, attn_implementation="sdpa").to(loop.device()).eval().bfloat16()
        self._vectors: dict[str, torch.Tensor] = {}

    @torch.inference_mode()
    def vectors(self, texts: list[str]) -> torch.Tensor:
        """Unit vectors of the beginnings of texts, shape (texts, hidden)."""
        new = sorted({t for t in texts if t not in self._vectors}, key=lambda t: len(self._tokens(t)))
        for start in range(0, len(new), 16):
            part = new[start : start + 16]
            rows = [[self._cls, *self._tokens(t)[: TEACHER_TOKENS - 2], self._sep] for t in part]
            ids, mask = padded(rows)
            hidden = self._model(ids, mask).last_hidden_state.float()
            weights = mask.unsqueeze(-1).float()
            mean = torch.nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=-1)
            self._vectors |= {text: vector.half() for text, vector in zip(part, mean, strict=True)}
        return torch.stack([self._vectors[t] for t in texts]).float()


def padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of rows, filled up with zeros."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids.to(loop.device()), mask.to(loop.device())


def language(text: str) -> str:
    """`zh` when there is a Han character, else `en`."""
    return "zh" if any("一" <= char <= "鿿" for char in text) else "en"


def encode(query: list[int], document: list[int], length: int) -> tuple[list[int], int]:
    """Ids of a pair as the product puts them together, and where the document begins."""
    query = query[: min(length * 3 // 4, length - 3)]
    first = [CLS, *query, SEP]
    return [*first, *document[: length - len(first) - 1], SEP], len(first)


def score_rows(
    model: Ranker,
    rows: list[tuple[list[int], int]],
    unmatched: list[bool] | None = None,
    part_tokens: int = PART_TOKENS,
) -> torch.Tensor:
    """Logits of encoded pairs, computed in parts of nearly equal length."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    parts: list[list[int]] = [[]]
    for i in order:
        if parts[-1] and len(rows[i][0]) * (len(parts[-1]) + 1) > part_tokens:
            parts.append([])
        parts[-1].append(i)
    logits = []
    for part in parts:
        ids, mask = padded([rows[i][0] for i in part])
        starts = torch.tensor([rows[i][1] for i in part])[:, None]
        segments = ((torch.arange(ids.shape[1])[None] >= starts) & (mask == 1)).long()
        levels = match_levels(ids, segments)
        if unmatched is not None:
            levels *= torch.tensor([0 if unmatched[i] else 1 for i in part])[:, None]
        logits.append(model(ids, mask, segments, levels))
    return torch.cat(logits)[torch.tensor(order).argsort()]


def _group(draw: random.Random, source: list[data.Example]) -> tuple[str, list[str], list[float]]:
    """A query, its passages (the positive first) and what BM25 gave them."""
    example = draw.choice(source)
    which = draw.randrange(len(example.positives))
    count = GROUP - 1 - (draw.random() < 0.3)
    chosen = draw.sample(range(len(example.negatives)), min(count, len(example.negatives)))
    texts = [example.positives[which], *(example.negatives[i] for i in chosen)]
    scores = [example.positive_scores[which], *(example.negative_scores[i] for i in chosen)]
    while len(texts) < GROUP:
        other = draw.choice(draw.choice(source).positives)
        if other not in texts:
            texts.append(other)
            scores.append(-2.5)
    return example.query, texts, scores


def train(
    root: Path,
    start: Path,
    out: Path,
    work: Path,
    minutes: float,
    leave_out: frozenset[str] = frozenset(),
    *,
    chinese_teacher: Path,
    name: str = "train",
    rate: float = 1.0,
    long_from: float = LONG_FROM,
) -> None:
    """Train a ranker from `start` for `minutes` and write it to `out`."""
    tokenizer = BertTokenizerFast.from_pretrained(start)
    master = load(start)
    model = load(start).bfloat16()  # computes; the float32 master learns
    tokens = Tokens(tokenizer)
    teachers = {"en": Teacher(vocabulary.teacher_folder()), "zh": Teacher(chinese_teacher)}
    by_source = examples(root, leave_out)
    names = [source for source in WEIGHTS if by_source.get(source)]
    weights = [WEIGHTS[source] for source in names]
    to_traditional = data.script_map(data.dictionary(root))
    sentences = data.parallel(root)
    log.info("%s: %s", name, {source: len(by_source[source]) for source in names})

    def loss_of(step: int, fraction: float) -> torch.Tensor:
        draw = random.Random(f"{name}{step}")
        length = LONG if fraction > long_from and draw.random() < 0.6 else SHORT
        rows: list[tuple[list[int], int]] = []
        targets, unmatched = [], []
        spent = 0
        while spent < STEP_TOKENS:
            translated = draw.random() < TRANSLATIONS
            if translated:
                query, texts = translation_group(draw, sentences, GROUP)
                scores = [0.0] * GROUP
            else:
                (source,) = draw.choices(names, weights)
                query, texts, scores = _group(draw, by_source[source])
            target = torch.zeros(GROUP)
            target[0] = 1.0
            spoken = language(query)
            if not translated and draw.random() < TAUGHT[spoken]:
                crossed = source == "pairs-xling"
                teacher = teachers["zh" if crossed else spoken]
                vectors = teacher.vectors([query, *texts])
                soft = vectors[1:] @ vectors[0] / TEACHER_TEMPERATURE
                if not crossed:
                    soft = soft + LEXICAL[spoken] * torch.tensor(scores)
                target = (1 - 0.5 * SOFT) * target + 0.5 * SOFT * soft.softmax(-1)
            if draw.random() < TRADITIONAL:
                query, texts = query.translate(to_traditional), [t.translate(to_traditional) for t in texts]
            ids = tokens(query)
            whole = length == LONG or draw.random() < 0.15
            for text in texts:
                document = tokens(text)
                room = length - 3 - min(len(ids), length // 2)
                if not whole:
                    document = tokens.window(ids, document, room, draw)
                rows.append(encode(ids[: length // 2], document, length))
                spent += len(rows[-1][0])
            targets.append(target)
            unmatched += [draw.random() < MATCH_DROPOUT] * GROUP
        logits = score_rows(model, rows, unmatched).view(-1, GROUP)
        return kl_div(logits.log_softmax(-1), torch.stack(targets), reduction="batchmean")

    # Words stay as they were distilled: rare ones keep their meaning, and half of the parameters cost no step.
    model.bert.embeddings.word_embeddings.requires_grad_(False)
    groups: dict[str, list[torch.nn.Parameter]] = {"fast": [], "head": [], "body": []}
    for parameter_name, parameter in master.named_parameters():
        if "word_embeddings" in parameter_name:
            parameter.requires_grad_(False)
        elif "token_type" in parameter_name:
            groups["fast"].append(parameter)
        elif parameter_name.startswith(("classifier", "bert.pooler", "cosine")):
            groups["head"].append(parameter)
        else:
            groups["body"].append(parameter)
    rates = {"fast": 2e-3, "head": 1e-3, "body": 1.5e-4}
    loop.train(
        name,
        master,
        [{"params": members, "lr": rate * rates[kind]} for kind, members in groups.items()],
        loss_of,
        minutes=minutes,
        work=work,
        computing=model,
    )
    master.save(out, tokenizer)


def main() -> None:
    """One phase, for experiments."""
    parser = argparse.ArgumentParser(description="Train one phase of the cross-encoder.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True, help="folder of the Chinese bi-encoder")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--name", default="train")
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--long-from", type=float, default=LONG_FROM)
    parser.add_argument("--leave-out", nargs="*", default=[])
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(2)
    torch.manual_seed(0)
    arguments.work.mkdir(parents=True, exist_ok=True)
    train(
        arguments.data,
        arguments.start,
        arguments.out,
        arguments.work,
        arguments.minutes,
        frozenset(arguments.leave_out),
        chinese_teacher=arguments.teacher,
        name=arguments.name,
        rate=arguments.rate,
        long_from=arguments.long_from,
    )


if __name__ == "__main__":
    main()
