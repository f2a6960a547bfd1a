"""Arrays to a device and back without making it wait: page-locked memory, one batch in flight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Arriving:
    """Values on their way to the host; ``arrived`` waits for them."""

    values: Tensor
    finite: Tensor
    done: torch.cuda.Event | None

    def arrived(self) -> tuple[np.ndarray, bool]:
        """The values, and whether all of them are finite."""
        if self.done is not None:
            self.done.synchronize()
        return self.values.numpy(), bool(self.finite)


def to_host(values: Tensor, finite: Tensor) -> Arriving:
    """Start copying values, and whether they are finite, to the host; the device goes on with what is queued after."""
    if values.device.type != "cuda":
        return Arriving(values.cpu(), finite.cpu(), None)
    landed = [
        torch.empty(t.shape, dtype=t.dtype, pin_memory=True).copy_(t, non_blocking=True) for t in (values, finite)
    ]
    return Arriving(landed[0], landed[1], torch.cuda.current_stream(values.device).record_event())


def to_device(array: np.ndarray, device: torch.device | str) -> Tensor:
    """A copy of an array on a device; the host does not wait for a GPU.

    A copy also on the CPU: torch takes neither reversed nor read-only (memory-mapped) arrays.
    """
    pinned = torch.device(device).type == "cuda"
    staged = torch.empty(array.shape, dtype=torch.from_numpy(np.empty(0, array.dtype)).dtype, pin_memory=pinned)
    np.copyto(staged.numpy(), array)
    return staged.to(device, non_blocking=pinned)
