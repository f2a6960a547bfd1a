"""Cross-session alignment: planted differences between sessions go away, and only training trials are looked at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group

from braindec.contracts import Transform
from braindec.signals.align import EuclideanAlignment, ProcrustesAlignment, regularised_procrustes
from braindec.signals.normalise import RobustScale, ZScore
from braindec.signals.whiten import MVNN
from braindec.types import DataError, Trials

BOTH = [EuclideanAlignment(), ProcrustesAlignment()]


def turned(make_trials, make_table, n_stimuli: int = 40, n_space: int = 6, noise: float = 0.3, seed: int = 0) -> Trials:
    """Two sessions that see the same responses through different rotations and offsets."""
    rng = np.random.default_rng(seed)
    table = make_table(n_stimuli, 8, n_sessions=2, seed=seed)
    evoked = rng.normal(size=(n_stimuli, n_space, 3)) * np.linspace(0.5, 2, n_space)[:, None]
    number = table["stimulus_id"].str[1:].astype(int).to_numpy()
    turns = [np.eye(n_space), ortho_group.rvs(n_space, random_state=rng)]
    offsets = rng.normal(size=(2, n_space, 1))
    session = table["session"].to_numpy()
    signal = np.stack([turns[s] @ evoked[i] + offsets[s] for s, i in zip(session, number)])
    return make_trials(signal + noise * rng.normal(size=signal.shape), table, unit="V")


def parts(trials: Trials) -> tuple[Trials, Trials]:
    in_test = (trials.table["split"] == "test").to_numpy()
    return trials.select(~in_test), trials.select(in_test)


def agreement(trials: Trials) -> float:
    """Correlation of the sessions' mean responses over stimuli, positions and times."""
    means = []
    for session in (0, 1):
        own = trials.select((trials.table["session"] == session).to_numpy())
        ids = own.table["stimulus_id"].to_numpy()
        means.append({i: own.signal[ids == i].mean(axis=0) for i in np.unique(ids)})
    shared = sorted(means[0].keys() & means[1].keys())
    one, other = (np.stack([side[i] for i in shared]) for side in means)
    return float(np.corrcoef((one - one.mean(0)).ravel(), (other - other.mean(0)).ravel())[0, 1])


@pytest.mark.parametrize("part", BOTH)
def test_fulfils_the_contract(part) -> None:
    assert isinstance(part, Transform)


def test_procrustes_makes_the_sessions_agree_on_held_out_stimuli(make_trials, make_table) -> None:
    train, test = parts(turned(make_trials, make_table))
    assert agreement(test) < 0.5
    alignment = ProcrustesAlignment()
    alignment.fit(train)
    assert agreement(alignment.apply(test)) > 0.9


def test_whitened_sessions_have_mean_0_and_unit_covariance(make_trials, make_table) -> None:
    train, _ = parts(turned(make_trials, make_table))
    alignment = EuclideanAlignment()
    alignment.fit(train)
    white = alignment.apply(train)
    assert white.unit == "z"
    for session in (0, 1):
        rows = np.moveaxis(white.signal[(train.table["session"] == session).to_numpy()], 2, 1).reshape(-1, 6)
        np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(np.cov(rows.T), np.eye(6), atol=0.25)
    raw = np.moveaxis(train.signal, 2, 1).reshape(-1, 6)
    assert np.abs(np.cov(raw.T) - np.eye(6)).max() > 1


@pytest.mark.parametrize("part", BOTH)
def test_inverse_and_state(part, make_trials, make_table) -> None:
    train, test = parts(turned(make_trials, make_table))
    part.fit(train)
    aligned = part.apply(test)
    back = part.inverse(aligned)
    np.testing.assert_allclose(back.signal, test.signal, atol=1e-4)
    assert back.unit == "V"
    again = type(part)()
    again.load_state(part.state())
    np.testing.assert_array_equal(again.apply(test).signal, aligned.signal)


def test_rotation_is_scipys_where_the_data_decide() -> None:
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 50, 7))
    np.testing.assert_allclose(regularised_procrustes(source, target, 0.0), orthogonal_procrustes(source, target)[0])


def test_directions_without_data_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    source, target = np.zeros((2, 3, 8))
    source[:, :2], target[:, :2] = rng.normal(size=(2, 3, 2))
    turn = regularised_procrustes(source, target, 0.1)
    np.testing.assert_allclose(turn[2:, 2:], np.eye(6), atol=1e-8)
    np.testing.assert_allclose(turn @ turn.T, np.eye(8), atol=1e-8)
    np.testing.assert_allclose(regularised_procrustes(source, target, 1.0), np.eye(8), atol=1e-8)


def test_what_cannot_be_aligned_is_refused(make_trials, make_table) -> None:
    trials = turned(make_trials, make_table)
    first = trials.select((trials.table["session"] == 0).to_numpy())
    for part in (EuclideanAlignment(), ProcrustesAlignment()):
        with pytest.raises(DataError, match="not fitted"):
            part.apply(trials)
        part.fit(first)
        with pytest.raises(DataError, match="no training trials in session 1"):
            part.apply(trials)
        with pytest.raises(DataError, match="unit"):
            part.apply(replace(first, unit="T"))
        with pytest.raises(DataError, match="positions"):
            part.apply(first.select_space(np.arange(3)))
    own_ids = trials.table["stimulus_id"] + "-" + trials.table["session"].astype(str)
    apart = replace(trials, table=trials.table.assign(stimulus_id=own_ids))
    with pytest.raises(DataError, match="0 training stimuli in common"):
        ProcrustesAlignment().fit(apart)
    wide = make_trials(np.zeros((len(trials), 5000, 1)), trials.table)
    with pytest.raises(DataError, match="5000 positions"):
        EuclideanAlignment().fit(wide)


@pytest.mark.parametrize("part", [ZScore, RobustScale, MVNN, EuclideanAlignment])
def test_unknown_grouping_is_refused_at_once(part) -> None:
    with pytest.raises(DataError, match=r"session, run, all, found 'sesion'"):
        part(per="sesion")


def test_unknown_options_are_refused_at_once() -> None:
    with pytest.raises(DataError, match="trials or time"):
        MVNN(over="space")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="within"):
        ProcrustesAlignment(shrinkage=2.0)
