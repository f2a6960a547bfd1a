from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from braindec.contracts import FitContext
from braindec.training.gradients import gradients, sensitivity
from braindec.types import Space, Trials
from tests.golden.recipes import toy_data, toy_decoder
from tests.unit.signals.conftest import trial_table


def test_gradients_are_those_of_the_predictions(tmp_path: Path) -> None:
    data = toy_data(False)
    decoder = toy_decoder("mindbridge", epochs=1)
    decoder.fit(data, FitContext(0, "cpu", tmp_path))
    subject, trials = next(iter(data.validation.items()))
    few = trials.select(np.arange(3))

    def scalar(values: torch.Tensor) -> torch.Tensor:
        return (values**2).sum((1, 2))

    decoder.network_.double()
    found = gradients(decoder, _double(few), "text", scalar, "cpu")
    assert found.shape == few.signal.shape
    signal = torch.from_numpy(np.array(few.signal, dtype=np.float64))
    step = torch.zeros_like(signal)
    step[1, 2, 0] = 1e-5
    with torch.no_grad():
        up, down = (scalar(decoder.values_of(signal + s * step, subject)["text"]) for s in (1, -1))
    np.testing.assert_allclose(found[1, 2, 0], float((up - down)[1]) / 2e-5, rtol=1e-3)


def _double(trials: Trials):
    class Doubled:
        signal = np.asarray(trials.signal, dtype=np.float64)
        subject = trials.subject

        def __len__(self) -> int:
            return len(self.signal)

    return Doubled()


class Linear:
    """Stands for a decoder: values = signal @ weights, at the first time point."""

    def __init__(self, weights_SD: np.ndarray) -> None:
        self.weights = torch.from_numpy(weights_SD.astype(np.float32))
        self.shapes_ = {"t": (1, weights_SD.shape[1])}

    def values_of(self, signal: torch.Tensor, subject: str) -> dict[str, torch.Tensor]:
        return {"t": (signal[:, :, 0] @ self.weights)[:, None]}


def test_sensitivity_of_a_linear_decoder_is_its_weights_times_the_spread() -> None:
    rng = np.random.default_rng(0)
    weights_SD = rng.normal(size=(5, 3))
    weights_SD[4] = 0
    signal = (rng.normal(size=(200, 5, 2)) * np.array([1, 1, 1, 10, 1])[None, :, None]).astype(np.float32)
    table = trial_table(n_stimuli=200, n_repetitions=1, n_sessions=1)
    trials = Trials("subj01", signal, "psc", Space("voxels", 5), table)
    found = sensitivity(Linear(weights_SD), trials, "t", "cpu", 400, seed=1)
    expected = np.sqrt((weights_SD**2).mean(axis=1)) * signal[:, :, 0].std(axis=0)
    np.testing.assert_allclose(found[:, 0], expected, rtol=0.15)
    np.testing.assert_array_equal(found[:, 1], 0)
    assert found[4, 0] == 0
