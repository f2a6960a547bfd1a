"""The wav2vec2 target of a passage equals what transformers gives for that passage, cut afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from braindec.frozen.wav2vec2 import Wav2Vec2
from braindec.signals.passages import Passage
from braindec.targets.passages import PassageTarget
from braindec.types import Stimuli

LAYERS = (2, 3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A small network of xlsr-53's architecture, of 5 layers."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    folder = tmp_path_factory.mktemp("wav2vec2")
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=5, num_attention_heads=4, intermediate_size=64, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, feat_extract_norm="layer",
        do_stable_layer_norm=True, conv_bias=True, vocab_size=12,
    )  # fmt: skip
    Wav2Vec2Model(config).save_pretrained(folder)
    return folder


def test_target_equals_transformers_called_directly(weights: Path) -> None:
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

    rng = np.random.default_rng(0)
    passages = [
        Passage(f"p{i}", (0.1 * rng.standard_normal(n * 16_000)).astype(np.float32), 16_000.0)
        for i, n in enumerate((8, 11))
    ]
    starts = np.array([0.25, 4.0, 1.5, 7.75])
    own = (passages[0], passages[0], passages[1], passages[1])
    stimuli = Stimuli(("a", "b", "c", "d"), extras={"passage": own, "start_s": starts, "length_s": np.full(4, 3.0)})
    target = PassageTarget(Wav2Vec2(str(weights), layers=LAYERS), standardise=False, device="cpu")
    target.fit(stimuli)
    found = target.embed(stimuli)
    assert found.shape == (4, 360, 32)

    model = Wav2Vec2Model.from_pretrained(weights).eval()
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    for row, (passage, start) in enumerate(zip(own, starts)):
        inputs = extractor(passage.sound, sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            states = model(inputs.input_values, output_hidden_states=True).hidden_states
        mean = torch.stack([states[layer] for layer in LAYERS]).mean(dim=0)
        n_points = round(len(passage.sound) / 16_000 * 120)
        whole = torch.nn.functional.interpolate(mean.transpose(1, 2), n_points, mode="linear")[0].T.numpy()
        first = round(start * 120)
        np.testing.assert_allclose(found[row], whole[first : first + 360], rtol=1e-4, atol=1e-5)


def test_segments_alone_would_differ(weights: Path) -> None:
    """The context of the passage reaches the target: it is not the network's output on three seconds."""
    rng = np.random.default_rng(1)
    passage = Passage("p", (0.1 * rng.standard_normal(8 * 16_000)).astype(np.float32), 16_000.0)
    stimuli = Stimuli(("a",), extras={"passage": (passage,), "start_s": np.array([3.0]), "length_s": np.array([3.0])})
    network = Wav2Vec2(str(weights), layers=LAYERS)
    target = PassageTarget(network, standardise=False, device="cpu")
    target.fit(stimuli)
    alone = network.encode(Stimuli(("a",), audio=(passage.sound[48_000:96_000],), audio_rate_hz=16_000.0))
    assert np.abs(alone - target.embed(stimuli)).max() > 0.01
