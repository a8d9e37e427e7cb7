"""`rerankd serve` with a backend that misbehaves as a file says; the file is read again before every batch.

python -m tests.integration.faulty_server CONTROL.json --port N
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rerankd.models.files import ModelFiles
from rerankd.scoring.backend import Backend
from rerankd.scoring.encoder import EncodedPair
from rerankd.server.observability import logs
from rerankd.server.run import listen, serve_forever
from rerankd.server.service import open_service
from rerankd.settings import load_settings
from rerankd.wiring.engine import SettingsLoader
from tests.faults import ScriptedBackend


class ControlledBackend(ScriptedBackend):
    """Reads its faults from a file: `poison`, `always`, `fits`, `deadly`, `hang`, `slow_ms`."""

    def __init__(self, control: Path) -> None:
        super().__init__()
        self._control = control

    def _read(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self._control.read_text())
        return content

    def logits(self, pairs: Sequence[EncodedPair]) -> npt.NDArray[np.float32]:
        faults = self._read()
        self.calls.clear()
        self.poison, self.fits = faults.get("poison"), faults.get("fits")
        self.always, self.deadly = faults.get("always", False), faults.get("deadly", False)
        while self._read().get("hang"):
            threading.Event().wait(0.005)
        if slow := faults.get("slow_ms"):
            threading.Event().wait(slow * len(pairs) / 1000)
        return super().logits(pairs)


class FaultyLoader(SettingsLoader):
    """Opens engines on a controlled backend."""

    control: Path

    def backend(self, files: ModelFiles) -> Backend:
        return ControlledBackend(self.control)


def main(loader: type[FaultyLoader] = FaultyLoader) -> None:
    control, _, port = sys.argv[1:4]
    settings = load_settings(port=port)
    logs.configure("text", "info")
    FaultyLoader.control = Path(control)
    service = open_service(settings, loader)
    serve_forever(service, listen(settings.host, settings.port))


if __name__ == "__main__":
    main()
