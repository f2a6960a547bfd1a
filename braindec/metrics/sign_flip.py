"""Sign-flip permutation tests of mean differences, of one or of many at once.

Legend: S subjects, I stimuli, M means tested together, R sign patterns.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_EXACT_LIMIT = 12
"""Up to this many stimuli all sign patterns are enumerated (4,096)."""
_CHUNK_VALUES = 4_000_000


def sign_flip_p(differences_SIM: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """Two-sided p-values (M,) that the mean over subjects of means over stimuli is zero, corrected for their number.

    Whole stimuli change their sign, in all subjects and all M means alike. A mean is divided by the root of the summed
    squares of its stimuli's contributions, which no flip changes; each pattern's largest of the M statistics is what an
    observed one must reach. The share of patterns in which any is called below p is therefore p when all are zero,
    however the M depend on each other. With M = 1 this is the ordinary sign-flip test. All patterns are taken up to 12
    stimuli, ``n_resamples`` random ones beyond. Below six stimuli no p-value can reach 0.05.

    Parameters
    ----------
    differences_SIM : a value less what is expected without any effect; NaN where a stimulus has none.
    n_resamples, seed : of the random patterns.

    Source: Nichols & Holmes 2002, "Nonparametric permutation tests for functional neuroimaging: a primer with
    examples", on the maximal statistic.
    """
    n_subjects, n, _ = differences_SIM.shape
    defined_SIM = ~np.isnan(differences_SIM)
    # The mean over subjects of means over stimuli is linear in the stimuli, so each stimulus has one contribution.
    share_SIM = defined_SIM / np.maximum(defined_SIM.sum(axis=1, keepdims=True), 1) / n_subjects
    contribution_IM = (np.where(defined_SIM, differences_SIM, 0.0) * share_SIM).sum(axis=0)
    size_M = np.sqrt((contribution_IM**2).sum(axis=0))
    scaled_IM = np.divide(contribution_IM, size_M, out=np.zeros_like(contribution_IM), where=size_M > 0)
    threshold_M = np.abs(scaled_IM.sum(axis=0)) - 1e-12
    extreme_M, n_patterns = np.zeros(len(threshold_M)), 0
    for signs_RI in _patterns(n, n_resamples, seed, max(n, len(threshold_M))):
        largest_R = np.abs(signs_RI @ scaled_IM).max(axis=1)
        extreme_M += (largest_R[:, None] >= threshold_M).sum(axis=0)
        n_patterns += len(signs_RI)
    if n <= _EXACT_LIMIT:
        return extreme_M / n_patterns
    return (extreme_M + 1) / (n_patterns + 1)


def _patterns(n: int, n_resamples: int, seed: int, width: int) -> Iterator[np.ndarray]:
    """Signs (R, n): all of them for few stimuli, else ``n_resamples`` random ones, in chunks."""
    if n <= _EXACT_LIMIT:
        yield (1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)).astype(np.float64)
        return
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_VALUES // width)
    for start in range(0, n_resamples, chunk):
        yield rng.choice(np.array([-1.0, 1.0]), size=(min(chunk, n_resamples - start), n))
