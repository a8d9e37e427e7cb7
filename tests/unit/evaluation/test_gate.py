from __future__ import annotations

import hashlib
import hmac
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.dataset import Dataset
from rerankd.evaluation.evaluation import Evaluation, evaluate
from rerankd.evaluation.gate import GateModel, decide
from rerankd.evaluation.gate_record import GateDecision, GateLimits, read_decision, write_decision
from rerankd.evaluation.run import Latency, RankingRun

KEY = "a key of many characters"
OLD, NEW = GateModel("champion", "v1", 1000), GateModel("candidate", "v2", 1000)


def dataset(name: str, queries: int = 80) -> Dataset:
    draw = random.Random(name)
    names = tuple(f"d{i}" for i in range(10))
    qrels = {f"q{i}": {draw.choice(names): 1} for i in range(queries)}
    return Dataset(name, dict.fromkeys(qrels, ""), {}, qrels, dict.fromkeys(qrels, names), "made")


def system(who: str, data: Dataset, skill: float, milliseconds: float = 10.0, seed: int = 1) -> RankingRun:
    """Return a model that sees the right document through noise; the same noise for the same seed."""
    draw = random.Random(seed)
    logits: dict[str, dict[str, float]] = {}
    for query, candidates in data.candidates.items():
        logits[query] = {d: draw.gauss(-4, 1) + skill * data.qrels[query].get(d, 0) for d in candidates}
    rankings = {query: tuple(sorted(scores, key=lambda d: -scores[d])) for query, scores in logits.items()}
    return RankingRun(who, rankings, logits, Latency((milliseconds,) * len(rankings), 800, 0))


def measured(old: float, new: float, *names: str, slower: float = 1.0) -> Evaluation:
    work = []
    for name in names:
        data = dataset(name)
        work.append((data, [system("champion", data, old), system("candidate", data, new, 10.0 * slower)]))
    return evaluate(work, ["nDCG@10"], "champion")


def judged(old: float, new: float, **named: Any) -> GateDecision:
    return decide(
        measured(old, new, "domain", "general", "cases"), NEW, OLD, ["domain"], ["general"], ["cases"], **named
    )


def failed(decision: GateDecision) -> set[str]:
    return {check.name for check in decision.checks if not check.passed}


def test_a_better_model_passes() -> None:
    decision = judged(2.0, 3.0)
    assert decision.passed
    assert [check.name for check in decision.checks] == [
        "gain on domain",
        "no loss on general",
        "closed cases",
        "calibration",
        "latency",
        "size",
    ]
    assert decision.candidate == "candidate@v2"
    match = re.fullmatch(
        r"nDCG@10 (\S+) against (\S+): (\S+), lower bound (\S+); must be above 0\.", decision.checks[0].message
    )
    assert match is not None
    new, old, gain, least = map(float, match.groups())
    assert new - old == pytest.approx(gain, abs=2e-4)
    assert least == pytest.approx(decision.checks[0].measured, abs=1e-4)


def test_the_same_model_and_a_worse_one_are_refused() -> None:
    assert "gain on domain" in failed(judged(2.0, 2.0))
    assert {"gain on domain", "no loss on general", "closed cases"} <= failed(judged(3.0, 1.5))


def test_a_gain_that_costs_elsewhere_is_refused() -> None:
    better = measured(2.0, 3.0, "domain")
    worse = measured(3.0, 2.0, "general")
    both = Evaluation(better.measures, "champion", better.results + worse.results)
    assert failed(decide(both, NEW, OLD, ["domain"], ["general"])) == {"no loss on general"}


def test_closed_cases_stay_closed() -> None:
    data = dataset("cases", 12)
    old = system("champion", data, 8.0)
    query = next(iter(data.queries))
    broken = dict(old.rankings) | {query: tuple(reversed(old.rankings[query]))}
    evaluation = evaluate([(data, [old, replace(old, name="candidate", rankings=broken)])], ["nDCG@10"], "champion")
    better = measured(2.0, 3.0, "domain")
    both = Evaluation(better.measures, "champion", better.results + evaluation.results)
    decision = decide(both, NEW, OLD, ["domain"], cases=["cases"])
    assert failed(decision) == {"closed cases"}
    assert query in next(check.message for check in decision.checks if check.name == "closed cases")
    assert decide(both, NEW, OLD, ["domain"], cases=["cases"], limits=GateLimits(regressions=1)).passed


