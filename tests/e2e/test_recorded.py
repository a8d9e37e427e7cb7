"""Behaviour is as recorded: scores, answers, command lines, traces, bulk files; old databases open."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recorded.record import RECORDINGS, read, recorded
from tests.recorded.rules import Accepted, differences

STEPS = ["tokenization", "queue", "inference", "total"]
DETECTED = ["chosen_low", "top_rejected", "demoted", "low_margin", "outlier"]
GATE = ["candidate", "champion", "passed", "checks", "limits", "data", "time", "signature", "digest"]
NESTED = "metadata beside a score counts for the rules, as in the service"
REASONS = "a ranking is one case with all its reasons"
WARNED = "what was cut or ignored is named"
IGNORED = "a result names what was asked for and not done"
SENTENCES = "an answer says on which passages its sentences stand"
ACCEPTED: tuple[Accepted, ...] = (
    Accepted("library/*/timings/(keys)", "library, service and client give the steps the same names", STEPS),
    Accepted("library/rank*/(keys)", IGNORED, only_more=True),
    Accepted("commands/gate */out/0/(keys)", "a gate's record names the digest of the candidate's files", GATE),
    Accepted("commands/(decision)/(keys)", "a gate's record names the digest of the candidate's files", GATE),
    Accepted("stores/exported cases/queries.jsonl/*", "exported cases say when they were found", added="metadata/time"),
    Accepted("stores/tables/traces/bad_case/rows/3/note", "a rank is not a place"),
    Accepted("stores/exported cases/training/*", "exported cases say when they were found", added="time"),
    Accepted("stores/cases detect */out/0/(keys)", "detectors that found nothing are counted too", DETECTED),
    Accepted("commands/config show --json/(keys)", "there are more settings", only_more=True),
    Accepted("commands/config show --json/precision/value", "the best precision has a name", "auto"),
    Accepted(
        "commands/keys *--json/out/*/(keys)", "a key has a tenant and may expire or be for metrics", only_more=True
    ),
    Accepted("service/answers/metrics/body/(keys)", "there are more metrics", only_more=True),
    Accepted("service/answers/slow first/headers/x-compute-tokens", "API keys share no cached scores", "18"),
    Accepted("service/exported/51/cached", "API keys share no cached scores", 0),
    Accepted("*/tables/jobs/(keys)", "jobs and webhooks are counted", only_more=True),
    Accepted("*/tables/jobs/job/columns/(length)", "jobs know their tokens and the error of their webhook", 24),
    Accepted("*/tables/jobs/job/rows/*/(keys)", "jobs know their tokens, and the error of a webhook", only_more=True),
    Accepted(
        "stores/jobs *--jobs-path*/out/*/(keys)", "jobs know their tokens, and the error of a webhook", only_more=True
    ),
    Accepted("service/answers/swap/body/(keys)", "an exchange says that it does not last", only_more=True),
    Accepted("service/answers/ask */citations/(length)", "without a language model there is no text that cites", 0),
    Accepted("commands/ask */citations/(length)", "without a language model there is no text that cites", 0),
    Accepted("service/answers/rank rrf/body/results/*", "a blank document is last, also with fusion"),
    Accepted("service/answers/rank prompt tokens/body/results/*/index", "a blank document is last, also of equal ones"),
    Accepted("service/answers/case*/body/candidates/*/rank_after", "a blank document is last"),
    Accepted("service/answers/activity/body/data/*", "a blank document is last"),
    Accepted("service/exported/*", "a blank document is last"),
    Accepted("service/listed/*", "a blank document is last"),
    Accepted("service/monitor/*/tau", "a blank document is last"),
    Accepted("service/monitor/*/promotion", "a blank document is last"),
    Accepted("service/monitor/*/rbo", "a blank document is last"),
    Accepted("bulk/*/results/*", "a blank document is last"),
    Accepted("commands/rank *--no-activation/out/*/metadata/(keys)", NESTED, ["source", "status", "score"]),
    Accepted("commands/rank *--fusion-weight 0.3/out/*", NESTED),
    Accepted("commands/rules test */out/*", NESTED),
    Accepted("service/answers/rank */other_headers", WARNED),
    Accepted("service/answers/tei left/other_headers", WARNED),
    Accepted("service/answers/score data/other_headers", WARNED),
    Accepted("service/answers/rank */body/meta/(keys)", WARNED, only_more=True),
    Accepted("service/answers/rank prompt tokens/body/meta/warnings/(length)", WARNED, 2),
    Accepted("service/answers/score data/body/(keys)", WARNED, only_more=True),
    Accepted("service/answers/*/document/(keys)", "documents come back as they were sent", only_more=True),
    Accepted("service/answers/refused * /voyage/rerank/body/(keys)", "Voyage's errors hold the detail", ["detail"]),
    Accepted("service/answers/refused *method/body/error/*", "a wrong method has its code", "method_not_allowed"),
    Accepted("commands/eval */out/*/(keys)", "data that do not fit together are said", only_more=True),
    Accepted("commands/index */out/*/(keys)", "indexing says what it did", only_more=True),
    Accepted("commands/search */metadata/(keys)", "passages say on which line they begin", only_more=True),
    Accepted("commands/ask */metadata/(keys)", "passages say on which line they begin", only_more=True),
    Accepted("service/answers/search */metadata/(keys)", "passages say on which line they begin", only_more=True),
    Accepted("service/answers/ask */metadata/(keys)", "passages say on which line they begin", only_more=True),
    Accepted("service/answers/case* wrong state/*", "one shape of errors"),
    Accepted("service/answers/case no number/*", "one shape of errors"),
    Accepted("service/answers/case*/body/(keys)", REASONS, only_more=True),
    Accepted("service/answers/cases*/body/data/*/(keys)", REASONS, only_more=True),
    Accepted("service/answers/case*/body/candidates/(length)", "what a rule hid is in no case", 9),
    Accepted("service/answers/models /v1/models/unknown/*", "an unknown model is an error"),
    Accepted("service/shown/*/top_score", "the top score is that of the model, without pins and boosts"),
    Accepted("service/shown/*/tau", "what a rule hid has no rank"),
    Accepted("service/shown/*/candidates/*/(keys)", "a trace says what rules hid", only_more=True),
    Accepted("service/monitor/*/(keys)", "requests and jobs have their own latency", only_more=True),
    Accepted("service/monitor/*/top_score_*", "the top score is that of the model, without pins and boosts"),
    Accepted("stores/traces show */candidates/*/(keys)", "a trace says what rules hid", only_more=True),
    Accepted("stores/traces replay */out/*", "traces are shown without keys of the database"),
    Accepted("stores/cases list */out/*", REASONS),
    Accepted("stores/cases show */out/*", REASONS),
    Accepted("stores/cases detect */out/*", "an order that rules asked for is no case"),
    Accepted("*/tables/traces/(keys)", REASONS, only_more=True),
    Accepted("stores/tables/traces/bad_case/*", REASONS),
    Accepted("*/tables/traces/trace/columns/(length)", "traces know their bytes, their feedback and their case", 30),
    Accepted("*/tables/traces/trace/rows/*/(keys)", "traces know their bytes", only_more=True),
    Accepted("*/tables/traces/trace_version/rows/*/version_num", "the console's tables and indexes", "0009"),
    Accepted("*/tables/traces/(indexes)/*", REASONS),
    Accepted("service/tables/jobs/job/rows/*/bytes", "documents come back as they were sent"),
    Accepted("service/tables/jobs/job/rows/*/fingerprint", "documents come back as they were sent"),
    Accepted("stores/traces list */out/*", "traces are shown without keys of the database"),
    Accepted("service/answers/ask */(keys)", SENTENCES, only_more=True),
    Accepted("commands/ask */out/0/(keys)", SENTENCES, only_more=True),
    Accepted("*/models */out/*/(keys)", "models say whether they take an instruction", only_more=True),
    Accepted("*/rollout status */out/*/(keys)", "guardrails say how they stand", only_more=True),
    Accepted(
        "commands/rollout history */data/(keys)", "a step by hand keeps the numbers it was made on", only_more=True
    ),
    Accepted("stores/traces export */candidates/*/(keys)", "an export says what rules hid", only_more=True),
)
"""Differences that are wanted, each with its reason; `path` is that of the failure below, `*` stands for anything."""


@pytest.mark.parametrize("name", RECORDINGS)
def test_behaviour_is_as_recorded(name: str, tmp_path: Path) -> None:
    changes = list(differences(read(name), recorded(name, tmp_path.resolve())))
    unwanted = [one for one in changes if not any(wanted.covers(name, one) for wanted in ACCEPTED)]
    shown = "\n".join(f"{name}/{one}" for one in unwanted[:40])
    assert not unwanted, f"{len(unwanted)} differences; if they are wanted, say so in ACCEPTED:\n{shown}"
