"""Fits a toy recipe and kills itself with SIGKILL at an update. Arguments: recipe, folder, update."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from braindec.contracts import FitContext
from braindec.training.engine import Engine
from tests.golden.recipes import OF_TIME, toy_data, toy_decoder

if __name__ == "__main__":
    recipe, folder, update = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    plain = Engine.update

    def dying(self: Engine, step: int, batches: object) -> float:
        if step == update:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(self, step, batches)  # type: ignore[arg-type]

    Engine.update = dying  # type: ignore[assignment, method-assign]
    decoder = toy_decoder(recipe, epochs=4, checkpoint_every=3, ema_decay=0.9)
    decoder.fit(toy_data(recipe in OF_TIME), FitContext(0, "cpu", folder))
