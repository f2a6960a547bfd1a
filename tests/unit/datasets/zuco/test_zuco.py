from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from braindec.datasets.zuco.fake import write_fake, write_v5, write_v73
from braindec.datasets.zuco.matlab import read_sentences
from braindec.datasets.zuco.reader import ZuCo, stimulus_id_of
from braindec.datasets.zuco.texts import read_paraphrases
from braindec.types import DataError


@pytest.fixture(scope="module", params=[1, 2])
def root(request, tmp_path_factory) -> tuple[int, Path]:
    path = tmp_path_factory.mktemp(f"zuco{request.param}")
    write_fake(path, request.param, n_subjects=2, n_sentences=3)
    return request.param, path


def eeg(n: int = 400, seed: int = 0) -> np.ndarray:
    signal = np.random.default_rng(seed).standard_normal((105, n))
    signal[-1] = 0
    return signal


def test_sentences_are_padded_resampled_and_skipped_ones_left_out(root) -> None:
    release, path = root
    dataset = ZuCo(str(path), release)
    trials = dataset.trials(dataset.subjects()[0])
    n_tasks = 3 if release == 1 else 2
    assert trials.signal.shape == (2 * n_tasks, 104, 1280)
    for row, n_valid in enumerate(trials.table["n_valid"]):
        assert not trials.signal[row, :, n_valid:].any()
        assert trials.signal[row, :, n_valid - 1].any()
    assert 1e-6 < trials.signal[:, :, :100].std() < 2e-5, "microvolt must become volt"


def test_both_formats_hold_the_same(tmp_path: Path) -> None:
    texts, signals = ["One sentence.", "Añother one"], [eeg(), np.array(np.nan)]
    write_v5(tmp_path / "a.mat", texts, signals)
    write_v73(tmp_path / "b.mat", texts, signals)
    first, second = (list(read_sentences(tmp_path / name, "")) for name in ("a.mat", "b.mat"))
    assert [text for text, _ in first] == [text for text, _ in second] == texts
    np.testing.assert_array_equal(first[0][1], second[0][1])
    assert first[1][1] is None
    assert second[1][1] is None


def test_the_format_is_seen_from_the_content_not_from_the_release(tmp_path: Path) -> None:
    for number, write in enumerate((write_v5, write_v73)):
        path = tmp_path / str(number) / "task2-NR" / "Matlab_files" / "resultsZAB_NR.mat"
        path.parent.mkdir(parents=True)
        write(path, ["one two three", "four five six"], [eeg(), eeg(seed=1)])
        for release in (1, 2):
            assert len(ZuCo(str(tmp_path / str(number)), release).trials("ZAB")) == 2


def test_labels_and_paraphrases_reach_their_sentences(root) -> None:
    release, path = root
    stimuli = ZuCo(str(path), release, paraphrases="paraphrases.tsv").stimuli()
    assert stimuli.captions is not None
    assert stimuli.texts is not None
    assert all(len(own) == 3 and text in own for text, own in zip(stimuli.texts, stimuli.captions))
    for corpus, sentiment, relation in zip(*(stimuli.extras[k] for k in ("corpus", "sentiment", "relation"))):
        assert bool(sentiment) == (corpus == "review")
        assert bool(relation) == (corpus == "biography")


def test_one_sentence_of_two_people_is_one_stimulus(root) -> None:
    release, path = root
    dataset = ZuCo(str(path), release)
    one, other = (dataset.trials(subject).table for subject in dataset.subjects())
    assert set(one["unit"]) == set(other["unit"])
    assert stimulus_id_of("The film, delights!") == stimulus_id_of("the film delights")


@pytest.mark.parametrize("write", [write_v5, write_v73])
def test_an_empty_sentence_is_named(tmp_path: Path, write) -> None:
    write(tmp_path / "a.mat", ["one", ""], [eeg(), eeg()])
    with pytest.raises(DataError, match=r"sentenceData\(2\)\.content is empty"):
        list(read_sentences(tmp_path / "a.mat", ""))


@pytest.mark.parametrize("write", [write_v5, write_v73])
def test_other_channels_are_refused(tmp_path: Path, write) -> None:
    write(tmp_path / "a.mat", ["one", "two"], [eeg(), eeg()[:90]])
    with pytest.raises(DataError, match=r"expected \(105, samples\), found \(90"):
        list(read_sentences(tmp_path / "a.mat", ""))
    write(tmp_path / "a.mat", ["one", "two"], [eeg(), eeg()[::-1]])
    with pytest.raises(DataError, match="last channel is not zero"):
        list(read_sentences(tmp_path / "a.mat", ""))


def test_files_in_neither_format(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(b"something else" * 20)
    with pytest.raises(DataError, match=r"format 5\.0 or 7\.3"):
        list(read_sentences(path, ""))
    write_v73(path, ["one"], [eeg()])
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"not a readable MATLAB 7\.3"):
        list(read_sentences(path, ""))
    write_v5(path, ["one", "two"], [eeg(), eeg()])
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"not a readable MATLAB 5\.0"):
        list(read_sentences(path, ""))


def test_a_channel_that_is_not_finite_is_named_or_dropped(tmp_path: Path) -> None:
    path = tmp_path / "task2-NR" / "Matlab_files" / "resultsZAB_NR.mat"
    path.parent.mkdir(parents=True)
    broken = eeg()
    broken[7, 30] = np.nan
    write_v5(path, ["one two", "three four"], [broken, eeg(seed=1)])
    with pytest.raises(DataError, match="'E8'"):
        ZuCo(str(tmp_path), 1).trials("ZAB")
    kept = ZuCo(str(tmp_path), 1, bad_positions="drop").trials("ZAB")
    assert kept.space.size == 103
    assert np.isfinite(kept.signal).all()


def test_an_empty_paraphrase_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("sentence\tparaphrase\none two\t\n")
    with pytest.raises(DataError, match="empty paraphrase"):
        read_paraphrases(tmp_path / "p.tsv")
