"""Training sources of the ranker and their sampling weights."""

from __future__ import annotations

from pathlib import Path

from . import data

SIZE = 6  # passages of a query, the answer among them
SENTENCES = 0.08  # share of groups
OBLIQUE = 0.3  # share of labelled groups whose answer is the one of two that BM25 likes less
TRADITIONAL = 0.06  # share of examples that are there in traditional characters too
WEIGHTS = {
    "toyhom-zh": 2.4,
    "medquad-en": 2.0,
    "covidqa-en": 2.0,
    "tatqa-en": 1.4,
    "drcd-zh": 0.9,
    "drcd-zhs": 0.5,
    "cmrc-zh": 0.9,
    "csl-zh": 0.6,
    "pubmedqa-en": 0.6,
    "dureader-zh": 0.4,
    "pairs-zh": 2.2,
    "pairs-en": 2.0,
    "pairs-xling": 1.0,
}


def examples(root: Path, leave_out: frozenset[str] = frozenset()) -> dict[str, list[data.Example]]:
    """Return training examples by source, without the packs named in `leave_out`."""
    by_source = {name: data.pack_examples(data.load_pack(root, name)) for name in data.PACKS if name not in leave_out}
    by_source |= {f"pairs-{name}": data.pair_examples(root, name) for name in ("zh", "en", "xling")}
    return by_source
