"""GIT, BLIP, DPT, wav2vec 2.0 and text encoders: small random networks beside transformers called directly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from braindec.frozen.captioners import BlipCaptioner, GitCaptioner
from braindec.frozen.dpt import DptDepth
from braindec.frozen.images import ImagePreprocessing
from braindec.frozen.mel import MelSpectrogram
from braindec.frozen.text import TextEncoder
from braindec.frozen.wav2vec2 import Wav2Vec2
from braindec.types import DataError, Stimuli

SMALL = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "on", "the", "beach", "red", "cube", "tree"]


def save_word_tokenizer(folder: Path) -> None:
    from transformers import BertTokenizer

    BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)}).save_pretrained(folder)


@pytest.fixture(scope="module")
def git_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM

    folder = tmp_path_factory.mktemp("weights") / "git"
    torch.manual_seed(1)
    vision = {**SMALL, "image_size": 28, "patch_size": 14}
    special = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    model = GitForCausalLM(GitConfig(**SMALL, vocab_size=len(WORDS), vision_config=vision, **special))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            # Of the usual small weights every picture would get the same caption.
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(folder)
    save_word_tokenizer(folder)
    return folder


def test_captions_from_features_equal_captions_from_pictures(git_folder: Path, photographs: np.ndarray) -> None:
    from transformers import GitForCausalLM

    network = GitCaptioner(str(git_folder), batch_size=2)
    features = network.encode(photographs)
    assert features.shape == (3, 5, 24)
    direct = GitForCausalLM.from_pretrained(git_folder).eval()
    pixels = network.preprocessing_(photographs)
    for beams in (1, 3):
        with torch.no_grad():
            tokens = direct.generate(pixel_values=pixels, max_length=9, num_beams=beams)
        expected = [text.strip() for text in network.tokenizer_.batch_decode(tokens, skip_special_tokens=True)]
        assert list(network.captions(features, max_length=9, beams=beams)) == expected
    changed = network.captions(-3 * features, max_length=9)
    assert changed != network.captions(features, max_length=9)
    np.testing.assert_array_equal(network.encode(photographs), features)
    with pytest.raises(DataError, match="expected features"):
        network.captions(features[:, :, :5])


def test_blip_captions_from_features_equal_captions_from_pictures(tmp_path: Path, photographs: np.ndarray) -> None:
    from transformers import BlipConfig, BlipForConditionalGeneration

    torch.manual_seed(1)
    special = {"bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    text = {**SMALL, "vocab_size": len(WORDS), "encoder_hidden_size": 24, **special}
    vision = {**SMALL, "image_size": 32, "patch_size": 16}
    direct = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision)).eval()
    for parameter in direct.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    direct.save_pretrained(tmp_path)
    save_word_tokenizer(tmp_path)
    network = BlipCaptioner(str(tmp_path))
    network.preprocessing_ = ImagePreprocessing(resize=(32, 32))
    features = network.encode(photographs)
    assert features.shape == (3, 5, 24)
    with torch.no_grad():
        tokens = direct.generate(network.preprocessing_(photographs), max_length=12, min_length=6, num_beams=3)
    expected = [text.strip() for text in network.tokenizer_.batch_decode(tokens, skip_special_tokens=True)]
    assert list(network.captions(features, max_length=12, min_length=6, beams=3)) == expected
    assert network.captions(-3 * features) != network.captions(features)


def test_depth_from_features_equals_depth_from_pictures(
    tmp_path_factory: pytest.TempPathFactory, photographs: np.ndarray
) -> None:
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

    folder = tmp_path_factory.mktemp("weights") / "dpt"
    torch.manual_seed(0)
    config = DPTConfig(
        **SMALL,
        image_size=32,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
    )
    direct = DPTForDepthEstimation(config).eval()
    direct.save_pretrained(folder)
    processor = DPTImageProcessor(size={"height": 32, "width": 32})
    processor.save_pretrained(folder)
    network = DptDepth(str(folder))
    features = network.encode(photographs)
    assert features.shape == (3, 4 * 5, 24)
    published = processor(images=list(photographs), return_tensors="pt").pixel_values
    ours = network.preprocessing_(photographs)
    assert ((ours - published) * 0.5).abs().max() <= 1.01 / 255
    with torch.no_grad():
        expected = direct(ours).predicted_depth
    torch.testing.assert_close(torch.from_numpy(network.depth(features)), expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(DataError, match="expected features"):
        network.depth(features[:, :19])


@pytest.fixture(scope="module")
def speech_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

    folder = tmp_path_factory.mktemp("weights") / "speech"
    torch.manual_seed(0)
    sizes = {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    config = Wav2Vec2Config(**SMALL, **sizes, codevector_dim=8, proj_codevector_dim=8, num_codevectors_per_group=4)
    Wav2Vec2ForPreTraining(config).save_pretrained(folder)
    return folder


def test_speech_layers_are_averaged_at_the_output_rate(speech_folder: Path) -> None:
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

    sounds = np.random.default_rng(0).normal(size=(2, 16_000)).astype(np.float32) * 0.1
    network = Wav2Vec2(str(speech_folder), layers=(2, 3))
    found = network.encode(list(sounds))
    assert found.shape == (2, 120, 24)
    inputs = Wav2Vec2FeatureExtractor()(list(sounds), sampling_rate=16_000, return_tensors="pt").input_values
    direct = Wav2Vec2Model.from_pretrained(speech_folder).eval()
    with torch.no_grad():
        states = direct(inputs, output_hidden_states=True).hidden_states
    mean = ((states[2] + states[3]) / 2).numpy()
    # Frame k of the network stands for the time (k + 0.5) / K of the sound, and so do the points of the result.
    frames = (np.arange(mean.shape[1]) + 0.5) / mean.shape[1]
    points = (np.arange(120) + 0.5) / 120
    expected = np.stack([[np.interp(points, frames, mean[n, :, d]) for d in range(24)] for n in range(2)])
    np.testing.assert_allclose(found, expected.transpose(0, 2, 1), atol=1e-4)


def test_speech_at_another_rate_is_resampled(speech_folder: Path) -> None:
    time = np.arange(8000) / 8000
    low = np.sin(2 * np.pi * 200 * time).astype(np.float32)
    high = np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000).astype(np.float32)
    network = Wav2Vec2(str(speech_folder), layers=(1,))
    found = network.encode(Stimuli(ids=("a",), audio=(low,), audio_rate_hz=8000.0))
    reference = network.encode([high])
    assert found.shape == reference.shape
    assert np.corrcoef(found[0, 10:-10].ravel(), reference[0, 10:-10].ravel())[0, 1] > 0.99
    with pytest.raises(DataError, match="audio_rate_hz is not set"):
        network.encode(Stimuli(ids=("a",), audio=(low,)))
    with pytest.raises(DataError, match="one length"):
        network.encode([high, low])
    with pytest.raises(DataError, match="between 1 and 4"):
        Wav2Vec2(str(speech_folder)).encode([high])


@pytest.mark.parametrize("window", [512, 400])
def test_mel_spectrogram_equals_the_one_of_transformers(window: int) -> None:
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    sounds = np.random.default_rng(0).normal(size=(2, 16_000)).astype(np.float32) * 0.1
    network = MelSpectrogram(window=window, n_bands=60, output_rate_hz=125.0)
    found = network.encode(list(sounds))
    assert found.shape == (2, 125, 60)
    bands = mel_filter_bank(window // 2 + 1, 60, 0.0, 8000.0, 16_000, norm=None, mel_scale="htk")
    hann = window_function(window, "hann")
    expected = []
    for sound in sounds:
        power = spectrogram(
            sound.astype(np.float64), hann, window, 128, window, power=2.0, mel_filters=bands / (hann**2).sum(),
            mel_floor=0.0,
        )  # fmt: skip
        expected.append(np.log(1e-5 + power).T)
    # Frames are centred on every 8 ms, points of the result lie half way between them.
    frames, points = np.arange(126) * 0.008, (np.arange(125) + 0.5) * 0.008
    expected = np.stack([[np.interp(points, frames, own[:, d]) for d in range(60)] for own in expected])
    np.testing.assert_allclose(found, expected.transpose(0, 2, 1), atol=1e-3)


def test_mel_spectrogram_says_where_a_tone_is() -> None:
    time = np.arange(16_000) / 16_000
    tones = [np.sin(2 * np.pi * hz * time).astype(np.float32) for hz in (300.0, 3000.0)]
    network = MelSpectrogram()
    found = network.encode(tones)
    assert found.shape == (2, 120, 120)
    low, high = found[:, 20:-20].mean(axis=1).argmax(axis=1)
    # Of 2840 mel: 300 Hz is 402, 3000 Hz is 1876.
    assert abs(low - 120 * 402 / 2840) <= 1.5
    assert abs(high - 120 * 1876 / 2840) <= 1.5
    assert network.describe()["preprocessing"]["n_bands"] == 120
    slow = Stimuli(ids=("a",), audio=(tones[0][::2].copy(),), audio_rate_hz=8000.0)
    assert np.corrcoef(network.encode(slow)[0, 20:-20, :60].ravel(), found[0, 20:-20, :60].ravel())[0, 1] > 0.95
    with pytest.raises(DataError, match="one length"):
        network.encode([tones[0], tones[1][:100]])
    segment = network.encode([tones[0][3200:12_800]])[0]
    np.testing.assert_allclose(segment[3:-3], found[0, 24:96][3:-3], atol=1e-3)
    with pytest.raises(DataError, match="bands hold no frequency"):
        MelSpectrogram(window=64).encode(tones)


def test_sentence_embeddings_ignore_padding(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    BertModel(BertConfig(**SMALL, vocab_size=len(WORDS))).save_pretrained(tmp_path)
    save_word_tokenizer(tmp_path)
    texts = ["a dog on the beach", "red cube"]
    network = TextEncoder(str(tmp_path), length=12)
    found = network.encode(texts)
    assert found.shape == (2, 1, 24)
    direct = BertModel.from_pretrained(tmp_path).eval()
    for row, text in enumerate(texts):
        tokens = network.tokenizer_(text, return_tensors="pt")
        with torch.no_grad():
            mean = direct(**tokens).last_hidden_state.mean(dim=1)[0].numpy()
        np.testing.assert_allclose(found[row, 0], mean / np.linalg.norm(mean), atol=1e-5)
    tokens = TextEncoder(str(tmp_path), length=12, output="tokens").encode(texts)
    assert tokens.shape == (2, 12, 24)
    assert not tokens[1, 4:].any()
    assert tokens[1, 3].any()


def test_t5_tokens_come_from_the_encoder_alone(tmp_path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(vocab_size=len(WORDS), d_model=24, d_kv=6, d_ff=32, num_layers=2, num_heads=4)
    whole = T5ForConditionalGeneration(config).eval()
    whole.save_pretrained(tmp_path)
    save_word_tokenizer(tmp_path)
    network = TextEncoder(str(tmp_path), length=8, output="tokens")
    found = network.encode(["a red tree"])
    tokens = network.tokenizer_("a red tree", return_tensors="pt")
    with torch.no_grad():
        expected = whole.encoder(input_ids=tokens.input_ids).last_hidden_state[0].numpy()
    np.testing.assert_allclose(found[0, : len(expected)], expected, atol=1e-5)
    assert network.report_ is not None
    assert all(key.startswith(("decoder", "lm_head")) for key in network.report_.unexpected)


def test_a_stimulus_without_captions_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(**SMALL, vocab_size=len(WORDS))).save_pretrained(tmp_path)
    save_word_tokenizer(tmp_path)
    with pytest.raises(DataError, match="stimulus 1 of the batch has none"):
        TextEncoder(str(tmp_path)).encode(Stimuli(ids=("x", "y"), captions=(("a dog",), ())))
