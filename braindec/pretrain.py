"""``braindec pretrain``: train a decoder's encoder to fill in hidden scans of runs that nobody labelled.

    braindec pretrain run_dir=outputs/scans
    braindec train experiment=wave decoder.start_from=outputs/scans/decoder/pretrained/decoder ...

Writes ``decoder/pretrained/`` (what ``decoder.start_from`` takes), ``pretraining.csv`` (loss of the network and of
simple guesses in each held-out run), ``pretraining.json`` and ``pretraining.png``. A killed run is taken up by the same
command.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from braindec.artifacts import (
    RunFolder,
    atomic_write,
    git_revision,
    library_versions,
    text_hash,
    write_json,
    write_state,
    write_table,
)
from braindec.compose import build, checked, chosen_subjects, resolve_device
from braindec.console import progress
from braindec.contracts import Decoder, ScannedDataset, no_progress
from braindec.types import DataError

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from braindec.training.pretraining import Pretraining
    from braindec.types import Series

log = logging.getLogger(__name__)

FOLD = "pretrained"


@dataclass(frozen=True)
class Pretrain:
    """The schema of ``configs/pretrain.yaml``.

    Attributes
    ----------
    name : names the run folder.
    dataset : runs of scans; those that hold test trials are left out.
    decoder : whose encoder is trained; its adapter, heads and objectives play no part.
    pretraining : which scans are hidden, the loss, and the engine (`braindec.training.pretraining.Pretraining`).
    subject : whose runs: a name, several, or ``all``.
    held_out, held_out_share : whole people (``subject``) or single runs (``run``) are held out, so large a share.
    n_resamples : bootstrap resamples behind each interval.
    seed, device, run_dir : as in ``braindec train``.
    """

    name: str
    dataset: ScannedDataset
    decoder: Decoder
    pretraining: Any
    subject: str | list[str]
    held_out: Literal["subject", "run"]
    held_out_share: float
    n_resamples: int
    seed: int
    device: str
    run_dir: str


def pretrain(config: DictConfig) -> pd.DataFrame | None:
    """Pre-train as the configuration says; one row a guess of a hidden scan in held-out runs.

    Of several processes (torchrun) the main one writes and returns the table, the others return None.

    Columns: ``guess`` (network, mean, last, regression), its ``loss`` with the 95% interval ``low``, ``high`` over
    held-out people (or runs; NaN for a single one), what the network gains over the guess with its interval, and ``n``
    people (or runs).

    Raises
    ------
    DataError
        If the data set has no runs of scans, or too few to hold any out.
    """
    from omegaconf import OmegaConf

    from braindec.contracts import FitContext
    from braindec.training.neural import NeuralDecoder
    from braindec.training.pretraining import divided
    from braindec.training.processes import joined

    checked(config, Pretrain)
    processes = joined(resolve_device(config.device))
    shown = progress if processes.is_main else no_progress
    path = Path(processes.share(str(config.run_dir)))
    dataset, decoder, fitting = build(config.dataset), build(config.decoder), build(config.pretraining)
    if not isinstance(decoder, NeuralDecoder):
        raise DataError(f"decoder: {type(decoder).__name__} has no encoder to pre-train; choose decoder=wave")
    subjects = chosen_subjects(config.subject, dataset.scanned())
    series = [one for subject in shown(subjects, "reading") for one in dataset.series(subject)]
    train, held_out = divided(series, config.held_out, config.held_out_share, config.seed)
    resolved = config.copy()
    OmegaConf.resolve(resolved)
    kept = OmegaConf.masked_copy(resolved, [str(key) for key in resolved if key not in ("run_dir", "device")])
    about = {
        "name": config.name,
        "dataset": dataset.name,
        "data_version": dataset.version(),
        "subjects": list(subjects),
        "folds": [FOLD],
        "seed": config.seed,
        "git_revision": git_revision(),
        "libraries": library_versions(),
        "device": resolve_device(config.device),
        "runs": {
            "train": _names(train),
            "held_out": _names(held_out),
            "n_with_test_trials": len(series) - len(train) - len(held_out),
        },
    }
    with processes.main_first():
        run = RunFolder(path)
        if processes.is_main:
            config_hash = text_hash(OmegaConf.to_yaml(kept, sort_keys=True))
            run = RunFolder.create(path, OmegaConf.to_yaml(resolved), about, config_hash)
    if run.manifest()["data_version"] != about["data_version"]:
        raise DataError(f"{run.path}: the data changed since this run began; choose another run_dir, or delete it")
    folder, device = run.decoder(FOLD), processes.device(resolve_device(config.device))
    context = FitContext(config.seed, device, folder / "checkpoint", shown)
    report = dict(fitting.fit(decoder, train, held_out, context))
    table = None
    if processes.is_main:
        report["weights_hash"] = write_state(folder / "decoder", fitting.state())
        write_json(folder / "fit.json", report)
        table = _compared(run, config, fitting, train, held_out)
        _draw(run, table, fitting.loss)
    processes.wait()
    return table


def _names(series: list[Series]) -> list[str]:
    return [f"{one.subject}/{one.run}" for one in series]


def _compared(
    run: RunFolder, config: DictConfig, fitting: Pretraining, train: list[Series], held_out: list[Series]
) -> pd.DataFrame:
    """Losses in held-out runs, written run by run and on average, with intervals over people (or runs)."""
    import pandas as pd

    from braindec.metrics.bootstrap import resample
    from braindec.metrics.statistics import percentile_interval

    losses = fitting.losses(held_out, train, resolve_device(config.device))
    write_table(run.path / "pretraining.csv", losses)
    unit = ["subject"] if config.held_out == "subject" else ["subject", "run"]
    by_unit = losses.groupby([*unit, "guess"], sort=False)["loss"].mean().unstack("guess")
    guesses = list(dict.fromkeys(losses["guess"]))
    values = by_unit[guesses].to_numpy()
    gains = values - values[:, [guesses.index("network")]]
    drawn = resample(np.concatenate([values, gains], axis=1)[None], config.n_resamples, config.seed)
    low, high = percentile_interval(drawn.draws)
    if len(by_unit) < 2:  # one person (or run) does not say how others would differ
        low, high = np.full_like(low, np.nan), np.full_like(high, np.nan)
    n = len(guesses)
    columns = {"loss": drawn.value[:n], "low": low[:n], "high": high[:n]}
    columns |= {"network_gains": drawn.value[n:], "gains_low": low[n:], "gains_high": high[n:]}
    table = pd.DataFrame({"guess": guesses, **columns, "n": len(by_unit)})
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    content = {"loss": fitting.loss, "intervals_over": config.held_out, "held_out": records}
    write_json(run.path / "pretraining.json", content)
    return table


def _draw(run: RunFolder, table: pd.DataFrame, loss: str) -> None:
    """The held-out loss over training beside the simple guesses and the final network, in all scans.

    The curve is of scans drawn at random in each window, the same ones each time; with few windows it can lie beside
    the final network's level.
    """
    from braindec.report.loss_curve import draw_losses
    from braindec.training.curves import read_curves

    curves = read_curves(run.decoder(FOLD) / "checkpoint")
    assert curves is not None, "a fit writes its curves"
    whole = curves.dropna(subset=["validation_loss"])
    lines = {"held out, scans drawn": whole["validation_loss"].to_numpy(), "training": whole["loss"].to_numpy()}
    levels = {str(row["guess"]): float(row["loss"]) for _, row in table.iterrows()}
    with atomic_write(run.path / "pretraining.png") as file:
        file.write(draw_losses(whole["step"].to_numpy(), lines, levels, f"{loss} loss (dashed: held out, all scans)"))


def run(config: DictConfig) -> None:
    """What ``braindec pretrain`` does."""
    from braindec.training.processes import leave

    table = pretrain(config)
    leave()
    if table is None:
        return
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    folder = RunFolder(Path(config.run_dir)).decoder(FOLD) / "decoder"
    log.info("start a decoder from it: braindec train experiment=wave decoder.start_from=%s", folder)
