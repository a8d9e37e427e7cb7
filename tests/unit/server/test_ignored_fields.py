from __future__ import annotations

import pytest

from rerankd.server.ignored_fields import MAX_FIELDS, IgnoredFieldLog, WarningCollector
from rerankd.server.schemas.rerank import RerankRequestBody


def test_a_field_is_logged_once_for_each_client(caplog: pytest.LogCaptureFixture) -> None:
    log = IgnoredFieldLog()
    for client in ("team-a", "team-b", "team-a", ""):
        log.note(client, ["user", "a\nb"])
    assert [record.message for record in caplog.records] == [
        f"{client} sends the field {name}, which has no effect"
        for client in ("team-a", "team-b", "a client")
        for name in ("user", "'a\\nb'")
    ]


def test_a_client_that_makes_up_names_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    log = IgnoredFieldLog(max_fields=3)
    for number in range(100):
        log.note("team", [f"name_{number}", "x" * 10_000])
    assert len(caplog.records) == 4
    assert sum("sends more than 3 fields without effect" in record.message for record in caplog.records) == 1
    assert all(len(record.message) < 200 for record in caplog.records)


def test_the_client_that_was_seen_longest_ago_is_forgotten() -> None:
    log = IgnoredFieldLog(max_clients=2)
    assert [log.note(client, ["user"]) for client in ("a", "b", "a", "c", "a", "b")] == [
        ["user"],
        ["user"],
        [],
        ["user"],
        [],
        ["user"],
    ]


def test_warnings_of_many_requests_are_collected_once_and_bounded() -> None:
    collector = WarningCollector(["prority"])
    for number in range(100):
        fields = {"query": "q", "documents": ["d"], "user": "ada", f"name_{number}": 1}
        collector.add(RerankRequestBody.model_validate(fields))
    assert collector.warnings[:3] == [
        "prority is unknown and was ignored",
        "user is not supported here (send the header X-Rerankd-User) and was ignored",
        "name_0 is unknown and was ignored",
    ]
    assert len(collector.warnings) == len(collector.names) == MAX_FIELDS
