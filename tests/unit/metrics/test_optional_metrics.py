"""BERTScore, SPICE, LPIPS and the ensemble distance: their definitions, without any published weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from evidence import make_evidence, prediction_table

from braindec.frozen.lpips import CHANNELS, LAYERS, SCALE, SHIFT, Lpips
from braindec.metrics.bert_score import BertScore, f1
from braindec.metrics.perceptual import EnsembleDistance, PairDistance
from braindec.metrics.spice_java import Spice
from braindec.types import DataError, Evidence, Stimuli

WORDS = {"[": 0, "]": 1, "a": 2, "cat": 3, "dog": 4, "kitten": 5}


class Pieces:
    """A vector a word: one-hot, but for "kitten", which is most of a cat; zero after the text's end."""

    def __init__(self) -> None:
        self.n_seen = 0

    def encode(self, texts: list[str]) -> np.ndarray:
        self.n_seen += len(texts)
        table = np.eye(6, dtype=np.float32)
        table[5] = 0.8 * table[3] + 0.6 * table[5]
        values = np.zeros((len(texts), 8, 6), np.float32)
        for row, text in enumerate(texts):
            for place, word in enumerate(["[", *text.split(), "]"]):
                values[row, place] = 3 * table[WORDS[word]]
        return values

    def describe(self) -> dict[str, str]:
        return {"weights": "pieces"}


def captioned(decoded: tuple[str, ...], known: tuple[tuple[str, ...], ...]) -> Evidence:
    ids = [f"s{i}" for i in range(len(known))]
    return Evidence(prediction_table(ids), Stimuli(tuple(ids), captions=known), np.arange(len(ids)), captions=decoded)


def test_bert_score_by_hand() -> None:
    encoder = Pieces()
    evidence = captioned(("a kitten", "a dog", ""), (("a dog", "a cat"), (), ("a cat",)))
    metric = BertScore(encoder)
    (scores,) = metric.scores(evidence)
    # "a" matches wholly, "kitten" with "cat" by 0.8, both ways.
    np.testing.assert_allclose(scores.values, [0.9, np.nan, 0.0], atol=1e-6)
    seen = encoder.n_seen
    (permuted,) = metric.scores(evidence.permuted(np.array([1, 0, 2])))
    np.testing.assert_allclose(permuted.values, [1.0, np.nan, 0.0], atol=1e-6)
    assert encoder.n_seen == seen
    assert f1(np.eye(4), np.eye(4)) == 1


def test_spice_calls_its_program_and_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jar = tmp_path / "spice-1.0.jar"
    java = tmp_path / "java"
    java.write_text(
        "#!/usr/bin/env python3\nimport json, sys\n"
        "asked = json.load(open(sys.argv[4]))\n"
        "answers = [{'image_id': a['image_id'], 'scores': {'All': {'f': len(a['refs']) / 10}}} for a in asked]\n"
        "json.dump(answers[::-1], open(sys.argv[6], 'w'))\n"
    )
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    evidence = captioned(("a cat", "a dog", "x"), (("a", "b"), ("",), ("c",)))
    with pytest.raises(DataError, match="spice-1.0.jar is missing"):
        Spice(str(jar)).scores(evidence)
    jar.touch()
    (tmp_path / "lib").mkdir()
    (scores,) = Spice(str(jar)).scores(evidence)
    np.testing.assert_allclose(scores.values, [0.2, np.nan, 0.1])
    java.write_text("#!/bin/sh\necho out of memory >&2\nexit 3\n")
    with pytest.raises(DataError, match="SPICE failed .out of memory."):
        Spice(str(jar)).scores(evidence)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no java is on the PATH"):
        Spice(str(jar)).scores(evidence)


@pytest.fixture
def lpips(tmp_path: Path) -> tuple[Lpips, torch.nn.Module, list[torch.Tensor]]:
    from torchvision.models import alexnet

    torch.manual_seed(0)
    network = alexnet(weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "alexnet.pth")
    linear = [torch.rand(1, c, 1, 1) for c in CHANNELS]
    torch.save({f"lin{i}.model.1.weight": w for i, w in enumerate(linear)}, tmp_path / "alex.pth")
    return Lpips(str(tmp_path / "alex.pth"), str(tmp_path / "alexnet.pth"), 64, "cpu"), network, linear


def test_lpips_is_its_definition(lpips) -> None:
    metric, network, linear = lpips
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 3, 64, 64, 3)).astype(np.uint8)
    expected = []
    for pair in zip(first, second):
        maps = []
        for image in pair:
            values = (
                torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1 - torch.tensor(SHIFT).view(3, 1, 1)
            ) / (torch.tensor(SCALE).view(3, 1, 1))
            maps.append([torch.nn.Sequential(*network.features[: layer + 1])(values)[0] for layer in LAYERS])
        total = 0.0
        for weight, one, other in zip(linear, *maps):
            one, other = (v / v.norm(dim=0, keepdim=True) for v in (one, other))
            total += float(((one - other) ** 2 * weight[0]).sum(0).mean().detach())
        expected.append(total)
    np.testing.assert_allclose(metric.distance(first, second), expected, rtol=1e-4)
    np.testing.assert_array_equal(metric.distance(first, first), 0)
    evidence = Evidence(prediction_table(["a", "b", "c"]), Stimuli(("a", "b", "c"), first), np.arange(3), second)
    (scores,) = PairDistance(metric).scores(evidence)
    np.testing.assert_allclose(scores.values, expected, rtol=1e-4)
    assert scores.direction == "lower"
    assert any("64 px" in flag for flag in scores.flags)


def test_lpips_refuses_other_weights(lpips, tmp_path: Path) -> None:
    torch.save({"lin0.model.1.weight": torch.rand(1, 3, 1, 1)}, tmp_path / "alex.pth")
    with pytest.raises(DataError, match="does not fit"):
        _ = lpips[0].loaded


class Colour:
    def __init__(self, channel: int) -> None:
        self.channel = channel

    def encode(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(images)[..., self.channel].reshape(len(images), 1, -1).astype(float)

    def describe(self) -> dict[str, str]:
        return {"weights": f"channel {self.channel}"}


def test_ensemble_distance_averages_the_networks_cosines() -> None:
    evidence = make_evidence(5, noise=1.0)
    (joint,) = EnsembleDistance({"r": Colour(0), "g": Colour(1)}).scores(evidence)
    parts = [EnsembleDistance({"one": Colour(c)}).scores(evidence)[0].values for c in (0, 1)]
    np.testing.assert_allclose(joint.values, np.mean(parts, axis=0))
    (same,) = EnsembleDistance({"r": Colour(0)}).scores(make_evidence(5))
    np.testing.assert_allclose(same.values, 0, atol=1e-12)
