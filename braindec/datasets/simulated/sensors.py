"""Where simulated EEG electrodes and MEG sensors sit, and what they pick up from a current in the head.

Legend: S sensors, V dipoles.

Head coordinates in metres: x to the right ear, y to the nose, z up; the head is a sphere about ``HEAD_CENTRE_M``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from braindec.types import DataError, Space, Unit

SensorKind = Literal["eeg_63", "eeg_19", "meg_151"]
HEAD_CENTRE_M = (0.0, 0.0, 0.04)
HEAD_RADIUS_M = 0.095
_HELMET_RADIUS_M = 0.115
_HELMET_REACH = np.deg2rad(105)

_EEG_19 = "Fp1 Fp2 F7 F3 Fz F4 F8 T7 C3 Cz C4 T8 P7 P3 Pz P4 P8 O1 O2"
_EEG_63 = (
    "Fp1 Fp2 AF7 AF3 AFz AF4 AF8 F7 F5 F3 F1 F2 F4 F6 F8 FT9 FT7 FC5 FC3 FC1 FCz FC2 FC4 FC6 FT8 FT10 "
    "T7 C5 C3 C1 Cz C2 C4 C6 T8 TP9 TP7 CP5 CP3 CP1 CPz CP2 CP4 CP6 TP8 TP10 "
    "P7 P5 P3 P1 Pz P2 P4 P6 P8 PO7 PO3 POz PO4 PO8 O1 Oz O2"
)


@dataclass(frozen=True)
class SensorArray:
    """Sensors of one recording: ``info`` is an ``mne.Info``, ``space`` the axis S, ``unit`` what is measured."""

    info: Any
    space: Space
    unit: Unit


def sensor_array(kind: SensorKind) -> SensorArray:
    """Sensors by name.

    ``eeg_63`` and ``eeg_19`` are electrodes of the extended and the classical 10-20 system at MNE's ``easycap-M1``
    positions. ``meg_151`` are axial gradiometers of the CTF 151 system: its sensor names and arrangement from MNE's
    layout, wrapped around a sphere since the layout is flat.

    Raises
    ------
    DataError
        If the kind is unknown.
    """
    import mne

    if kind in ("eeg_63", "eeg_19"):
        names = (_EEG_63 if kind == "eeg_63" else _EEG_19).split()
        info = mne.create_info(names, 1000.0, "eeg", verbose="error")
        info.set_montage(mne.channels.make_standard_montage("easycap-M1"), verbose="error")
        unit: Unit = "V"
    elif kind == "meg_151":
        info, unit = _ctf_helmet(), "T"
    else:
        raise DataError(f"simulated sensors: expected eeg_63, eeg_19 or meg_151, found {kind!r}")
    positions = np.array([channel["loc"][:3] for channel in info["chs"]], dtype=np.float64)
    space = Space("channels", len(positions), names=tuple(info["ch_names"]), positions_m=positions)
    return SensorArray(info, space, unit)


def _ctf_helmet() -> Any:
    """An ``mne.Info`` of axial gradiometers whose device frame is the head frame."""
    import mne

    layout = mne.channels.read_layout("CTF151")
    kept = [i for i, name in enumerate(layout.names) if name[0] == "M"]
    flat = layout.pos[kept, :2] + layout.pos[kept, 2:] / 2
    flat = flat - (flat.min(axis=0) + flat.max(axis=0)) / 2
    flat /= np.linalg.norm(flat, axis=1).max()
    # A flat layout keeps the distance from the vertex and the direction: the inverse of the azimuthal projection.
    angle = np.linalg.norm(flat, axis=1) * _HELMET_REACH
    direction = np.arctan2(flat[:, 1], flat[:, 0])
    outward = np.stack([np.sin(angle) * np.cos(direction), np.sin(angle) * np.sin(direction), np.cos(angle)], axis=1)
    info = mne.create_info([layout.names[i] for i in kept], 1000.0, "mag", verbose="error")
    for channel, normal in zip(info["chs"], outward):
        across = np.cross(normal, [0.0, 1.0, 0.0] if abs(normal[1]) < 0.9 else [1.0, 0.0, 0.0])
        across /= np.linalg.norm(across)
        channel["loc"] = np.concatenate(
            [np.array(HEAD_CENTRE_M) + _HELMET_RADIUS_M * normal, across, np.cross(normal, across), normal]
        )
        channel["coil_type"] = mne.io.constants.FIFF.FIFFV_COIL_CTF_GRAD
        channel["coord_frame"] = mne.io.constants.FIFF.FIFFV_COORD_DEVICE
    with info._unlock():
        info["dev_head_t"] = mne.transforms.Transform("meg", "head", np.eye(4))
    return info


def lead_field(array: SensorArray, positions_m: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Signal at each sensor of a current dipole of 1 A m, float64 (S, V): V against the average electrode, or T.

    Parameters
    ----------
    positions_m : (V, 3) within the inner sphere.
    moments : (V, 3) unit vectors along which the currents flow.

    Source: MNE-Python's forward solution for a sphere model (EEG: Berg & Scherg 1994 over four shells; MEG: Sarvas
    1987, which radial currents leave silent).
    """
    import mne

    is_eeg = array.unit == "V"
    sphere = mne.make_sphere_model(HEAD_CENTRE_M, HEAD_RADIUS_M, verbose="error")
    sources = mne.setup_volume_source_space(
        pos={"rr": positions_m, "nn": moments}, sphere=sphere, sphere_units="m", verbose="error"
    )
    forward = mne.make_forward_solution(
        array.info, None, sources, sphere, meg=not is_eeg, eeg=is_eeg, mindist=0.0, verbose="error"
    )
    if forward["nsource"] != len(positions_m):
        raise DataError(f"simulated sources: {len(positions_m) - forward['nsource']} dipoles lie outside the head")
    fields_SV3 = forward["sol"]["data"].reshape(array.space.size, len(positions_m), 3)
    fields_SV = np.einsum("svk,vk->sv", fields_SV3, moments)
    return fields_SV - fields_SV.mean(axis=0) if is_eeg else fields_SV
