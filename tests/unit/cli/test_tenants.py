from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from rerankd.feedback.case_store import flag_request
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import ApiKey, new_key
from rerankd.traces.hashing import text_hash
from rerankd.traces.store import TraceStore
from tests.program import rerankd
from tests.unit.feedback.written import write


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, ApiKey]:
    keys = {name: new_key(name)[1] for name in ("search team", "shop")}
    write_keys(tmp_path / "keys.json", list(keys.values()))
    return keys


@pytest.fixture
def store(tmp_path: Path, keys: dict[str, ApiKey]) -> Iterator[TraceStore]:
    opened = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    for name, key in keys.items():
        write(opened, f"r-{name}", 2, 1, tenant=key.id)
        flag_request(opened, f"r-{name}", key.id)
    yield opened
    opened.close()


def run(tmp_path: Path, *arguments: str) -> CompletedProcess[str]:
    env = {"RERANKD_API_KEYS_FILE": str(tmp_path / "keys.json"), "COLUMNS": "200"}
    return rerankd(*arguments, "--traces-url", f"sqlite:///{tmp_path}/traces.sqlite", env=env)


@pytest.mark.parametrize("by", ["name", "id"])
def test_a_tenant_is_erased_by_the_name_or_the_id_of_its_key(
    tmp_path: Path, store: TraceStore, keys: dict[str, ApiKey], by: str
) -> None:
    erased = run(tmp_path, "traces", "erase", "--tenant", getattr(keys["search team"], by), "--yes")
    assert erased.returncode == 0, erased.stderr
    assert "1 trace," in erased.stderr
    assert [trace.request_id for trace in store.list_traces()] == ["r-shop"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--tenant", "serach team"),
        ("--without-key",),
        ("--document", "d9"),
        ("--document", "d1", "--without-key"),
        ("--document", "d1", "--tenant", "nobody"),
        ("--text-hash", text_hash("never")),
    ],
)
def test_erasing_nothing_is_an_error(tmp_path: Path, store: TraceStore, arguments: tuple[str, ...]) -> None:
    erased = run(tmp_path, "traces", "erase", *arguments, "--yes")
    assert erased.returncode != 0
    assert "Nothing was erased" in erased.stderr
    assert len(store.list_traces()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tenant", ""), "What to erase is empty"),
        (("--document", ""), "What to erase is empty"),
        (("--text-hash", ""), "What to erase is empty"),
        (("--document", "", "--tenant", "shop"), "What to erase is empty"),
        (("--tenant", "shop", "--without-key"), "Both a key and no key"),
        ((), "Nothing to erase is named"),
    ],
)
def test_an_empty_name_erases_nothing_also_where_no_keys_are_used(
    tmp_path: Path, store: TraceStore, arguments: tuple[str, ...], message: str
) -> None:
    write(store, "r-open", 2, 1, tenant="")
    refused = run(tmp_path, "traces", "erase", *arguments, "--yes")
    assert (refused.returncode, message in refused.stderr) == (2, True), refused.stderr
    assert len(store.list_traces()) == 3


def test_requests_without_a_key_are_erased_by_an_option_of_their_own(tmp_path: Path, store: TraceStore) -> None:
    write(store, "r-open", 2, 1, tenant="")
    erased = run(tmp_path, "traces", "erase", "--without-key", "--yes")
    assert (erased.returncode, "1 trace," in erased.stderr) == (0, True), erased.stderr
    assert {trace.request_id for trace in store.list_traces()} == {"r-shop", "r-search team"}


@pytest.mark.parametrize("command", [("traces", "list"), ("cases", "list"), ("feedback", "list")])
def test_a_number_that_no_database_holds_is_a_sentence(
    tmp_path: Path, store: TraceStore, command: tuple[str, ...]
) -> None:
    refused = run(tmp_path, *command, "--limit", "9" * 20)
    assert (refused.returncode, "too large" in refused.stderr) == (2, True), refused.stderr


def test_a_hash_that_is_none_is_refused(tmp_path: Path, store: TraceStore) -> None:
    refused = run(tmp_path, "traces", "erase", "--text-hash", "xyz", "--yes")
    assert (refused.returncode != 0, "is not a SHA-256" in refused.stderr) == (True, True)


@pytest.mark.parametrize("command", [("traces", "list"), ("cases", "list"), ("traces", "export")])
def test_names_select_in_every_command(tmp_path: Path, store: TraceStore, command: tuple[str, ...]) -> None:
    shown = run(tmp_path, *command, "--tenant", "shop")
    assert [json.loads(line)["request_id"] for line in shown.stdout.splitlines()] == ["r-shop"], shown.stderr


def test_a_name_that_several_keys_have_is_refused(tmp_path: Path, store: TraceStore, keys: dict[str, ApiKey]) -> None:
    twin = new_key("shop")[1]
    write_keys(tmp_path / "keys.json", [*keys.values(), twin])
    refused = run(tmp_path, "traces", "erase", "--tenant", "shop", "--yes")
    assert refused.returncode != 0
    assert "Several keys are called 'shop'" in refused.stderr
    assert twin.id in refused.stderr
    assert len(store.list_traces()) == 2
