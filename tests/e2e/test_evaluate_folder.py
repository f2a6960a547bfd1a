"""``braindec evaluate folder=...``: what can be scored is scored, what cannot is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from braindec.artifacts import read_json
from braindec.compare import compare
from braindec.compose import compose
from braindec.evaluate import evaluate
from braindec.types import DataError

N = 9


def pictures(n: int = N, side: int = 24) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (n, 4, 4, 3)).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(picture).resize((side, side))) for picture in coarse])


def save(folder: Path, images: np.ndarray, captions: dict[str, object] | None = None) -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    if captions is not None:
        (folder / "captions.json").write_text(json.dumps(captions))
    return folder


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    captions = {f"{i:03d}": [f"a dog number {i}", f"picture {i}"] for i in range(N)}
    return save(tmp_path / "truth", pictures(), captions)


def scored(tmp_path: Path, folder: Path, truth: Path | str, *more: str, out: str = "out") -> dict:
    metrics = "metric=[pixcorr,mse,two_way,caption_words]"
    run = evaluate(
        compose(
            "evaluate",
            [f"folder={folder}", f"truth={truth}", metrics, f"out={tmp_path / out}", "n_resamples=200", *more],
        )
    )
    return read_json(run.path / "scores.json")


def test_perfect_pictures_and_captions_score_perfectly(tmp_path: Path, truth: Path) -> None:
    captions = {f"{i:03d}": f"a dog number {i}" for i in range(N)}
    folder = save(tmp_path / "theirs", pictures(), captions)
    scores = scored(tmp_path, folder, truth)
    assert scores["metrics"]["pixcorr"]["value"] == pytest.approx(1)
    assert scores["metrics"]["two_way_pixels"]["value"] == 1
    assert scores["metrics"]["word_f1"]["value"] == 1
    assert scores["metrics"]["pixcorr"]["n"] == N
    assert scores["controls"]["shuffled_brain"]["two_way_pixels"]["beaten"]
    assert "theirs/003.png" in (tmp_path / "out" / "report.html").read_text()
    assert (tmp_path / "out" / "scores_items.csv").exists()


def test_what_is_missing_broken_or_odd_is_said_and_the_rest_scored(tmp_path: Path, truth: Path) -> None:
    folder = save(tmp_path / "theirs", pictures())
    (folder / "000.png").unlink()
    (folder / "001.png").write_bytes((folder / "002.png").read_bytes()[:60])
    Image.open(folder / "003.png").save(folder / "003.jpg")
    Image.open(folder / "004.png").resize((48, 48)).save(folder / "004.png")
    Image.open(folder / "005.png").save(folder / "unheard.png")
    (folder / "captions.json").write_text(json.dumps({"000": "a dog number 0", "005": "picture 5"}))
    scores = scored(tmp_path, folder, truth)
    flags = " ".join(scores["metrics"]["pixcorr"]["flags"])
    for said in (
        "001.png: not a readable image",
        "1 ids have more than one picture, e.g. 003.jpg, 003.png; they were left out",
        "1 of 7 pictures have another size (48 x 48 px); they were resized to 24 x 24 px",
        "1 names are of no stimulus, e.g. 'unheard'",
        "2 of 9 stimuli have no reconstruction",
        "1 captions have no picture and 5 pictures no caption",
    ):
        assert said in flags
    assert scores["metrics"]["pixcorr"]["n"] == 6
    assert scores["metrics"]["pixcorr"]["value"] > 0.9
    assert scores["metrics"]["word_f1"]["n"] == 2
    assert scores["metrics"]["word_f1"]["value"] == 1


def test_one_picture_is_scored_without_interval_or_control(tmp_path: Path, truth: Path) -> None:
    scores = scored(tmp_path, save(tmp_path / "theirs", pictures(1)), truth)
    entry = scores["metrics"]["pixcorr"]
    assert entry["value"] == pytest.approx(1)
    assert "n = 1: no interval" in entry["flags"]
    assert scores["controls"] == {}


def test_captions_alone_in_a_file(tmp_path: Path, truth: Path) -> None:
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({f"{i:03d}": f"a dog number {i}" for i in range(4)}))
    scores = scored(tmp_path, path, truth)
    assert set(scores["metrics"]) == {"word_f1", "word_jaccard"}
    assert scores["metrics"]["word_f1"]["n"] == 4


def test_two_folders_can_be_compared(tmp_path: Path, truth: Path) -> None:
    noisy = np.clip(pictures() + np.random.default_rng(1).normal(0, 60, (N, 24, 24, 3)), 0, 255).astype(np.uint8)
    scored(tmp_path, save(tmp_path / "first", pictures()), truth, out="a")
    scored(tmp_path, save(tmp_path / "second", noisy), truth, out="b")
    runs = f"runs=[{tmp_path / 'a'},{tmp_path / 'b'}]"
    page, paired = compare(compose("compare", [runs, f"out={tmp_path / 'page.html'}", "n_resamples=200"]))
    row = paired.set_index("metric").loc["pixcorr"]
    assert row["n"] == N
    assert row["difference"] < 0
    assert "first is better" in page.read_text()
    assert "not shown" not in page.read_text()


def test_a_run_s_own_pictures_score_as_in_the_run(evaluated_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    table = pd.read_csv(evaluated_run / "reconstructions" / "table.csv", dtype=str)
    for row in table[table["subject"] == "sim01"].itertuples(index=False):
        (folder / f"{row.stimulus_id}.png").write_bytes((evaluated_run / "reconstructions" / row.image).read_bytes())
    scores = scored(tmp_path, folder, evaluated_run, "subject=sim01", "metrics.pixcorr.size=null")
    whole = read_json(evaluated_run / "scores.json")["metrics"]
    for metric in ("pixcorr", "two_way_pixels"):
        own = whole[metric]["per_subject"]["sim01"]
        assert scores["metrics"][metric]["value"] == pytest.approx(own["value"])
        assert scores["metrics"][metric]["n"] == own["n"]


def test_bad_input_is_refused_by_name(tmp_path: Path, truth: Path) -> None:
    folder = save(tmp_path / "theirs", pictures(2))
    with pytest.raises(DataError, match="give either run=DIR, or folder=DIR"):
        evaluate(compose("evaluate", []))
    with pytest.raises(DataError, match="say what was shown"):
        evaluate(compose("evaluate", [f"folder={folder}"]))
    with pytest.raises(DataError, match="say by what it is scored"):
        evaluate(compose("evaluate", [f"folder={folder}", f"truth={truth}"]))
    with pytest.raises(DataError, match="neither a folder nor a data set; data sets are .*simulated"):
        scored(tmp_path, folder, "somewhere")
    with pytest.raises(DataError, match="no such folder"):
        scored(tmp_path, tmp_path / "nowhere", truth)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found nothing usable"):
        scored(tmp_path, tmp_path / "empty", truth)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    Image.fromarray(pictures(1)[0]).save(foreign / "zebra.png")
    with pytest.raises(DataError, match="none of its files is named by a stimulus: found 'zebra'"):
        scored(tmp_path, foreign, truth)
    (folder / "captions.json").write_text('{"000": "a", "000": "b"}')
    with pytest.raises(DataError, match="the id '000' occurs twice"):
        scored(tmp_path, folder, truth)
    (folder / "captions.json").write_text('{"000": 3}')
    with pytest.raises(DataError, match="'000': expected a text or a list of texts, found 3"):
        scored(tmp_path, folder, truth)
    (truth / "004.png").unlink()
    with pytest.raises(DataError, match="1 stimuli have a caption but no picture, e.g. '004'"):
        scored(tmp_path, save(tmp_path / "others", pictures(2)), truth)
