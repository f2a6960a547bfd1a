from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from braindec.contracts import ImageTarget
from braindec.targets.image_pca import ImagePCA, principal_components
from braindec.targets.images import to_uint8
from braindec.targets.pixels import Pixels
from braindec.targets.pyramid import ImagePyramid, expand, from_pyramid, laplacian_pyramid, reduce
from braindec.types import DataError, Stimuli

MAKERS = {
    "pixels": lambda: Pixels(8),
    "grey pixels": lambda: Pixels(8, grey=True),
    "pca": lambda: ImagePCA(5, 8),
    "grey pca": lambda: ImagePCA(5, 8, grey=True),
    "pyramid": lambda: ImagePyramid(8, 3),
    "coarse grey pyramid": lambda: ImagePyramid(8, 3, keep_levels=2, grey=True),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_embeds_decodes_and_travels_as_state(make, make_stimuli):
    target, stimuli = make(), make_stimuli()
    assert isinstance(target, ImageTarget)
    target.fit(stimuli)
    values = target.embed(stimuli)
    assert values.dtype == np.float32
    assert values.shape[:2] == (12, 1)
    images = target.decode(values)
    assert images.dtype == np.uint8
    assert images.shape == (12, 8, 8, 3)
    state = target.state()
    assert all(array.dtype != object for array in state.values())
    loaded = make()
    loaded.load_state(state)
    np.testing.assert_array_equal(loaded.embed(stimuli), values)
    np.testing.assert_array_equal(loaded.decode(values), images)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_stimuli_without_pictures_and_wrong_shapes_are_refused(make, make_stimuli):
    target = make()
    target.fit(make_stimuli())
    with pytest.raises(DataError, match=r"needs Stimuli\.images"):
        target.embed(Stimuli(("a",)))
    with pytest.raises(DataError, match="expected values of shape"):
        target.decode(np.zeros((2, 1, 7), dtype=np.float32))
    with pytest.raises(DataError, match="expected values of shape"):
        target.decode(np.moveaxis(target.embed(make_stimuli()), 1, 2))


@pytest.mark.parametrize("make", [MAKERS["pixels"], MAKERS["pca"], MAKERS["pyramid"]])
def test_nan_has_no_colour(make, make_stimuli):
    target = make()
    target.fit(make_stimuli())
    values = target.embed(make_stimuli())
    values[3, 0, 0] = np.nan
    with pytest.raises(DataError, match="NaN or infinite"):
        target.decode(values)


def test_pixels_of_the_native_size_are_the_picture(make_stimuli):
    stimuli = make_stimuli(size=10)
    values = Pixels(10).embed(stimuli)
    np.testing.assert_array_equal(values[:, 0], stimuli.images.reshape(12, -1).astype(np.float32) / 255)
    np.testing.assert_array_equal(Pixels(10).decode(values), stimuli.images)


def test_resizing_averages_rather_than_picks():
    checkerboard = np.indices((16, 16)).sum(axis=0) % 2 * 255
    stimuli = Stimuli(("a",), images=np.repeat(checkerboard[None, :, :, None], 3, axis=3).astype(np.uint8))
    np.testing.assert_allclose(Pixels(4).embed(stimuli), 0.5, atol=0.03)


def test_grey_is_luma(make_stimuli):
    stimuli = make_stimuli(size=8)
    expected = (stimuli.images @ np.array([0.299, 0.587, 0.114])) / 255
    np.testing.assert_allclose(Pixels(8, grey=True).embed(stimuli).reshape(12, 8, 8), expected, atol=1 / 255)


def test_to_uint8_rounds_and_clips():
    values = np.array([-0.5, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 2.0]).reshape(1, 1, 6, 1)
    np.testing.assert_array_equal(to_uint8(values)[0, 0, :, 0], [0, 0, 0, 1, 255, 255])


def test_lazy_images_are_read_a_few_at_a_time(make_stimuli):
    stimuli = make_stimuli(n=130)

    class Lazy:
        shape = stimuli.images.shape
        most = 0

        def __getitem__(self, rows):
            Lazy.most = max(Lazy.most, len(rows))
            return stimuli.images[rows]

    values = Pixels(4).embed(Stimuli(stimuli.ids, images=Lazy()))
    np.testing.assert_array_equal(values, Pixels(4).embed(stimuli))
    assert Lazy.most < 130


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_pca_equals_scikit_learn(shape):
    rng = np.random.default_rng(0)
    values = rng.normal(size=shape) * np.linspace(1, 4, shape[1]) + 7
    mean, components, variance = principal_components(values.astype(np.float32), 5)
    reference = PCA(5, svd_solver="full").fit(values.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(mean, reference.mean_, rtol=1e-6)
    np.testing.assert_allclose(variance, reference.explained_variance_, rtol=1e-6)
    signs = np.sign((components * reference.components_).sum(axis=1))
    np.testing.assert_allclose(components, reference.components_ * signs[:, None], atol=1e-6)
    assert (components[np.arange(5), np.abs(components).argmax(axis=1)] > 0).all()


def test_pca_is_fitted_on_training_pictures_only_and_embeds_others_with_it(make_stimuli):
    train, test = make_stimuli(seed=0), make_stimuli(seed=1)
    target = ImagePCA(5, 8)
    target.fit(train)
    before = {name: array.copy() for name, array in target.state().items()}
    pixels = [Pixels(8).embed(s)[:, 0].astype(np.float64) for s in (train, test)]
    reference = PCA(5, svd_solver="full").fit(pixels[0])
    np.testing.assert_allclose(np.abs(target.embed(test)[:, 0]), np.abs(reference.transform(pixels[1])), atol=1e-4)
    for name, array in target.state().items():
        np.testing.assert_array_equal(array, before[name])


def test_pca_with_all_components_gives_the_training_pictures_back(make_stimuli):
    stimuli = make_stimuli(size=8)
    target = ImagePCA(11, 8)
    target.fit(stimuli)
    error = np.abs(target.decode(target.embed(stimuli)).astype(int) - stimuli.images)
    assert error.max() <= 1


def test_pca_refuses_what_the_pictures_do_not_hold(make_stimuli):
    with pytest.raises(DataError, match="vary in 11 directions only"):
        ImagePCA(12, 8).fit(make_stimuli())
    with pytest.raises(DataError, match="13 components asked of 12 samples"):
        ImagePCA(13, 8).fit(make_stimuli())
    same = Stimuli(("a", "b", "c"), images=np.full((3, 8, 8, 3), 9, dtype=np.uint8))
    with pytest.raises(DataError, match="vary in 0 directions only"):
        ImagePCA(1, 8).fit(same)
    with pytest.raises(DataError, match="not fitted"):
        ImagePCA(1, 8).embed(same)


@settings(max_examples=25, deadline=None)
@given(
    levels=st.integers(1, 4),
    factor=st.integers(1, 3),
    grey=st.booleans(),
    seed=st.integers(0, 50),
)
def test_a_whole_pyramid_is_exactly_invertible(levels, factor, grey, seed):
    size = factor * 2 ** (levels - 1)
    noise = np.random.default_rng(seed).integers(0, 256, size=(3, size, size, 3), dtype=np.uint8)
    target = ImagePyramid(size, levels, grey=grey)
    stimuli = Stimuli(("a", "b", "c"), images=noise)
    expected = Pixels(size, grey).decode(Pixels(size, grey).embed(stimuli))
    np.testing.assert_array_equal(target.decode(target.embed(stimuli)), expected)
    assert target.level_slices()[-1].stop == target.embed(stimuli).shape[2]


def test_pyramid_by_hand():
    constant = np.full((1, 8, 8, 1), 0.3)
    np.testing.assert_allclose(expand(reduce(constant)), constant)
    point = np.zeros((1, 8, 8, 1))
    point[0, 4, 4, 0] = 1
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    np.testing.assert_allclose(reduce(point)[0, 1:4, 1:4, 0], np.outer(kernel[::2], kernel[::2]))
    grown = expand(point[:, ::2, ::2])[0, 2:7, 2:7, 0]
    np.testing.assert_allclose(grown, 4 * np.outer(kernel, kernel))
    coarse, detail = laplacian_pyramid(point, 2)
    np.testing.assert_allclose(detail, point - expand(reduce(point)))
    np.testing.assert_allclose(from_pyramid([coarse, detail]), point, atol=1e-12)


def test_levels_run_from_coarse_to_fine(make_stimuli):
    stimuli = make_stimuli(size=16)
    whole, coarse = ImagePyramid(16, 3), ImagePyramid(16, 3, keep_levels=1)
    values = whole.embed(stimuli)
    assert [s.stop - s.start for s in whole.level_slices()] == [4 * 4 * 3, 8 * 8 * 3, 16 * 16 * 3]
    np.testing.assert_array_equal(values[:, :, whole.level_slices()[0]], coarse.embed(stimuli))
    zeroed = values.copy()
    zeroed[:, :, whole.level_slices()[1].start :] = 0
    np.testing.assert_array_equal(whole.decode(zeroed), coarse.decode(coarse.embed(stimuli)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pixels(0), "size >= 1"),
        (lambda: ImagePCA(0, 8), "n_components >= 1"),
        (lambda: ImagePyramid(12, 4), "divisible by"),
        (lambda: ImagePyramid(8, 0), "n_levels >= 1"),
        (lambda: ImagePyramid(8, 2, keep_levels=3), "keep_levels of 1 to 2"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(DataError, match=message):
        make()
