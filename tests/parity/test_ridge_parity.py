"""Ridge against scikit-learn and himalaya, over shapes, penalties, intercepts and folds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, PredefinedSplit

from braindec.models.banded import scaled_system
from braindec.models.column_blocks import TargetColumns
from braindec.models.ridge import ridge_system
from braindec.models.ridge_cv import HeldOut, choose_alpha, leave_out_labels
from braindec.models.ridge_targets import ColumnStream, predict, weights

ALPHAS = np.array([0.5, 10.0, 1000.0])


def problem(n=40, p=90, t=17, repeats=1, seed=0):
    """Features and targets far from zero mean; targets are partly linear in the features."""
    rng = np.random.default_rng(seed)
    position = rng.permutation(np.repeat(np.arange(n // repeats), repeats))
    x = rng.normal(size=(n, p)) + 1
    y = rng.normal(size=(n // repeats, t)) + 5 + 0.3 * x[: n // repeats] @ rng.normal(size=(p, t))
    return x, y, position, rng.normal(size=(13, p)) + 1


def stream_of(system, y, group_width=None):
    return ColumnStream(system, TargetColumns.whole("y", y), group_width)


@pytest.mark.parametrize("alpha", [1e-6, 1.0, 1000.0])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(("n", "p"), [(40, 90), (90, 40), (40, 40), (2, 3)])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_predictions_and_weights_equal_sklearn(n, p, intercept, alpha, precision, tolerance):
    x, y, position, x_test = problem(n, p)
    reference = Ridge(alpha=alpha, fit_intercept=intercept, solver="svd").fit(x, y[position])
    system = ridge_system(x, position, intercept, precision=precision)
    assert system.form == ("dual" if n <= p else "primal")
    stream = stream_of(system, y)
    expected = reference.predict(x_test)
    np.testing.assert_allclose(
        predict(system, x_test, [stream], {"y": alpha})["y"], expected, atol=tolerance * np.abs(expected).max(), rtol=0
    )
    found_weights, found_intercepts = weights(system, stream, alpha)
    np.testing.assert_allclose(found_weights, reference.coef_.T, atol=tolerance * np.abs(reference.coef_).max(), rtol=0)
    np.testing.assert_allclose(
        found_intercepts, np.broadcast_to(reference.intercept_, 17), atol=tolerance * np.abs(expected).max(), rtol=0
    )


def test_alpha_zero_is_the_minimum_norm_least_squares_solution():
    for n, p in ((12, 30), (30, 12)):
        x, y, _, x_test = problem(n, p)
        system = ridge_system(x, precision="float64")
        solution = np.linalg.pinv(x - x.mean(0)) @ (y - y.mean(0))
        expected = (x_test - x.mean(0)) @ solution + y.mean(0)
        np.testing.assert_allclose(
            predict(system, x_test, [stream_of(system, y)], {"y": 0.0})["y"], expected, rtol=1e-8, atol=1e-8
        )


def brute_force(x, y_by_trial, labels, intercept):
    """Squared held-out errors (A, T) by refitting without each label in turn."""
    errors = np.zeros((len(ALPHAS), y_by_trial.shape[1]))
    for a, alpha in enumerate(ALPHAS):
        for train, held in LeaveOneGroupOut().split(x, groups=labels):
            fit = Ridge(alpha=alpha, fit_intercept=intercept, solver="svd").fit(x[train], y_by_trial[train])
            errors[a] += ((y_by_trial[held] - fit.predict(x[held])) ** 2).sum(0)
    return errors


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("repeats", [1, 2])
@pytest.mark.parametrize(("n", "p"), [(24, 50), (50, 8)])
@pytest.mark.parametrize("selection", ["loo", "kfold"])
def test_held_out_scores_equal_refitting(n, p, repeats, intercept, form, selection):
    x, y, position, _ = problem(n, p, t=6, repeats=repeats)
    labels = leave_out_labels(position, selection)
    by_trial = y[position]
    errors = brute_force(x, by_trial, labels, intercept)
    total = ((by_trial - (by_trial.mean(0) if intercept else 0)) ** 2).sum(0)
    for precision, tolerance in (("float64", 1e-9), ("float32", 1e-3)):
        system = ridge_system(x, position, intercept, precision=precision, form=form)
        held_out = HeldOut(system, ALPHAS, labels)
        by_value = choose_alpha(held_out, stream_of(system, y), 1)
        np.testing.assert_allclose(by_value.scores, (1 - errors / total).T, atol=tolerance)
        together = choose_alpha(held_out, stream_of(system, y))
        np.testing.assert_allclose(together.scores[0], 1 - errors.sum(1) / total.sum(), atol=tolerance)
        mean_r2 = choose_alpha(held_out, stream_of(system, y), standardise=True)
        np.testing.assert_allclose(mean_r2.scores[0], (1 - errors / total).mean(1), atol=tolerance)
        by_token = choose_alpha(held_out, stream_of(system, y, group_width=2), 2)
        pairs = 1 - errors.reshape(3, 3, 2).sum(2) / total.reshape(3, 2).sum(1)
        np.testing.assert_allclose(by_token.scores, pairs.T, atol=tolerance)


def test_folds_of_sklearn_group_k_fold_give_its_scores():
    x, y, position, _ = problem(60, 100, t=5, repeats=3)
    labels = np.empty(60, int)
    for fold, (_, held) in enumerate(GroupKFold(4).split(x, groups=position)):
        labels[held] = fold
    system = ridge_system(x, position, precision="float64")
    found = choose_alpha(HeldOut(system, ALPHAS, labels), stream_of(system, y), 1)
    errors = brute_force(x, y[position], labels, True)
    total = ((y[position] - y[position].mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(found.scores, (1 - errors / total).T, atol=1e-9)
    np.testing.assert_array_equal(found.chosen, ALPHAS[errors.argmin(0)])


def test_alphas_and_predictions_of_himalaya_kernel_ridge_cv():
    himalaya = pytest.importorskip("himalaya.kernel_ridge")
    from himalaya.scoring import l2_neg_loss

    x, y, _, x_test = problem(40, 60, t=30)
    y -= y.mean(0)
    y[:, ::3] = np.random.default_rng(1).normal(size=(40, 10))
    labels = np.arange(40) % 5
    model = himalaya.KernelRidgeCV(
        alphas=ALPHAS, kernel="linear", cv=PredefinedSplit(labels), solver_params={"score_func": l2_neg_loss}
    ).fit(x, y)
    system = ridge_system(x, intercept=False, precision="float64")
    stream = stream_of(system, y)
    choice = choose_alpha(HeldOut(system, ALPHAS, labels), stream, 1)
    np.testing.assert_allclose(choice.alphas_T, model.best_alphas_, rtol=1e-12)
    assert len(np.unique(choice.alphas_T)) > 1, "the case must tell alphas apart"
    np.testing.assert_allclose(
        predict(system, x_test, [stream], {"y": choice.alphas_T})["y"], model.predict(x_test), rtol=1e-7, atol=1e-7
    )


def test_band_scales_mean_what_himalaya_weighted_kernels_mean():
    himalaya = pytest.importorskip("himalaya.kernel_ridge")
    x, y, _, x_test = problem(30, 50, t=3)
    band = np.repeat([0, 1, 2], [10, 15, 25])
    scales = np.array([0.6, 0.3, 0.1])
    system = ridge_system(x, intercept=False, precision="float64")
    grams = torch.stack([system.x_NP[:, band == b] @ system.x_NP[:, band == b].T for b in range(3)])
    ours = scaled_system(system, grams, scales, band)
    torch.testing.assert_close(ours.gram, ours.x_NP @ ours.x_NP.T)
    kernels = np.stack([x[:, band == b] @ x[:, band == b].T for b in range(3)])
    cross = np.stack([x_test[:, band == b] @ x[:, band == b].T for b in range(3)])
    reference = himalaya.WeightedKernelRidge(alpha=2.0, deltas=np.log(scales), kernels="precomputed")
    reference.solver_params = {"tol": 1e-8, "max_iter": 200}
    expected = reference.fit(kernels, y).predict(cross)
    found = predict(ours, x_test * np.sqrt(scales[band]), [stream_of(ours, y)], {"y": 2.0})["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
