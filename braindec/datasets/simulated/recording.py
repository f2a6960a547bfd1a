"""From stimuli to trials: the schedule of an experiment, and its noise and drifts.

Legend: N trials, S voxels, R sessions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

TRIALS_PER_RUN = 50


@dataclass(frozen=True)
class Instrument:
    """One subject's scanner properties, one value a voxel (S,).

    Attributes
    ----------
    ncsnr : SD of the noiseless responses over the reference scenes / SD of the trial noise.
    amplitude_psc : SD of the noiseless responses, percent signal change.
    baseline_psc : mean response.
    """

    ncsnr: np.ndarray
    amplitude_psc: np.ndarray
    baseline_psc: np.ndarray


def draw_instrument(n_voxels: int, ncsnr: float, rng: np.random.Generator) -> Instrument:
    """Draw ncsnr from a gamma distribution of shape 6 about the given mean, rescaled to have exactly that mean."""
    planted = np.maximum(rng.gamma(6.0, 1 / 6.0, n_voxels), 0.1)
    return Instrument(
        ncsnr=ncsnr * planted / planted.mean(),
        amplitude_psc=rng.lognormal(0.0, 0.3, n_voxels),
        baseline_psc=rng.normal(0.5, 0.5, n_voxels),
    )


def schedule(
    stimuli: dict[str, tuple[str, ...]],
    repetitions: dict[str, int],
    n_sessions: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Trial table with stimulus_id, split, session, run, repetition (all counted from 0), in order of time.

    Each split's trials are spread evenly over the sessions, so a session that tests also trains; within a session the
    order is random. The n-th showing of a stimulus in time has repetition n - 1, across splits.

    Parameters
    ----------
    stimuli : split -> ids; an id may be in both splits.
    repetitions : split -> showings of each of its stimuli.
    """
    parts = []
    for split, ids in stimuli.items():
        shown = [ids[i] for _ in range(repetitions[split]) for i in rng.permutation(len(ids))]
        session = np.arange(len(shown)) * n_sessions // max(len(shown), 1)
        parts.append(pd.DataFrame({"stimulus_id": shown, "split": split, "session": session}))
    table = pd.concat(parts, ignore_index=True)
    table = table.iloc[np.lexsort((rng.random(len(table)), table["session"]))].reset_index(drop=True)
    table["run"] = table.groupby("session").cumcount() // TRIALS_PER_RUN
    table["repetition"] = table.groupby("stimulus_id").cumcount()
    return table


def record(
    response: np.ndarray, session: np.ndarray, instrument: Instrument, drift: float, rng: np.random.Generator
) -> np.ndarray:
    """Noiseless responses of each trial -> measured signal.

    Parameters
    ----------
    response : float (N, S), SD about 1.
    session : int (N,), in order of time.
    drift : SD of the session offsets in units of response SD; gains vary by a third of it (SD), and a slow wave
        within each session has half of it (amplitude SD).

    Returns
    -------
    float32 (N, S), percent signal change.
    """
    n_trials, n_voxels = response.shape
    noise = rng.standard_normal((n_trials, n_voxels), dtype=np.float32)
    signal = response + noise * (1 / instrument.ncsnr).astype(np.float32)
    for number in np.unique(session):
        rows = session == number
        offset = drift * rng.standard_normal(n_voxels)
        gain = np.maximum(1 + drift / 3 * rng.standard_normal(n_voxels), 0.2)
        cycles, phase = rng.uniform(0.5, 1.5), rng.uniform(0, 2 * np.pi)
        slow = np.sin(2 * np.pi * cycles * np.linspace(0, 1, int(rows.sum())) + phase)
        wave = drift / 2 * slow[:, None] * rng.standard_normal(n_voxels)
        signal[rows] = signal[rows] * gain + offset + wave
    return (signal * instrument.amplitude_psc + instrument.baseline_psc).astype(np.float32)
