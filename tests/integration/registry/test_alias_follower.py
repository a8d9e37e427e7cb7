from __future__ import annotations

import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rerankd.engine.pool import ModelPool
from rerankd.engine.request import ScoreRequest
from rerankd.errors import ModelNotFoundError, UnavailableError, VerificationError
from rerankd.registry.alias_follower import AliasFollower
from rerankd.registry.registry import Registry
from rerankd.registry.version import ModelVersion
from rerankd.settings import Settings
from rerankd.wiring.engine import SettingsLoader, open_pool
from rerankd.wiring.registry import open_registry
from tests.registered import broken, fresh_name, with_parity


@asynccontextmanager
async def following(
    registry: Registry, name: str, /, **settings: object
) -> AsyncIterator[tuple[ModelPool, AliasFollower]]:
    """Return a pool whose default model is a name's champion, and what follows it; nothing is loaded yet."""
    arguments = {"model": f"registry:{name}", "registry": f"sqlite:///{registry.store.path}"} | settings
    made = Settings(**arguments, cache_dir=str(registry.cache.root.parent), traces=False)  # type: ignore[arg-type]
    pool = open_pool(made, SettingsLoader(made))
    registry_of_pool = open_registry(made)
    follower = AliasFollower(pool, registry_of_pool, 1.0)
    try:
        yield pool, follower
    finally:
        await follower.close()
        await pool.close()


@pytest.fixture
def name(registry: Registry, models: list[Path]) -> str:
    """Return a model with two versions, the first is champion."""
    made = fresh_name()
    registry.register(models[0], made)
    registry.register(models[1], made)
    registry.promote(made, 1, "first", force=True)
    return made


def point(registry: Registry, name: str, version: int) -> None:
    """Move the champion as somebody with MLflow's own client can."""
    registry.store.set_alias(name, "champion", version)


def moved(registry: Registry, tmp_path: Path) -> tuple[Registry, Path]:
    """Return the same registry as a file that can be taken away."""
    assert registry.store.path
    path = tmp_path / "own" / "mlflow.sqlite"
    path.parent.mkdir()
    shutil.copy(registry.store.path, path)
    return registry, path


async def served(pool: ModelPool, name: str) -> str:
    async with pool.lease(name) as model:
        return model.reference


async def test_it_swaps_when_the_alias_moves(registry: Registry, name: str) -> None:
    async with following(registry, name) as (pool, follower):
        assert pool.default == name
        await follower.begin([pool.default])
        assert await served(pool, name) == f"registry:{name}@1"
        await follower.poll()
        assert follower.followed[name].swaps == 0
        registry.promote(name, 2, "better", force=True)
        await follower.poll()
        assert await served(pool, name) == f"registry:{name}@2"
        registry.rollback(name)
        await follower.poll()
        assert await served(pool, name) == f"registry:{name}@1"
        assert follower.followed[name].swaps == 2
        assert follower.card(name) == {"name": name, "version": 1, "alias": "champion", "stale": False}
        assert follower.details() == [
            {"model": name, "reference": f"registry:{name}@champion", "version": 1, "stale": False}
        ]
        assert pool.resolve(f"registry:{name}@1") == name
        assert pool.resolve(f"registry:{name}") == name


