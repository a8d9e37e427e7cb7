"""Models that admins compare although the service does not serve them."""

from __future__ import annotations

import asyncio

import pytest

from rerankd.console.compare_models import ReferenceModels
from rerankd.engine.pool import ModelPool
from rerankd.errors import ModelNotFoundError
from tests.unit.engine.test_pool import FakeLoader, pool


async def until_unloaded(models: ModelPool, count: int) -> None:
    async with asyncio.timeout(20):
        while len(models.loaded) > count:
            await asyncio.sleep(0)


async def test_a_model_is_loaded_once_and_the_last_two_stay() -> None:
    loader = FakeLoader()
    models = pool(loader)
    references = ReferenceModels(models)
    first = await references.load("one")
    assert await references.load("two") != first
    assert await references.load("one") == first
    third = await references.load("three")
    await until_unloaded(models, 2)
    assert set(models.loaded) == {first, third}
    assert loader.opened == ["one", "two", "three"]
    assert third not in models.names
    await models.close()


async def test_a_model_that_nobody_compares_is_unloaded() -> None:
    models = pool(FakeLoader())
    await ReferenceModels(models, seconds=0.01).load("one")
    await until_unloaded(models, 0)
    assert models.unlisted == {}
    await models.close()


async def test_a_model_that_cannot_be_loaded_leaves_nothing() -> None:
    models = pool(FakeLoader())
    references = ReferenceModels(models)
    with pytest.raises(ModelNotFoundError):
        await references.load("bad")
    assert models.unlisted == {}
    assert await references.load("one") in models.loaded
    await models.close()
