"""Fixed inputs: queries and documents in Chinese and English, ordinary and odd ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).with_name("fixtures")
TINY = FIXTURES / "tiny"
"""A compiled model of a few kilobytes with random weights."""

LONG = (
    "The second chapter lists what each part of the machine is called and where spare parts are sold. "
    "第二章介绍机器各部分的名称以及备件的购买渠道。 "
) * 12 + "Giant pandas eat bamboo almost all day. 大熊猫几乎整天都在吃竹子。"

DOCUMENTS = [
    "The warranty covers manufacturing defects for 24 months from the date of purchase.",
    "手机自购买之日起享受一年有限保修服务,电池不在保修范围内。",
    "",
    "大熊猫主要以竹子为食,一天要吃十几公斤。",
    "The giant panda eats bamboo for up to fourteen hours a day.",
    "大熊猫主要以竹子为食,一天要吃十几公斤。",
    "🐼🎋👍 mail me at panda@example.com",
    "臺灣的手機保固期間為十二個月,自購買日起算。",
    LONG,
    "Bank shares fell 3% on Tuesday after the central bank raised rates.",
]
QUERIES = [
    "How long is the warranty of the phone?",
    "大熊猫吃什么?",
    "手機的保固期多久?",
    "What do pandas eat? 🐼",
]
ENGLISH, CHINESE, TRADITIONAL, EMOJI = QUERIES
PAIRS = [
    (QUERIES[0], DOCUMENTS[0]),
    (QUERIES[1], DOCUMENTS[3]),
    (QUERIES[0], DOCUMENTS[9]),
    (QUERIES[2], DOCUMENTS[7]),
    (QUERIES[1], DOCUMENTS[2]),
    (QUERIES[3], DOCUMENTS[8]),
]
FIRST_STAGE = [0.4, 7.5, 0.1, 3.0, 2.5, 3.0, 0.2, 9.0, 1.0, 5.0]
"""Scores of a first stage, one for each of `DOCUMENTS`."""

NAMED: list[dict[str, Any]] = [
    {
        "text": text,
        "id": f"doc-{number}",
        "score": score,
        "metadata": {
            "source": "manual/a.md" if number % 2 else "news/b.md",
            "status": "draft" if number == 0 else "ok",
        },
    }
    for number, (text, score) in enumerate(zip(DOCUMENTS, FIRST_STAGE, strict=True))
]
"""The same with ids, scores and metadata, as requests carry them."""

RULES = """\
max_shift: 2.0
rules:
  - name: warranty terms
    when: {terms: [warranty, 保修, 保固]}
    documents: {terms: {保修: 1.0, 保固: 0.5}}
    boost: 0.8
  - name: drafts sink
    documents: {metadata: {status: draft}}
    bury: 1.5
  - name: panda first
    when: {terms: [pandas]}
    documents: {terms: [bamboo]}
    pin: 1
  - name: no banks
    documents: {terms: [bank]}
    filter: true
  - name: phones
    synonyms: [手机, 手機, phone]
"""
BEIR_QUERIES = {
    "q1": QUERIES[0],
    "q2": QUERIES[1],
    "q3": QUERIES[2],
    "q4": QUERIES[3],
    "q5": "Why did bank shares fall?",
}
BEIR_GRADES = {
    "q1": {"d0": 2, "d1": 1},
    "q2": {"d3": 2, "d4": 1, "d8": 1},
    "q3": {"d7": 2, "d1": 1},
    "q4": {"d4": 2, "d3": 1},
    "q5": {"d9": 1},
}
BEIR_DOCUMENTS = {f"d{number}": text or "(blank)" for number, text in enumerate(DOCUMENTS) if number != 5}
PASSAGES = {
    "warranty.md": "# Warranty\n\nThe warranty covers defects for 24 months from the date of purchase.\n\n"
    "# Battery\n\nBatteries are covered for six months.\n",
    "panda.txt": "大熊猫主要以竹子为食,一天要吃十几公斤。\n\n"
    "The giant panda eats bamboo for up to fourteen hours a day.\n",
    "bank.html": "<html><body><h1>Markets</h1><p>Bank shares fell 3% on Tuesday.</p></body></html>",
}
"""Files for an index."""

QUESTIONS = ["大熊猫吃什么?", "How long does the warranty last?", "zebra quasar"]
