"""Principal components of the training pictures. Legend: n stimuli, D pixel values, C components."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from braindec.targets.images import check_size, small_images, to_uint8
from braindec.targets.tokens import flat_values
from braindec.types import DataError, Stimuli

# Eigenvalues below this share of the largest are rounding: their directions mean nothing.
_NULL_VARIANCE = 1e-10


def principal_components(values_nD: np.ndarray, n_components: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (D,), orthonormal components (C, D) and their variances (C,, ddof 1), largest first; all float64.

    Solved through the smaller of the two Gram matrices (n x n or D x D). Each component's entry of largest magnitude
    is positive, which settles its sign.

    Raises
    ------
    DataError
        If the data have fewer than ``n_components`` directions of non-zero variance.
    """
    from scipy.linalg import eigh

    mean_D = values_nD.mean(axis=0, dtype=np.float64)
    centred_nD = values_nD - mean_D
    n, n_dimensions = centred_nD.shape
    small = min(n, n_dimensions)
    if n_components > small:
        raise DataError(f"PCA: {n_components} components asked of {n} samples of {n_dimensions} values")
    gram = centred_nD @ centred_nD.T if n < n_dimensions else centred_nD.T @ centred_nD
    eigenvalues, eigenvectors = eigh(gram, subset_by_index=(small - n_components, small - 1))
    eigenvalues, eigenvectors = eigenvalues[::-1], eigenvectors[:, ::-1]
    rank = int((eigenvalues > max(_NULL_VARIANCE * eigenvalues[0], 0.0)).sum())
    if rank < n_components:
        raise DataError(f"PCA: {n_components} components asked, but the {n} samples vary in {rank} directions only")
    components_CD = (eigenvectors.T @ centred_nD) if n < n_dimensions else eigenvectors.T
    components_CD = components_CD / np.linalg.norm(components_CD, axis=1, keepdims=True)
    largest = np.abs(components_CD).argmax(axis=1)
    components_CD = components_CD * np.sign(components_CD[np.arange(n_components), largest])[:, None]
    return mean_D, components_CD, eigenvalues / (n - 1)


class ImagePCA:
    """Scores of the resized picture on the principal components of the training pictures: one token, D = components.

    Fitted attributes: ``mean_`` (pixels,), ``components_`` (n_components, pixels), ``variance_`` (n_components,).

    Parameters
    ----------
    n_components : number of components; below the number of training pictures.
    size : pixels a side before the projection.
    grey : one luma channel rather than three of colour.
    """

    def __init__(self, n_components: int, size: int, grey: bool = False) -> None:
        check_size(size, "ImagePCA")
        if n_components < 1:
            raise DataError(f"target ImagePCA: expected n_components >= 1, found {n_components}")
        self.n_components = n_components
        self.size = size
        self.grey = grey

    def fit(self, stimuli: Stimuli) -> None:
        """Find the components of the training pictures.

        Raises
        ------
        DataError
            If there are no pictures, or fewer than ``n_components`` directions in which they differ.
        """
        pixels = small_images(stimuli, self.size, self.grey, "ImagePCA").reshape(len(stimuli), -1)
        self.mean_, self.components_, self.variance_ = principal_components(pixels, self.n_components)

    def embed(self, stimuli: Stimuli) -> np.ndarray:
        """Float32 (n, 1, n_components): scores, in units of pixel value."""
        self._check_fitted()
        pixels = small_images(stimuli, self.size, self.grey, "ImagePCA").reshape(len(stimuli), -1)
        scores = (pixels - self.mean_) @ self.components_.T
        return scores.astype(np.float32)[:, None]

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Scores (n, 1, n_components) -> uint8 (n, size, size, 3)."""
        self._check_fitted()
        pixels = flat_values(values, self.n_components, "ImagePCA") @ self.components_ + self.mean_
        return to_uint8(pixels.reshape(-1, self.size, self.size, 1 if self.grey else 3))

    def state(self) -> dict[str, np.ndarray]:
        """Mean, components and variances."""
        self._check_fitted()
        return {"mean": self.mean_, "components": self.components_, "variance": self.variance_}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` gave."""
        self.mean_ = np.asarray(state["mean"])
        self.components_ = np.asarray(state["components"])
        self.variance_ = np.asarray(state["variance"])

    def _check_fitted(self) -> None:
        if not hasattr(self, "components_"):
            raise DataError("target ImagePCA: not fitted; call fit with the training stimuli first")
