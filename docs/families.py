"""Tables of docs/models.md, made from `FAMILIES`: families, and which model for which need.

A need whose model is an example of no family is left out, so the page never names a model that does not load.
"""

from __future__ import annotations

from dataclasses import dataclass

from rerankd.models.families import FAMILIES
from rerankd.models.families.family import Family

LANGUAGES = ("en", "zh")
"""English and Chinese."""


@dataclass(frozen=True, slots=True)
class Need:
    """A model for a need.

    Attributes:
        model: reference of the model.
        need: the need, in English and in Chinese.
        languages: languages of the texts, likewise.
        length: longest pair in tokens.
        licence: licence of the weights.
        machine: where it runs well, in English and in Chinese.
        command: command to start with.
    """

    model: str
    need: tuple[str, str]
    languages: tuple[str, str]
    length: str
    licence: str
    machine: tuple[str, str]
    command: str


_ANY = ("CPU, no torch", "CPU，不需要 torch")
_CPU, _BOTH, _GPU = ("CPU", "CPU"), ("CPU in int8, or GPU", "CPU（int8）或 GPU"), ("GPU", "GPU")
_ENGLISH, _MANY = ("English", "英文"), ("many, with Chinese", "多语言，含中文")
_BOTH_LANGUAGES = ("Chinese and English", "中文和英文")

NEEDS = (
    Need(
        "mini",
        ("the smallest machine, or no network", "最小的机器，或没有网络"),
        _BOTH_LANGUAGES,
        "512",
        "Apache-2.0",
        _ANY,
        "rerankd serve",
    ),
    Need(
        "BAAI/bge-reranker-v2-m3",
        ("production, all languages", "生产环境，所有语言"),
        ("100, with Chinese", "一百种语言，含中文"),
        "8192",
        "Apache-2.0",
        _BOTH,
        "rerankd serve --model BAAI/bge-reranker-v2-m3",
    ),
    Need(
        "BAAI/bge-reranker-base",
        ("Chinese and English at half the size", "中文和英文，体积减半"),
        _BOTH_LANGUAGES,
        "512",
        "MIT",
        _CPU,
        "rerankd serve --model BAAI/bge-reranker-base",
    ),
    Need(
        "Alibaba-NLP/gte-multilingual-reranker-base",
        ("long texts in many languages", "多语言长文本"),
        _MANY,
        "8192",
        "Apache-2.0",
        _BOTH,
        "rerankd serve --model Alibaba-NLP/gte-multilingual-reranker-base",
    ),
    Need(
        "cross-encoder/ms-marco-MiniLM-L6-v2",
        ("English, short texts, little memory", "英文短文本，内存少"),
        _ENGLISH,
        "512",
        "Apache-2.0",
        _CPU,
        "rerankd serve --model cross-encoder/ms-marco-MiniLM-L6-v2",
    ),
    Need(
        "cross-encoder/ettin-reranker-32m-v1",
        ("English, long texts, on a CPU", "英文长文本，在 CPU 上"),
        _ENGLISH,
        "8192",
        "Apache-2.0",
        _CPU,
        "rerankd serve --model cross-encoder/ettin-reranker-32m-v1",
    ),
    Need(
        "Alibaba-NLP/gte-reranker-modernbert-base",
        ("English, long texts", "英文长文本"),
        _ENGLISH,
        "8192",
        "Apache-2.0",
        _BOTH,
        "rerankd serve --model Alibaba-NLP/gte-reranker-modernbert-base",
    ),
    Need(
        "mixedbread-ai/mxbai-rerank-xsmall-v1",
        ("English, 71 M parameters", "英文，7100 万参数"),
        _ENGLISH,
        "512",
        "Apache-2.0",
        _CPU,
        "rerankd serve --model mixedbread-ai/mxbai-rerank-xsmall-v1",
    ),
    Need(
        "Qwen/Qwen3-Reranker-0.6B",
        ("an instruction says what counts as relevant", "用指令说明什么算相关"),
        _MANY,
        "32k",
        "Apache-2.0",
        _GPU,
        "rerankd serve --model Qwen/Qwen3-Reranker-0.6B --device cuda",
    ),
    Need(
        "mixedbread-ai/mxbai-rerank-base-v2",
        ("a language model under Apache-2.0", "Apache-2.0 许可的语言模型"),
        _MANY,
        "32k",
        "Apache-2.0",
        _GPU,
        "rerankd serve --model mixedbread-ai/mxbai-rerank-base-v2 --device cuda",
    ),
    Need(
        "jinaai/jina-reranker-v2-base-multilingual",
        ("many languages, not for business", "多语言，不得商用"),
        _MANY,
        "1024",
        "CC-BY-NC-4.0",
        _BOTH,
        "rerankd serve --model jinaai/jina-reranker-v2-base-multilingual",
    ),
)

_NEED_HEAD = {
    "en": "| need | model | languages | tokens | licence | machine | command |",
    "zh": "| 需要 | 模型 | 语言 | token 数 | 许可 | 机器 | 命令 |",
}
_FAMILY_HEAD = {
    "en": "| family | class | examples | languages | tokens | licence | instruction | torch | compiled | trained |",
    "zh": "| 模型家族 | 类 | 例子 | 语言 | token 数 | 许可 | 指令 | torch | 编译 | 训练 |",
}
_YES = {"en": ("no", "yes"), "zh": ("否", "是")}


def needs_table(language: str) -> str:
    """Return the table of needs; `language` is `en` or `zh`."""
    known = {"mini", *(model for family in FAMILIES.values() for model in family.examples)}
    column = LANGUAGES.index(language)
    rows: list[tuple[str, ...]] = [
        (
            need.need[column],
            f"`{need.model}`",
            need.languages[column],
            need.length,
            need.licence,
            need.machine[column],
            f"`{need.command}`",
        )
        for need in NEEDS
        if need.model in known
    ]
    return _table(_NEED_HEAD[language], rows)


def families_table(language: str) -> str:
    """Return the table of families; `language` is `en` or `zh`."""
    return _table(_FAMILY_HEAD[language], [_row(family, language) for family in FAMILIES.values()])


_CHINESE = {
    "100 languages (v2-m3, jina); Chinese and English (base, large, bce)": (
        "一百种语言（v2-m3、jina）；中文和英文（base、large、bce）"
    ),
    "70 languages": "七十种语言",
    "over 100 languages": "一百多种语言",
    "English": "英文",
}
"""Languages of families in Chinese; those that are not here stay English."""


def _row(family: Family, language: str) -> tuple[str, ...]:
    flags = (family.instruction, True, family.compiled, family.trained)
    return (
        family.name,
        ", ".join(f"`{name}`" for name in family.classes),
        ", ".join(family.examples),
        _CHINESE.get(family.languages, family.languages) if language == "zh" else family.languages,
        family.length,
        family.licence,
        *(_YES[language][flag] for flag in flags),
    )


def _table(head: str, rows: list[tuple[str, ...]]) -> str:
    line = "|" + " --- |" * (head.count("|") - 1)
    return "\n".join([head, line, *(f"| {' | '.join(row)} |" for row in rows)])