def test_what_it_costs_counts() -> None:
    slow = measured(2.0, 3.0, "domain", slower=1.5)
    assert failed(decide(slow, NEW, OLD, ["domain"])) == {"latency"}
    large = replace(NEW, size=2000)
    assert failed(decide(measured(2.0, 3.0, "domain"), large, OLD, ["domain"])) == {"size"}


def test_scores_that_no_longer_mean_what_they_did_are_refused() -> None:
    data = dataset("domain")
    old, new = system("champion", data, 2.0), system("candidate", data, 3.0)
    assert new.logits is not None
    loud = {query: {d: 3 * value + 12 for d, value in scores.items()} for query, scores in new.logits.items()}
    evaluation = evaluate([(data, [old, replace(new, logits=loud)])], ["nDCG@10"], "champion")
    assert failed(decide(evaluation, NEW, OLD, ["domain"])) == {"calibration"}


def test_a_record_is_signed_and_changes_break_it(tmp_path: Path) -> None:
    decision = judged(2.0, 3.0).signed(KEY)
    path = tmp_path / "decision.json"
    write_decision(path, decision)
    again = read_decision(path)
    assert again == decision
    assert again.valid(KEY)
    assert not again.valid("another key of many characters")
    assert not replace(again, passed=False).valid(KEY)
    assert not replace(again, data={**again.data, "domain": "0"}).valid(KEY)
    assert not replace(again, signature="").valid(KEY)
    path.write_text(path.read_text().replace('"candidate@v2"', '"candidate@v3"'))
    assert not read_decision(path).valid(KEY)


def test_what_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for content in ("", "{}", "[]", '{"checks": 3}'):
        path.write_text(content)
        with pytest.raises(InvalidInputFileError):
            read_decision(path)
    with pytest.raises(InvalidRequestError, match="characters"):
        judged(2.0, 3.0).signed("short")
    with pytest.raises(InvalidRequestError, match="--domain"):
        decide(measured(2.0, 3.0, "domain"), NEW, OLD, [])


def test_a_record_is_read_back_as_it_was_signed(tmp_path: Path) -> None:
    """The signature covers the fields as the file has them: whole numbers stay whole, unknown keys are refused."""
    record: dict[str, Any] = {
        "candidate": "candidate@a",
        "champion": "champion@b",
        "passed": True,
        "checks": [{"name": "closed cases", "passed": True, "measured": 3, "limit": 4, "says": "3 of 9."}],
        "limits": {"gain": 0, "loss": 0.005, "regressions": 4, "calibration": 0.02, "latency": 50.0, "size": 2},
        "data": {"domain": "0" * 64},
        "time": 1_700_000_000,
    }
    content = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    record["signature"] = hmac.new(KEY.encode(), content, hashlib.sha256).hexdigest()
    path = tmp_path / "gate.json"
    path.write_bytes(orjson.dumps(record))
    decision = read_decision(path)
    assert decision.valid(KEY)
    write_decision(path, decision)
    assert orjson.loads(path.read_bytes()) == record
    for broken in ({**record, "more": 1}, {**record, "passed": "true"}, {**record, "checks": [1]}, [record]):
        path.write_bytes(orjson.dumps(broken))
        with pytest.raises(InvalidInputFileError):
            read_decision(path)


def test_a_signature_of_an_older_release_without_a_digest_stays_valid(tmp_path: Path) -> None:
    decision = judged(2.0, 3.0)
    record = orjson.loads(decision.content())
    assert "digest" not in record  # as older releases signed it
    assert "digest" in orjson.loads(replace(decision, digest="0" * 64).content())
    key = "a key of more than sixteen characters"
    record["signature"] = hmac.new(key.encode(), decision.content(), hashlib.sha256).hexdigest()
    (tmp_path / "gate.json").write_bytes(orjson.dumps(record))
    loaded = read_decision(tmp_path / "gate.json")
    assert loaded.valid(key)
    assert not replace(loaded, digest="0" * 64).valid(key)
