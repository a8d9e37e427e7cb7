from __future__ import annotations

import dataclasses

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.settings import load_settings
from rerankd.wiring.bulk import open_scorer
from rerankd.wiring.engine import SettingsLoader, default_instruction, truncation_options
from tests.instructions import read_instructions


def test_a_max_length_above_the_limit_of_the_model_is_an_error() -> None:
    loader = SettingsLoader(load_settings(max_length=100_000, cache=False))
    with pytest.raises(InvalidRequestError, match="max_length is 100000; mini reads at most"):
        loader.open("mini", loader.find("mini"))


def test_the_settings_shorten_what_a_model_reads() -> None:
    loader = SettingsLoader(load_settings(max_length=64, cache=False))
    engine, truncation = loader.open("mini", loader.find("mini"))
    engine.close(0.0)
    assert truncation.max_length == 64


def test_bulk_runs_have_the_same_limit_and_default() -> None:
    with pytest.raises(InvalidRequestError, match="max_length is 513; mini reads at most 512 tokens"):
        open_scorer(load_settings(max_length=513))
    files = SettingsLoader(settings := load_settings(cache=False)).find("mini")
    assert truncation_options(settings, files, "mini").max_length == files.manifest.max_length
    beyond = dataclasses.replace(files, manifest=dataclasses.replace(files.manifest, max_length=9999))
    assert truncation_options(settings, beyond, "mini").max_length == 512  # a manifest that says more than is there


def test_a_model_has_the_instruction_of_its_name_and_so_has_its_challenger() -> None:
    settings = load_settings(instruction="any", instructions={"legal": "statutes", "mail": " "})
    assert [default_instruction(settings, name) for name in ("legal", "legal~new", "mail", "mini", "mini~e")] == [
        *("statutes", "statutes", None, "any", "any")
    ]
    assert default_instruction(settings, "registry:legal@3", "legal") == "statutes"
    assert default_instruction(load_settings(), "legal") is None


def test_the_settings_give_models_that_read_one_an_instruction(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = load_settings(instructions={"mini": "statutes"}, cache=False)
    files = SettingsLoader(settings).find("mini")
    assert truncation_options(settings, files, "mini").instruction is None
    assert "mini: the setting instruction is not read by this model and was ignored" in caplog.text
    read_instructions(monkeypatch)
    assert truncation_options(settings, files, "mini").instruction == "statutes"
    assert truncation_options(settings, files, "other", "mini").instruction == "statutes"
