"""The contract of a frozen network: stimuli in, token embeddings out, pictures back where the network can.

Legend: n stimuli, K tokens, D dimensions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from braindec.contracts import Progress, no_progress
from braindec.frozen.images import quantised
from braindec.frozen.loading import LoadReport
from braindec.frozen.transfer import Arriving, to_device, to_host
from braindec.frozen.weights import resolve
from braindec.types import DataError, Stimuli

Dtype = Literal["float32", "float16", "bfloat16"]
Modality = Literal["image", "text", "audio"]


def _placed(module: nn.Module, device: str, dtype: torch.dtype) -> nn.Module:
    """A network on a device and in a dtype, but for frequencies of rotary positions: these stay as they are.

    An angle is position times frequency: rounded to eight bits it would be wrong by tenths after some fifty tokens.
    """
    exact = [
        (part, name, buffer)
        for part in module.modules()
        for name, buffer in part.named_buffers(recurse=False)
        if name.endswith("inv_freq")
    ]
    # The plain method: diffusers' own warns of a dtype that is meant.
    nn.Module.to(module, device, dtype)
    for part, name, buffer in exact:
        setattr(part, name, buffer.to(device))
    return module


class FrozenNetwork(ABC):
    """A pretrained network that is never trained: evaluation mode, no gradients, loaded strictly on first use.

    Parameters
    ----------
    weights : hub id, folder or file (see `braindec.frozen.weights.resolve`).
    device : where the network runs, e.g. ``"cuda"``.
    dtype : type of its weights and activations.
    batch_size : stimuli per forward pass.

    Attributes
    ----------
    modality : what of the stimuli it reads.
    report_ : what the checkpoint gave, after loading.
    """

    modality: Modality = "image"

    def __init__(self, weights: str, device: str = "cpu", dtype: Dtype = "float32", batch_size: int = 32) -> None:
        if batch_size < 1:
            raise DataError(f"{type(self).__name__}: expected batch_size >= 1, found {batch_size}")
        self.weights = weights
        self.device = device
        self.dtype = dtype
        self.batch_size = batch_size
        self.report_: LoadReport | None = None
        self._module: nn.Module | None = None

    @abstractmethod
    def load(self, path: Path) -> tuple[nn.Module, LoadReport]:
        """Build the network and load it strictly from a file or folder."""

    @abstractmethod
    def encode_batch(self, inputs: Any) -> Tensor:
        """Embeddings (b, K, D) of one batch: uint8 images (b, H, W, 3), b texts, or b waveforms."""

    @abstractmethod
    def preprocessing(self) -> dict[str, Any]:
        """The preprocessing and the output chosen, as plain values: with the weights' hash it identifies the result."""

    @property
    def module(self) -> Any:
        """The network, on its device, in its dtype, in evaluation mode; loaded on first use."""
        if self._module is None:
            # Weights that were loaded in inference mode could never pass gradients on to a picture.
            with torch.inference_mode(mode=False):
                module, self.report_ = self.load(resolve(self.weights))
            self.adopt(module.requires_grad_(False))
        return self._module

    def adopt(self, module: nn.Module) -> Self:
        """Use a network that is in memory already, in place of weights from disk; returns itself."""
        self._module = _placed(module.eval(), self.device, self.torch_dtype)
        return self

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype as PyTorch's."""
        return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[self.dtype]

    def to(self, device: str, dtype: Dtype | None = None) -> Self:
        """Move to a device (and another dtype); returns itself."""
        self.device = device
        self.dtype = dtype or self.dtype
        if self._module is not None:
            _placed(self._module, self.device, self.torch_dtype)
        return self

    def describe(self) -> dict[str, Any]:
        """What identifies the embeddings: class, weights with their hash, preprocessing, dtype."""
        _ = self.module
        report = self.report_
        return {
            "network": f"{type(self).__module__}.{type(self).__qualname__}",
            "weights": self.weights,
            "sha256": None if report is None else report.sha256,
            "preprocessing": self.preprocessing(),
            "dtype": self.dtype,
        }

    def encode(self, stimuli: Stimuli | np.ndarray | Sequence[Any], progress: Progress = no_progress) -> np.ndarray:
        """Embeddings float32 (n, K, D), row i for stimulus i.

        Parameters
        ----------
        stimuli : `Stimuli`, or what this network reads: images uint8 (n, H, W, 3), texts, or waveforms.

        Raises
        ------
        DataError
            If the stimuli lack what this network reads, or an embedding is not finite.
        """
        whole: np.ndarray | None = None
        filled = 0
        for part in self.encode_batches(stimuli, progress):
            if whole is None:
                whole = np.empty((self._count(self._source(stimuli)), *part.shape[1:]), np.float32)
            whole[filled : filled + len(part)] = part
            filled += len(part)
        if whole is None:
            raise DataError(f"{type(self).__name__}: expected at least one stimulus, found none")
        return whole

    def encode_batches(
        self,
        stimuli: Stimuli | np.ndarray | Sequence[Any],
        progress: Progress = no_progress,
        rows: Iterable[np.ndarray] | None = None,
        kept: Literal["float32", "float16"] = "float32",
    ) -> Iterator[np.ndarray]:
        """As `encode`, one array (b, K, D) a batch, so that memory stays bounded.

        A batch is handed out while the device works on the next one.

        Parameters
        ----------
        rows : the stimuli of each batch, asked for one batch ahead; None takes all in order, ``batch_size`` at a time.
        kept : dtype of the arrays.
        """
        source = self._source(stimuli)
        if rows is None:
            n = self._count(source)
            starts = progress(range(0, n, self.batch_size), f"{type(self).__name__} ({self.modality})")
            rows = (np.arange(start, min(start + self.batch_size, n)) for start in starts)
        before: tuple[np.ndarray, Arriving] | None = None
        for own in rows:
            with torch.inference_mode():
                values = self._encode_rows(source, own).to(getattr(torch, kept))
                arriving = to_host(values, values.isfinite().all())
            if before is not None:
                yield self._checked(*before)
            before = own, arriving
        if before is not None:
            yield self._checked(*before)

    def _checked(self, rows: np.ndarray, arriving: Arriving) -> np.ndarray:
        values, finite = arriving.arrived()
        if not finite:
            raise DataError(
                f"{type(self).__name__}: embeddings of stimuli {rows[0]}..{rows[-1]} are not finite in {self.dtype}, "
                f"kept in {values.dtype}; compute in float32 or bfloat16 and keep in float32"
            )
        return values

    def _encode_rows(self, source: Any, rows: np.ndarray) -> Tensor:
        if self.modality == "image":
            return self.encode_batch(np.asarray(source[rows]))
        return self.encode_batch([source[row] for row in rows])

    def _count(self, source: Any) -> int:
        # Lazy images need not have a length (see `ImageArray`).
        return int(source.shape[0]) if self.modality == "image" else len(source)

    def _source(self, stimuli: Stimuli | np.ndarray | Sequence[Any]) -> Any:
        if not isinstance(stimuli, Stimuli):
            return stimuli
        found: Any
        if self.modality == "image":
            found = stimuli.images
        elif self.modality == "text":
            found = stimuli.captions if stimuli.captions is not None else stimuli.texts
        else:
            found = stimuli.audio
        if found is None:
            raise DataError(f"{type(self).__name__}: the stimuli have no {self.modality}; choose another network")
        return found


