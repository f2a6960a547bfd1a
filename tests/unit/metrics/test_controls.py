from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from evidence import make_evidence, prediction_table

from braindec.metrics.control_shuffle import derangement
from braindec.metrics.controls import (
    mean_training_stimulus,
    metadata_only,
    nearest_training_stimulus,
    noise_input_signal,
    oracle_class_mean,
    prior_only_predictions,
    shuffled_brain,
)
from braindec.metrics.identification import TwoWay
from braindec.metrics.retrieval import Retrieval
from braindec.metrics.training_mean import central_caption
from braindec.types import DataError, Evidence, Space, Stimuli, TargetEmbeddings, Trials


def training() -> tuple[Stimuli, dict[str, TargetEmbeddings]]:
    """Ten training stimuli: six of concept0, three of concept1, one of concept2."""
    source = make_evidence(10, seed=9)
    concepts = ("concept0",) * 6 + ("concept1",) * 3 + ("concept2",)
    stimuli = replace(source.gallery, ids=tuple(f"train{i}" for i in range(10)), concepts=concepts)
    return stimuli, {"e": TargetEmbeddings("e", stimuli.ids, source.gallery_embeddings["e"])}


# Shuffled brain


def donors(original: Evidence, shuffled: Evidence) -> list[int]:
    """Row whose image each row received."""
    return [int(np.flatnonzero((original.images == image).all(axis=(1, 2, 3)))[0]) for image in shuffled.images]


def test_shuffling_moves_every_stimulus_and_keeps_material_together() -> None:
    evidence = make_evidence(7)
    for (shuffled,) in shuffled_brain([evidence], 5, seed=0):
        rows = donors(evidence, shuffled)
        assert sorted(rows) == list(range(7))
        assert all(row != own for own, row in enumerate(rows))
        assert shuffled.captions == tuple(evidence.captions[row] for row in rows)
        assert shuffled.labels == tuple(evidence.labels[row] for row in rows)
        np.testing.assert_array_equal(shuffled.embeddings["e"], evidence.embeddings["e"][rows])
        pd.testing.assert_frame_equal(shuffled.table, evidence.table)
        np.testing.assert_array_equal(shuffled.truth, evidence.truth)


def test_shuffling_moves_stimuli_not_repetitions() -> None:
    evidence = make_evidence(4, truth=np.array([0, 0, 0, 1, 2, 2, 3]), noise=0.3)
    for (shuffled,) in shuffled_brain([evidence], 10, seed=0):
        donor_stimuli = evidence.truth[donors(evidence, shuffled)]
        assert (donor_stimuli != evidence.truth).all()
        for own in range(4):
            assert len(set(donor_stimuli[evidence.truth == own])) == 1


def test_shuffling_is_reproducible_and_permutations_differ() -> None:
    evidence = make_evidence(20)
    first, again = (list(shuffled_brain([evidence], 3, seed=4)) for _ in range(2))
    for (a,), (b,) in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
    assert donors(evidence, first[0][0]) != donors(evidence, first[1][0])


def test_one_stimulus_a_fold_is_exchanged_between_the_folds_of_a_subject() -> None:
    folds = [make_evidence(1, seed=i, subject=s, fold=f"f{i}") for s in ("a", "b") for i in range(4)]
    folds = [replace(fold, table=fold.table.assign(stimulus_id=f"stim{i % 4}")) for i, fold in enumerate(folds)]
    ((*shuffled,),) = shuffled_brain(folds, 1, seed=0)
    for subject in (slice(0, 4), slice(4, 8)):
        own = [fold.images.tobytes() for fold in folds[subject]]
        moved = [fold.images.tobytes() for fold in shuffled[subject]]
        assert sorted(own) == sorted(moved)
        assert all(a != b for a, b in zip(own, moved, strict=True))
    assert [e.table["fold"].iloc[0] for e in shuffled] == [e.table["fold"].iloc[0] for e in folds]


def test_a_single_stimulus_cannot_be_shuffled() -> None:
    with pytest.raises(DataError, match="single stimulus"):
        list(shuffled_brain([make_evidence(1)], 1, seed=0))


