from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braindec.signals.patterns import activation_patterns, localise
from braindec.types import DataError


def _recording(rng: np.random.Generator, n: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two sources in four of ten features, under noise that the first and the last feature share."""
    sources_N2 = rng.normal(size=(n, 2))
    planted_2P = np.zeros((2, 10))
    planted_2P[0, :2] = 1.0, -0.5
    planted_2P[1, 2:4] = 0.8, 0.6
    noise = 0.3 * rng.normal(size=(n, 10))
    noise[:, [0, 9]] += rng.normal(size=(n, 1))
    return sources_N2 @ planted_2P + noise, sources_N2, planted_2P


def test_it_is_cov_x_w_over_cov_s() -> None:
    rng = np.random.default_rng(0)
    features_NP, weights_PC = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)), rng.normal(size=(6, 3))
    decoded_NC = features_NP @ weights_PC
    covariance_PP, covariance_CC = np.cov(features_NP.T), np.cov(decoded_NC.T)
    expected_PC = covariance_PP @ weights_PC @ np.linalg.inv(covariance_CC) * decoded_NC.std(axis=0)
    found = activation_patterns(features_NP + 5, decoded_NC - 2, 64)
    np.testing.assert_allclose(found.activation_CP, expected_PC.T, rtol=1e-4)


def test_a_noise_channel_has_weight_but_no_pattern() -> None:
    features_NP, sources_N2, planted_2P = _recording(np.random.default_rng(1))
    weights_PC = np.linalg.lstsq(features_NP, sources_N2)[0]
    assert abs(weights_PC[9, 0]) > 0.2
    found = activation_patterns(features_NP, features_NP @ weights_PC, 64)
    np.testing.assert_allclose(found.activation_CP, planted_2P, atol=0.12)
    assert abs(found.activation_CP[0, 9]) < 0.06
    assert found.strength_P[:4].min() > 0.4
    assert found.strength_P[4:].max() < 0.1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_strength_knows_no_scale_or_rotation_of_values(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    features_NP, decoded_NC = rng.normal(size=(40, 5)), rng.normal(size=(40, 3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    first = activation_patterns(features_NP, decoded_NC, 8)
    again = activation_patterns(features_NP * scale, scale * decoded_NC @ rotation, 8)
    np.testing.assert_allclose(again.strength_P, first.strength_P, rtol=1e-4)
    expected = [np.linalg.lstsq(decoded_NC - decoded_NC.mean(0), x - x.mean())[0] for x in features_NP.T]
    fitted_NP = (decoded_NC - decoded_NC.mean(0)) @ np.array(expected).T
    np.testing.assert_allclose(first.strength_P, fitted_NP.std(0) / features_NP.std(0), rtol=1e-4)


def test_scores_that_sum_to_zero_and_many_values() -> None:
    rng = np.random.default_rng(2)
    features_NP = rng.normal(size=(60, 4))
    scores_NC = features_NP @ rng.normal(size=(4, 3))
    scores_NC -= scores_NC.mean(axis=1, keepdims=True)
    found = activation_patterns(features_NP, scores_NC, 64)
    assert np.abs(found.activation_CP).max() < 10
    many = activation_patterns(features_NP, features_NP @ rng.normal(size=(4, 100)), 8)
    assert many.activation_CP is None
    np.testing.assert_allclose(many.strength_P, 1, rtol=1e-5)


def test_a_dead_feature_is_zero_and_a_constant_decoder_is_refused() -> None:
    features_NP = np.random.default_rng(3).normal(size=(30, 3))
    decoded_NC = features_NP[:, :1].copy()
    features_NP[:, 2] = 7
    found = activation_patterns(features_NP, decoded_NC, 8)
    assert found.strength_P[2] == 0
    assert found.strength_P[0] == pytest.approx(1, abs=1e-5)
    with pytest.raises(DataError, match="predicts the same for all"):
        activation_patterns(features_NP, np.ones((30, 2)), 8)
    with pytest.raises(DataError, match="30 trials of signal, 29 of decoded"):
        activation_patterns(features_NP, decoded_NC[:29], 8)


def test_a_word_is_found_where_it_lies_and_p_values_of_any_direction_are_uniform() -> None:
    rng = np.random.default_rng(4)
    decoded_NC = rng.normal(size=(300, 40))
    features_NP = rng.normal(size=(300, 30))
    direction = rng.normal(size=40)
    features_NP[:, :3] += 0.4 * (decoded_NC @ direction)[:, None]
    features_NP[:, 29] = 5
    found = localise(features_NP, decoded_NC, direction, 499, 0)
    mean = decoded_NC.mean(0)
    similarity = (decoded_NC - mean) @ (direction - direction @ mean / (mean @ mean) * mean)
    assert found.correlation_P[1] == pytest.approx(np.corrcoef(features_NP[:, 1], similarity)[0, 1], abs=1e-5)
    assert found.p_value_P[:3].max() == 1 / 500
    assert found.p_value_P[3:].min() > 1 / 500
    assert found.p_value_P[29] == 1
    # Other directions: exchangeable with their permutations, though the decoder follows the features.
    follows_NP = decoded_NC @ rng.normal(size=(40, 30)) + rng.normal(size=(300, 30))
    p_values = [localise(follows_NP, decoded_NC, rng.normal(size=40), 99, s).p_value_P for s in range(40)]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_a_rare_word_of_a_bag_is_not_drowned_by_frequent_ones() -> None:
    rng = np.random.default_rng(5)
    bag_NC = (rng.random((400, 20)) < np.r_[0.1, np.full(19, 0.5)]).astype(float)
    decoded_NC = bag_NC + 0.1 * rng.normal(size=bag_NC.shape)
    features_NP = bag_NC @ np.eye(20) + 0.5 * rng.normal(size=(400, 20))
    for shift in (0.0, 3.0):  # embeddings that all have much in common change nothing
        found = localise(features_NP, decoded_NC + shift, np.eye(20)[0] + shift, 199, 0)
        own = np.corrcoef(features_NP[:, 0], decoded_NC[:, 0])[0, 1]
        assert found.correlation_P[0] == pytest.approx(own, abs=0.1)
        assert np.abs(found.correlation_P[1:]).max() < 0.6 * own


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="do not fit"):
        localise(np.ones((4, 2)), np.ones((4, 3)), np.ones(2), 9, 0)
    with pytest.raises(DataError, match="similarity is the same for all trials"):
        localise(np.ones((4, 2)), np.ones((4, 3)), np.ones(3), 9, 0)
