from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from braindec.contracts import FitContext
from braindec.training.gradients import gradients, mean_gradients, sensitivity, similarity_gradients
from braindec.training.target_scaling import TargetScaling
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


def planted(n_values: int, scaled: bool = False) -> tuple[Linear, Trials, np.ndarray]:
    """A linear decoder whose first value reads voxels 0 to 4 and nothing else does; and that value's embedding."""
    rng = np.random.default_rng(0)
    weights_SD = np.zeros((20, n_values))
    weights_SD[:5, 0] = 1
    weights_SD[5:, 1:] = rng.normal(size=(15, n_values - 1))
    signal = (rng.normal(size=(90, 20, 1)) * np.linspace(1, 2, 20)[None, :, None]).astype(np.float32)
    table = trial_table(n_stimuli=90, n_repetitions=1, n_sessions=1)
    decoder = Linear(weights_SD)
    scale = rng.uniform(1, 3, (1, n_values)) if scaled else np.ones((1, n_values))
    decoder.scalings_ = {"t": TargetScaling(np.zeros((1, n_values), np.float32), scale.astype(np.float32))}
    return decoder, Trials("subj01", signal, "psc", Space("voxels", 20), table), np.eye(n_values)[:1]


@pytest.mark.parametrize("n_permutations", [30, 200])
def test_a_word_is_found_where_the_network_reads_it(n_permutations: int) -> None:
    decoder, trials, words_WC = planted(60)  # more values than 30 permutations, fewer than 200
    (found,) = similarity_gradients(decoder, trials, "t", words_WC, n_permutations, 90, 0, "cpu")
    assert (found.p_value_ST[:5] < 0.06).all()
    assert (found.p_value_ST[5:] > 0.06).mean() > 0.8
    assert np.abs(found.gradient_ST[:5]).min() > np.abs(found.gradient_ST[5:]).max()


def test_gradients_along_directions_are_those_of_the_target_s_own_scale() -> None:
    decoder, trials, words_WC = planted(6, scaled=True)
    scale_C = decoder.scalings_["t"].scale[0]
    signal = trials.signal[:, :, 0].astype(np.float64)
    mean_C = (signal @ decoder.weights.numpy()).mean(0) * scale_C
    direction_C = words_WC[0] - (words_WC[0] @ mean_C) / (mean_C @ mean_C) * mean_C
    expected = decoder.weights.numpy() @ (direction_C * scale_C) * signal.std(0)
    (found,) = similarity_gradients(decoder, trials, "t", words_WC, 50, 90, 0, "cpu")
    np.testing.assert_allclose(found.gradient_ST[:, 0], expected, rtol=1e-4, atol=1e-6)
    directions = np.random.default_rng(1).normal(size=(3, 6))
    along = mean_gradients(decoder, trials, "t", directions, "cpu")
    np.testing.assert_allclose(along, directions @ decoder.weights.numpy().T, rtol=1e-4)


def test_under_the_null_p_values_are_uniform() -> None:
    rng = np.random.default_rng(3)
    decoder, trials, _ = planted(40)
    decoder.weights = torch.from_numpy(rng.normal(size=(20, 40)).astype(np.float32))
    words_WC = rng.normal(size=(30, 40))
    made = similarity_gradients(decoder, trials, "t", words_WC, 99, 90, 0, "cpu")
    p_values = np.concatenate([own.p_value_ST.ravel() for own in made])
    assert abs((p_values <= 0.05).mean() - 0.05) < 0.03
    assert abs(p_values.mean() - 0.5) < 0.06
