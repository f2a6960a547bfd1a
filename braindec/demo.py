"""``braindec demo``: the main job on the embedded default: train, reconstruct, evaluate.

braindec demo
braindec demo dataset.n_subjects=4 run_dir=outputs/four
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from braindec import evaluate, reconstruct, train
from braindec.compose import compose

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)


def run(config: DictConfig) -> None:
    """What ``braindec demo`` does."""
    started = time.perf_counter()
    log.info("reading subjects, fitting decoders, predicting test trials ...")
    folder = train.train(config)
    if config.stages:
        log.info("reconstructing pictures and words ...")
        reconstruct.reconstruct(compose("reconstruct", [f"run={folder.path}"]))
    log.info("scoring against the controls ...")
    evaluate.run(compose("evaluate", [f"run={folder.path}"]))
    log.info("done in %.0f s", time.perf_counter() - started)