async def test_a_bad_version_is_refused_once_and_the_old_one_goes_on(
    registry: Registry, name: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = registry.register(shutil.copytree(tiny, tmp_path / "cut"), name, tags={"x": "y"})
    assert cut.version == 1
    unverified = with_parity(shutil.copytree(tiny, tmp_path / "waived"), passed=False, waived=True)
    assert registry.register(unverified, name, allow_unverified=True).version == 3
    monkeypatch.setattr("rerankd.registry.registration.probe", lambda files: None)
    assert registry.register(broken(tiny, tmp_path / "nan"), name).version == 4
    monkeypatch.undo()
    run = registry.resolve(name, 1).run_id
    assert registry.store.create_version(name, run, {}).version in (5, "5")
    damaged = Path(urlsplit(registry.store.version(name, 2).source).path) / "model.onnx"
    good = damaged.read_bytes()
    damaged.write_bytes(good[:-1] + b"!")
    async with following(registry, name) as (pool, follower):
        await follower.begin([pool.default])
        state = follower.followed[name]
        for refusals, (version, message) in enumerate(
            {2: "SHA-256 of model.onnx", 3: "not verified", 4: "not a finite number|not numbers|no usable"}.items(), 1
        ):
            point(registry, name, version)
            for _ in range(2):
                await follower.poll()
                assert await served(pool, name) == f"registry:{name}@1"
                assert state.refusals == refusals
                assert state.fault
            if version != 4:
                assert message in state.fault
        point(registry, name, 5)
        for _ in range(2):
            await follower.poll()
            assert "was not registered by rerankd" in state.fault
        point(registry, name, 1)
        await follower.poll()
        assert state.fault == ""
        damaged.write_bytes(good)
        point(registry, name, 2)
        await follower.poll()
        assert await served(pool, name) == f"registry:{name}@2"
        assert state.refusals == 3


async def test_without_the_registry_it_goes_on(registry: Registry, name: str, tmp_path: Path) -> None:
    registry, path = moved(registry, tmp_path)
    uri = f"sqlite:///{path}"
    async with following(registry, name, registry=uri) as (pool, follower):
        await follower.begin([pool.default])
        path.rename(tmp_path / "away")
        for _ in range(2):
            await follower.poll()
        assert not follower.up
        [details] = follower.details()
        assert details["stale"]
        assert "There is no registry" in details["reason"]
        assert await served(pool, name) == f"registry:{name}@1"
        await pool.unload(name)
        assert await served(pool, name) == f"registry:{name}@1"
    async with following(registry, name, registry=uri) as (pool, follower):
        await follower.begin([pool.default])
        assert await served(pool, name) == f"registry:{name}@1"
        assert follower.details()[0]["stale"]
        (tmp_path / "away").rename(path)
        await follower.poll()
        assert follower.up
        assert not follower.details()[0]["stale"]
    path.unlink()
    other = fresh_name()
    async with following(registry, other, registry=uri) as (pool, follower):
        with pytest.raises(UnavailableError, match=f"No version of registry:{other}@champion is known"):
            await follower.begin([pool.default])


async def test_a_bad_champion_at_the_start_gives_way_to_the_last_good_one(
    registry: Registry, name: str, tiny: Path, tmp_path: Path
) -> None:
    unverified = with_parity(shutil.copytree(tiny, tmp_path / "waived"), passed=False, waived=True)
    registry.register(unverified, name, allow_unverified=True)
    point(registry, name, 3)
    async with following(registry, name) as (pool, follower):
        with pytest.raises(VerificationError):
            await follower.begin([pool.default])
    point(registry, name, 1)
    async with following(registry, name) as (pool, follower):
        await follower.begin([pool.default])
    point(registry, name, 3)
    async with following(registry, name) as (pool, follower):
        await follower.begin([pool.default])
        assert await served(pool, name) == f"registry:{name}@1"
        assert "not verified" in follower.details()[0]["reason"]
        assert follower.followed[name].refusals == 1
        await follower.poll()
        assert follower.followed[name].refusals == 1


async def test_what_cannot_be_fetched_now_is_tried_again(
    registry: Registry, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with following(registry, name) as (pool, follower):
        await follower.begin([pool.default])
        point(registry, name, 2)

        def failing(self: Registry, version: ModelVersion) -> Path:
            raise UnavailableError("The line is down.")

        monkeypatch.setattr(Registry, "fetch", failing)
        await follower.poll()
        assert follower.followed[name].fault == "The line is down."
        monkeypatch.undo()
        await follower.poll()
        assert await served(pool, name) == f"registry:{name}@2"
        assert follower.followed[name].refusals == 0


async def test_a_swap_by_hand_ends_it_and_one_to_an_alias_begins_it(registry: Registry, name: str) -> None:
    async with following(registry, name) as (pool, follower):
        await follower.begin([pool.default])
        await pool.swap(name, "mini")
        await follower.poll()
        assert (follower.followed, follower.card(name)) == ({}, None)
        await pool.swap(name, f"registry:{name}@1")
        await follower.poll()
        assert (follower.followed, follower.card(name)) == ({}, {"name": name, "version": 1})
        registry.promote(name, 2, "x", force=True)
        await pool.swap(name, f"registry:{name}@champion")
        await follower.poll()
        assert follower.followed[name].version
        assert await served(pool, name) == f"registry:{name}@2"


async def test_models_that_wait_to_be_loaded_are_pinned_too(registry: Registry, name: str) -> None:
    extra = {"model": "mini", "models": {"med": f"registry:{name}", "none": "registry:nothing"}}
    async with following(registry, name, **extra) as (pool, follower):
        await follower.begin([pool.default])
        assert pool.loaded == {}
        assert pool.reference("med") == f"registry:{name}@1"
        registry.promote(name, 2, "x", force=True)
        await follower.poll()
        assert pool.loaded == {}
        assert await served(pool, "med") == f"registry:{name}@2"
        assert "nothing has no champion" in follower.followed["none"].fault
        with pytest.raises(ModelNotFoundError):
            await served(pool, "none")


async def test_a_load_that_began_before_a_version_was_pinned_is_mended(registry: Registry, name: str) -> None:
    extra = {"model": "mini", "models": {"med": f"registry:{name}"}}
    async with following(registry, name, **extra) as (pool, follower):
        await follower.begin([pool.default])
        assert await served(pool, "med") == f"registry:{name}@1"
        pool.set_reference("med", f"registry:{name}@2")
        follower.followed["med"].version = registry.resolve(name, 2)
        registry.promote(name, 2, "x", force=True)
        await follower.poll()
        assert await served(pool, "med") == f"registry:{name}@2"
        await follower.poll()
        assert follower.followed["med"].swaps == 1


async def test_requests_before_and_after_a_swap_are_answered_by_one_version_each(registry: Registry, name: str) -> None:
    async with following(registry, name) as (pool, follower):
        await follower.begin([pool.default])
        async with pool.lease(name) as old:
            registry.promote(name, 2, "x", force=True)
            await follower.poll()
            assert old.reference == f"registry:{name}@1"
            request = ScoreRequest([("q", ["a", "b"])], old.truncation, "k", cache=False)
            assert old.engine.submit(request).future.result(30)
        assert await served(pool, name) == f"registry:{name}@2"


async def test_a_thread_that_hangs_keeps_nothing_from_ending(
    registry: Registry, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang = threading.Event()
    is_called = threading.Event()
    async with following(registry, name) as (pool, follower):
        await follower.begin([pool.default])

        def hanging(self: Registry, *_: object) -> ModelVersion:
            is_called.set()
            hang.wait(30)
            raise UnavailableError("too late")

        monkeypatch.setattr(Registry, "resolve", hanging)
        monkeypatch.setattr("rerankd.registry.alias_follower.SOONEST", 0.0)
        monkeypatch.setattr("rerankd.registry.alias_follower.LATEST", 0.0)
        follower.start()
        from asyncio import to_thread

        assert await to_thread(is_called.wait, 10)
        assert await served(pool, name) == f"registry:{name}@1"
    hang.set()
