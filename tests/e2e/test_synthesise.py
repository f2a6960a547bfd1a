"""``braindec synthesise``: planted selectivity comes out, a killed command is taken up, bad requests are named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindec import evaluate, train
from braindec.cli import main
from braindec.compose import compose
from braindec.datasets.simulated.anatomy import PATCHES
from braindec.datasets.simulated.vocabulary import GROUPS
from braindec.synthesise import synthesise
from braindec.types import DataError

WORLD = [
    "dataset.n_subjects=1", "dataset.n_train=300", "dataset.n_test=8", "dataset.n_voxels=400",
    "dataset.repetitions_test=1", "target=[pixels,concepts,words]", "stage=[decode_target,name_concept]",
    "metric=[concept_auc]", "controls=[]", "noise_ceiling=false", "n_resamples=20", "device=cpu",
    "decoder.alphas=[100,1000]",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthesis") / "run"
    train.train(compose("train", [*WORLD, f"run_dir={folder}"]))
    synthesise(compose("synthesise", [f"run={folder}", "n_seeds=1"]))
    return folder


def test_each_patch_decodes_to_the_group_that_was_planted_there(made: Path) -> None:
    concepts = pd.read_csv(made / "synthesis" / "concepts.csv")
    for target in ("concepts", "words"):
        own = concepts[concepts["target"] == target].set_index(["pattern", "concept"])["similarity"]
        for group, patch in PATCHES.items():
            assert own[patch].idxmax() in GROUPS[group], (target, patch)
    table = pd.read_csv(made / "synthesis" / "table.csv").set_index("pattern")
    # A label is the largest of 16 values of one decoder; in this small world one of seven patches misses its own.
    assert sum(table.loc[patch, "label"] in GROUPS[group] for group, patch in PATCHES.items()) >= 6
    nearest = pd.read_csv(made / "synthesis" / "nearest.csv")
    first = nearest[(nearest["target"] == "concepts") & (nearest["place"] == 1)].set_index("pattern")["concept"]
    assert first["faces"] == "face"
    assert first["buildings"] == "house"


def test_eccentricity_bands_change_the_picture_where_they_look(made: Path) -> None:
    table = pd.read_csv(made / "synthesis" / "table.csv").set_index("pattern")
    place = table.loc[[f"ecc{i}" for i in range(1, 6)], "change_eccentricity"]
    assert place["ecc1"] < 0.7
    assert place["ecc5"] > 0.85
    assert place.rank().corr(pd.Series(range(1, 6), index=place.index)) > 0.8
    assert np.isnan(table.loc["rest", "change"])


def test_contrasts_and_the_report(made: Path) -> None:
    synthesise(compose("synthesise", [f"run={made}", "contrasts=[faces-buildings,buildings-faces]", "n_seeds=2"]))
    folder = made / "synthesis"
    concepts = pd.read_csv(folder / "concepts.csv")
    assert set(concepts["pattern"]) == {"faces-buildings", "buildings-faces"}
    own = concepts[concepts["target"] == "concepts"].set_index(["pattern", "concept"])["similarity"]
    assert own["faces-buildings"].rank()["face"] >= 14
    assert own["faces-buildings"].idxmin() == "house"
    np.testing.assert_allclose(own["faces-buildings"], -own["buildings-faces"], atol=1e-4)
    page = (folder / "synthesis.html").read_text()
    assert page.count('<article class="pattern">') == 3
    assert "faces-buildings" in page
    evaluate.evaluate(compose("evaluate", [f"run={made}"]))
    assert "What single regions decode to" in (made / "report.html").read_text()


def test_a_killed_command_is_taken_up_and_gives_the_same(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = compose("synthesise", [f"run={made}", "rois=[V1,faces]", "n_seeds=2"])
    synthesise(asked.copy())
    folder = made / "synthesis"
    whole = {path: path.read_bytes() for path in (folder / "V1").rglob("*.png")}
    first = (folder / "table.csv").read_bytes()
    lost = next(iter(whole))
    lost.unlink()
    shutil.rmtree(folder / "faces")
    synthesise(asked.copy())
    assert lost.read_bytes() == whole[lost]
    assert (folder / "table.csv").read_bytes() == first
    made_again = []
    monkeypatch.setattr("braindec.stages.chain.run_chain", lambda *given: made_again.append(given))
    synthesise(asked.copy())
    assert not made_again


def test_bad_requests_are_named(made: Path, tmp_path: Path) -> None:
    def ask(*overrides: str) -> None:
        synthesise(compose("synthesise", [f"run={made}", *overrides]))

    with pytest.raises(DataError, match=r"no region 'face'; did you mean 'faces'"):
        ask("rois=[face]")
    with pytest.raises(DataError, match=r"contrast 'faces-building'.*did you mean 'buildings'"):
        ask("contrasts=[faces-building]")
    with pytest.raises(DataError, match=r"its regions share \d+ voxels of subject 'sim01'"):
        ask("contrasts=[faces-ventral]")
    with pytest.raises(DataError, match=r"n_seeds >= 0"):
        ask("rois=[V1]", "n_seeds=-1")
    for setting in ("amplitude=0", "rescale=0", "rescale=-1"):
        with pytest.raises(DataError, match=r"an amplitude other than 0 and rescale > 0"):
            ask("rois=[V1]", setting)
    with pytest.raises(DataError, match=r"atlas_names needs an atlas"):
        ask("rois=[V1]", "atlas_names={1: a}")
    with pytest.raises(DataError, match=r"\['clip'\] are not decoded by this run"):
        ask("rois=[V1]", "targets=[clip]")
    with pytest.raises(DataError, match="no run there"):
        synthesise(compose("synthesise", [f"run={tmp_path}"]))
    bare = shutil.copytree(made, tmp_path / "bare", ignore=shutil.ignore_patterns("decoder", "synthesis"))
    with pytest.raises(DataError, match=r"holds no fitted decoder of fold 'published'"):
        synthesise(compose("synthesise", [f"run={bare}"]))


def test_regions_of_an_atlas(made: Path) -> None:
    synthesise(compose("synthesise", [f"run={made}", "atlas=hemispheres", "rois=[right]", "n_seeds=0"]))
    assert set(pd.read_csv(made / "synthesis" / "concepts.csv")["pattern"]) == {"right"}
    with pytest.raises(DataError, match=r"atlas hemispheres: has no region \['upper'\]"):
        synthesise(compose("synthesise", [f"run={made}", "atlas=hemispheres", "rois=[upper]", "n_seeds=0"]))


def test_a_stage_that_standardises_over_the_test_set_is_refused(made: Path) -> None:
    with pytest.raises(DataError, match=r"rescale=test_set: synthetic patterns are no test set"):
        synthesise(
            compose("synthesise", [f"run={made}", "rois=[V1]", "stages=[vdvae]", "stages.vdvae.rescale=test_set"])
        )


def test_channel_groups_of_eeg_without_pictures(tmp_path: Path) -> None:
    eeg = [
        "dataset=simulated_eeg", "dataset.n_train=40", "dataset.n_test=5", "dataset.n_subjects=1",
        "dataset.repetitions_train=1", "transform=[baseline,zscore]", "target=[concepts]", "stage=[]",
        "metric=[concept_auc]", "controls=[]", "noise_ceiling=false", "device=cpu",
    ]  # fmt: skip
    folder = tmp_path / "run"
    train.train(compose("train", [*eeg, f"run_dir={folder}"]))
    with pytest.raises(DataError, match="share no ROI; name channels"):
        synthesise(compose("synthesise", [f"run={folder}"]))
    groups = "rois={occipital: ['O*','PO*'], frontal: ['F*']}"
    synthesise(compose("synthesise", [f"run={folder}", groups, "window_s=[0.08,0.2]"]))
    concepts = pd.read_csv(folder / "synthesis" / "concepts.csv")
    assert set(concepts["pattern"]) == {"occipital", "frontal"}
    assert not (folder / "synthesis" / "table.csv").exists()


def test_the_command_prints_a_row_a_pattern(made: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["braindec", "synthesise", f"run={made}", "rois=[faces]", "n_seeds=0"])
    main()
    assert "face 0." in capsys.readouterr().out
