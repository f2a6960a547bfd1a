"""Every YAML of a frozen network names a class that exists, gives it what it takes, and weights that are known."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from omegaconf import OmegaConf

from braindec.config import check_config, locate
from braindec.frozen.base import FrozenNetwork
from braindec.frozen.weights import known_weights
from braindec.locations import configs_folder

FILES = sorted((configs_folder() / "frozen").glob("*.yaml"))


def holds(network: FrozenNetwork) -> None:
    """The schema of a file: one frozen network."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_config_fits_its_network(path: Any) -> None:
    config = OmegaConf.load(path)
    check_config(OmegaConf.create({"network": config}), holds)
    made = locate(config._target_)
    parameters = inspect.signature(made).parameters
    repeated = [key for key, value in config.items() if key in parameters and parameters[key].default == value]
    assert repeated == []
    options = {key: value for key, value in config.items() if key != "_target_"}
    network = made(**options)
    if "weights" not in parameters:
        assert network.weights == "computed"
        return
    assert network.weights == config.get("weights", parameters["weights"].default)
    assert network.weights in known_weights()
