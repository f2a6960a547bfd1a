"""Banded ridge: one penalty a band of features, found by random search in kernel space.

Legend: N trials, P features, U distinct training stimuli, T targets, J candidate band scales, R bands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from braindec.contracts import FitContext
from braindec.models.linear import SubjectData, SubjectwiseDecoder, open_stream
from braindec.models.linear_map import FeatureFrame, LinearMap
from braindec.models.ridge import Precision, RidgeSystem, operator, ridge_system
from braindec.models.ridge_cv import HeldOut, Selection, leave_out_labels, target_gram
from braindec.models.ridge_targets import columns_alpha
from braindec.types import DataError, Trials


def band_scales(n_bands: int, n_candidates: int, seed: int) -> np.ndarray:
    """Candidate band scales (J, R), each summing to one: equal scales first, then Dirichlet samples.

    Half of the samples are nearly sparse (concentration 0.1), half spread over the simplex (concentration 1).
    """
    rng = np.random.default_rng(seed)
    concentration = np.where(np.arange(n_candidates - 1) % 2, 0.1, 1.0)
    samples = [rng.dirichlet(np.full(n_bands, c)) for c in concentration]
    return np.stack([np.full(n_bands, 1 / n_bands), *samples])


def band_of_features(trials: Trials, bands: Mapping[str, list[str]]) -> tuple[FeatureFrame, np.ndarray]:
    """The positions of all bands, and the band (an int) of each feature (P,).

    Raises
    ------
    DataError
        On an unknown or empty ROI, or a position in two bands.
    """
    parts = {name: FeatureFrame.of(trials, rois).positions for name, rois in bands.items()}
    positions = np.concatenate(list(parts.values()))
    if len(np.unique(positions)) != len(positions):
        raise DataError(f"bands {list(bands)} of subject {trials.subject!r} share positions; bands must be disjoint")
    band = np.repeat(np.arange(len(parts)), [len(p) for p in parts.values()])
    order = np.argsort(positions)
    _, n_space, n_times = trials.signal.shape
    return FeatureFrame(n_space, n_times, positions[order]), np.repeat(band[order], n_times)


def scaled_system(system: RidgeSystem, grams: torch.Tensor, scales: np.ndarray, band_P: np.ndarray) -> RidgeSystem:
    """The system whose features are multiplied by the square root of their band's scale; ``grams`` is (R, N, N)."""
    scales_R = torch.tensor(scales, dtype=system.dtype, device=system.device)
    root_P = scales_R.sqrt()[torch.from_numpy(band_P).to(system.device)]
    return replace(system, x_NP=system.x_NP * root_P, gram=torch.einsum("rij,r->ij", grams, scales_R))


class BandedRidgeDecoder(SubjectwiseDecoder):
    """Ridge regression with one penalty a band, chosen for each target array.

    A band's scale multiplies its kernel; the penalty of a band is alpha over its scale. Kernels are first divided by
    their mean diagonal, so that scales and alphas mean the same whatever the size of a band.

    Parameters
    ----------
    bands : band name -> names of the ROIs that it joins; positions of no band are not read.
    alphas : candidate penalties, relative to kernels of mean diagonal one.
    n_candidates : number of band scales tried, equal scales included.
    selection, n_folds, standardise_targets, intercept, precision : as in `RidgeDecoder`.

    Source: Nunez-Elizalde, Huth & Gallant 2019 (banded ridge); Dupre la Tour et al. 2022, section 2.5 (random search
    over Dirichlet samples).
    """

    def __init__(
        self,
        bands: Mapping[str, list[str]],
        alphas: list[float],
        n_candidates: int = 30,
        selection: Selection = "loo",
        n_folds: int = 5,
        standardise_targets: bool = False,
        intercept: bool = True,
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        self.bands = bands
        self.alphas = alphas
        self.n_candidates = n_candidates
        self.selection: Selection = selection
        self.n_folds = n_folds
        self.standardise_targets = standardise_targets
        self.intercept = intercept
        self.precision = precision

    def _fit_subject(self, data: SubjectData, context: FitContext) -> tuple[dict[str, LinearMap], dict[str, Any]]:
        frame, band_P = band_of_features(data.trials, self.bands)
        features = frame.features(data.trials)
        system = ridge_system(features, data.position_N, self.intercept, context.device, self.precision, form="dual")
        members = [
            torch.from_numpy(np.flatnonzero(band_P == band)).to(system.device) for band in range(len(self.bands))
        ]
        grams = torch.stack([system.x_NP[:, of] @ system.x_NP[:, of].T for of in members])
        size_R = grams.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(grams.dtype).tiny).cpu().numpy()
        streams = {name: open_stream(system, data, name) for name in data.columns}
        target_grams = {name: target_gram(stream, self.standardise_targets) for name, stream in streams.items()}
        labels = leave_out_labels(data.position_N, self.selection, self.n_folds, context.seed)
        candidates = band_scales(len(self.bands), self.n_candidates, context.seed)
        scores: dict[str, list[np.ndarray]] = {name: [] for name in streams}
        for scales in context.progress(list(candidates), "band scales"):
            held_out = HeldOut(scaled_system(system, grams, scales / size_R, band_P), np.array(self.alphas), labels)
            for name, (gram, total) in target_grams.items():
                scores[name].append(1 - held_out.group_errors(gram).cpu().numpy() / max(total, 1e-300))
        maps, report = {}, {}
        for name, stream in streams.items():
            table = np.stack(scores[name])
            best, at = np.unravel_index(int(table.argmax()), table.shape)
            alpha, scales = float(self.alphas[at]), candidates[best]
            fitted = scaled_system(system, grams, scales / size_R, band_P)
            root_P = torch.tensor(np.sqrt(scales / size_R)[band_P], dtype=system.dtype, device=system.device)
            maps[name] = LinearMap.from_operators(
                frame,
                system.mean_P.cpu().numpy(),
                stream,
                {alpha: operator(fitted, alpha) * root_P[:, None]},
                columns_alpha(alpha, stream.n_columns),
                data.shapes[name],
                context.folder / f"{data.trials.subject}-{name}",
            )
            report[name] = {
                "alpha": alpha,
                "band_scales": {band: float(scale) for band, scale in zip(self.bands, scales)},
                "best_held_out_r2": float(table[best, at]),
                "equal_scales_held_out_r2": float(table[0].max()),
                "selection": self.selection,
            }
        return maps, report
