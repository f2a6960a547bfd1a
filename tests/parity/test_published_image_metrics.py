"""The eight image metrics of both conventions against their plain definition: torchvision transforms, scipy, loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import correlation
from skimage import data
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from torch import nn
from torchvision import models, transforms

from braindec.frozen.judges import JUDGES, ImageJudge
from braindec.metrics.image import CONSTANT_FLAG
from braindec.metrics.published_images import PublishedFeatures, PublishedPixels
from braindec.types import DataError, Evidence, Stimuli
from tests.unit.frozen.tiny_networks import save_clip_tokenizer
from tests.unit.metrics.evidence import prediction_table

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
BUILDERS = {
    "alexnet": lambda: models.alexnet(weights=None),
    "inception_v3": lambda: models.inception_v3(weights=None, transform_input=True, init_weights=False),
    "efficientnet_b1": lambda: models.efficientnet_b1(weights=None),
    "resnet50": lambda: models.resnet50(weights=None),
}


def photographs() -> np.ndarray:
    """Five squares of real photographs at 425 px, uint8."""
    whole = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    squares = [picture[:300, 40:340] for picture in whole] + [data.astronaut()[200:500, 200:500]]
    return np.stack([np.asarray(Image.fromarray(square).resize((425, 425))) for square in squares])


def decoded_of(pictures: np.ndarray) -> np.ndarray:
    """Blurred, noisy, recoloured versions at 512 px, as a decoder might give them."""
    rng = np.random.default_rng(1)
    made = []
    for picture in pictures:
        small = Image.fromarray(picture).resize((40, 40)).resize((512, 512))
        noisy = np.asarray(small).astype(float) * rng.uniform(0.6, 1.1, 3) + rng.normal(0, 15, (512, 512, 3))
        made.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return np.stack(made)


def evidence_of(shown: np.ndarray, decoded: np.ndarray) -> Evidence:
    ids = [f"s{i}" for i in range(len(shown))]
    return Evidence(prediction_table(ids), Stimuli(tuple(ids), shown), np.arange(len(shown)), decoded)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, nn.Module]]:
    """Random networks saved as the published checkpoints are, by architecture."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    root = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    made = {}
    for name, build in BUILDERS.items():
        module = build().eval()
        state = dict(module.state_dict())
        if name == "resnet50":
            state = {f"module.{key}": value for key, value in state.items() if not key.startswith("fc.")}
            state |= {"module.projection_head.0.weight": torch.zeros(2), "module.prototypes.weight": torch.zeros(2)}
        folder = root / name
        folder.mkdir()
        torch.save(state, folder / ("swav_800ep_pretrain.pth.tar" if name == "resnet50" else f"{name}.pth"))
        made[name] = (folder, module)
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, patch_size=32,
        image_size=224, projection_dim=16,
    )  # fmt: skip
    clip = CLIPVisionModelWithProjection(config).eval()
    clip.save_pretrained(root / "clip")
    save_clip_tokenizer(root / "clip")
    made["clip"] = (root / "clip", clip)
    return made


def plain_features(judge: str, convention: str, module: nn.Module, pictures: np.ndarray) -> np.ndarray:
    """One picture at a time, through torchvision's own transforms."""
    layer, side = JUDGES[judge].layer, JUDGES[judge].side_px[convention]
    normalise = transforms.Normalize(*(CLIP if judge == "clip" else IMAGENET))
    rows = []
    for picture in pictures:
        if convention == "brain_diffuser":
            resized = transforms.functional.resize(Image.fromarray(picture), [224, 224])
            pixels = transforms.functional.to_tensor(resized)
        else:
            pixels = transforms.functional.to_tensor(Image.fromarray(picture))
            for size in ((256, 256), (side, side)):
                bilinear = transforms.InterpolationMode.BILINEAR
                pixels = transforms.Resize(size, interpolation=bilinear, antialias=False)(pixels)
        with torch.no_grad():
            if layer is None:
                rows.append(module(pixel_values=normalise(pixels)[None]).image_embeds.numpy().ravel())
                continue
            kept: list[torch.Tensor] = []
            hook = module.get_submodule(layer).register_forward_hook(lambda m, i, o, kept=kept: kept.append(o.clone()))
            module(normalise(pixels)[None])
            hook.remove()
            rows.append(kept[0].numpy().ravel())
    return np.stack(rows).astype(np.float64)


