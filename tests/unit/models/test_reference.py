from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.errors import ModelNotFoundError
from rerankd.models.reference import ModelReference, parse_reference


def test_kinds(tmp_path: Path) -> None:
    assert parse_reference("mini") == ModelReference("bundled", "mini")
    assert parse_reference(str(tmp_path)) == ModelReference("folder", str(tmp_path))
    assert parse_reference("BAAI/bge-reranker-v2-m3") == ModelReference("hub", "BAAI/bge-reranker-v2-m3")
    assert str(parse_reference("a/b.c@refs/pr/1")) == "a/b.c@refs/pr/1"


def test_a_folder_wins_over_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    (tmp_path / "mini").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_reference("org/name").kind == "folder"
    assert parse_reference("mini").kind == "bundled"
    assert parse_reference("./mini").kind == "folder"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("./gone", "This folder does not exist: './gone'. Use a bundled model"),
        ("/no/such/model", "This folder does not exist"),
        ("~/gone/model", "This folder does not exist"),
        ("minj", "This is not a model reference: 'minj'. Use a bundled model .mini"),
        ("a/b/c", "This is not a model reference"),
        ("", "This is not a model reference"),
        ("../../no-such-folder", "This folder does not exist"),
        ("a/b@", "This is not a model reference"),
    ],
)
def test_bad_references(text: str, sentence: str) -> None:
    with pytest.raises(ModelNotFoundError, match=sentence):
        parse_reference(text)


def test_registry_references() -> None:
    champion = ModelReference("registry", "med", "champion")
    assert parse_reference("registry:med") == parse_reference("registry:med@champion") == champion
    assert (str(champion), champion.alias) == ("registry:med@champion", "champion")
    pinned = parse_reference("registry:med-v1.2@7")
    assert (pinned.name, pinned.revision, pinned.alias) == ("med-v1.2", "7", None)
    assert parse_reference("org/name@7").alias is None


@pytest.mark.parametrize(
    "text", ["registry:", "registry:a/b", "registry:@x", "registry:a@", "registry:a@../b", "registry:a b"]
)
def test_what_is_no_registry_reference(text: str) -> None:
    with pytest.raises(ModelNotFoundError, match="not a registry reference"):
        parse_reference(text)
