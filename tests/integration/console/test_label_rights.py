"""Labels of one tenant, which another tenant neither sees nor changes."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator

import httpx
import pytest

from rerankd.feedback.case_store import get_case
from rerankd.feedback.label_store import read_labels
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import ApiKey, new_key
from rerankd.traces.store import TraceStore
from tests.integration.console.label_site import add_ranking
from tests.integration.serving import Served, serve


@pytest.fixture(scope="module")
def keys() -> dict[str, tuple[str, ApiKey]]:
    """Return an admin key and the keys of two tenants."""
    return {name: new_key(name, admin=name == "ops") for name in ("ops", "search", "shop")}


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, keys: dict[str, tuple[str, ApiKey]]
) -> Iterator[tuple[Served, TraceStore]]:
    """Return a server that requires a key."""
    folder = tmp_path_factory.mktemp("guarded")
    write_keys(folder / "keys.json", [key for _, key in keys.values()])
    database = f"sqlite:///{folder}/traces.sqlite"
    store = TraceStore(database)
    with serve(env={"RERANKD_TRACES_URL": database, "RERANKD_API_KEYS_FILE": str(folder / "keys.json")}) as served:
        yield served, store
    store.close()


def test_another_tenant_sees_and_changes_nothing(
    guarded: tuple[Served, TraceStore], keys: dict[str, tuple[str, ApiKey]]
) -> None:
    served, store = guarded
    owner = keys["search"][1].tenant_id
    case, trace = add_ranking(store, "SECRET case", 5.0, tenant=owner), add_ranking(store, "SECRET", tenant=owner)
    clients = {
        name: httpx.Client(base_url=served.url, headers={"authorization": f"Bearer {clear}"}, trust_env=False)
        for name, (clear, _) in keys.items()
    }
    form = {"accept": "application/json"}
    for name in ("search", "ops"):
        for path in (f"case/{case}", str(trace)):
            graded = clients[name].post(f"/console/label/{path}/grade", data={"position": 0, "grade": 2}, headers=form)
            assert graded.json()["document"]["grade"] == 2, graded.text
    by_api = {"labels": [{"index": 1, "grade": 1}]}
    assert clients["search"].post(f"/v1/cases/{case}", json=by_api).status_code == 200
    assert clients["shop"].post(f"/v1/cases/{case}", json=by_api).status_code == 404
    second = clients["search"].get(f"/console/label/case/{case}.json").json()["documents"][1]
    assert (second["grade"], second["others"]) == (1, [])
    skipped = clients["search"].post(f"/console/label/{trace}/skip", data={"reason": "SECRET reason"})
    assert skipped.status_code == 303
    number = case + 1  # the case that the labels on the trace made
    pages = ["label", "label/next", "label/next?queue=second", "label?queue=second", "label/agreement"]
    pages += [f"label/agreement?first={keys['search'][1].owner}&second={keys['ops'][1].owner}"]
    single = [f"label/{trace}", f"label/case/{case}", f"label/case/{number}"]
    theirs = clients["shop"]
    for path in pages:
        for address in (path, path.replace("?", ".json?") if "?" in path else f"{path}.json"):
            answer = theirs.get(f"/console/{address}", follow_redirects=True)
            assert answer.status_code == 200, address
            assert "SECRET" not in answer.text, address
    agreement = theirs.get(f"/console/{pages[-1].replace('?', '.json?')}").json()
    assert (agreement["labellers"], agreement["agreement"]["pairs"]) == ([], 0)
    for path in single:
        missing = theirs.get(f"/console/{path[:-1]}999999.json").json()
        for address in (path, f"{path}.json", f"{path}.json?shown=2000&queue=second"):
            answer = theirs.get(f"/console/{address}")
            assert answer.status_code == 404, address
            assert "SECRET" not in answer.text
        answer = theirs.get(f"/console/{path}.json").json()
        assert re.sub(r"\d+", "", str(answer["error"])) == re.sub(r"\d+", "", str(missing["error"]))
        for action, fields in (("grade", {"position": "0", "grade": "0"}), ("undo", {}), ("skip", {"reason": "x"})):
            answer = theirs.post(f"/console/{path}/{action}", data=fields, headers=form)
            assert answer.status_code == 404, (path, action)
    for name in ("beir", "training"):
        assert theirs.get(f"/console/label/export/{name}").status_code == 404
        assert clients["search"].get(f"/console/label/export/{name}").status_code == 200
    refused = theirs.post("/console/label/unskip", data={"tenant": owner, "request_id": "SECRET"})
    assert refused.status_code == 404
    assert get_case(store, case).grades == {0: 2, 1: 1}
    archive = zipfile.ZipFile(io.BytesIO(clients["search"].get("/console/label/export/beir").content))
    assert b"SECRET" in archive.read("queries.jsonl")
    assert clients["ops"].get("/console/label.json").json()["cases"]["total"] == 2
    owners = {label.labeller for labels in read_labels(store, [case, number]).values() for label in labels}
    assert owners == {keys["search"][1].owner, keys["ops"][1].owner}
    for client in clients.values():
        client.close()