def plain_two_way(shown: np.ndarray, decoded: np.ndarray) -> list[float]:
    n = len(shown)
    r = [[np.corrcoef(shown[i], decoded[j])[0, 1] for j in range(n)] for i in range(n)]
    return [sum(r[i][j] < r[j][j] for i in range(n) if i != j) / (n - 1) for j in range(n)]


@pytest.mark.slow
@pytest.mark.parametrize("convention", ["brain_diffuser", "mindeye"])
def test_features_agree_with_the_plain_definition(convention: str, weights: dict[str, tuple[Path, nn.Module]]) -> None:
    shown = photographs()[:4]
    decoded = decoded_of(shown)[[1, 0, 2, 3]]  # two of them are exchanged
    judges = {
        name: ImageJudge(name, convention, str(weights[spec.architecture][0]), device="cpu", batch_size=3)
        for name, spec in JUDGES.items()
    }
    scores = {s.name: s for s in PublishedFeatures(convention, judges).scores(evidence_of(shown, decoded))}
    assert list(scores) == [f"{convention}_{name}" for name in judges]
    for name, judge in judges.items():
        module = weights[JUDGES[name].architecture][1]
        true, made = (plain_features(name, convention, module, pictures) for pictures in (shown, decoded))
        np.testing.assert_allclose(judge.features(shown), true, atol=2e-3 * np.abs(true).max())
        found = scores[f"{convention}_{name}"]
        if name in ("efficientnet", "swav"):
            expected = [correlation(t, m) for t, m in zip(true, made)]
            assert found.direction == "lower"
        else:
            expected = plain_two_way(true, made)
            assert found.gallery_size == 4
        np.testing.assert_allclose(found.values, expected, atol=1e-4)
        assert f"convention: {convention}" in found.flags
        assert any(flag.startswith("weights: ") for flag in found.flags)


def test_brain_diffuser_pixels_agree_with_the_plain_definition() -> None:
    shown = photographs()
    decoded = decoded_of(shown)
    pixcorr, ssim = PublishedPixels("brain_diffuser").scores(evidence_of(shown, decoded))
    for row, (true, made) in enumerate(zip(shown, decoded)):
        resized = np.array(Image.fromarray(made).resize((425, 425))) / 255.0
        expected = np.corrcoef((true / 255.0).reshape(1, -1), resized.reshape(1, -1))[0, 1]
        assert pixcorr.values[row] == pytest.approx(expected, abs=1e-6)
        grey = rgb2gray(true / 255.0), rgb2gray(resized)
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
        # Older scikit-image took the last axis of a grey image for channels.
        expected = structural_similarity(*grey, channel_axis=-1, **options)
        assert ssim.values[row] == pytest.approx(expected, abs=1e-6)


def test_mindeye_pixels_agree_with_the_plain_definition() -> None:
    shown = photographs()
    decoded = decoded_of(shown)
    pixcorr, ssim = PublishedPixels("mindeye").scores(evidence_of(shown, decoded))
    bilinear = transforms.InterpolationMode.BILINEAR
    steps = [
        transforms.Resize((256, 256), bilinear, antialias=False),
        transforms.Resize(425, bilinear, antialias=False),
    ]
    prepare = transforms.Compose([transforms.ToTensor(), *steps])
    for row, pair in enumerate(zip(shown, decoded)):
        true, made = (prepare(Image.fromarray(picture)).permute(1, 2, 0).numpy() for picture in pair)
        expected = np.corrcoef(true.ravel(), made.ravel())[0, 1]
        assert pixcorr.values[row] == pytest.approx(expected, abs=1e-5)
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
        expected = structural_similarity(rgb2gray(true), rgb2gray(made), **options)
        assert ssim.values[row] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("convention", ["brain_diffuser", "mindeye"])
