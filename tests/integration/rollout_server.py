"""`rerankd serve` whose models from folders are as faulty as a file says; the bundled one is sound.

python -m tests.integration.rollout_server CONTROL.json --port N
"""

from __future__ import annotations

from rerankd.models.files import ModelFiles
from rerankd.scoring.backend import Backend
from tests.integration import faulty_server


class ChallengerLoader(faulty_server.FaultyLoader):
    """Opens engines on a controlled backend where the model is a folder."""

    def backend(self, files: ModelFiles) -> Backend:
        if files.reference.kind == "folder":
            return super().backend(files)
        return super(faulty_server.FaultyLoader, self).backend(files)


if __name__ == "__main__":
    faulty_server.main(ChallengerLoader)
