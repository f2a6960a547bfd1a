"""Choice of the ridge penalty by exact cross-validation, without refitting.

Legend: N training trials, U distinct target rows, P features, T targets, B targets of one block, A candidate alphas,
G groups of targets that share an alpha.

Ridge is a linear smoother, so the residuals of the trials b that a fold leaves out follow from one fit to all:
``e_b = (I - H_bb)^-1 (Y - H Y)_b`` with ``H = X (X'X + alpha I)^-1 X' + 11'/N`` (the last term is the intercept).
Leave-one-out is the case of one trial a fold. The whole is a matrix E, the same for all targets: ``e = E Y``.
A group of targets scored together needs only its Gram matrix C = Y Y': ``sum(e^2) = <E'E, C>``. So the cost per
alpha is one Cholesky inverse and one product of size N, whatever the number of folds, groups and targets.

Source: Golub, Heath & Wahba 1979 (leave-one-out); Cook & Weisberg 1982, section 3.6 (left-out blocks).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from braindec.models.ridge import (
    RidgeSystem,
    add_gram,
    factor,
    matmul_precision,
    mirror_lower,
    onto_rows,
)
from braindec.models.ridge_targets import ColumnStream
from braindec.types import DataError

Selection = Literal["loo", "kfold"]
AlphaPer = Literal["target_array", "token", "value"]


def leave_out_labels(groups: np.ndarray, selection: Selection, n_folds: int = 5, seed: int = 0) -> np.ndarray:
    """Fold label of each trial (N,): trials of one group (repetitions of a stimulus) are always left out together.

    ``loo`` leaves out one group at a time, which is one trial where nothing repeats; ``kfold`` deals the groups in
    random order to ``n_folds`` folds of nearly equal numbers of groups.

    Raises
    ------
    DataError
        With fewer groups than folds, or a single group.
    """
    distinct, label = np.unique(np.asarray(groups), return_inverse=True)
    needed = 2 if selection == "loo" else max(2, n_folds)
    if len(distinct) < needed:
        raise DataError(f"alpha selection by {selection}: expected at least {needed} stimuli, found {len(distinct)}")
    if selection == "loo":
        return label
    fold = np.empty(len(distinct), dtype=np.int64)
    fold[np.random.default_rng(seed).permutation(len(distinct))] = np.arange(len(distinct)) % n_folds
    return fold[label]


def equal_blocks(labels: np.ndarray, device: torch.device) -> list[torch.Tensor]:
    """The trials of each label, as int64 (number of blocks, block size) tensors, one a distinct block size."""
    order = np.argsort(labels, kind="stable")
    _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    return [
        torch.from_numpy(np.stack([order[a : a + size] for a in starts[sizes == size]])).to(device)
        for size in np.unique(sizes)
    ]


def held_out_matrix(system: RidgeSystem, alpha: float, labels: np.ndarray) -> torch.Tensor:
    """E (N, N) of a dual system: held-out residuals of any centred targets Y (N, T) are ``E Y``."""
    # The constant direction, which must vanish, is first shrunk by a large eigenvalue: subtracting it whole from the
    # inverse would cancel the leading digits when alpha is small.
    ones = system.gram_norm if system.intercept else 0.0
    lower = factor(system, alpha, ones)
    # Solving for the identity, not cholesky_inverse: LAPACK's inverse is hardly blocked and slow on busy cores.
    residual = torch.cholesky_solve(torch.eye(len(lower), dtype=lower.dtype, device=lower.device), lower).mul_(alpha)
    if system.intercept:
        residual -= alpha / ((alpha + ones) * len(residual))
    for block in equal_blocks(labels, system.device):
        size = block.shape[1]
        if size == 1:
            rows = block[:, 0]
            residual[rows] /= residual[rows, rows][:, None]
            continue
        # Few rows at a time: the gathered panels would otherwise double the memory.
        for part in block.split(max(1, 4096 // size)):
            corner = residual[part[:, :, None], part[:, None, :]]
            residual[part] = torch.linalg.solve(corner, residual[part])
    return residual.to(system.dtype)


@dataclass(frozen=True)
class HeldOut:
    """Held-out errors of one system for all candidate alphas, ready for any number of targets.

    Attributes
    ----------
    alphas : float64 (A,).
    labels : (N,), from `leave_out_labels`.
    """

    system: RidgeSystem
    alphas: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.system.x_NP):
            raise DataError(f"labels: expected {len(self.system.x_NP)} (one a trial), found {len(self.labels)}")
        if len(self.alphas) == 0 or not (np.asarray(self.alphas) > 0).all():
            raise DataError(f"alphas to select among: expected positive numbers, found {list(self.alphas)}")

    @cached_property
    def forms_AUU(self) -> torch.Tensor:
        """``E'E`` of each alpha, summed onto the distinct target rows (dual systems)."""
        n = self.system.n_rows
        forms = torch.zeros(len(self.alphas), n, n, dtype=self.system.dtype, device=self.system.device)
        with matmul_precision("float32"):
            for form, alpha in zip(forms, self.alphas):
                errors = onto_rows(self.system, held_out_matrix(self.system, float(alpha), self.labels))
                add_gram(form, errors.T)
                mirror_lower(form)
        return forms

    @cached_property
    def residuals(self) -> list[Callable[[torch.Tensor], torch.Tensor]]:
        """For each alpha a function from centred targets by trial (N, B) to held-out residuals (primal systems)."""
        return [_primal_residuals(self.system, float(alpha), self.labels) for alpha in self.alphas]

    def value_errors(self, block: torch.Tensor) -> torch.Tensor:
        """Sum of squared held-out errors of each centred target of a block (U, B): (A, B)."""
        if self.system.form == "dual":
            return torch.stack([_quadratic_forms(form, block) for form in self.forms_AUU])
        by_trial = block[self.system.position_N]
        return torch.stack([residual(by_trial).square_().sum(0) for residual in self.residuals])

    def group_errors(self, gram_UU: torch.Tensor) -> torch.Tensor:
        """Sum of squared held-out errors of a group with ``Y Y' = gram_UU``: float64 (A,) (dual systems)."""
        return torch.stack([torch.linalg.vecdot(form, gram_UU).double().sum() for form in self.forms_AUU])


