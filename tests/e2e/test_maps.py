"""``braindec maps``: planted voxels are found, files and report hold the maps, bad input is named."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from braindec import evaluate, maps, train
from braindec.compose import build, compose, load_config
from braindec.maps import make_maps
from braindec.over_space import over_space
from braindec.types import DataError

WORLD = [
    "dataset.n_subjects=1", "dataset.n_train=300", "dataset.n_test=10", "dataset.n_voxels=400",
    "dataset.repetitions_test=1", "target=[concepts]", "stage=[]", "metric=[concept_auc]", "controls=[]",
    "noise_ceiling=false", "n_resamples=20", "device=cpu",
]  # fmt: skip


SOUGHT = ("face", "flower", "boat")


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("maps") / "run"
    train.train(
        compose("train", [*WORLD, "target=[concepts,words]", "decoder.alphas=[30,100,300]", f"run_dir={folder}"])
    )
    asked = ["targets=[concepts]", f"words={{words: [{','.join(SOUGHT)}]}}", "n_permutations=499", "n_values=2"]
    return folder, make_maps(compose("maps", [f"run={folder}", *asked, "device=cpu"]))


def test_patterns_find_the_voxels_that_were_planted(mapped: tuple[Path, pd.DataFrame]) -> None:
    folder, table = mapped
    anatomy = build(load_config(folder / "config.yaml").dataset).cortex("sim01").anatomy
    strength_S1 = np.load(folder / "maps" / "sim01_concepts_pattern.npy")
    assert roc_auc_score(anatomy.areas == "ventral", strength_S1[:, 0]) >= 0.9
    means = table[(table["map"] == "pattern") & (table["target"] == "concepts")].set_index("roi")["mean"]
    assert means[["V1", "V2", "V3", "V4", "scene", "language"]].max() < means["ventral"]
    assert means["ventral"] == pytest.approx(strength_S1[anatomy.areas == "ventral"].mean(), rel=1e-5)


def test_words_are_localised_where_they_were_planted(mapped: tuple[Path, pd.DataFrame]) -> None:
    folder, _ = mapped
    world = build(load_config(folder / "config.yaml").dataset)
    response_nS = world.cortex("sim01").respond(world.features)
    captions = [" ".join(own).split() for own in world.stimuli().captions]
    for word in SOUGHT:
        shown = np.array([word in words for words in captions])
        effect_S = np.abs(response_nS[shown].mean(0) - response_nS[~shown].mean(0)) / response_nS.std(0)
        planted = effect_S > np.quantile(effect_S, 0.9)
        everywhere_S = np.load(folder / "maps" / f"sim01_words_word__{word}_all.npy")[:, 0]
        assert roc_auc_score(planted, np.abs(everywhere_S)) >= 0.9
        left_S = np.load(folder / "maps" / f"sim01_words_word__{word}.npy")[:, 0] != 0
        assert left_S.any()
        assert planted[left_S].mean() > 2 * planted[~left_S].mean()


def test_volumes_hold_the_map_on_the_recordings_grid(mapped: tuple[Path, pd.DataFrame]) -> None:
    folder, _ = mapped
    space = build(load_config(folder / "config.yaml").dataset).trials("sim01").space
    image = nibabel.load(folder / "maps" / "sim01_concepts_pattern.nii.gz")
    np.testing.assert_array_equal(image.affine, space.affine)
    strength_S1 = np.load(folder / "maps" / "sim01_concepts_pattern.npy")
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32)[tuple(space.grid_index.T)], strength_S1[:, 0])
    names = json.loads((folder / "maps" / "sim01_concepts_values.json").read_text())
    assert np.load(folder / "maps" / "sim01_concepts_values.npy").shape == (len(names), space.size, 1)


def test_the_report_shows_the_maps_and_names_a_lost_one(mapped: tuple[Path, pd.DataFrame]) -> None:
    folder, _ = mapped
    evaluate.evaluate(compose("evaluate", [f"run={folder}"]))
    page = (folder / "report.html").read_text()
    assert "Where it is decoded from" in page
    assert page.count('class="brain-map"') == 9
    assert page.count("Activation pattern of one decoded value") == 2, "once a group of maps, not once a map"
    lost = folder / "maps" / "sim01_concepts_pattern.png"
    kept = lost.read_bytes()
    lost.unlink()
    with pytest.raises(DataError, match=r"pictures.json: a picture is missing .*run braindec maps again"):
        evaluate.evaluate(compose("evaluate", [f"run={folder}"]))
    lost.write_bytes(kept)


def test_a_target_that_is_not_decoded_is_named(mapped: tuple[Path, pd.DataFrame]) -> None:
    with pytest.raises(DataError, match=r"\['pixels'\] are not decoded by this run; it decodes \['concepts'"):
        make_maps(compose("maps", [f"run={mapped[0]}", "targets=[pixels]", "device=cpu"]))
    with pytest.raises(DataError, match=r"'qwerty' is unknown to the target 'words'"):
        make_maps(compose("maps", [f"run={mapped[0]}", "words={words: [qwerty]}", "device=cpu"]))


def test_settings_that_make_no_map_are_named_at_once(mapped: tuple[Path, pd.DataFrame]) -> None:
    asked = [f"run={mapped[0]}", "n_permutations=0", "max_sources=0", "p_threshold=5", "n_values=-1", "n_probes=0"]
    with pytest.raises(DataError) as caught:
        make_maps(compose("maps", asked))
    for expected in ("n_permutations >= 1, found 0", "max_sources >= 1, found 0", "at most 1, found 5",
                     "n_values >= 0, found -1", "n_probes >= 1, found 0"):  # fmt: skip
        assert expected in str(caught.value)
    with pytest.raises(DataError, match=r"'concepts' cannot embed the word 'face'.*name one that embeds captions"):
        make_maps(compose("maps", [f"run={mapped[0]}", "words={concepts: [face]}", "device=cpu"]))


def test_the_table_that_is_printed_holds_the_words(
    mapped: tuple[Path, pd.DataFrame], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(maps, "make_maps", lambda config: mapped[1])
    maps.run(compose("maps", [f"run={mapped[0]}", "words={words: [face]}"]))
    printed = capsys.readouterr().out
    assert "word face" in printed
    assert "pattern" in printed
    assert "word boat" not in printed


def test_a_network_on_eeg_has_gradients_and_topographies(tmp_path: Path) -> None:
    eeg = [
        "dataset=simulated_eeg", "dataset.n_train=40", "dataset.n_test=5", "dataset.n_subjects=1",
        "dataset.repetitions_train=1", "transform=[baseline,zscore]", "target=[words]", "decoder=ubp",
        "decoder.engine.epochs=1", "decoder.engine.batch_size=20", "decoder.engine.cuda_graph=false",
    ]  # fmt: skip
    train.train(compose("train", [*WORLD[4:5], *WORLD[6:], *eeg, f"run_dir={tmp_path / 'run'}"]))
    table = make_maps(compose("maps", [f"run={tmp_path / 'run'}", "n_probes=1", "n_values=1", "device=cpu",
                                      "words={words: [red]}", "n_permutations=19"]))  # fmt: skip
    assert np.load(tmp_path / "run" / "maps" / "sim01_words_gradient__of__red.npy").shape[0] == 63
    gradient = np.load(tmp_path / "run" / "maps" / "sim01_words_gradient.npy")
    assert gradient.shape[0] == 63
    assert gradient.shape[1] > 1
    assert (gradient > 0).all()
    assert set(table["map"]) >= {"pattern", "gradient"}
    assert not list((tmp_path / "run" / "maps").glob("*.nii.gz"))


def test_ablation_over_an_atlas_ranks_the_planted_areas(tmp_path: Path) -> None:
    small = [*WORLD, "dataset.n_train=120", "dataset.n_test=30", "dataset.n_voxels=200", "decoder.alphas=[100]"]
    anatomy = build(compose("train", small).dataset).cortex("sim01").anatomy
    areas = ["V1", "ventral", "language"]
    # An atlas of twice as fine voxels, with one grid voxel of the recording in eight of its own.
    labels = np.zeros(anatomy.space.grid_shape, dtype=np.int16)
    for number, area in enumerate(areas, start=1):
        labels[tuple(anatomy.space.grid_index[anatomy.areas == area].T)] = number
    affine = anatomy.space.affine @ np.diag([0.5, 0.5, 0.5, 1])
    affine[:3, 3] = anatomy.space.affine[:3, 3] - np.diag(anatomy.space.affine)[:3] / 4
    path = tmp_path / "atlas.nii.gz"
    nibabel.save(nibabel.Nifti1Image(labels.repeat(2, 0).repeat(2, 1).repeat(2, 2), affine), path)
    names = ",".join(f"{number}: {area}" for number, area in enumerate(areas, start=1))
    asked = [*small, f"atlas={path}", f"atlas_names={{{names}}}", f"run_dir={tmp_path / 'run'}"]
    table = over_space(compose("over_space", asked))
    auc = table[table["metric"] == "concept_auc"].set_index(["use", "region"])["value"]
    for area in areas:
        if area != "ventral":
            assert auc["alone", "ventral"] > auc["alone", area]
            assert auc["without", "ventral"] < auc["without", area]
    assert table[["low", "high"]].notna().all(axis=None)
    lost = nibabel.load(tmp_path / "run/regions/drop_concept_auc_sim01.nii.gz").get_fdata()
    found = lost[tuple(anatomy.space.grid_index.T)]
    assert found[anatomy.areas == "ventral"] == pytest.approx(auc["alone", "everything"] - auc["without", "ventral"])
    assert (found[anatomy.areas == "V3"] == 0).all()
    with pytest.raises(DataError, match=r"another configuration"):
        swapped = f"atlas_names={{{names.replace('V1', 'x').replace('ventral', 'V1').replace('x', 'ventral')}}}"
        over_space(compose("over_space", [*asked[:-2], swapped, asked[-1]]))
