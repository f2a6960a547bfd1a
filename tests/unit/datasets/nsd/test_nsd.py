"""NSD on a synthetic copy in the true layout: values, numbering, splits, cache, and every kind of damaged input."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindec.datasets.nsd import layout
from braindec.datasets.nsd.betas import read_hdf5, read_nifti
from braindec.datasets.nsd.design import N_TRIALS, Design, released_sessions, trial_table
from braindec.datasets.nsd.fake import fake_design, write_betas_hdf5, write_fake
from braindec.datasets.nsd.reader import NSD
from braindec.datasets.nsd.rois import read_mask
from braindec.datasets.nsd.stimuli import Hdf5Images
from braindec.types import DataError

h5py = pytest.importorskip("h5py")
nibabel = pytest.importorskip("nibabel")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("nsd")
    write_fake(root, n_sessions=2, storage=("hdf5", "nifti", "fsaverage"))
    return root


@pytest.fixture
def damaged(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(original, tmp_path / "nsd"))


def session_file(root: Path, kind: str = "hdf5", session: int = 1) -> Path:
    return layout.betas_file(root, "subj01", layout.BETAS, kind, session)  # type: ignore[arg-type]


def test_volume_formats_give_the_voxels_of_the_nifti_grid(original: Path) -> None:
    mask = nibabel.load(original / "nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz").get_fdata() == 1
    expected = nibabel.load(session_file(original, "nifti")).get_fdata()[mask].T / 300
    for storage in ("hdf5", "nifti"):
        trials = NSD(str(original), storage=storage, sessions=1).trials("subj01")
        assert trials.unit == "psc"
        np.testing.assert_allclose(trials.signal[:, :, 0], expected, rtol=1e-6)
        np.testing.assert_array_equal(trials.space.grid_index, np.argwhere(mask))
        assert trials.noise_ceiling is not None
        assert trials.rois["V1"].sum() == trials.rois["V1v"].sum() + trials.rois["V1d"].sum()


def test_positions_come_from_the_affine(original: Path) -> None:
    space = NSD(str(original), sessions=1).trials("subj01").space
    np.testing.assert_allclose(space.positions_m, np.asarray(space.grid_index) * 0.0018)


def test_surface_betas_join_the_hemispheres(original: Path) -> None:
    trials = NSD(str(original), storage="fsaverage", sessions=2).trials("subj01")
    files = layout.surface_files(original, "subj01", layout.BETAS, 2)
    masks = [
        nibabel.load(f).get_fdata().ravel() > 0 for f in layout.roi_files(original, "subj01", "nsdgeneral", "fsaverage")
    ]
    expected = np.concatenate([nibabel.load(f).get_fdata()[m, 0, 0] for f, m in zip(files, masks)]).T
    np.testing.assert_allclose(trials.signal[750:, :, 0], expected, rtol=1e-6)
    assert trials.space.kind == "vertices"


def test_stimulus_of_a_trial_is_its_one_based_73k_number_minus_one(original: Path) -> None:
    dataset = NSD(str(original), sessions=2)
    table = dataset.trials("subj01").table
    published = pd.read_csv(layout.responses_file(original, "subj01"), sep="\t")
    assert table["stimulus_id"].tolist() == [f"nsd{k - 1:05d}" for k in published["73KID"]]
    stimuli = dataset.stimuli()
    with h5py.File(layout.stimuli_file(original)) as file:
        for row in (0, 700, 1499):
            image = stimuli.images[stimuli.rows([table["stimulus_id"][row]])[0]]
            np.testing.assert_array_equal(image, file["imgBrick"][published["73KID"][row] - 1])
            assert image.max() > 0


def test_signal_follows_the_picture(original: Path) -> None:
    dataset = NSD(str(original), sessions=2)
    trials, stimuli = dataset.trials("subj01"), dataset.stimuli()
    colour = stimuli.images[stimuli.rows(trials.table["stimulus_id"].tolist())].mean(axis=(1, 2))
    design = np.column_stack([colour, np.ones(len(colour))])
    fit, *_ = np.linalg.lstsq(design[::2], trials.signal[::2, :, 0], rcond=None)
    residual = trials.signal[1::2, :, 0] - design[1::2] @ fit
    assert 1 - residual.var() / trials.signal[1::2].var() > 0.2


@pytest.mark.parametrize(
    ("generation", "train", "test"), [("nsd37", (8859, 24_980), (982, 2_770)), ("nsd40", (9000, 27_000), (1000, 3_000))]
)
def test_both_split_generations_have_the_published_counts(
    generation: layout.Generation, train: tuple[int, int], test: tuple[int, int]
) -> None:
    design = fake_design(np.random.default_rng(1))
    table = trial_table(design, "subj02", released_sessions("subj02", generation))
    counts = table.groupby("split")["stimulus_id"].agg(["nunique", "size"])
    assert tuple(counts.loc["train"]) == train
    assert tuple(counts.loc["test"]) == test
    assert not set(table["stimulus_id"][table["split"] == "train"]) & set(
        table["stimulus_id"][table["split"] == "test"]
    )


def test_withheld_sessions_are_each_subjects_last_three() -> None:
    assert [released_sessions(s, "nsd37")[-1] for s in layout.SUBJECTS] == [37, 37, 29, 27, 37, 29, 37, 27]


def test_repetitions_do_not_depend_on_the_sessions_used() -> None:
    design = fake_design(np.random.default_rng(2))
    whole = trial_table(design, "subj01", range(1, 41))
    late = trial_table(design, "subj01", [7, 30])
    np.testing.assert_array_equal(late["repetition"], whole["repetition"][whole["session"].isin([7, 30])])
    assert whole["repetition"].max() == 2
    assert (whole.groupby("session")["run"].nunique() == 12).all()


def test_cache_equals_direct_read_and_is_memory_mapped(original: Path, tmp_path: Path) -> None:
    direct = NSD(str(original), sessions=2).trials("subj01")
    cached = NSD(str(original), sessions=2, cache_dir=str(tmp_path))
    for _ in range(2):
        trials = cached.trials("subj01")
        np.testing.assert_array_equal(trials.signal, direct.signal)
        assert isinstance(trials.signal, np.memmap)


def test_interrupted_preparation_resumes_after_the_last_whole_session(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from braindec.datasets.nsd import reader

    seen: list[str] = []
    read = read_hdf5

    def counting(path: Path, *args: object) -> np.ndarray:
        seen.append(path.name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return read(path, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(reader.beta_files, "read_hdf5", counting)
    dataset = NSD(str(damaged), sessions=2)
    with pytest.raises(KeyboardInterrupt):
        dataset.prepare("subj01", str(tmp_path))
    assert not list(tmp_path.rglob("signal.npy"))
    dataset.prepare("subj01", str(tmp_path))
    assert seen == ["betas_session01.hdf5", "betas_session02.hdf5", "betas_session02.hdf5"]
    monkeypatch.undo()
    np.testing.assert_array_equal(
        NSD(str(damaged), sessions=2, cache_dir=str(tmp_path)).trials("subj01").signal, dataset.trials("subj01").signal
    )


def test_cache_is_rebuilt_when_the_betas_change(damaged: Path, tmp_path: Path) -> None:
    dataset = NSD(str(damaged), sessions=1, cache_dir=str(tmp_path))
    before, version = np.array(dataset.trials("subj01").signal), dataset.version()
    mask = read_mask(damaged, "subj01", "nsdgeneral", "hdf5")
    stored = np.round(before[:, :, 0] * 300).astype(np.int16)
    write_betas_hdf5(session_file(damaged), -stored, mask.grid_index, mask.parts[0].shape)
    np.testing.assert_allclose(dataset.trials("subj01").signal, -before, atol=1e-6)
    assert dataset.version() != version


def test_other_chunkings_give_the_same_voxels(original: Path, tmp_path: Path) -> None:
    mask = read_mask(original, "subj01", "nsdgeneral", "hdf5")
    args = (mask.grid_index, mask.parts[0].shape, 750)
    expected = read_hdf5(session_file(original), *args)
    with h5py.File(session_file(original)) as file:
        volume = file["betas"][:]
    for i, options in enumerate(({"chunks": (750, 1, 1, 1), "compression": "gzip"}, {"chunks": (10, 6, 8, 7)}, {})):
        path = tmp_path / f"{i}.hdf5"
        with h5py.File(path, "w") as file:
            file.create_dataset("betas", data=volume, **options)
        np.testing.assert_array_equal(read_hdf5(path, *args), expected)


def test_captions_come_from_both_coco_files(original: Path) -> None:
    stimuli = NSD(str(original), sessions=1, captions=str(original / "coco/annotations")).stimuli()
    assert stimuli.captions is not None
    assert all(len(texts) == 1 for texts in stimuli.captions)
    one = original / "coco/annotations/captions_val2017.json"
    with pytest.raises(DataError, match="no caption for"):
        NSD(str(original), sessions=1, captions=str(one)).stimuli()


def test_lazy_images_take_any_order_and_repeats(original: Path) -> None:
    images = Hdf5Images(layout.stimuli_file(original))
    assert images.shape == (73_000, 8, 8, 3)
    rows = [70_001, 5, 70_001, 0]
    np.testing.assert_array_equal(images[rows], np.stack([images[r] for r in rows]))
    assert images[np.array([], dtype=int)].shape == (0, 8, 8, 3)


def test_missing_session_is_named(damaged: Path) -> None:
    session_file(damaged, session=2).unlink()
    assert len(NSD(str(damaged), sessions=1).trials("subj01")) == 750
    with pytest.raises(DataError, match=r"betas_session02\.hdf5.*sessions="):
        NSD(str(damaged), sessions=2).trials("subj01")


@pytest.mark.parametrize("storage", ["hdf5", "nifti", "fsaverage"])
@pytest.mark.parametrize("kept", [0.5, 0.0])
def test_truncated_file_is_named(damaged: Path, storage: layout.BetaFormat, kept: float) -> None:
    path = layout.surface_files(damaged, "subj01", layout.BETAS, 1)[0]
    path = path if storage == "fsaverage" else session_file(damaged, storage)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DataError, match=path.name):
        NSD(str(damaged), storage=storage, sessions=1).trials("subj01")


@pytest.mark.parametrize("file", [layout.design_file, layout.stimuli_file])
def test_truncated_design_and_pictures_are_named(damaged: Path, file: Callable[[Path], Path]) -> None:
    path = file(damaged)
    with path.open("r+b") as opened:
        opened.truncate(path.stat().st_size // 2)
    dataset = NSD(str(damaged), sessions=1)
    with pytest.raises(DataError, match=path.name):
        stimuli = dataset.stimuli()
        stimuli.images[[0, len(stimuli) - 1]]


def test_truncated_or_foreign_cache_is_named(damaged: Path, tmp_path: Path) -> None:
    dataset = NSD(str(damaged), sessions=1, cache_dir=str(tmp_path / "cache"))
    dataset.trials("subj01")
    path = next((tmp_path / "cache").rglob("signal.npy"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"signal\.npy.*delete its folder"):
        dataset.trials("subj01")
    np.save(path, np.zeros((3, 2), np.float32))
    with pytest.raises(DataError, match=r"expected float32 \(750, 40\).*delete its folder"):
        dataset.trials("subj01")


def test_another_subjects_mask_is_refused(damaged: Path, tmp_path: Path) -> None:
    write_fake(tmp_path / "other", subjects=("subj02",), grid_shape=(6, 8, 7))
    shutil.copytree(tmp_path / "other/nsddata/ppdata/subj02/func1pt8mm/roi", damaged / "roi2")
    target = damaged / "nsddata/ppdata/subj01/func1pt8mm/roi"
    shutil.copy(damaged / "roi2/nsdgeneral.nii.gz", target / "nsdgeneral.nii.gz")
    with pytest.raises(DataError, match=r"another"):
        NSD(str(damaged), sessions=1).trials("subj01")


def test_shuffled_design_is_refused(damaged: Path) -> None:
    from scipy.io import loadmat, savemat

    path = layout.design_file(damaged)
    content = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    order = content["masterordering"]
    order[0, [3, 400]] = order[0, [400, 3]]
    savemat(path, content)
    with pytest.raises(DataError, match=r"session 1 trial 4 shows"):
        NSD(str(damaged), sessions=1).trials("subj01")
    layout.responses_file(damaged, "subj01").unlink()
    with pytest.raises(DataError, match=r"nsd_stim_info_merged.*trial (4|401)\b"):
        NSD(str(damaged), sessions=1).trials("subj01")


def test_zero_based_design_is_refused(damaged: Path) -> None:
    from scipy.io import loadmat, savemat

    content = {k: v for k, v in loadmat(layout.design_file(damaged)).items() if not k.startswith("__")}
    savemat(layout.design_file(damaged), {**content, "masterordering": content["masterordering"] - 1})
    with pytest.raises(DataError, match="1-based"):
        NSD(str(damaged), sessions=1).trials("subj01")


def test_duplicate_trials_and_foreign_subject_are_refused(damaged: Path) -> None:
    path = layout.responses_file(damaged, "subj01")
    table = pd.read_csv(path, sep="\t")
    pd.concat([table, table.iloc[:1]]).to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match="more than once"):
        NSD(str(damaged), sessions=1).trials("subj01")
    table.assign(SUBJECT=2).to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match="expected SUBJECT 1"):
        NSD(str(damaged), sessions=1).trials("subj01")


@pytest.mark.parametrize("cached", [False, True])
def test_dead_voxels_are_refused_or_dropped_by_name(damaged: Path, tmp_path: Path, cached: bool) -> None:
    mask = read_mask(damaged, "subj01", "nsdgeneral", "hdf5")
    x, y, z = mask.grid_index[7]
    with h5py.File(session_file(damaged), "r+") as file:
        file["betas"][:, z, y, x] = 0
    cache = str(tmp_path) if cached else None
    with pytest.raises(DataError, match=r"1 of 40 positions are dead"):
        NSD(str(damaged), sessions=2, cache_dir=cache).trials("subj01")
    kept = NSD(str(damaged), sessions=2, cache_dir=cache, bad_positions="drop").trials("subj01")
    assert kept.space.size == 39
    assert [x, y, z] not in kept.space.grid_index.tolist()


def test_nan_vertices_are_refused(damaged: Path) -> None:
    path = layout.surface_files(damaged, "subj01", layout.BETAS, 1)[0]
    values = nibabel.load(path).get_fdata().astype(np.float32)
    kept = nibabel.load(layout.roi_files(damaged, "subj01", "nsdgeneral", "fsaverage")[0]).get_fdata().ravel() > 0
    values[np.flatnonzero(kept)[0], 0, 0, 3] = np.nan
    nibabel.save(nibabel.MGHImage(values, np.eye(4)), path)
    with pytest.raises(DataError, match="not finite"):
        NSD(str(damaged), storage="fsaverage", sessions=1).trials("subj01")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sessions": [2, 1]}, "increasing"),
        ({"sessions": 41}, "within 1..40"),
        ({"subject_names": ["S1"]}, "unknown subject"),
        ({"generation": "nsd38"}, "nsd38"),
        ({"storage": "mat"}, "storage"),
    ],
)
def test_wrong_options_are_refused(original: Path, change: dict[str, object], message: str) -> None:
    dataset = NSD(str(original), **change)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message):
        dataset.trials(dataset.subjects()[0])


def test_empty_root_says_how_to_get_the_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="naturalscenesdataset"):
        NSD(str(tmp_path)).subjects()


def test_nifti_reader_reports_the_trial_where_the_file_ends(original: Path, tmp_path: Path) -> None:
    image = nibabel.load(session_file(original, "nifti"))
    path = tmp_path / "cut.nii"
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine), path)
    volume = 7 * 8 * 6 * 2
    path.write_bytes(path.read_bytes()[: 352 + volume * 10 + 5])
    with pytest.raises(DataError, match="trial 11 of 750"):
        read_nifti(path, np.array([[0, 0, 0]]), (7, 8, 6), 750)


def test_design_shows_each_picture_three_times() -> None:
    design = fake_design(np.random.default_rng(0))
    assert isinstance(design, Design)
    assert len(design.order) == N_TRIALS
    assert (np.unique(design.shown("subj08"), return_counts=True)[1] == 3).all()
