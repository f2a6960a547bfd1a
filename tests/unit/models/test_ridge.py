"""Ridge solver: properties, edges, streaming, bad input."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from braindec.models import column_blocks
from braindec.models.column_blocks import TargetColumns
from braindec.models.ridge import add_gram, matmul_precision, mirror_lower, ridge_system
from braindec.models.ridge_targets import ColumnStream, predict, weights
from braindec.types import DataError


def fit_predict(x, y, x_test, alpha, **options):
    system = ridge_system(x, options.pop("position", None), **options)
    return predict(system, x_test, [ColumnStream(system, TargetColumns.whole("y", y))], {"y": alpha})["y"]


def arrays(n, p, t, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, p)), rng.normal(size=(n, t)), rng.normal(size=(5, p))


shapes = st.tuples(st.integers(2, 25), st.integers(1, 25), st.integers(1, 9), st.integers(0, 99))


@settings(max_examples=25, deadline=None)
@given(shapes, st.floats(1e-2, 1e3), st.floats(-3, 3))
def test_predictions_are_linear_in_targets_and_follow_shifts(shape, alpha, factor):
    x, y, x_test = arrays(*shape)
    other = np.random.default_rng(7).normal(size=y.shape)
    options = {"precision": "float64"}
    base = fit_predict(x, y, x_test, alpha, **options)
    joint = fit_predict(x, factor * y + other, x_test, alpha, **options)
    np.testing.assert_allclose(joint, factor * base + fit_predict(x, other, x_test, alpha, **options), atol=1e-8)
    np.testing.assert_allclose(fit_predict(x + 3, y - 2, x_test + 3, alpha, **options), base - 2, atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(shapes, st.randoms(use_true_random=False))
def test_order_of_targets_and_trials_does_not_matter(shape, random):
    x, y, x_test = arrays(*shape)
    columns, rows = list(range(y.shape[1])), list(range(len(x)))
    random.shuffle(columns)
    random.shuffle(rows)
    base = fit_predict(x, y, x_test, 1.0, precision="float64")
    np.testing.assert_allclose(fit_predict(x, y[:, columns], x_test, 1.0, precision="float64"), base[:, columns])
    moved = fit_predict(x[rows], y[rows], x_test, 1.0, precision="float64")
    np.testing.assert_allclose(moved, base, atol=1e-10)
    by_position = fit_predict(x[rows], y, x_test, 1.0, precision="float64", position=np.array(rows))
    np.testing.assert_allclose(by_position, base, atol=1e-10)


@pytest.mark.parametrize("size", [1, 3, 8, 21])
def test_gram_panels_fill_the_symmetric_product(size):
    rows = torch.randn(size, 4, dtype=torch.float64)
    gram = torch.zeros(size, size, dtype=torch.float64)
    add_gram(gram, rows)
    torch.testing.assert_close(mirror_lower(gram), rows @ rows.T)


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_memory_mapped_blocks_equal_one_block(tmp_path, monkeypatch, form, dtype):
    x, y, x_test = arrays(20, 30, 1500, 0)
    np.save(tmp_path / "y.npy", y.astype(dtype))
    mapped = np.load(tmp_path / "y.npy", mmap_mode="r")
    position = np.random.default_rng(1).permutation(np.repeat(np.arange(10), 2))
    target = TargetColumns("y", mapped, np.array([3, 4, 5, 0, 19, 18, 7, 8, 9, 1]))
    system = ridge_system(x, position, form=form)
    whole = predict(
        system, x_test, [ColumnStream(system, TargetColumns.whole("y", y.astype(dtype)[target.rows]))], {"y": 1.0}
    )
    monkeypatch.setattr(column_blocks, "BLOCK_BYTES", 1)
    assert len(column_blocks.column_spans(1500, 10, 4)) == 6
    out = np.lib.format.open_memmap(tmp_path / "out.npy", mode="w+", dtype=np.float32, shape=(5, 1500))
    predict(system, x_test, [ColumnStream(system, target)], {"y": 1.0}, {"y": out})
    np.testing.assert_allclose(out, whole["y"], rtol=1e-5, atol=1e-5)
    exact = fit_predict(x, y.astype(dtype)[target.rows][position], x_test, 1.0, precision="float64")
    np.testing.assert_allclose(out, exact, atol=1e-4)


def test_blocks_do_not_cross_groups(monkeypatch):
    monkeypatch.setattr(column_blocks, "BLOCK_BYTES", 1)
    spans = column_blocks.column_spans(1300, 10, 4, group_width=600)
    assert spans == [(0, 256), (256, 512), (512, 600), (600, 856), (856, 1112), (1112, 1200), (1200, 1300)]


def test_kept_blocks_serve_a_second_pass():
    x, y, x_test = arrays(10, 4, 3, 0)
    system = ridge_system(x)
    stream = ColumnStream(system, TargetColumns.whole("y", y), keep=True)
    first = predict(system, x_test, [stream], {"y": 2.0})["y"]
    y[:] = np.nan
    np.testing.assert_array_equal(predict(system, x_test, [stream], {"y": 2.0})["y"], first)


def test_each_target_may_have_its_own_alpha():
    x, y, x_test = arrays(12, 30, 4, 0)
    alphas = np.array([1.0, 100.0, 1.0, 7.0])
    found = fit_predict(x, y, x_test, alphas, precision="float64")
    for column, alpha in enumerate(alphas):
        expected = fit_predict(x, y[:, [column]], x_test, alpha, precision="float64")
        np.testing.assert_allclose(found[:, [column]], expected, rtol=1e-12)
    system = ridge_system(x, precision="float64")
    w, b = weights(system, ColumnStream(system, TargetColumns.whole("y", y)), alphas)
    np.testing.assert_allclose(x_test @ w + b, found, rtol=1e-10)


def test_repeated_trials_equal_repeated_target_rows():
    x, y, x_test = arrays(12, 5, 3, 0)
    position = np.array([0, 1, 1, 2, 3, 0, 3, 3, 2, 1, 0, 0])
    found = fit_predict(x, y[:4], x_test, 1.0, position=position, precision="float64")
    np.testing.assert_allclose(found, fit_predict(x, y[:4][position], x_test, 1.0, precision="float64"), rtol=1e-10)


def test_degenerate_features_and_targets():
    x, y, x_test = arrays(10, 6, 3, 0)
    x[:, 2], y[:, 1], x[5] = 4.0, 9.0, x[4]
    found = fit_predict(x, y, x_test, 1.0)
    np.testing.assert_allclose(found[:, 1], 9.0, rtol=1e-6)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(fit_predict(x[:1], y[:1], x_test, 1.0), np.repeat(y[:1], 5, axis=0), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(bad):
    x, y, x_test = arrays(10, 6, 3, 0)
    wrong = x.copy()
    wrong[3, 4] = bad
    with pytest.raises(DataError, match="X: row 3, feature 4"):
        ridge_system(wrong)
    wrong = y.copy()
    wrong[7, 2] = bad
    with pytest.raises(DataError, match=r"target 'y': 1 of 3 columns .* first is column 2"):
        fit_predict(x, wrong, x_test, 1.0)
    with pytest.raises(DataError, match="test rows"):
        fit_predict(x, y, x_test + bad, 1.0)


def test_wrong_shapes_and_alphas_are_named():
    x, y, x_test = arrays(10, 6, 3, 0)
    with pytest.raises(DataError, match=r"expected 6 features .* found 5"):
        fit_predict(x, y, x_test[:, :5], 1.0)
    with pytest.raises(DataError, match="9 rows for 10"):
        fit_predict(x, y[:9], x_test, 1.0)
    with pytest.raises(DataError, match="no training trials"):
        ridge_system(x[:0])
    with pytest.raises(DataError, match="none left unused"):
        ridge_system(x, np.full(10, 1))
    with pytest.raises(DataError, match="positive number, found -1"):
        fit_predict(x, y, x_test, -1.0)
    with pytest.raises(DataError, match="too small"):
        fit_predict(np.ones((4, 9)) * np.arange(4)[:, None] * 1e6, y[:4], np.ones((1, 9)), 1e-30)
    with pytest.raises(DataError, match="float16, float32 or float64"):
        TargetColumns.whole("y", np.ones((3, 2), int))
    with pytest.raises(DataError, match="rows 0 to 3 are used"):
        TargetColumns("y", np.ones((3, 2)), np.array([0, 3]))


def test_matmul_precision_is_restored():
    before = torch.get_float32_matmul_precision()
    with matmul_precision("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
    with contextlib.suppress(ValueError), matmul_precision("tf32"):
        raise ValueError
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("keep", [False, True])
def test_cuda_pipeline_equals_cpu(monkeypatch, keep):
    monkeypatch.setattr(column_blocks, "BLOCK_BYTES", 1)
    x, y, x_test = arrays(50, 80, 5000, 0)
    system = ridge_system(x, device="cuda", precision="float64")
    stream = ColumnStream(system, TargetColumns.whole("y", y), keep=keep)
    for _ in range(2):
        found = predict(system, x_test, [stream], {"y": 3.0})["y"]
        np.testing.assert_allclose(found, fit_predict(x, y, x_test, 3.0, precision="float64"), rtol=1e-9, atol=1e-9)
