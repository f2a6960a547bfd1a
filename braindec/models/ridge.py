"""Ridge regression of very many targets: one factorisation, and no (features, targets) weights unless asked for.

Legend: N training trials, P features, U distinct target rows (stimuli), T targets, M test rows.

With an unpenalised intercept and centred features X, predictions of M test rows are linear in the targets Y:
``Yhat = H (Y - mean(Y)) + mean(Y)`` with ``H = X_test X' (X X' + alpha I)^-1`` (dual, N <= P) or
``H = X_test (X'X + alpha I)^-1 X'`` (primal). So M right-hand sides are solved, however many the targets; and trials
that repeat a stimulus share one row of Y, onto which the columns of H are summed.

Source: Hoerl & Kennard 1970 (ridge); Saunders, Gammerman & Vovk 1998 (dual form).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from braindec.types import DataError

Precision = Literal["float32", "tf32", "float64"]
Form = Literal["primal", "dual"]

ILL_CONDITIONED = 1e-5
"""Below this ratio of alpha to the norm of the Gram matrix, float32 work is factorised in float64."""


_DUAL_UP_TO = 2
"""Trials per feature up to which the dual form is used. Its held-out errors are one matrix per penalty, shared by all
targets, which saves more than the larger factorisation costs: 5x for 1,200 trials, 1,100 voxels and 12,288 pixels."""


@contextmanager
def matmul_precision(precision: Precision) -> Iterator[None]:
    """Let matrix products of float32 CUDA tensors round their inputs to tf32, or forbid it; restored on leaving."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def add_gram(gram: torch.Tensor, rows: torch.Tensor) -> None:
    """Add ``rows @ rows.T`` to the lower triangle (at least) of ``gram``, in place; see `mirror_lower`.

    Row panels of the lower triangle take 9/16 of the work of the full product.
    """
    step = -(-len(rows) // 8)
    for start in range(0, len(rows), step):
        stop = min(start + step, len(rows))
        gram[start:stop, :stop].addmm_(rows[start:stop], rows[:stop].T)


def mirror_lower(gram: torch.Tensor) -> torch.Tensor:
    """The symmetric matrix with the lower triangle of ``gram``, in place."""
    step = -(-len(gram) // 8)
    for start in range(0, len(gram), step):
        stop = min(start + step, len(gram))
        gram[start:stop, stop:] = gram[stop:, start:stop].T
        corner = gram[start:stop, start:stop]
        corner.copy_(corner.tril() + corner.tril(-1).T)
    return gram


@dataclass(frozen=True)
class RidgeSystem:
    """Centred training features and what every target and every alpha share.

    Attributes
    ----------
    x_NP : training features, centred when ``intercept``.
    mean_P : what was subtracted (zeros without intercept).
    gram : ``X X'`` (N, N) when ``form`` is dual, else ``X'X`` (P, P).
    position_N : int64, the distinct target row that belongs to each trial.
    n_rows : number U of distinct target rows.
    """

    x_NP: torch.Tensor
    mean_P: torch.Tensor
    gram: torch.Tensor
    form: Form
    intercept: bool
    precision: Precision
    position_N: torch.Tensor
    n_rows: int

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.x_NP.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the tensors: float32 or float64."""
        return self.x_NP.dtype

    @cached_property
    def gram_norm(self) -> float:
        """Upper bound of the largest eigenvalue of ``gram``: its largest absolute row sum."""
        return float(torch.linalg.matrix_norm(self.gram, ord=torch.inf)) if self.gram.numel() else 0.0

    @cached_property
    def gram_f64(self) -> torch.Tensor:
        """``gram`` summed in float64."""
        if self.dtype == torch.float64:
            return self.gram
        return _gram(self.x_NP.double(), self.form)

    @cached_property
    def counts_U(self) -> torch.Tensor:
        """How many trials show each distinct target row."""
        return torch.bincount(self.position_N, minlength=self.n_rows).to(self.dtype)

    @cached_property
    def is_permutation(self) -> bool:
        """Whether no target row is shown twice."""
        return self.n_rows == len(self.position_N)

    def centre(self, x: np.ndarray | torch.Tensor, name: str = "X") -> torch.Tensor:
        """Test features (M, P) on the device, minus the training mean. Raises `DataError` on a wrong P or NaN."""
        x_MP = as_features(x, name, self.device, self.dtype)
        if x_MP.shape[1] != len(self.mean_P):
            raise DataError(f"{name}: expected {len(self.mean_P)} features as in training, found {x_MP.shape[1]}")
        return x_MP - self.mean_P


def as_features(x: np.ndarray | torch.Tensor, name: str, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """``x`` (trial, feature) on a device. Raises `DataError` on a wrong shape, NaN or infinite values."""
    if x.ndim != 2:
        raise DataError(f"{name}: expected (trial, feature), found shape {tuple(x.shape)}")
    tensor = x if isinstance(x, torch.Tensor) else torch.from_numpy(np.require(x, requirements=["C", "W"]))
    tensor = tensor.to(device=device, dtype=dtype)
    finite = torch.isfinite(tensor)
    if not finite.all():
        row, column = (int(i) for i in (~finite).nonzero()[0])
        raise DataError(f"{name}: row {row}, feature {column} is {float(tensor[row, column])}; remove or repair it")
    return tensor


def _gram(x_NP: torch.Tensor, form: Form) -> torch.Tensor:
    rows = x_NP if form == "dual" else x_NP.T.contiguous()
    gram = torch.zeros(len(rows), len(rows), dtype=x_NP.dtype, device=x_NP.device)
    with matmul_precision("float32"):
        add_gram(gram, rows)
    return mirror_lower(gram)


def ridge_system(
    x: np.ndarray | torch.Tensor,
    position: np.ndarray | None = None,
    intercept: bool = True,
    device: str = "cpu",
    precision: Precision = "float32",
    form: Form | None = None,
) -> RidgeSystem:
    """Centre the training features and form the cheaper Gram matrix.

    Parameters
    ----------
    x : (N, P) training features.
    position : int (N,), which distinct target row (0-based) each trial shows; None: trial i shows row i.
    precision : ``tf32`` rounds only the products with targets; Gram matrices and factorisations never use it.
    form : forces the primal or the dual form; None chooses by shape.

    Raises
    ------
    DataError
        On a wrong shape, no trials, or NaN or infinite features.
    """
    dtype = torch.float64 if precision == "float64" else torch.float32
    x_NP = as_features(x, "X", torch.device(device), dtype)
    if len(x_NP) == 0:
        raise DataError("X: no training trials")
    where = np.arange(len(x_NP)) if position is None else np.asarray(position)
    if where.shape != (len(x_NP),) or where.min() < 0 or len(np.unique(where)) != where.max() + 1:
        raise DataError(f"position: expected one 0-based target row a trial ({len(x_NP)} trials), none left unused")
    mean_P = x_NP.mean(0) if intercept else torch.zeros(x_NP.shape[1], dtype=dtype, device=x_NP.device)
    x_NP = x_NP - mean_P
    form = form or ("dual" if x_NP.shape[0] <= _DUAL_UP_TO * x_NP.shape[1] else "primal")
    return RidgeSystem(
        x_NP=x_NP,
        mean_P=mean_P,
        gram=_gram(x_NP, form),
        form=form,
        intercept=intercept,
        precision=precision,
        position_N=torch.from_numpy(where.astype(np.int64)).to(x_NP.device),
        n_rows=int(where.max()) + 1,
    )


def factor(system: RidgeSystem, alpha: float, ones: float = 0.0) -> torch.Tensor:
    """Lower Cholesky factor of ``gram + alpha I + ones 11'/N``, in float64 where float32 would lose too many digits.

    Raises
    ------
    DataError
        If alpha is not positive, or so small that even float64 finds the matrix singular.
    """
    if not (alpha > 0 and np.isfinite(alpha)):
        raise DataError(f"alpha: expected a positive number, found {alpha}")
    ill = alpha < ILL_CONDITIONED * system.gram_norm
    shifted = (system.gram_f64 if ill else system.gram).clone()
    if ones:
        shifted += ones / len(shifted)
    shifted.diagonal().add_(alpha)
    lower, failed = torch.linalg.cholesky_ex(shifted)
    if int(failed):
        raise DataError(f"alpha={alpha:g} is too small for features of norm {system.gram_norm:.3g}; use a larger one")
    return lower


def solve(system: RidgeSystem, alpha: float, right: torch.Tensor) -> torch.Tensor:
    """``(gram + alpha I)^-1 right``; with alpha = 0 the minimum-norm least-squares solution."""
    if alpha != 0:
        lower = factor(system, alpha)
        return torch.cholesky_solve(right.to(lower.dtype), lower).to(right.dtype)
    values, vectors = torch.linalg.eigh(system.gram_f64)
    kept = values > values.abs().max() * len(values) * torch.finfo(torch.float32).eps * 1e-3
    vectors = vectors[:, kept]
    return (vectors @ ((vectors.T @ right.double()) / values[kept, None])).to(right.dtype)


def onto_rows(system: RidgeSystem, by_trial: torch.Tensor) -> torch.Tensor:
    """Sum the columns (.., N) that belong to trials of one target row: (.., U)."""
    if system.is_permutation:
        summed = torch.empty_like(by_trial)
        summed[..., system.position_N] = by_trial
        return summed
    summed = by_trial.new_zeros(*by_trial.shape[:-1], system.n_rows)
    return summed.index_add_(-1, system.position_N, by_trial)


def hat(system: RidgeSystem, x_test: np.ndarray | torch.Tensor, alpha: float) -> torch.Tensor:
    """The matrix H (M, U) that maps centred targets to centred predictions of the test rows (M, P)."""
    x_MP = system.centre(x_test, "X of the test rows")
    with matmul_precision("float32"):
        if system.form == "dual":
            by_trial = solve(system, alpha, system.x_NP @ x_MP.T).T
        else:
            by_trial = solve(system, alpha, x_MP.T.contiguous()).T @ system.x_NP.T
        return onto_rows(system, by_trial)


def operator(system: RidgeSystem, alpha: float) -> torch.Tensor:
    """The matrix A (P, U) that maps centred targets to weights: ``W = A (Y - mean(Y))``."""
    with matmul_precision("float32"):
        if system.form == "dual":
            by_trial = solve(system, alpha, system.x_NP).T
        else:
            by_trial = solve(system, alpha, system.x_NP.T.contiguous())
        return onto_rows(system, by_trial)