def test_shuffled_scores_are_at_chance_when_stimuli_may_stay() -> None:
    evidence = make_evidence(12, noise=0.2)
    permutations = list(shuffled_brain([evidence], 300, seed=0, allow_own=True))
    values = [TwoWay("e").scores(e)[0].values.mean() for (e,) in permutations]
    assert abs(np.mean(values) - 0.5) < 4 * np.std(values) / np.sqrt(300)
    top1 = [Retrieval("e", k=(1,), ways=("forward",)).scores(e)[0].values.mean() for (e,) in permutations]
    assert abs(np.mean(top1) - 1 / 12) < 4 * np.std(top1) / np.sqrt(300)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_derangement(n: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        order = derangement(n, rng)
        assert sorted(order) == list(range(n))
        assert (order != np.arange(n)).all()


# From training stimuli


def test_mean_training_stimulus() -> None:
    stimuli, embeddings = training()
    evidence = make_evidence(5)
    made = mean_training_stimulus(evidence, stimuli, embeddings)
    expected = stimuli.images.astype(float).mean(axis=0)
    assert made.images.dtype == np.uint8
    np.testing.assert_allclose(made.images[3], expected, atol=0.5)
    np.testing.assert_allclose(made.embeddings["e"][2], embeddings["e"].values.mean(axis=0), atol=1e-6)
    assert made.labels == ("concept0",) * 5
    assert len(set(made.captions)) == 1
    assert made.captions[0] in {captions[0] for captions in stimuli.captions}
    np.testing.assert_array_equal(made.truth, evidence.truth)


def test_only_the_kinds_that_were_decoded_are_given() -> None:
    stimuli, embeddings = training()
    bare = replace(make_evidence(5), images=None, captions=None, labels=None)
    for made in (
        mean_training_stimulus(bare, stimuli, embeddings),
        nearest_training_stimulus(bare, stimuli, embeddings, "e"),
    ):
        assert (made.images, made.captions, made.labels) == (None, None, None)
        assert made.embeddings["e"].shape == bare.embeddings["e"].shape
    untold = replace(stimuli, captions=None, concepts=None)
    made = mean_training_stimulus(make_evidence(5), untold, embeddings)
    assert made.images is not None
    assert (made.captions, made.labels) == (None, None)


def test_nearest_training_stimulus() -> None:
    stimuli, embeddings = training()
    chosen = np.array([4, 4, 0, 9])
    evidence = make_evidence(4)
    near = embeddings["e"].values[chosen] * 3 + 0.01 * np.random.default_rng(0).normal(size=(4, 2, 16))
    made = nearest_training_stimulus(replace(evidence, embeddings={"e": near}), stimuli, embeddings, "e")
    np.testing.assert_array_equal(made.images, stimuli.images[chosen])
    np.testing.assert_array_equal(made.embeddings["e"], embeddings["e"].values[chosen])
    assert made.labels == tuple(stimuli.concepts[i] for i in chosen)
    assert made.captions == tuple(stimuli.captions[i][0] for i in chosen)
    with pytest.raises(DataError, match="'absent'"):
        nearest_training_stimulus(evidence, stimuli, embeddings, "absent")


def test_oracle_class_mean() -> None:
    stimuli, embeddings = training()
    evidence = make_evidence(6)
    made = oracle_class_mean(evidence, stimuli, embeddings)
    assert made is not None
    assert made.labels is None
    members = {0: slice(0, 6), 1: slice(6, 9), 2: slice(9, 10)}
    for row in range(6):
        own = members[row % 3]
        np.testing.assert_allclose(made.images[row], stimuli.images[own].astype(float).mean(axis=0), atol=0.5)
        expected = embeddings["e"].values[own].mean(axis=0)
        np.testing.assert_allclose(made.embeddings["e"][row], expected, atol=1e-6)


def test_oracle_does_not_apply_to_unseen_concepts() -> None:
    stimuli, embeddings = training()
    assert oracle_class_mean(make_evidence(6), replace(stimuli, concepts=("other",) * 10), embeddings) is None
    assert oracle_class_mean(make_evidence(6), replace(stimuli, concepts=None), embeddings) is None


def test_central_caption() -> None:
    assert central_caption(["b", "a", "b", "c"]) == "b"
    assert central_caption(["a red dog", "a red cat", "two blue birds fly"]) in ("a red dog", "a red cat")


# Predictions of their own


def test_prior_only_is_constant() -> None:
    _, embeddings = training()
    made = prior_only_predictions(prediction_table(["x", "y", "z"]), embeddings)
    assert made.source == "prior_only"
    np.testing.assert_allclose(made.embeddings["e"], embeddings["e"].values.mean(axis=0)[None].repeat(3, 0), atol=1e-6)


def trial_table(stimulus_ids: list[str], sessions: np.ndarray) -> pd.DataFrame:
    n = len(stimulus_ids)
    return pd.DataFrame(
        {"stimulus_id": stimulus_ids, "concept": "c", "session": sessions, "run": 1, "repetition": 0, "split": "train"},
        index=range(n),
    )


def test_metadata_only_finds_a_confounded_design_and_nothing_else() -> None:
    """Each session shows one kind of stimulus: the session alone predicts the embedding."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(3, 2, 16))
    sessions = np.repeat(np.arange(3), 20)
    ids = tuple(f"s{i}" for i in range(60))
    values = (kinds[sessions] + 0.1 * rng.normal(size=(60, 2, 16))).astype(np.float32)
    table = prediction_table(["t0", "t1", "t2"])
    test = trial_table(["t0", "t1", "t2"], np.array([2, 0, 1]))
    made = metadata_only(trial_table(list(ids), sessions), test, table, {"e": TargetEmbeddings("e", ids, values)})
    assert made.source == "metadata_only"
    np.testing.assert_allclose(made.embeddings["e"], kinds[[2, 0, 1]], atol=0.5)
    shuffled = TargetEmbeddings("e", ids, rng.permutation(values))
    nothing = metadata_only(trial_table(list(ids), sessions), test, table, {"e": shuffled})
    assert np.abs(nothing.embeddings["e"] - kinds[[2, 0, 1]]).mean() > 0.5


def test_metadata_only_uses_metadata_columns_only() -> None:
    ids = [f"s{i}" for i in range(12)]
    train = trial_table(ids, np.repeat([0, 1], 6))
    values = np.random.default_rng(0).normal(size=(12, 1, 4)).astype(np.float32)
    embeddings = {"e": TargetEmbeddings("e", tuple(ids), values)}
    test = trial_table(["x", "y"], np.array([0, 1]))
    renamed = test.assign(stimulus_id=["p", "q"], concept="z", split="test")
    table = prediction_table(["x", "y"])
    np.testing.assert_array_equal(
        metadata_only(train, test, table, embeddings).embeddings["e"],
        metadata_only(train, renamed, table, embeddings).embeddings["e"],
    )
    with pytest.raises(DataError, match="2 test trials for 1"):
        metadata_only(train, test, table.iloc[:1], embeddings)


def test_metadata_leaves_out_the_counter_of_stimuli_that_are_trained_too() -> None:
    """With the place in the run, how often a class was shown before names the class by arithmetic."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(["often"] * 90 + ["rarely"] * 30)
    counter = pd.Series(ids).groupby(ids).cumcount().to_numpy()
    whole = trial_table(ids.tolist(), np.zeros(120)).assign(repetition=counter)
    train, test = whole.iloc[:80].reset_index(drop=True), whole.iloc[80:].reset_index(drop=True)
    embeddings = {"e": TargetEmbeddings("e", ("often", "rarely"), np.array([[[1.0]], [[-1.0]]], np.float32))}
    table = prediction_table([f"t{i}" for i in range(40)])

    def predicted(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
        return metadata_only(train, test, table, embeddings).embeddings["e"]

    without = predicted(train.assign(repetition=0), test.assign(repetition=0))
    np.testing.assert_array_equal(predicted(train, test), without)
    unseen = test.assign(stimulus_id=[f"new {i}" for i in range(40)])
    assert np.abs(predicted(train, unseen) - without).max() > 0.1


def test_metadata_without_variance_predicts_the_mean() -> None:
    train = trial_table(["a"], np.array([0]))
    embeddings = {"e": TargetEmbeddings("e", ("a",), np.ones((1, 1, 3), np.float32))}
    made = metadata_only(train, train, prediction_table(["a"]), embeddings)
    np.testing.assert_array_equal(made.embeddings["e"], 1)


def trials(unit: str, n: int = 4000, seed: int = 0) -> Trials:
    signal = np.random.default_rng(seed).normal(size=(n, 2, 1)).astype(np.float32) * [[1.0], [5.0]] + [[3.0], [-2.0]]
    table = trial_table([f"s{i}" for i in range(n)], np.zeros(n))
    return Trials("s1", signal.astype(np.float32), unit, Space("voxels", 2), table)


def test_noise_input_has_the_training_moments_and_nothing_of_the_signal() -> None:
    test, train = trials("psc"), trials("psc", seed=1)
    noise = noise_input_signal(test, seed=0, training=train)
    assert noise.signal.shape == test.signal.shape
    assert noise.signal.dtype == np.float32
    np.testing.assert_allclose(noise.signal.mean(axis=0), [[3.0], [-2.0]], atol=0.3)
    np.testing.assert_allclose(noise.signal.std(axis=0), [[1.0], [5.0]], rtol=0.1)
    assert abs(np.corrcoef(noise.signal[:, 0, 0], test.signal[:, 0, 0])[0, 1]) < 0.1
    np.testing.assert_array_equal(noise.signal, noise_input_signal(test, 0, train).signal)


def test_noise_input_without_training_trials() -> None:
    standard = noise_input_signal(trials("z"), seed=0)
    np.testing.assert_allclose(standard.signal.std(axis=0), 1.0, rtol=0.1)
    with pytest.raises(DataError, match="psc"):
        noise_input_signal(trials("psc"), seed=0)
