"""Low-level image metrics: pixel correlation, structural similarity, squared error.

Legend: H W image height and width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from braindec.metrics.pixels import grey, image_pairs, resize_flag
from braindec.types import CeilingRule, Direction, Evidence, Scores

SSIM_SIGMA = 1.5
SSIM_TRUNCATE = 3.5
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2

CONSTANT_FLAG = "constant reconstruction scored as chance"


class PixCorr:
    """Pearson correlation of all pixels and channels of stimulus and reconstruction.

    A constant reconstruction has no correlation; it says nothing about the stimulus and scores 0, the value of an
    uninformed decoder, and the result carries the flag `CONSTANT_FLAG`: leaving it out would reward a decoder that
    gives up on hard stimuli. A constant *stimulus* makes the row undefined (NaN; counted as ``n_undefined``).

    Parameters
    ----------
    size : side in pixels to which both images are resized, or None for the stimulus's own size.
    name : name in the results.

    Source: Brain-Diffuser (Ozcelik & VanRullen 2023), PixCorr on images of 425 x 425 x 3.
    """

    pairwise = True

    def __init__(self, size: int | None = 425, name: str = "pixcorr") -> None:
        self.size = size
        self.name = name

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """One value in [-1, 1] a prediction; chance 0."""
        return _pairwise(
            evidence, self.size, self.name, pixel_correlation, chance=0.0, constant_scores=0.0, rule="correlation"
        )


class SSIM:
    """Structural similarity of the grey images: Gaussian window, sigma 1.5, population covariance, data range 1.

    Equals scikit-image's ``structural_similarity(..., gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1.0)``; images smaller than the 11-pixel window use the largest odd window
    that fits (``win_size``). Constant images are well defined.

    Parameters
    ----------
    size : side in pixels to which both images are resized, or None for the stimulus's own size.
    ssim_1d : average the 1-D similarity of the columns, as older scikit-image did when the published evaluation called
        it with ``multichannel=True`` on a grey image; only for comparison with such tables.
    name : name in the results; by default ``ssim`` or ``ssim_1d``.

    Source: Wang et al. 2004, equation 13; evaluation code of Brain-Diffuser.
    """

    pairwise = True

    def __init__(self, size: int | None = 425, ssim_1d: bool = False, name: str | None = None) -> None:
        self.size = size
        self.ssim_1d = ssim_1d
        self.name = name

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """One value in [-1, 1] a prediction; it has no closed-form chance."""
        name = self.name or ("ssim_1d" if self.ssim_1d else "ssim")

        def similarity(stimulus: np.ndarray, reconstruction: np.ndarray) -> float:
            return structural_similarity(grey(stimulus), grey(reconstruction), columns=self.ssim_1d)

        found = _pairwise(evidence, self.size, name, similarity)
        convention = "1-D SSIM by columns" if self.ssim_1d else "2-D SSIM on grey, Gaussian sigma 1.5"
        return tuple(_flagged(scores, convention) for scores in found)


class MSE:
    """Mean squared error of all pixels and channels, on the scale [0, 1]; lower is better.

    Parameters
    ----------
    size : side in pixels to which both images are resized, or None for the stimulus's own size.
    name : name in the results.
    """

    pairwise = True

    def __init__(self, size: int | None = 425, name: str = "mse") -> None:
        self.size = size
        self.name = name

    def scores(self, evidence: Evidence) -> tuple[Scores, ...]:
        """One value in [0, 1] a prediction; it has no closed-form chance."""
        return _pairwise(evidence, self.size, self.name, mean_squared_error, "lower", rule="squared_error")


def pixel_correlation(stimulus: np.ndarray, reconstruction: np.ndarray) -> float:
    """Pearson correlation over all entries of two equally shaped arrays; NaN when either is constant."""
    if stimulus.min() == stimulus.max() or reconstruction.min() == reconstruction.max():
        return float("nan")
    a = stimulus.astype(np.float64).ravel()
    b = reconstruction.astype(np.float64).ravel()
    a -= a.mean()
    b -= b.mean()
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def mean_squared_error(stimulus: np.ndarray, reconstruction: np.ndarray) -> float:
    """Mean squared difference of two equally shaped uint8 images on the scale [0, 1]."""
    difference = (stimulus.astype(np.float64) - reconstruction.astype(np.float64)) / 255.0
    return float(np.mean(difference**2))


def structural_similarity(first_HW: np.ndarray, second_HW: np.ndarray, columns: bool = False) -> float:
    """Mean SSIM of two float images in [0, 1] (see `SSIM`); ``columns`` takes it along axis 0 of each column.

    Only the sum of the two variances enters the formula, so four filtered maps suffice where five are usual.
    """
    from scipy.ndimage import gaussian_filter

    axes = (0,) if columns else (0, 1)
    pad = min(int(SSIM_TRUNCATE * SSIM_SIGMA + 0.5), *((first_HW.shape[axis] - 1) // 2 for axis in axes))

    def local_mean(values_HW: np.ndarray) -> np.ndarray:
        smooth = gaussian_filter(values_HW, SSIM_SIGMA, truncate=SSIM_TRUNCATE, mode="reflect", axes=axes)
        inner = [slice(pad, n - pad) if axis in axes else slice(None) for axis, n in enumerate(smooth.shape)]
        return smooth[tuple(inner)]

    mean_1, mean_2 = local_mean(first_HW), local_mean(second_HW)
    product, power = mean_1 * mean_2, mean_1 * mean_1
    power += np.multiply(mean_2, mean_2, out=mean_2)
    mixed, squares = first_HW * second_HW, first_HW * first_HW
    squares += second_HW * second_HW
    covariance, variances = local_mean(mixed), local_mean(squares)
    # In place: a fresh array of this size costs more than the arithmetic on it.
    covariance -= product
    variances -= power
    for values, factor, constant in (
        (product, 2.0, SSIM_C1),
        (covariance, 2.0, SSIM_C2),
        (power, 1.0, SSIM_C1),
        (variances, 1.0, SSIM_C2),
    ):
        values *= factor
        values += constant
    product *= covariance
    power *= variances
    product /= power
    return float(product.mean())


def _pairwise(
    evidence: Evidence,
    size: int | None,
    name: str,
    compare: Callable[[np.ndarray, np.ndarray], float],
    direction: Direction = "higher",
    chance: float | None = None,
    constant_scores: float | None = None,
    rule: CeilingRule = "repeatability",
) -> tuple[Scores, ...]:
    """Apply ``compare`` to every (stimulus, reconstruction); empty without images."""
    if evidence.images is None or evidence.gallery.images is None:
        return ()
    values = np.full(len(evidence.table), np.nan)
    flags = [resize_flag(size)]
    for row, stimulus, reconstruction in image_pairs(evidence, size):
        values[row] = compare(stimulus, reconstruction)
        if constant_scores is None or not np.isnan(values[row]):
            continue
        if stimulus.min() != stimulus.max():
            values[row] = constant_scores
            flags.append(CONSTANT_FLAG)
    return (Scores(name, values, direction, chance, flags=tuple(dict.fromkeys(flags)), ceiling_rule=rule),)


def _flagged(scores: Scores, flag: str) -> Scores:
    """The same scores with one more flag."""
    return replace(scores, flags=(*scores.flags, flag))
