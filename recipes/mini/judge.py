"""Groups of a question and passages, judged by the language model.

The passages of a written question are its answer, the passage that repeats its words, and those that BM25 finds for the
question among everything that was written: answers to other questions that share its words. The judge's logits are
kept, not its verdicts: larger means that it takes the passage for an answer.
`python -m recipes.mini.judge --teachers DIR --written FILE --out FILE` goes on from what the output file holds.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .contrast import Written, read
from .data import bm25_tokens
from .gguf_model import language_model_folder
from .lines import append_lines, read_lines
from .prompts import PROMPTS
from .teachers import LanguageModel

log = logging.getLogger("recipe")

NEIGHBOURS = 3
PASSAGE_TOKENS = 120


@dataclass(frozen=True, slots=True)
class JudgedGroup:
    """A question and passages with the judge's logits.

    Attributes:
        language: `en` or `zh`.
        question: the question.
        passages: passages; the first was written as the question's answer, the second to repeat its words.
        logits: the judge's logit of yes less that of no, for each passage.
    """

    language: str
    question: str
    passages: tuple[str, ...]
    logits: tuple[float, ...]


def neighbours(written: Sequence[Written], count: int) -> list[list[str]]:
    """Return for each question the passages of other questions that BM25 ranks first."""
    import bm25s  # type: ignore[import-untyped]

    pool = sorted({text for one in written for text in (one.answer, one.other)})
    vocabulary: dict[str, int] = {}

    def ids(text: str) -> list[int]:
        return [vocabulary.setdefault(token, len(vocabulary)) for token in bm25_tokens(text)]

    passages, questions = [ids(text) for text in pool], [ids(one.question) for one in written]
    index = bm25s.BM25()
    index.index((passages, vocabulary), show_progress=False)
    ranked, scores = index.retrieve((questions, vocabulary), k=count + 2, show_progress=False)
    return [
        [
            pool[i]
            for i, score in zip(row, row_scores, strict=True)
            if score > 0 and pool[i] not in (one.answer, one.other)
        ][:count]
        for one, row, row_scores in zip(written, ranked, scores, strict=True)
    ]


def read_groups(path: Path) -> list[JudgedGroup]:
    """Return the groups of a file."""
    return [
        JudgedGroup(row["language"], row["question"], tuple(row["passages"]), tuple(row["logits"]))
        for row in read_lines(path)
    ]


def main() -> None:
    """Judge what was written and is not judged yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teachers", type=Path, required=True, help="folder for the teachers' files")
    parser.add_argument("--model", default="qwen-1.5b", help="language model that judges")
    parser.add_argument("--written", type=Path, required=True, help="output of recipes.mini.contrast")
    parser.add_argument("--out", type=Path, required=True, help="JSON Lines file of groups, appended to")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    model = LanguageModel(language_model_folder(arguments.model, arguments.teachers))
    written = list({one.question: one for one in read(arguments.written)}.values())
    done = {group.question for group in read_groups(arguments.out)}
    begun, judged = time.perf_counter(), 0
    for one, others in zip(written, neighbours(written, NEIGHBOURS), strict=True):
        if one.question in done:
            continue
        passages = (one.answer, one.other, *others)
        logits = model.judge(one.question, passages, PROMPTS[one.language]["answers"], PASSAGE_TOKENS)
        group = JudgedGroup(one.language, one.question, passages, tuple(round(float(value), 3) for value in logits))
        append_lines(arguments.out, [asdict(group)])
        judged += 1
        if judged % 50 == 0:
            log.info("%d of %d; %.2f s each", judged, len(written), (time.perf_counter() - begun) / judged)


if __name__ == "__main__":
    main()
