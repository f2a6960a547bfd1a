"""Write a small CTF recording (a ``.ds`` folder), the format of THINGS-MEG, which mne reads but cannot write.

Source: the CTF MEG file formats document (PN900-0088), sections ``.res4``, ``.meg4`` and ``.hc``.

Legend: S channels, n samples.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

REFERENCE, GRADIOMETER, CLOCK = 0, 5, 17
CLOCK_NAME = "SCLK01-177"
TESLA_A_COUNT = 1e-15
_FIRST_FILTER = 1844
_COIL = np.dtype(
    [
        ("pos", ">f8", 3), ("d0", ">f8"), ("norm", ">f8", 3), ("d1", ">f8"), ("turns", ">i2"), ("d2", ">i4"),
        ("d3", ">i2"), ("area", ">f8"),
    ]
)  # fmt: skip
_CHANNEL = np.dtype(
    [
        ("kind", ">i2"), ("run", ">i2"), ("coil_type", ">i4"), ("proper_gain", ">f8"), ("q_gain", ">f8"),
        ("io_gain", ">f8"), ("io_offset", ">f8"), ("n_coils", ">i2"), ("order", ">i2"), ("d0", ">i4"),
        ("coil", _COIL, 8), ("head_coil", _COIL, 8),
    ]
)  # fmt: skip
_BALANCING = np.dtype(
    [
        ("sensor", "S32"), ("kind", ">i4"), ("d0", ">i4"), ("n", ">i2"), ("references", "S31", 50),
        ("weights", ">f8", 50),
    ]
)  # fmt: skip
_COILS_CM = {"nasion": (8.0, 0.0, 0.0), "left ear": (0.0, 7.5, 0.0), "right ear": (0.0, -7.5, 0.0)}
_DEWAR_SHIFT_CM = np.array([0.0, 0.0, -25.0])


def write_ctf(
    folder: Path, signal_Sn: np.ndarray, names: Sequence[str], rate_hz: float, references: Sequence[str]
) -> None:
    """Write gradiometer signals (S, n) in tesla as one uninterrupted trial.

    ``references`` are names of reference magnetometers, written as noise of the size of the signal; the system clock
    is the first channel. Sensors lie on a sphere about the head.
    """
    folder.mkdir(parents=True, exist_ok=True)
    n_samples = signal_Sn.shape[1]
    rng = np.random.default_rng(0)
    noise = signal_Sn.std() * rng.normal(size=(len(references), n_samples))
    # Gains are negative, as in most recordings.
    counts = np.round(np.concatenate([noise, signal_Sn]) / -TESLA_A_COUNT)
    clock = np.arange(1, n_samples + 1)[None]
    stored = np.concatenate([clock, counts]).astype(">i4")
    (folder / f"{folder.stem}.meg4").write_bytes(b"MEG41CP\0" + stored.tobytes())
    kinds = [CLOCK, *[REFERENCE] * len(references), *[GRADIOMETER] * len(names)]
    header = _header([CLOCK_NAME, *references, *names], kinds, n_samples, rate_hz)
    (folder / f"{folder.stem}.res4").write_bytes(header)
    (folder / f"{folder.stem}.hc").write_text(_head_coils())


def _header(names: Sequence[str], kinds: Sequence[int], n_samples: int, rate_hz: float) -> bytes:
    out = io.BytesIO()

    def text(value: str, size: int) -> None:
        out.write(value.encode()[: size - 1].ljust(size, b"\0"))

    def number(kind: str, value: float) -> None:
        out.write(np.array(value, dtype=kind).tobytes())

    text("MEG42RS", 8)
    for _ in range(3):
        text("", 256)
    number(">i2", 1)
    text("12:00", 255)
    text("13/06/2019", 255)
    number(">i4", n_samples)
    number(">i2", len(names))
    out.write(b"\0" * (-out.tell() % 8))
    number(">f8", rate_hz)
    number(">f8", n_samples / rate_hz)
    number(">i2", 1)
    # Triggers, display settings and the operator's notes stay empty.
    out.write(b"\0" * (_FIRST_FILTER - out.tell()))
    number(">i2", 0)
    for name in names:
        text(name, 32)
    out.write(_channels(kinds).tobytes())
    records = _balancing(names, kinds)
    number(">i2", len(records))
    out.write(records.tobytes())
    return out.getvalue()


def _balancing(names: Sequence[str], kinds: Sequence[int]) -> np.ndarray:
    """First-order balancing of each gradiometer with weights of 0: it names the references and changes nothing."""
    references = [name for name, kind in zip(names, kinds) if kind == REFERENCE]
    records = np.zeros(sum(kind == GRADIOMETER for kind in kinds), dtype=_BALANCING)
    records["sensor"] = [name for name, kind in zip(names, kinds) if kind == GRADIOMETER]
    records["kind"] = int.from_bytes(b"G1BR", "big")
    records["n"] = len(references)
    records["references"][:, : len(references)] = references
    return records


def _channels(kinds: Sequence[int]) -> np.ndarray:
    channels = np.zeros(len(kinds), dtype=_CHANNEL)
    turn = np.pi * (3 - np.sqrt(5))
    for row, kind in enumerate(kinds):
        own = channels[row]
        own["kind"], own["io_gain"], own["proper_gain"], own["q_gain"] = kind, 1, 1, 1
        if kind == CLOCK:
            continue
        height = 1 - 1.2 * row / len(kinds)
        ring = np.sqrt(max(0.0, 1 - height**2))
        normal = np.array([ring * np.cos(turn * row), ring * np.sin(turn * row), height])
        own["n_coils"] = 2 if kind == GRADIOMETER else 1
        own["proper_gain"], own["q_gain"] = -1 / TESLA_A_COUNT / 2**20, 2**20
        for number in range(own["n_coils"]):
            place = np.array([0.0, 0.0, 4.0]) + (11.0 + 5.0 * number + (6.0 if kind == REFERENCE else 0.0)) * normal
            for field, shift in (("coil", _DEWAR_SHIFT_CM), ("head_coil", 0.0)):
                own[field]["pos"][number] = place + shift
                own[field]["norm"][number] = normal * (-1) ** number
                own[field]["turns"][number], own[field]["area"][number] = 8, 2.5
    return channels


def _head_coils() -> str:
    lines = []
    for frame, shift in (("dewar", _DEWAR_SHIFT_CM), ("head", np.zeros(3))):
        for coil, place in _COILS_CM.items():
            lines.append(f"measured {coil} coil position relative to {frame} (cm):")
            lines += [f"\t{axis} = {value:g}" for axis, value in zip("xyz", np.array(place) + shift)]
    return "\n".join(lines) + "\n"
