"""Questions, answers in other words, and passages that repeat the question's words, written by the language model.

For a word and a subject, the model writes a question, an answer that avoids the question's words, and a passage that
repeats them and speaks of something else. Which passages answer which question is decided later, by the model as judge
(`judge.py`), never by the line that a passage was written in. `python -m recipes.mini.contrast --teachers DIR --out
FILE` writes until it is ended or has enough, and goes on from what the file holds.
"""

from __future__ import annotations

import argparse
import logging
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .gguf_model import language_model_folder
from .lines import append_lines, read_lines
from .prompts import Turns
from .teachers import LanguageModel

log = logging.getLogger("recipe")

BATCH = 64
TOKENS = {"en": 110, "zh": 120}

SUBJECTS = {
    "en": "computers and phones;software and programming;cars and bicycles;trains, flights and travel;cooking;food and "
    "drink;health and illness;medicines;the human body;children and parents;school and university;work and offices;"
    "law and contracts;taxes;banks and money;insurance;companies and trade;prices and shopping;houses and repairs;"
    "furniture and tools;gardens and plants;farm animals;pets;wild animals and birds;insects;weather and climate;"
    "rivers, seas and mountains;energy and electricity;physics;chemistry;mathematics;space;history;geography;"
    "government and elections;war and peace;religion;music;films and television;books and writing;painting and "
    "museums;games and toys;football and other sports;fitness;clothes and shoes;hair and skin;weddings and families;"
    "language and grammar;newspapers and the internet;post and parcels;police and crime;machines and factories;"
    "building and architecture;statistics and measurement",
    "zh": "电脑和手机;软件和编程;汽车和自行车;火车、飞机和旅行;做饭;食品和饮料;健康和疾病;药品;人体;"
    "孩子和父母;中小学和大学;"
    "工作和办公室;法律和合同;税务;银行和钱;保险;公司和贸易;价格和购物;房子和装修;家具和工具;花园和植物;养殖;宠物;野生动物和鸟;昆虫;"
    "天气和气候;江河湖海和山;能源和电;物理;化学;数学;太空;历史;地理;政府和选举;战争与和平;宗教;音乐;电影和电视;书和写作;"
    "绘画和博物馆;游戏和玩具;足球和其他运动;健身;衣服和鞋;头发和皮肤;婚礼和家庭;语言和语法;报纸和互联网;邮政和快递;警察和犯罪;"
    "机器和工厂;建筑;统计和测量",
}
_SYSTEM = {
    "en": "You write test cases for a search engine. Follow the form exactly.",
    "zh": "你为搜索引擎编写测试用例。严格按照格式书写。",
}
_REQUEST = {
    "en": "Word: {word}. Subject: {subject}.",
    "zh": "词:{word}。主题:{subject}。",
}
_LABELS = {
    "en": ("Question", "Answer", "Other"),
    "zh": ("问题", "答案", "无关"),
}
_INSTRUCTION = {
    "en": "Write a question about the subject that a person would type, with the word in it if possible. Then a "
    "passage that answers it in other words than the question's. Then a passage that repeats the question's words "
    "but is about something else and does not answer it.",
    "zh": "请写一个人们会搜索的、与主题有关的问题,尽量用到这个词。再写一段用其他说法回答它的文字。"
    "然后写一段重复问题中的词、但说的是别的事、没有回答问题的文字。",
}
_EXAMPLES: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "en": (
        (
            "bank",
            "rivers, seas and mountains",
            (
                "why do river banks collapse after rain",
                "Water soaks into the soil at the edge of the stream, makes it heavy and loose, and the current washes "
                "out its foot until it slides in.",
                "After days of rain the bank on River Road closed early, and its roof nearly collapsed under the "
                "cheering staff.",
            ),
        ),
        (
            "charge",
            "computers and phones",
            (
                "how long to charge a tablet the first time",
                "Plug it in until the battery symbol is full, three hours or so; older advice about leaving it "
                "overnight no longer holds.",
                "The pharmacist will charge you for a long time if you lose the first tablet of a prescription.",
            ),
        ),
        (
            "settle",
            "insurance",
            (
                "time limit to settle a claim",
                "Once all papers are in, the insurer has thirty days to pay or to say in writing why it will not.",
                "Settlers had limited time to stake a claim before winter in the valley.",
            ),
        ),
    ),
    "zh": (
        (
            "打包",
            "软件和编程",
            (
                "程序打包以后文件太大怎么办",
                "只带上真正用到的库,去掉调试信息,再用压缩工具处理一遍,体积往往能减掉一半以上。",
                "饭店的打包盒太大,服务员不知道怎么办,只好按程序请示经理,文件里也没有规定。",
            ),
        ),
        (
            "苗",
            "花园和植物",
            (
                "幼苗为什么长得又细又高",
                "光线不够时,植株会拼命向上伸长去找光,茎就变得纤弱;搬到窗边,少浇水,几天就能壮起来。",
                "火苗为什么又细又高?厨师说灶眼长期没有清理。",
            ),
        ),
        (
            "起诉",
            "法律和合同",
            (
                "房东不退押金可以起诉吗",
                "先保留租约和转账记录,协商不成,可以到租住地的基层法院立案,金额小的一般很快就能判下来。",
                "房东起诉了装修公司,押金的事没有提,他说退一步海阔天空。",
            ),
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Written:
    """What the language model wrote for a word and a subject."""

    language: str
    word: str
    subject: str
    question: str
    answer: str
    other: str


def words(language: str) -> list[str]:
    """Return the words that questions are written about: frequent ones, without the most frequent."""
    from wordfreq import top_n_list

    if language == "en":
        return [w for w in top_n_list("en", 9000)[400:] if re.fullmatch(r"[a-z]{4,12}", w)]
    return [w for w in top_n_list("zh", 14000)[300:] if re.fullmatch(r"[一-鿿]{2,4}", w)]


def request(language: str, word: str, subject: str) -> Turns:
    """Return the chat turns that ask for a question and its passages."""
    turns = [("system", f"{_SYSTEM[language]} {_INSTRUCTION[language]}")]
    for shown, about, lines in _EXAMPLES[language]:
        turns.append(("user", _REQUEST[language].format(word=shown, subject=about)))
        labelled = zip(_LABELS[language], lines, strict=True)
        turns.append(("assistant", "\n".join(f"{label}: {line}" for label, line in labelled)))
    return [*turns, ("user", _REQUEST[language].format(word=word, subject=subject))]


def parse(language: str, word: str, subject: str, text: str) -> Written | None:
    """Return what was written, or None if a line is missing, too short or repeated."""
    lines: list[str] = []
    labels = _LABELS[language]
    for line in text.splitlines():
        if len(lines) < len(labels) and (match := re.match(rf"\s*{labels[len(lines)]}\s*[::]\s*(.+)", line)):
            lines.append(match[1].strip())
    if len(lines) < len(labels) or any(len(line) < (8 if language == "zh" else 15) for line in lines[1:]):
        return None
    if len(set(lines)) < len(lines) or len(lines[0]) < (4 if language == "zh" else 10):
        return None
    return Written(language, word, subject, lines[0], lines[1], lines[2])


def read(path: Path) -> list[Written]:
    """Return what a file holds."""
    return [Written(**row) for row in read_lines(path)]


def requests(draw: random.Random, lists: dict[str, Sequence[str]], count: int) -> Iterator[tuple[str, str, str]]:
    """Yield (language, word, subject) for one batch; all of one language, so that the shared prompt is short."""
    language = draw.choice(["en", "zh"])
    subjects = SUBJECTS[language].split(";")
    for _ in range(count):
        yield language, draw.choice(lists[language]), draw.choice(subjects)


def main() -> None:
    """Write groups."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teachers", type=Path, required=True, help="folder for the teachers' files")
    parser.add_argument("--model", default="qwen-1.5b", help="language model that writes and judges")
    parser.add_argument("--out", type=Path, required=True, help="JSON Lines file of groups, appended to")
    parser.add_argument("--batches", type=int, default=10_000, help="batches to write")
    parser.add_argument("--seed", type=int, default=0, help="seed; each batch has its own")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    model = LanguageModel(language_model_folder(arguments.model, arguments.teachers))
    lists = {language: words(language) for language in ("en", "zh")}
    progress = arguments.out.with_suffix(".batches")
    begun = int(progress.read_text()) if progress.exists() else 0
    for number in range(begun, arguments.batches):
        started = time.perf_counter()
        asked = list(requests(random.Random(f"contrast {arguments.seed} {number}"), lists, BATCH))
        texts = model.write([request(*one) for one in asked], TOKENS[asked[0][0]], seed=number)
        written = [made for one, text in zip(asked, texts, strict=True) if (made := parse(*one, text))]
        append_lines(arguments.out, map(asdict, written))
        progress.write_text(str(number + 1))
        log.info("batch %d (%s): %d, %.0f s", number, asked[0][0], len(written), time.perf_counter() - started)


if __name__ == "__main__":
    main()
