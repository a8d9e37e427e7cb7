"""Prompts for the language model: judging whether a document answers a query, and writing questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

DOCUMENT = "\x00document\x00"

Turns = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question to the language model about a query and a document.

    Attributes:
        name: name in caches and tables.
        system: system message.
        user: user message with `{query}` and `{document}`, the query first.
        answers: first words of the answers that are compared.
        values: value of each answer; None compares the first answer with the second by their logits.
        examples: (query, document, answer) triples shown before.
    """

    name: str
    system: str
    user: str
    answers: tuple[str, ...]
    values: tuple[float, ...] | None = None
    examples: tuple[tuple[str, str, str], ...] = ()

    def split(self, chat: Callable[[Turns], str], query: str) -> tuple[str, str]:
        """Return the text before and after the document."""
        turns = [("system", self.system)]
        for asked, document, answer in self.examples:
            turns += [("user", self.user.format(query=asked, document=document)), ("assistant", answer)]
        turns.append(("user", self.user.format(query=query, document=DOCUMENT)))
        before, _, after = chat(turns).partition(DOCUMENT)
        return before, after

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Return a score from the logits of the answers, shape (documents, answers)."""
        if self.values is None:
            return logits[:, 0] - logits[:, 1]
        return logits.softmax(-1) @ torch.tensor(self.values, device=logits.device)


_SYSTEM = {"en": "You judge search results.", "zh": "你负责评判搜索结果。"}
_EXAMPLES = {
    "en": (
        (
            "how long does paint need to dry",
            "Two coats are usual. Wait about four hours between them, and a day before you hang anything.",
            2,
        ),
        (
            "how long does paint need to dry",
            "Paint comes in many colours. How long people like a colour differs; dry humour helps when you choose.",
            0,
        ),
        ("capital of Portugal", "Lisbon has governed the country since the thirteenth century.", 2),
    ),
    "zh": (
        ("油漆多久能干", "一般刷两遍,中间隔四小时左右,一天以后才能挂东西。", 2),
        ("油漆多久能干", "油漆有很多颜色。人们喜欢一种颜色能有多久,各不相同;选的时候别太干巴。", 0),
        ("葡萄牙的首都", "从十三世纪起,里斯本就是该国的政府所在地。", 2),
    ),
}
_ANSWERS = {"en": ("Yes", "No"), "zh": ("是", "否")}
_WORDING = {
    "answers": {
        "en": "Query: {query}\n\nDocument: {document}\n\nDoes the document answer the query? Reply Yes or No.",
        "zh": "问题:{query}\n\n文档:{document}\n\n这篇文档回答了问题吗?只回答“是”或“否”。",
    },
    "satisfied": {
        "en": "A user searched for: {query}\n\nResult: {document}\n\n"
        "Would the user find what they wanted in this result? Reply Yes or No.",
        "zh": "用户搜索:{query}\n\n搜索结果:{document}\n\n用户能在这条结果里找到想要的内容吗?只回答“是”或“否”。",
    },
    "subject": {
        "en": "Query: {query}\n\nDocument: {document}\n\nWords can be shared by texts about different things. "
        "Is the document about what the query means, and does it give the information? Reply Yes or No.",
        "zh": "问题:{query}\n\n文档:{document}\n\n谈论不同事物的文字也可能用词相同。"
        "文档谈的是问题所指的事物,并且给出了所需的信息吗?只回答“是”或“否”。",
    },
}
_GRADED = {
    "en": "Query: {query}\n\nDocument: {document}\n\nHow well does the document answer the query? 0: about something "
    "else, 1: related, 2: answers in part, 3: answers. Reply with one digit.",
    "zh": "问题:{query}\n\n文档:{document}\n\n文档在多大程度上回答了问题?0:说的是别的事,1:相关,"
    "2:回答了一部分,3:完全回答。"
    "只回复一个数字。",
}


def _prompts() -> dict[str, dict[str, Prompt]]:
    made: dict[str, dict[str, Prompt]] = {"en": {}, "zh": {}}
    for language, prompts in made.items():
        answers = _ANSWERS[language]
        for wording, texts in _WORDING.items():
            name = f"{wording}-{language}"
            prompts[wording] = Prompt(name, _SYSTEM[language], texts[language], answers)
        shown = tuple((q, d, answers[0] if grade else answers[1]) for q, d, grade in _EXAMPLES[language])
        prompts["answers-3"] = Prompt(
            f"answers-3-{language}", _SYSTEM[language], _WORDING["answers"][language], answers, examples=shown
        )
        graded = tuple((q, d, str(grade + (grade > 0))) for q, d, grade in _EXAMPLES[language])
        digits, values = ("0", "1", "2", "3"), (0.0, 1.0, 2.0, 3.0)
        prompts["graded"] = Prompt(f"graded-{language}", _SYSTEM[language], _GRADED[language], digits, values)
        prompts["graded-3"] = Prompt(
            f"graded-3-{language}", _SYSTEM[language], _GRADED[language], digits, values, graded
        )
    return made


PROMPTS = _prompts()
"""Prompts for judging, by language and name."""


def language(text: str) -> str:
    """Return "zh" for a text with Han characters, else "en"."""
    return "zh" if any("一" <= char <= "鿿" for char in text) else "en"
