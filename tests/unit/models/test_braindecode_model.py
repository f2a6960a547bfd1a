"""Networks of the real braindecode package; its torchaudio must be one for the installed torch."""

from __future__ import annotations

import pytest
import torch

from braindec.models.encoders.braindecode_model import NON_COMMERCIAL, BraindecodeModel, declared_licence
from braindec.types import DataError

try:
    import braindecode.models as models
except (ImportError, OSError, RuntimeError) as error:
    pytest.skip(f"braindecode cannot be imported: {error}", allow_module_level=True)

NAMES = ("ATCNet", "Deep4Net", "EEGConformer", "EEGNet", "EEGTCNet", "ShallowFBCSPNet")


@pytest.mark.parametrize("name", NAMES)
def test_network_trains(name: str) -> None:
    torch.manual_seed(0)
    encoder = BraindecodeModel((63, 250), name, 16, rate_hz=250.0)
    assert isinstance(encoder.network, getattr(models, name))
    assert encoder.network.training
    latent = encoder(torch.randn(4, 63, 250))
    assert latent.shape == (4, *encoder.out_shape)
    latent.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters() if p.requires_grad)


def test_every_network_that_declares_a_non_commercial_licence_is_listed() -> None:
    networks = {n: c for n, c in vars(models).items() if isinstance(c, type) and issubclass(c, torch.nn.Module)}
    declared = {name for name, network in networks.items() if "-nc" in declared_licence(network)}
    assert declared == set(NON_COMMERCIAL) & set(networks)


def test_labram_takes_named_channels_and_windows_of_whole_patches() -> None:
    channels = ["Fp1", "Fpz", "Fp2", "AF3", "O1", "Oz"]
    encoder = BraindecodeModel((6, 400), "Labram", 16, rate_hz=200.0, channels=channels)
    assert encoder(torch.randn(2, 6, 400)).shape == (2, 16)
    with pytest.raises(DataError, match="Labram.*does not work for 6 channels x 400 samples.*ch_names"):
        BraindecodeModel((6, 400), "Labram", 16, rate_hz=200.0)
    with pytest.raises(DataError, match="expected 6 names, found 5"):
        BraindecodeModel((6, 400), "Labram", 16, rate_hz=200.0, channels=channels[:5])
