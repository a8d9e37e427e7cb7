"""nginx reads what `rerankd deploy nginx` writes, whatever the options."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.integration.nginx import certificate
from tests.program import rerankd


def combinations() -> Iterator[list[str]]:
    choices: tuple[tuple[list[str], ...], ...] = (
        (["--instances", "127.0.0.1:8000"], ["--instances", "127.0.0.1:8000,[::1]:8001,127.0.0.1:8002,127.0.0.1:8003"]),
        ([], ["--rate", "600/m"], ["--rate", "7/s", "--burst", "0", "--address-rate", "100/s"]),
        ([], ["--connections", "5"]),
        ([], ["--server-name", "rerank.example.org,*.example.net"]),
        ([], ["tls"]),
        ([], ["--listen", "127.0.0.1:8443"], ["--listen", "[::1]:8443"]),
    )
    for choice in itertools.product(*choices):
        yield [part for parts in choice for part in parts]


def test_nginx_accepts_every_combination_of_options(nginx: str, tmp_path: Path) -> None:
    tls = certificate(tmp_path)
    for number, choice in enumerate(combinations()):
        flags = [part for part in choice if part != "tls"]
        if "tls" in choice:
            flags += ["--tls-cert", str(tls[0]), "--tls-key", str(tls[1])]
        file = tmp_path / f"{number}.conf"
        assert rerankd("deploy", "nginx", *flags, "--folder", str(tmp_path), "--out", str(file)).returncode == 0
        completed = subprocess.run(
            [nginx, "-t", "-c", str(file), "-e", str(tmp_path / "error.log")], capture_output=True, text=True
        )
        assert completed.returncode == 0, f"{flags}: {completed.stderr}"
        assert "[warn]" not in completed.stderr.replace('"user" directive', "")
