from __future__ import annotations

import numpy as np
import pytest

from braindec.contracts import Transform
from braindec.signals.average import average_repetitions, pseudo_trials
from braindec.signals.channels import AverageReference, MapScale, PickChannels, picks_by_name, picks_by_position
from braindec.signals.split import leave_group_out, leave_run_out
from braindec.types import DataError, Space

NAMES = ("Fp1", "Fp2", "Cz", "P3", "Oz", "PO7")
POSITIONS = np.array(
    [[-0.03, 0.09, 0], [0.03, 0.09, 0], [0, 0, 0.1], [-0.05, -0.05, 0.06], [0, -0.1, 0], [-0.05, -0.08, 0]]
)
SPACE = Space("channels", 6, names=NAMES, positions_m=POSITIONS)


@pytest.fixture
def trials(make_trials):
    return make_trials(np.random.default_rng(0).normal(size=(5, 6, 7)) + 3, space=SPACE, unit="V")


def test_picks_by_name_and_by_position() -> None:
    np.testing.assert_array_equal(picks_by_name(SPACE, ["O*", "P[!O]*"]), [3, 4])
    np.testing.assert_array_equal(picks_by_name(SPACE, ["Cz", "Fp1"]), [0, 2])
    np.testing.assert_array_equal(picks_by_position(SPACE, (0, 0, 0.1), 0.08), [2])
    np.testing.assert_array_equal(picks_by_position(SPACE, box_m=[[None, 0], [None, -0.01], [None, None]]), [3, 4, 5])
    with pytest.raises(DataError, match="no channel is named 'X1'"):
        picks_by_name(SPACE, ["X1"])
    with pytest.raises(DataError, match="none of the 6"):
        picks_by_position(SPACE, (1, 1, 1), 0.01)
    with pytest.raises(DataError, match="no positions"):
        picks_by_position(Space("channels", 2), (0, 0, 0), 1.0)


def test_picking_keeps_names_positions_and_record(trials) -> None:
    pick = PickChannels(["P*", "O*"], box_m=[[None, None], [None, -0.07], [None, None]])
    assert isinstance(pick, Transform)
    pick.fit(trials)
    kept = pick.apply(trials)
    assert kept.space.names == ("Oz", "PO7")
    np.testing.assert_array_equal(kept.signal, trials.signal[:, 4:])
    again = PickChannels(["Fp1"])
    again.load_state(pick.state())
    assert again.apply(trials).space.names == ("Oz", "PO7")
    with pytest.raises(DataError, match="fitted on 6 channels, found 2"):
        pick.apply(kept)


def test_average_reference_and_map_scale(trials) -> None:
    referenced = AverageReference().apply(trials)
    np.testing.assert_allclose(referenced.signal.mean(axis=1), 0, atol=1e-6)
    scaled = MapScale().apply(trials)
    assert scaled.unit == "z"
    np.testing.assert_allclose(scaled.signal.std(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(MapScale().apply(referenced).signal, scaled.signal, atol=1e-5)
    flat = MapScale().apply(type(trials)(**{**vars(trials), "signal": np.ones_like(trials.signal)}))
    assert not flat.signal.any()


def test_pseudo_trials_use_every_trial_at_most_once(make_trials, make_table) -> None:
    table = make_table(n_stimuli=3, n_repetitions=7)
    trials = make_trials(np.arange(21)[:, None, None] * np.ones((21, 2, 1)), table)
    made = pseudo_trials(trials, 3)
    assert len(made) == 6
    assert set(made.table["n_repetitions"]) == {3}
    for stimulus, group in made.table.groupby("stimulus_id"):
        rows = np.flatnonzero(table["stimulus_id"] == stimulus)
        values = made.signal[group.index, 0, 0]
        np.testing.assert_allclose(values, [rows[:3].mean(), rows[3:6].mean()])
        assert sorted(group["repetition"]) == [0, 1]
    np.testing.assert_array_equal(pseudo_trials(trials, 7).signal, average_repetitions(trials).signal)
    with pytest.raises(DataError, match="no stimulus has 8"):
        pseudo_trials(trials, 8)


def test_groups_are_left_out_whole(make_table) -> None:
    table = make_table(n_stimuli=6, n_repetitions=4, n_sessions=4)
    folds = leave_group_out(table, "session", n_folds=2, seed=1)
    assert [fold.name for fold in folds] == ["fold-0", "fold-1"]
    tested = np.concatenate([fold.test for fold in folds])
    np.testing.assert_array_equal(np.sort(tested), np.arange(24))
    for fold in folds:
        assert not set(table["session"].iloc[fold.train]) & set(table["session"].iloc[fold.test])
        assert fold.allow_leak == "stimuli of the held-out session were also shown in other sessions, by design"
    assert len(leave_group_out(table, "session")) == 4
    assert [f.name for f in leave_run_out(table)] == [f.name for f in leave_group_out(table, "run")]
    with pytest.raises(DataError, match="n_folds of 2 to 4"):
        leave_group_out(table, "session", n_folds=5)
