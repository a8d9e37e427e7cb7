from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from rerankd.engine.engine import Engine
from rerankd.engine.pool import ModelLoader, ModelPool
from rerankd.engine.request import ScoreRequest
from rerankd.errors import ConflictError, InvalidRequestError, ModelNotFoundError, RerankdError, UnavailableError
from rerankd.models.files import ModelFiles, load_model
from rerankd.scoring.encoder import TruncationOptions
from tests.faults import ScriptedBackend, scripted_scorer

SIZE = load_model("mini").size


class FakeLoader(ModelLoader):
    """Every reference is the bundled tokenizer on a scripted backend; `bad` cannot be found."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.engines: list[Engine] = []

    def find(self, reference: str) -> ModelFiles:
        if reference == "bad":
            raise ModelNotFoundError("Nothing there.")
        files = load_model("mini")
        return replace(files, manifest=replace(files.manifest, name=reference))

    def open(self, name: str, files: ModelFiles) -> tuple[Engine, TruncationOptions]:
        self.opened.append(files.manifest.name)
        engine = Engine(name, files.manifest.name, scripted_scorer(ScriptedBackend(), files))
        engine.admission.rate.observe(10**6, 1.0)
        self.engines.append(engine)
        return engine, TruncationOptions(64)


def pool(loader: ModelLoader, **options: Any) -> ModelPool:
    return ModelPool("a", {"a": "ref-a", "b": "ref-b", "c": "ref-c", "broken": "bad"}, loader, **options)


async def test_models_are_loaded_when_asked_for_and_once() -> None:
    loader = FakeLoader()
    model_pool = pool(loader)

    async def use(name: str) -> str:
        async with model_pool.lease(name) as model:
            return model.name

    assert await asyncio.gather(*(use(name) for name in "aabb")) == ["a", "a", "b", "b"]
    assert sorted(loader.opened) == ["ref-a", "ref-b"]
    await model_pool.close()


async def test_names() -> None:
    model_pool = pool(FakeLoader())
    assert model_pool.names == ["a", "b", "c", "broken"]
    assert (
        model_pool.resolve(None),
        model_pool.resolve("b"),
        model_pool.resolve("ref-c"),
        model_pool.resolve("rerank-v3.5"),
    ) == (
        "a",
        "b",
        "c",
        "a",
    )
    strict = pool(FakeLoader(), strict=True)
    with pytest.raises(ModelNotFoundError, match="Use one of: a, b, c"):
        strict.resolve("rerank-v3.5")
    with pytest.raises(InvalidRequestError):
        ModelPool("x", {}, FakeLoader())


async def test_the_longest_unused_makes_room() -> None:
    model_pool = pool(FakeLoader(), max_loaded_bytes=2 * SIZE)
    for name in ("a", "b", "c", "b", "a"):
        await _use(model_pool, name)
        assert "a" in model_pool.loaded  # the default stays
    assert set(model_pool.loaded) == {"a", "b"}
    await model_pool.close()


async def test_a_model_in_use_is_not_closed_under_its_user() -> None:
    loader = FakeLoader()
    model_pool = pool(loader, max_loaded_bytes=2 * SIZE)
    await _use(model_pool, "a")
    async with model_pool.lease("b") as model:
        with pytest.raises(UnavailableError, match="the others are in use"):
            await _use(model_pool, "c")
        job = model.engine.submit(ScoreRequest([("q", ["d"])], TruncationOptions(64)))
        assert (await asyncio.wrap_future(job.future)).scores
    await _use(model_pool, "c")
    assert set(model_pool.loaded) == {"a", "c"}
    await model_pool.close()


async def test_who_goes_away_while_a_model_is_loaded_leaves_it_to_the_others() -> None:
    loader = FakeLoader()
    model_pool = pool(loader)
    for _ in range(4):
        waiting = asyncio.create_task(_use(model_pool, "b"))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await _use(model_pool, "b")
    assert loader.opened == ["ref-b"]
    await model_pool.close()


async def _use(model_pool: ModelPool, name: str) -> None:
    async with model_pool.lease(name):
        pass


async def test_a_model_larger_than_the_limit_is_refused() -> None:
    model_pool = pool(FakeLoader(), max_loaded_bytes=SIZE - 1)
    with pytest.raises(UnavailableError, match="Raise max_loaded_mb"):
        await _use(model_pool, "a")


async def test_a_model_that_cannot_be_loaded_harms_no_other() -> None:
    model_pool = pool(FakeLoader())
    with pytest.raises(ModelNotFoundError):
        await _use(model_pool, "broken")
    await _use(model_pool, "a")
    await model_pool.close()


async def test_swap_serves_the_old_until_the_new_is_warm_and_then_closes_it() -> None:
    loader = FakeLoader()
    model_pool = pool(loader)
    async with model_pool.lease("a") as old:
        new = await model_pool.swap("a", "ref-new")
        job = old.engine.submit(ScoreRequest([("q", ["d"])], TruncationOptions(64)))
        assert (await asyncio.wrap_future(job.future)).scores
        async with model_pool.lease("a") as now:
            assert now is new
            assert now.engine.version == "ref-new"
    await model_pool.close()
    with pytest.raises(RerankdError):
        loader.engines[0].submit(ScoreRequest([("q", ["d"])], TruncationOptions(64)))


async def test_a_failed_swap_leaves_the_old() -> None:
    model_pool = pool(FakeLoader())
    await _use(model_pool, "a")
    with pytest.raises(ModelNotFoundError):
        await model_pool.swap("a", "bad")
    assert model_pool.reference("a") == "ref-a"
    await _use(model_pool, "a")
    await model_pool.close()


async def test_a_closed_pool_loads_nothing() -> None:
    model_pool = pool(FakeLoader())
    await model_pool.close()
    with pytest.raises(UnavailableError):
        await _use(model_pool, "a")


async def test_unload() -> None:
    model_pool = pool(FakeLoader())
    await _use(model_pool, "a")
    assert await model_pool.unload("a") is True
    assert await model_pool.unload("a") is False
    await _use(model_pool, "a")
    await model_pool.close()


async def test_a_model_that_is_added_is_for_those_who_know_it() -> None:
    loader = FakeLoader()
    model_pool = pool(loader, max_loaded_bytes=2 * SIZE)
    await _use(model_pool, "a")
    model = await model_pool.add("a~new", "ref-new")
    assert (model.name, model.engine.version, model_pool.unlisted) == ("a~new", "ref-new", {"a~new": "ref-new"})
    assert "a~new" not in model_pool.names
    assert model_pool.resolve("a~new") == model_pool.resolve("ref-new") == "a"
    with pytest.raises(UnavailableError):
        await _use(model_pool, "b")  # it is not unloaded for others
    with pytest.raises(ConflictError):
        await model_pool.add("a~new", "ref-other")
    with pytest.raises(ConflictError):
        await model_pool.add("b", "ref-b")
    async with model_pool.lease("a~new"):
        removing = asyncio.create_task(model_pool.remove("a~new"))
        await asyncio.sleep(0)
        assert not removing.done()  # whoever uses it is waited for
        with pytest.raises(ModelNotFoundError):
            await _use(model_pool, "a~new")
    assert await removing
    assert not await model_pool.remove("a~new")
    with pytest.raises(ModelNotFoundError):
        await model_pool.add("a~bad", "bad")
    assert model_pool.unlisted == {}
    await model_pool.close()


async def test_embedding_models_have_a_loader_and_names_of_their_own() -> None:
    rerankers, encoders = FakeLoader(), FakeLoader()
    model_pool = pool(rerankers, encoders={"e": "ref-e", "f": "ref-f"}, encoder_loader=encoders)
    assert model_pool.encoders == {"e": "ref-e", "f": "ref-f"}
    assert "e" not in model_pool.names
    assert model_pool.resolve("e") == "a"  # to a ranking it is an unknown name
    assert [model_pool.find_encoder(name) for name in (None, "", "f", "ref-f")] == ["e", "e", "f", "f"]
    with pytest.raises(ModelNotFoundError, match=r"no embedding model 'a'. Use one of: e, f."):
        model_pool.find_encoder("a")
    async with model_pool.lease("e") as model:
        assert model.reference == "ref-e"
    assert (rerankers.opened, encoders.opened) == ([], ["ref-e"])
    with pytest.raises(ConflictError):
        await model_pool.add("e", "ref-x")
    assert await model_pool.unload("e")
    await model_pool.close()


async def test_embedding_models_share_the_memory_with_rerankers() -> None:
    model_pool = pool(FakeLoader(), encoders={"e": "ref-e"}, encoder_loader=FakeLoader(), max_loaded_bytes=2 * SIZE)
    for name in ("a", "b", "e"):
        async with model_pool.lease(name):
            pass
    assert sorted(model_pool.loaded) == ["a", "e"]
    await model_pool.close()


async def test_without_embedding_models_the_setting_is_named() -> None:
    with pytest.raises(ModelNotFoundError, match="embedding_models"):
        pool(FakeLoader()).find_encoder(None)