def test_pairs_compared_together_score_as_one_by_one(convention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = photographs()
    decoded = decoded_of(shown)
    decoded[3] = 90
    shown[4] = 7
    metric, evidence = PublishedPixels(convention, device="cpu"), evidence_of(shown, decoded)
    monkeypatch.setattr("braindec.metrics.published_images._PAIRS_AT_ONCE", 2)
    one_by_one, together = metric._one_by_one(evidence), metric._on_device(evidence, "cpu")
    np.testing.assert_allclose(together, one_by_one, atol=1e-9)
    pixcorr = metric.scores(evidence)[0]
    assert np.isnan(pixcorr.values).tolist() == [False, False, False, False, True]
    assert pixcorr.values[3] == 0
    assert CONSTANT_FLAG in pixcorr.flags


class Corner:
    """Features that are the first pixels of a picture: exact, with ties at will."""

    def __init__(self) -> None:
        self.n_seen = 0

    def features(self, images: np.ndarray) -> np.ndarray:
        self.n_seen += len(images)
        return np.asarray(images)[:, 0, :3, 0].astype(np.float32)

    def describe(self) -> dict[str, object]:
        return {}


def corner_pictures(rows: list[list[int]]) -> np.ndarray:
    pictures = np.zeros((len(rows), 4, 4, 3), np.uint8)
    pictures[:, 0, :3] = np.array(rows, np.uint8)[:, :, None]
    return pictures


def test_two_stimuli_ties_and_constant_features() -> None:
    shown = corner_pictures([[1, 2, 3], [3, 2, 1]])
    metric = PublishedFeatures("mindeye", {"a": Corner(), "swav": Corner()})
    two_way, distance = metric.scores(evidence_of(shown, shown))
    assert two_way.values.tolist() == [1, 1]
    np.testing.assert_allclose(distance.values, 0, atol=1e-9)
    tied = corner_pictures([[1, 2, 3], [2, 4, 6]])
    two_way, _ = metric.scores(evidence_of(tied, tied))
    assert two_way.values.tolist() == [0, 0]
    constant = corner_pictures([[5, 5, 5], [3, 2, 1]])
    two_way, distance = metric.scores(evidence_of(shown, constant))
    assert two_way.values.tolist() == [0.5, 1]
    np.testing.assert_allclose(distance.values, [1, 0], atol=1e-9)
    assert CONSTANT_FLAG in two_way.flags
    alone = metric.scores(evidence_of(shown[:1], shown[:1]))[0]
    assert np.isnan(alone.values).all()


def test_networks_look_at_each_picture_once_over_permutations() -> None:
    shown = corner_pictures([[1, 2, 3], [3, 2, 1], [1, 5, 1]])
    judge = Corner()
    metric = PublishedFeatures("mindeye", {"a": judge})
    evidence = evidence_of(shown, shown)
    metric.scores(evidence)
    for order in ([1, 2, 0], [2, 0, 1]):
        permuted = metric.scores(evidence.permuted(np.array(order)))[0]
        fresh = PublishedFeatures("mindeye", {"a": Corner()}).scores(evidence_of(shown, shown[order]))[0]
        np.testing.assert_array_equal(permuted.values, fresh.values)
    assert judge.n_seen == 6


def test_a_judge_of_the_other_convention_is_refused(weights: dict[str, tuple[Path, nn.Module]]) -> None:
    shown = photographs()[:2]
    judge = ImageJudge("clip", "mindeye", str(weights["clip"][0]), device="cpu")
    with pytest.raises(DataError, match="prepared for 'mindeye', the metric says 'brain_diffuser'"):
        PublishedFeatures("brain_diffuser", {"clip": judge}).scores(evidence_of(shown, shown))


def test_constant_pictures_and_missing_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = photographs()[:2]
    decoded = np.zeros_like(shown)
    for convention in ("brain_diffuser", "mindeye"):
        pixcorr, ssim = PublishedPixels(convention).scores(evidence_of(shown, decoded))
        assert pixcorr.values.tolist() == [0, 0]
        assert CONSTANT_FLAG in pixcorr.flags
        assert np.isfinite(ssim.values).all()
        undefined = PublishedPixels(convention).scores(evidence_of(decoded, shown))[0]
        assert np.isnan(undefined.values).all()
    monkeypatch.delenv("BRAINDEC_WEIGHTS", raising=False)
    with pytest.raises(DataError, match=r"AlexNet, ImageNet.*braindec weights fetch torchvision/alexnet"):
        ImageJudge("alexnet2", "mindeye").features(shown)
