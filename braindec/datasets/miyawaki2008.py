"""Miyawaki et al. 2008, figure-image sessions: V1 responses to ten binary 10 x 10 pictures.

Source: Miyawaki et al. 2008, "Visual image reconstruction from human brain activity using a combination of
multiscale local image decoders", Neuron 60:915-929. The file ``V1_mean_figure.mat`` is the one that the Kamitani
Lab distributes with its Bayesian CCA code (repository KamitaniLab/VBCCA): block-mean responses of one subject's V1.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from braindec.types import DataError, Space, Stimuli, Trials

FILE_NAME = "V1_mean_figure.mat"
SUBJECT = "S1"
SIDE = 10
REPETITIONS = 8
BLOCK = 5

# id -> (concept, the picture's 100 pixels, row by row, packed into bits). Five figures of session 1, then the five
# letters of session 2. Kept here because the file has no names: a picture is recognised by its content, which also
# catches a transposed or foreign file.
PICTURES: dict[str, tuple[str, str]] = {
    "figure-filled-square": ("small filled square", "00000000781e0781e000000000"),
    "figure-square-outline": ("small square outline", "0000000078120481e000000000"),
    "figure-plus": ("plus sign", "000300c0307f9fe0c0300c0000"),
    "figure-x": ("X shape", "00186738fc1e0783f1ce618000"),
    "figure-frame": ("large square frame", "001fe7f98661986619fe7f8000"),
    "letter-n": ("letter n", "000001e0481204812000000000"),
    "letter-e": ("letter e", "000001e0481e0401e000000000"),
    "letter-u": ("letter u", "0000012048120481e000000000"),
    "letter-r": ("letter r", "000001e0401004010000000000"),
    "letter-o": ("letter o", "000001e048120481e000000000"),
}


class Miyawaki2008:
    """The ten pictures and one subject's V1 responses to eight showings of each.

    Signal: 80 trials x 797 positions x 1, float32. One value is the mean over a stimulus block; the file states no
    unit. The published preprocessing expresses each voxel relative to its run's mean and the values have that size
    (standard deviation 2.3, extremes -42 and 32), so ``unit`` is ``psc``; decoders should standardise by position.
    Positions carry no coordinates.

    Session 1 holds the figures, session 2 the letters, so session and picture class are confounded. Trials come in
    blocks of five in which each picture of the session occurs once; ``run`` is that block, 1 to 8 in each session,
    and ``repetition`` is ``run - 1``. In the file all odd blocks of a session share one order; the even blocks vary.
    No partition is published: ``split`` is ``train`` throughout, to be divided by a cross-validation split.

    Parameters
    ----------
    root : folder that holds ``V1_mean_figure.mat``.
    """

    name = "miyawaki2008"

    def __init__(self, root: str) -> None:
        self.root = root

    def subjects(self) -> tuple[str, ...]:
        """The one subject, ``S1``."""
        return (SUBJECT,)

    def trials(self, subject: str) -> Trials:
        """All 80 trials.

        Raises
        ------
        DataError
            If the subject is unknown, or the file is missing, unreadable or not what the class describes.
        """
        if subject != SUBJECT:
            raise DataError(f"miyawaki2008: unknown subject {subject!r}; the data set has only {SUBJECT!r}")
        pixels, responses = _read(self._file())
        table = _table(self._file(), pixels)
        signal = np.ascontiguousarray(responses.T, dtype=np.float32)[:, :, None]
        space = Space(kind="voxels", size=signal.shape[1])
        rois = {"V1": np.ones(signal.shape[1], dtype=bool)}
        return Trials(subject=SUBJECT, signal=signal, unit="psc", space=space, table=table, rois=rois)

    def stimuli(self) -> Stimuli:
        """The ten pictures, uint8 (10, 10, 10, 3), 0 or 255, in their true orientation; reads no file."""
        images = np.stack([_picture(stimulus_id) for stimulus_id in PICTURES])
        return Stimuli(
            ids=tuple(PICTURES),
            images=np.repeat(images[..., None] * np.uint8(255), 3, axis=3),
            concepts=tuple(concept for concept, _ in PICTURES.values()),
        )

    def version(self) -> str:
        """First 12 hexadecimal digits of the file's SHA-256."""
        file = self._file()
        try:
            return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        except OSError as error:
            raise _missing(file) from error

    def _file(self) -> Path:
        return Path(self.root) / FILE_NAME


