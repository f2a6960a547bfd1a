from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braindec.signals import split
from braindec.types import DataError

COLUMN = {"stimulus": "stimulus_id", "concept": "concept"}


def units(table, rows, unit):
    return set(table[COLUMN[unit]].iloc[rows])


def assert_apart(table, fold, unit):
    parts = [units(table, rows, unit) for rows in (fold.train, fold.validation, fold.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def all_rows(fold):
    return np.sort(np.concatenate([fold.train, fold.validation, fold.test]))


@settings(max_examples=40, deadline=None)
@given(
    n_stimuli=st.integers(12, 40),
    n_repetitions=st.integers(1, 4),
    test=st.floats(0.05, 0.45),
    validation=st.sampled_from([0.0, 0.1, 0.4]),
    unit=st.sampled_from(["stimulus", "concept"]),
    seed=st.integers(0, 5),
)
def test_by_stimulus_keeps_units_whole_and_uses_every_trial(
    make_table, n_stimuli, n_repetitions, test, validation, unit, seed
):
    table = make_table(n_stimuli, n_repetitions)
    (fold,) = split.by_stimulus(table, test, validation, seed, unit)
    assert_apart(table, fold, unit)
    np.testing.assert_array_equal(all_rows(fold), np.arange(len(table)))
    n_units = table[COLUMN[unit]].nunique()
    assert abs(len(units(table, fold.test, unit)) - test * n_units) <= 1
    assert bool(len(fold.validation)) == bool(validation)
    assert abs(len(units(table, fold.validation, unit)) - validation * n_units) <= 1
    for rows in (fold.train, fold.validation, fold.test):
        assert (np.diff(rows) > 0).all()


def test_by_stimulus_depends_on_the_seed_but_not_on_the_order_of_trials(make_table):
    table = make_table(30, 2)
    shuffled = table.sample(frac=1, random_state=1).reset_index(drop=True)
    (fold,), (other_order,), (other_seed,) = (
        split.by_stimulus(table, 0.2, 0.2, 0),
        split.by_stimulus(shuffled, 0.2, 0.2, 0),
        split.by_stimulus(table, 0.2, 0.2, 1),
    )
    assert units(table, fold.test, "stimulus") == units(shuffled, other_order.test, "stimulus")
    assert units(table, fold.validation, "stimulus") == units(shuffled, other_order.validation, "stimulus")
    assert units(table, fold.test, "stimulus") != units(table, other_seed.test, "stimulus")


def test_published_follows_the_data_set(make_table):
    table = make_table()
    table.loc[0, "split"] = "unused"
    table.loc[1, "split"] = "validation"
    (fold,) = split.published(table)
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(fold, part), np.flatnonzero(table["split"] == part))
    assert 0 not in all_rows(fold)


@pytest.mark.parametrize("unit", ["stimulus", "concept"])
def test_published_carves_validation_out_of_training_units(make_table, unit):
    table = make_table(30, 3)
    (fold,) = split.published(table, 0.3, unit, seed=4)
    assert_apart(table, fold, unit)
    np.testing.assert_array_equal(fold.test, np.flatnonzero(table["split"] == "test"))
    n_units = table[COLUMN[unit]][table["split"] == "train"].nunique()
    assert len(units(table, fold.validation, unit)) == round(0.3 * n_units)
    np.testing.assert_array_equal(all_rows(fold), np.arange(len(table)))


def test_published_refuses_to_add_to_a_published_validation_part(make_table):
    table = make_table()
    table.loc[table["stimulus_id"] == "s000", "split"] = "validation"
    with pytest.raises(DataError, match="names 3 validation trials"):
        split.published(table, 0.1)


def test_leave_repetition_out_states_its_leak(make_table):
    table = make_table(6, 3)
    folds = split.leave_repetition_out(table)
    assert [fold.name for fold in folds] == ["repetition-0", "repetition-1", "repetition-2"]
    for value, fold in enumerate(folds):
        assert set(table["repetition"].iloc[fold.test]) == {value}
        assert value not in set(table["repetition"].iloc[fold.train])
        assert fold.allow_leak == "repetitions of one stimulus on both sides, by design"


@pytest.mark.parametrize(("function", "unit"), [("leave_stimulus_out", "stimulus"), ("leave_concept_out", "concept")])
@pytest.mark.parametrize("n_folds", [None, 4])
def test_every_unit_is_tested_once(make_table, function, unit, n_folds):
    table = make_table(12, 2)
    folds = getattr(split, function)(table, n_folds, seed=2, validation_fraction=0.2)
    assert len(folds) == (table[COLUMN[unit]].nunique() if n_folds is None else n_folds)
    assert len({fold.name for fold in folds}) == len(folds)
    for fold in folds:
        assert_apart(table, fold, unit)
        assert len(fold.validation)
        assert fold.allow_leak is None
    tested = np.concatenate([fold.test for fold in folds])
    np.testing.assert_array_equal(np.sort(tested), np.arange(len(table)))


def test_one_stimulus_a_fold_without_validation(make_table):
    table = make_table(5, 2)
    folds = split.leave_stimulus_out(table)
    assert [fold.name for fold in folds] == [f"stimulus-s{i:03d}" for i in range(5)]
    assert all(len(fold.validation) == 0 and len(fold.test) == 2 for fold in folds)


def test_leave_run_out_names_runs_by_session_and_marks_shared_stimuli(make_table):
    table = make_table(6, 2, n_sessions=2)
    folds = split.leave_run_out(table)
    assert [fold.name for fold in folds] == [f"session-{s}-run-{r}" for s in (0, 1) for r in (0, 1)]
    for fold in folds:
        assert len(table.iloc[fold.test][["session", "run"]].drop_duplicates()) == 1
        shared = units(table, fold.train, "stimulus") & units(table, fold.test, "stimulus")
        assert bool(shared) == (fold.allow_leak is not None)
    unique = make_table(8, 1)
    assert all(fold.allow_leak is None for fold in split.leave_run_out(unique))


@pytest.mark.parametrize(
    "function",
    [
        split.published,
        partial(split.by_stimulus, test_fraction=0.3, validation_fraction=0.2, seed=0),
        split.leave_repetition_out,
        split.leave_stimulus_out,
        split.leave_concept_out,
        split.leave_run_out,
    ],
)
def test_unused_trials_are_in_no_part_and_rows_without_concept_may_be_unused(make_table, function):
    table = make_table(8, 2)
    table.loc[[3, 5], "split"] = "unused"
    table.loc[[3, 5], "concept"] = None
    for fold in function(table):
        assert not {3, 5} & set(all_rows(fold))


@pytest.mark.parametrize(
    ("change", "call", "message"),
    [
        ({"split": "Train"}, split.published, "expected the values"),
        ({"concept": None}, split.leave_concept_out, "18 trials have no concept"),
        ({"run": None}, split.leave_run_out, "18 trials have no run"),
        ({"repetition": np.nan}, split.leave_repetition_out, "18 trials have no repetition"),
        ({}, partial(split.leave_stimulus_out, n_folds=7), "n_folds of 2 to 6"),
        ({}, partial(split.leave_stimulus_out, n_folds=1), "n_folds of 2 to 6"),
        ({}, partial(split.by_stimulus, test_fraction=0.6, validation_fraction=0.4, seed=0), "a sum below 1"),
        ({}, partial(split.by_stimulus, test_fraction=0.95, validation_fraction=0.0, seed=0), "cannot carve 6 of 6"),
        ({}, partial(split.published, validation_fraction=1.5), "between 0 and 1"),
        ({}, partial(split.published, validation_fraction=0.5, unit="trial"), "unit must be one of"),
        ({"split": "train"}, split.published, "0 test trials"),
        ({"concept": [f"c{i}" for i in range(18)]}, split.leave_concept_out, "several concepts"),
    ],
)
def test_bad_tables_and_arguments_are_named(make_table, change, call, message):
    with pytest.raises(DataError, match=message):
        call(make_table().assign(**change))


def test_missing_column_is_named(make_table):
    with pytest.raises(DataError, match="repetition"):
        split.published(make_table().drop(columns="repetition"))


def test_split_hash_names_the_partition_not_the_order(make_table):
    table = make_table(10, 2)
    folds = split.leave_stimulus_out(table, 3)
    reference = split.split_hash(folds, table)
    assert len(reference) == 64
    assert reference == split.split_hash(split.leave_stimulus_out(table, 3), table)

    order = np.random.default_rng(0).permutation(len(table))
    shuffled = table.iloc[order].reset_index(drop=True)
    assert split.split_hash(split.leave_stimulus_out(shuffled, 3), shuffled) == reference

    assert split.split_hash(split.leave_stimulus_out(table, 3, seed=1), table) != reference
    assert split.split_hash(folds[:2], table) != reference
    assert split.split_hash(folds, table.assign(session=5)) != reference