def _quadratic_forms(form: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
    """``y' form y`` of each column y of a block (U, B), from the lower triangle of the symmetric ``form``."""
    step = -(-len(form) // 8)
    total = block.new_zeros(block.shape[1])
    for start in range(0, len(form), step):
        panel = block[start : start + step]
        image = form[start : start + step, start : start + step] @ panel
        if start:
            image.addmm_(form[start : start + step, :start], block[:start], alpha=2.0)
        total += (panel * image).sum(0)
    return total


def _primal_residuals(system: RidgeSystem, alpha: float, labels: np.ndarray) -> Callable[[torch.Tensor], torch.Tensor]:
    """Held-out residuals from a primal fit; a left-out block is inverted on its trials or features, if fewer."""
    lower = factor(system, alpha)
    x_NP = system.x_NP.to(lower.dtype)
    # H = Z Z' with the intercept as one more column of Z.
    z = torch.linalg.solve_triangular(lower, x_NP.T, upper=False).T
    if system.intercept:
        z = torch.cat([z, z.new_full((len(z), 1), len(z) ** -0.5)], dim=1)
    blocks = equal_blocks(labels, system.device)
    inverses = []
    for block in blocks:
        z_b = z[block]
        by_trial = block.shape[1] <= z.shape[1]
        inner = z_b @ z_b.mT if by_trial else z_b.mT @ z_b
        eye = torch.eye(inner.shape[-1], dtype=z.dtype, device=z.device)
        inverses.append((by_trial, torch.linalg.inv(eye - inner)))

    def residuals(y_NB: torch.Tensor) -> torch.Tensor:
        right = y_NB.to(z.dtype)
        errors = right - z @ (z.T @ right)
        for block, (by_trial, inverse) in zip(blocks, inverses):
            e_b = errors[block]
            errors[block] = inverse @ e_b if by_trial else e_b + z[block] @ (inverse @ (z[block].mT @ e_b))
        return errors.to(y_NB.dtype)

    return residuals


@dataclass(frozen=True)
class AlphaChoice:
    """The alphas chosen for one target array.

    Attributes
    ----------
    alphas : candidates (A,).
    scores : held-out R2 (G, A): one less squared error over total variance of the group (0 where it has none); the
        mean R2 over targets when they were standardised.
    group_width : number of consecutive columns that share an alpha.
    n_columns : number of targets T.
    """

    alphas: np.ndarray
    scores: np.ndarray
    group_width: int
    n_columns: int

    @property
    def chosen(self) -> np.ndarray:
        """The best alpha of each group (G,)."""
        return np.asarray(self.alphas)[self.scores.argmax(axis=1)]

    @property
    def alphas_T(self) -> np.ndarray:
        """The alpha of each target (T,)."""
        return np.repeat(self.chosen, self.group_width)[: self.n_columns]


def choose_alpha(
    held_out: HeldOut,
    stream: ColumnStream,
    group_width: int | None = None,
    standardise: bool = False,
) -> AlphaChoice:
    """Score every candidate alpha on held-out trials and choose one a group of targets.

    Parameters
    ----------
    stream : the targets; its blocks must not cross groups (its ``group_width`` must divide or equal this one's),
        unless groups are single targets.
    group_width : consecutive targets that share an alpha; None: all share one; 1: each has its own.
    standardise : weigh every target by its inverse variance over the training trials.
    """
    width = stream.n_columns if group_width is None else group_width
    if width > 1 and width % (stream.group_width or stream.n_columns) and width < stream.n_columns:
        raise DataError(f"target {stream.target.name!r}: blocks of the stream cross groups of {width} columns")
    by_value = width == 1 or held_out.system.form == "primal"
    n_groups = -(-stream.n_columns // width)
    # Sums stay on the device until the end: a transfer a block would stop the stream of targets.
    device = held_out.system.device
    errors_GA = torch.zeros(n_groups, len(held_out.alphas), dtype=torch.float64, device=device)
    totals_G = torch.zeros(n_groups, dtype=torch.float64, device=device)
    gatherer = _GroupGram(held_out, errors_GA)
    for start, stop, block, mean in stream:
        block, total_B = _scaled(held_out.system, block, mean, standardise)
        group = slice(start, stop) if width == 1 else slice(start // width, start // width + 1)
        totals_G[group] += total_B.double() if width == 1 else total_B.double().sum()
        if by_value:
            with matmul_precision(held_out.system.precision):
                found_BA = held_out.value_errors(block).double().T
            errors_GA[group] += found_BA if width == 1 else found_BA.sum(0)
        else:
            gatherer.add(start // width, block)
    gatherer.close()
    errors, totals = errors_GA.cpu().numpy(), totals_G.cpu().numpy()
    scores = np.where(totals[:, None] > 0, 1 - errors / np.where(totals > 0, totals, 1)[:, None], 0.0)
    return AlphaChoice(np.asarray(held_out.alphas, dtype=np.float64), scores, width, stream.n_columns)


def target_gram(stream: ColumnStream, standardise: bool = False) -> tuple[torch.Tensor, float]:
    """``Y Y'`` (U, U) of all centred targets of an array, and their total sum of squares over the trials."""
    system = stream.system
    gram = torch.zeros(system.n_rows, system.n_rows, dtype=system.dtype, device=system.device)
    total = torch.zeros((), dtype=torch.float64, device=system.device)
    for _, _, block, mean in stream:
        block, total_B = _scaled(system, block, mean, standardise)
        total += total_B.double().sum()
        with matmul_precision(system.precision):
            add_gram(gram, block)
    return mirror_lower(gram), float(total)


class _GroupGram:
    """Sums ``Y Y'`` over the blocks of a group, then scores the group: blocks of a group follow each other."""

    def __init__(self, held_out: HeldOut, errors_GA: torch.Tensor) -> None:
        self.held_out, self.errors_GA = held_out, errors_GA
        self.group: int | None = None
        self.gram: torch.Tensor | None = None

    def add(self, group: int, block: torch.Tensor) -> None:
        if group != self.group:
            self.close()
            self.group = group
        if self.gram is None:
            self.gram = block.new_zeros(len(block), len(block))
        with matmul_precision(self.held_out.system.precision):
            add_gram(self.gram, block)

    def close(self) -> None:
        if self.group is not None and self.gram is not None:
            self.errors_GA[self.group] = self.held_out.group_errors(mirror_lower(self.gram))
            self.gram.zero_()


def _scaled(
    system: RidgeSystem, block: torch.Tensor, mean: torch.Tensor, standardise: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The block, standardised if asked, and the total sum of squares of each target (zero for a constant target)."""
    total = system.counts_U @ block.square()
    # A constant column keeps the rounding error of its mean; what is below that is no variance.
    floor = len(system.position_N) * (8 * torch.finfo(system.dtype).eps * mean).square()
    varies = total > floor
    if not standardise:
        return block, total * varies
    scale = torch.where(varies, total, torch.ones_like(total)).rsqrt() * varies
    return block * scale, varies.to(total.dtype)


def group_width(per: AlphaPer, n_tokens: int, n_dims: int) -> int:
    """Number of consecutive columns of a flattened (token, dim) target that share an alpha."""
    return {"target_array": n_tokens * n_dims, "token": n_dims, "value": 1}[per]