class DecodableNetwork(FrozenNetwork):
    """A frozen network that turns its embeddings back into pictures."""

    @abstractmethod
    def decode_batch(self, values: Tensor, seeds: Sequence[int]) -> Tensor:
        """Embeddings (b, K, D) on the device -> pixels (b, 3, H, W) in [-1, 1]; one noise seed an item."""

    def decode(
        self,
        values: np.ndarray,
        seeds: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        progress: Progress = no_progress,
    ) -> np.ndarray:
        """Embeddings (n, K, D) -> images uint8 (n, H, W, 3).

        Parameters
        ----------
        seeds : one seed an item, for networks that draw noise; an item's picture never depends on its batch.
        generator : draws the seeds when they are not given; without either, seed i is i.

        Raises
        ------
        DataError
            If there is nothing to decode, the seeds are of another number, or a picture is not finite.
        """
        n = len(values)
        if seeds is None:
            seeds = range(n) if generator is None else draw_seeds(n, generator)
        if len(seeds) != n:
            raise DataError(f"{type(self).__name__}.decode: expected {n} seeds, found {len(seeds)}")
        whole: np.ndarray | None = None
        # The host puts one batch in its place while the device works on the next.
        for start, pictures in self._decode_batches(values, seeds, progress):
            if whole is None:
                whole = np.empty((n, *pictures.shape[1:]), np.uint8)
            whole[start : start + len(pictures)] = pictures
        if whole is None:
            raise DataError(f"{type(self).__name__}.decode: expected at least one embedding, found none")
        return whole

    def _decode_batches(
        self, values: np.ndarray, seeds: Sequence[int], progress: Progress
    ) -> Iterator[tuple[int, np.ndarray]]:
        before: tuple[int, Arriving] | None = None
        for start in progress(range(0, len(values), self.batch_size), f"{type(self).__name__} (decode)"):
            stop = start + self.batch_size
            batch = to_device(np.asarray(values[start:stop], dtype=np.float32), self.device)
            with torch.inference_mode():
                pixels = self.decode_batch(batch, list(seeds[start:stop]))
                arriving = to_host(quantised(pixels), pixels.isfinite().all())
            if before is not None:
                yield before[0], self._pictures(*before)
            before = start, arriving
        if before is not None:
            yield before[0], self._pictures(*before)

    def _pictures(self, start: int, arriving: Arriving) -> np.ndarray:
        pictures, finite = arriving.arrived()
        if not finite:
            raise DataError(
                f"{type(self).__name__}.decode: pictures {start}..{start + len(pictures) - 1} are not finite in "
                f"{self.dtype}; check the predictions, or use float32 or bfloat16"
            )
        return pictures


def draw_seeds(n: int, generator: torch.Generator) -> list[int]:
    """``n`` seeds from a generator."""
    return torch.randint(2**62, (n,), generator=generator, device=generator.device).tolist()
