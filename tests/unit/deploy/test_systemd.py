from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rerankd.cli.main import app
from rerankd.server.run import LAST_CALL_SECONDS
from rerankd.settings import Settings, load_settings

UNITS = sorted((Path(__file__).parents[3] / "deploy" / "systemd").glob("*.service"))
PORT = "8001"


def lines(unit: Path, name: str) -> list[str]:
    """Values of a directive, in order, for one port."""
    text = unit.read_text(encoding="utf-8").replace("%i", PORT)
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{name}=")]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
class TestUnit:
    def test_settings_hold_and_there_is_time_to_end(
        self, unit: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        values = dict(word.split("=", 1) for line in lines(unit, "Environment") for word in line.split())
        for name, value in values.items():
            if name.startswith("RERANKD_"):
                assert name.removeprefix("RERANKD_").lower() in Settings.model_fields
                monkeypatch.setenv(name, value)
        settings = load_settings()
        needed = settings.shutdown_seconds
        if "serve" in lines(unit, "ExecStart")[0]:  # jobs worked in process get half of that again
            needed = settings.drain_seconds + 1.5 * needed + LAST_CALL_SECONDS
        assert float(lines(unit, "TimeoutStopSec")[0]) > needed + 5

    def test_command_exists(self, unit: Path) -> None:
        program, command, *flags = lines(unit, "ExecStart")[0].split()
        assert program.endswith("/rerankd")
        helped = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
        assert helped.exit_code == 0
        assert all(flag in helped.output for flag in flags if flag.startswith("--"))

    def test_writes_only_into_its_own_folders(self, unit: Path) -> None:
        assert lines(unit, "ProtectSystem") == ["strict"]
        assert lines(unit, "DynamicUser") == ["yes"]
        folders = {f"/var/lib/{lines(unit, 'StateDirectory')[0]}", f"/var/cache/{lines(unit, 'CacheDirectory')[0]}"}
        for line in lines(unit, "Environment"):
            for word in line.split():
                name, _, value = word.partition("=")
                if name in ("HOME", "RERANKD_JOBS_PATH") or name.startswith("XDG_"):
                    assert any(value.startswith(folder) for folder in folders), word

    def test_systemd_accepts_it(self, unit: Path, tmp_path: Path) -> None:
        if not shutil.which("systemd-analyze"):
            pytest.skip("systemd-analyze is not here")
        copy = tmp_path / unit.name.replace("@", f"@{PORT}")
        copy.write_text(
            unit.read_text(encoding="utf-8").replace("/opt/rerankd/bin/rerankd", shutil.which("true") or "")
        )
        done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
        assert str(copy) not in done.stderr, done.stderr
        assert done.returncode == 0, done.stderr
