from __future__ import annotations

import dataclasses

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.settings import load_settings
from rerankd.wiring.bulk import open_scorer
from rerankd.wiring.engine import SettingsLoader, truncation_options


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