def write_fake(root: str, n_voxels: int = 120, seed: int = 0) -> None:
    """Write a synthetic ``V1_mean_figure.mat`` in the true layout into ``root``.

    Each voxel responds to the picture through a Gaussian receptive field, with noise that its neighbours share.
    """
    from scipy.io import savemat

    rng = np.random.default_rng(seed)
    names = list(PICTURES)
    order = []
    for session in (names[:BLOCK], names[BLOCK:]):
        for _ in range(REPETITIONS):
            order += [session[i] for i in rng.permutation(BLOCK)]
    pictures = np.stack([_picture(stimulus_id) for stimulus_id in order])
    centres = rng.uniform(0, SIDE - 1, (n_voxels, 2))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    distance2 = (rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    fields = np.exp(-distance2 / 2 / 1.2**2)
    noise = rng.normal(size=(n_voxels, len(order))) + 0.5 * rng.normal(size=(1, len(order)))
    responses = 1.0 + np.einsum("vhw,nhw->vn", fields, pictures) + noise
    Path(root).mkdir(parents=True, exist_ok=True)
    columns_first = pictures.transpose(2, 1, 0).reshape(SIDE * SIDE, len(order))
    savemat(Path(root) / FILE_NAME, {"I2": columns_first, "R2": responses}, do_compression=True)


def _picture(stimulus_id: str) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(PICTURES[stimulus_id][1]), dtype=np.uint8))
    return bits[: SIDE * SIDE].reshape(SIDE, SIDE)


def _missing(file: Path) -> DataError:
    return DataError(
        f"miyawaki2008: cannot read {file}; put {FILE_NAME} of the KamitaniLab/VBCCA repository into {file.parent} "
        "or set the data set's root (environment variable BRAINDEC_DATA) to where it lies"
    )


def _read(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (trial, row, column) in {0, 1} and responses float64 (position, trial)."""
    from scipy.io import loadmat

    if not file.is_file():
        raise _missing(file)
    try:
        content: dict[str, Any] = loadmat(file, appendmat=False, variable_names=["I2", "R2"])
    except PermissionError as error:
        raise _missing(file) from error
    except Exception as error:
        # scipy raises many unrelated types on foreign or cut bytes (MatReadError derives from Exception directly).
        raise DataError(
            f"{file}: not a readable MATLAB 5 file, or truncated ({type(error).__name__}: {error}); copy it again"
        ) from error
    lacking = [name for name in ("I2", "R2") if name not in content]
    if lacking:
        raise DataError(f"{file}: expected the variables I2 and R2, found no {' and no '.join(lacking)}")
    pixels, responses = content["I2"], content["R2"]
    for name, values in (("I2", pixels), ("R2", responses)):
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "buif" or values.ndim != 2:
            raise DataError(
                f"{file}: {name} must be a real-valued matrix, found {type(values).__name__} "
                f"of {values.dtype} with shape {values.shape}"
            )
    n_trials = 2 * BLOCK * REPETITIONS
    if pixels.shape != (SIDE * SIDE, n_trials):
        raise DataError(f"{file}: I2 must be ({SIDE * SIDE}, {n_trials}) pixels x trials, found {pixels.shape}")
    if responses.shape[1] != n_trials or responses.shape[0] == 0:
        raise DataError(f"{file}: R2 must be (voxels, {n_trials}), one column a trial, found {responses.shape}")
    if not np.isin(pixels, (0, 1)).all():
        raise DataError(f"{file}: I2 must hold only 0 and 1, found e.g. {pixels[~np.isin(pixels, (0, 1))][0]}")
    if not np.isfinite(responses).all():
        voxel, trial = np.argwhere(~np.isfinite(responses))[0]
        raise DataError(
            f"{file}: R2 holds {int((~np.isfinite(responses)).sum())} values that are not finite, the first at "
            f"voxel {voxel}, trial {trial}; repair or drop them before use"
        )
    # Pixels are stored column by column, so the first axis of the reshaped picture is its column.
    return pixels.astype(np.uint8).T.reshape(n_trials, SIDE, SIDE).transpose(0, 2, 1), responses


def _table(file: Path, pixels: np.ndarray) -> pd.DataFrame:
    """The trial table: pictures are recognised by content and the order of presentation is checked."""
    known = {_picture(stimulus_id).tobytes(): stimulus_id for stimulus_id in PICTURES}
    ids = [known.get(np.ascontiguousarray(picture).tobytes()) for picture in pixels]
    if None in ids:
        raise DataError(
            f"{file}: the picture of trial {ids.index(None)} (0-based column of I2) is none of the ten "
            "published ones; is I2 transposed, or is this another file?"
        )
    names = list(PICTURES)
    block = np.arange(len(ids)) // BLOCK
    session = block // REPETITIONS
    for b in range(2 * REPETITIONS):
        expected = names[:BLOCK] if b < REPETITIONS else names[BLOCK:]
        found = [ids[i] for i in np.flatnonzero(block == b)]
        if sorted(found, key=str) != sorted(expected):
            raise DataError(
                f"{file}: trials {b * BLOCK} to {b * BLOCK + BLOCK - 1} must show each of {expected} once, "
                f"found {found}"
            )
    return pd.DataFrame(
        {
            "stimulus_id": ids,
            "concept": [PICTURES[str(i)][0] for i in ids],
            "session": session + 1,
            "run": block % REPETITIONS + 1,
            "repetition": block % REPETITIONS,
            "split": "train",
        }
    )
