"""Heard speech and read text from the simulation to the report, small."""

from __future__ import annotations

from pathlib import Path

import pytest

from braindec import evaluate, reconstruct, train
from braindec.artifacts import read_json, read_table
from braindec.compose import compose
from braindec.datasets.simulated.sentences import vocabulary
from tests.unit.frozen.tiny_t5 import save_t5

CONTROLS = "controls=[shuffled_brain,noise_input,prior_only,metadata_only,mask_only]"
COMMON = ["device=cpu", "n_resamples=200", CONTROLS]
LISTENING = [
    "experiment=demo_speech",
    "dataset.sensors=eeg_19",
    "dataset.synthesiser=builtin",
    "dataset.n_subjects=1",
    "dataset.n_sentences=60",
    "dataset.snr=3",
    "decoder.stem.n_virtual=16",
    "decoder.stem.n_features=128",
    "decoder.stem.n_channels=16",
    "decoder.adapter.n_channels=16",
    "decoder.encoder.hidden=24",
    "decoder.encoder.depth=2",
    "decoder.engine.batch_size=32",
    "decoder.engine.epochs=10",
]


def test_the_heard_segment_is_found_and_controls_are_at_chance(tmp_path: Path) -> None:
    folder = train.train(compose("train", [*LISTENING, *COMMON, f"run_dir={tmp_path / 'run'}"])).path
    evaluate.evaluate(compose("evaluate", [f"run={folder}"]))
    scores = read_json(folder / "scores.json")
    top10 = scores["metrics"]["untrained_speech_segment_top10"]
    assert top10["gallery_size"] > 60
    assert top10["value"] > 0.5 > 4 * top10["chance"]
    for control, own in scores["controls"].items():
        assert own["untrained_speech_segment_top10"]["value"] < 3 * top10["chance"], control
        assert own["untrained_speech_segment_top10"]["beaten"], control
    page = (folder / "report.html").read_text()
    assert page.count("<audio controls") == 24
    parts = read_table(folder / "folds" / "by_unit" / "sim01.csv", ("part",))
    assert set(parts["part"]) == {"train", "validation", "test"}


@pytest.fixture(scope="module")
def t5(tmp_path_factory) -> Path:
    return save_t5(tmp_path_factory.mktemp("t5"), vocabulary(), width=32)


def test_glim_reads_writes_and_is_scored_without_true_tokens(t5: Path, tmp_path: Path) -> None:
    """The recipe's own files with a tiny language model in Flan-T5's place and vectors of words for sentences."""
    chosen = [
        "experiment=glim",
        "dataset=simulated_reading",
        "target=[hashed_words,flan_states,token_ids]",
        "~metrics.zero_shot_relation",
        "metrics.retrieval.target=hashed_words",
        *(
            f"metrics.zero_shot_{field}.{key}"
            for field in ("sentiment", "corpus")
            for key in ("target=hashed_words", "embedding=${targets.hashed_words}")
        ),
        "dataset.sensors=eeg_19",
        "dataset.n_subjects=1",
        "dataset.n_sentences=90",
        "dataset.rate_hz=64",
        "dataset.n_times=320",
        "dataset.snr=3",
        f"targets.flan_states.network.weights={t5}",
        "targets.flan_states.network.length=8",
        f"targets.token_ids.network.weights={t5}",
        "targets.token_ids.length=16",
        f"stages.generate_text.network.weights={t5}",
        "stages.generate_text.max_length=6",
        "decoder.objectives.clip.objective.targets=[hashed_words]",
        f"decoder.objectives.language.objective.network.weights={t5}",
        "decoder.adapter.width=32",
        "decoder.adapter.patch=8",
        "decoder.encoder.depth=1",
        "decoder.encoder.query_depth=1",
        "decoder.encoder.n_queries=8",
        "decoder.encoder.out_width=32",
        "decoder.engine.batch_size=16",
        "decoder.engine.epochs=2",
        "decoder.engine.precision=float32",
        *COMMON,
    ]
    folder = train.train(compose("train", [*chosen, f"run_dir={tmp_path / 'run'}"])).path
    fit = read_json(folder / "decoder" / "by_unit" / "fit.json")
    assert fit["parameters"]["all"] < 200_000, "the language model is not part of the decoder"
    curves = read_table(folder / "decoder" / "by_unit" / fit["curves"], ("language", "clip"))
    assert curves["language"].astype(float).dropna().iloc[-1] < curves["language"].astype(float).dropna().iloc[0]
    reconstruct.reconstruct(compose("reconstruct", [f"run={folder}"]))
    evaluate.evaluate(compose("evaluate", [f"run={folder}"]))
    scores = read_json(folder / "scores.json")
    wanted = {"wer", "rouge1", "rougeL", "bleu1", "distinct_texts", "sentiment_zero_shot", "corpus_zero_shot"}
    assert wanted <= set(scores["metrics"])
    assert "hashed_words_forward_top1" in scores["metrics"]
    assert scores["metrics"]["corpus_zero_shot"]["chance"] >= 0.5, "the majority class stands beside it"
    assert scores["metrics"]["wer"]["value"] > 0.3, "an untrained language model cannot write the sentence"
    texts = read_table(folder / "reconstructions" / "table.csv", ("caption", "chain"))
    assert (texts["chain"] == "generate_text(flan_states)").all()
