"""Trainable decoders: a network of subject adapters and a shared encoder, fitted by gradient descent.

Legend: N trials, S space, T time, K tokens, D embedding dimensions.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from braindec.artifacts import text_hash
from braindec.contracts import FitContext, State, TrainingData
from braindec.models.network import BrainNetwork, Parts
from braindec.models.shapes import SignalShape, n_parameters
from braindec.objectives.weighted import Weighted, WeightedSum
from braindec.training.batches import MultiSubjectData, data_bytes
from braindec.training.curves import FILE_NAME
from braindec.training.decoder_checks import check_parts
from braindec.training.engine import Engine, make_accelerator
from braindec.training.module import TUNED, TrainingModule
from braindec.training.settings import EngineSettings
from braindec.training.target_scaling import Scaling, TargetScaling
from braindec.training.transfer import WEIGHTS, copy_weights, start_from
from braindec.types import DataError, Trials

log = logging.getLogger(__name__)

Predicts = Literal["value", "contrast", "joint", "prior"]
_BATCH = 256


class NeuralDecoder:
    """A `Decoder` made of a network's parts, objectives and an engine.

    Parameters
    ----------
    adapter, encoder, heads, stem, builder, priors : makers of the network's parts, see `braindec.models.network.Parts`.
    objectives : name -> weighted objective; names are columns of the training curves.
    engine : how to train.
    predicts : which path of a head is predicted: its value, its contrast path, ``joint`` the sum of both at unit length
        (so that its inner product with a target is the sum of both paths' cosines), or the value refined by its prior;
        one for all targets, or target name -> path.
    scaling : targets are learned as they are (``none``), less their training mean (``centre``), or also divided by
        their standard deviation (``zscore`` a value, ``scale`` one for all). Predictions are scaled back.
    start_from : where the weights to start from lie: a fitted decoder's folder (``decoder/FOLD/decoder`` of a run;
        subjects that it does not know get new adapters), an encoder's that ``braindec pretrain`` made, or a published
        checkpoint (`braindec.models.encoders.published_scans`). The report says which weights matched.
    trainable : ``all``, or ``adapters`` to leave the shared parts of ``start_from`` as they are (reset-tuning).
    prior_seed : seeds the noise that a prior starts from, the same for every trial, so that no prediction depends on
        which others are made with it.
    pseudo_trials : also decode trials that one subject's builder makes of another's; see `OfPseudoTrials`.
    """

    def __init__(
        self,
        adapter: Callable[..., nn.Module],
        encoder: Callable[..., nn.Module],
        heads: Mapping[str, Callable[..., nn.Module]],
        objectives: Mapping[str, Weighted],
        engine: EngineSettings,
        stem: Callable[..., nn.Module] | None = None,
        builder: Callable[..., nn.Module] | None = None,
        priors: Mapping[str, Callable[..., nn.Module] | None] | None = None,
        predicts: Predicts | Mapping[str, Predicts] = "value",
        scaling: Scaling = "none",
        start_from: str | None = None,
        trainable: Literal["all", "adapters"] = "all",
        prior_seed: int = 0,
        pseudo_trials: bool = False,
    ) -> None:
        self.parts = Parts(adapter, encoder, heads, stem, builder, priors, pseudo_trials)
        self.objectives = objectives
        self.engine = engine
        self.predicts = predicts
        self.scaling: Scaling = scaling
        self.start_from = start_from
        self.trainable = trainable
        self.prior_seed = prior_seed
        if trainable == "adapters" and start_from is None:
            raise DataError("decoder.trainable=adapters: needs decoder.start_from, which has the other weights")

    def fit(self, data: TrainingData, context: FitContext) -> Mapping[str, Any]:
        """Train; the report names the file of the training curves, relative to the decoder's folder."""
        engine = self.prepare(data, context)
        report = engine.run()
        self.network_.eval()
        return {
            **report,
            "parameters": _counts(self.network_),
            "data_on_device": engine.train_data.resident,
            "transferred_arrays": self.transferred_["matched"],
            "transferred": self.transferred_,
            "device": str(engine.accelerator.device),
            "curves": f"{context.folder.name}/{FILE_NAME}",
        }

    def prepare(self, data: TrainingData, context: FitContext) -> Engine:
        """Build the network for the data's shapes and the engine that will train it."""
        check_parts(self.parts, self.objectives, self.predicts, data, fresh=self.start_from is None)
        self.signals_ = {subject: _shape_of(trials) for subject, trials in data.train.items()}
        self.shapes_ = {n: (t.values.shape[1], t.values.shape[2]) for n, t in data.targets.items()}
        training_ids = list(
            dict.fromkeys(i for trials in data.train.values() for i in trials.table["stimulus_id"].astype(str))
        )
        self.scalings_ = {n: TargetScaling.fit(t, training_ids, self.scaling) for n, t in data.targets.items()}
        accelerator = make_accelerator(self.engine, context.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self.network_ = BrainNetwork(self.parts, self.signals_, self.shapes_)
        self.transferred_ = self._transfer(data)
        objectives = WeightedSum(copy.deepcopy(dict(self.objectives)))
        module = TrainingModule(self.network_, objectives, shared_fixed=self.trainable == "adapters")
        resident = self._resident(data, accelerator.device)

        def loaded(trials: Mapping[str, Trials]) -> MultiSubjectData | None:
            kept = {subject: t for subject, t in trials.items() if len(t)}
            return MultiSubjectData(kept, data.targets, self.scalings_, accelerator.device, resident) if kept else None

        train, validation = loaded(data.train), loaded(data.validation)
        assert train is not None, "check_parts refuses empty training data"
        return Engine(self.engine, accelerator, module, train, validation, context, self._fingerprint(data, context))

    def _resident(self, data: TrainingData, device: torch.device) -> bool:
        if device.type != "cuda" or self.engine.data_on_device == "never":
            return False
        if self.engine.data_on_device == "always":
            return True
        # Weights, gradients and two moments in float32 come first; half of the rest is left to activations.
        free = torch.cuda.mem_get_info(device)[0] - 16 * n_parameters(self.network_)
        return data_bytes(data.train, data.targets) + data_bytes(data.validation, {}) < free / 2

    def _transfer(self, data: TrainingData) -> dict[str, Any]:
        """Copy the weights of ``start_from``, freeze what is not to be trained; returns what `start_from` does."""
        if self.start_from is None:
            return {"matched": 0, "missing": [], "unexpected": []}
        found = start_from(self.network_, self.start_from, data.train)
        log.info(
            "decoder.start_from=%s: %d arrays matched, %d start at random, %d of the source have no place here",
            self.start_from, found["matched"], len(found["missing"]), len(found["unexpected"]),
        )  # fmt: skip
        if self.trainable == "adapters":
            for name, parameter in self.network_.named_parameters():
                parameter.requires_grad_(name.startswith(TUNED) and parameter.requires_grad)
            if not any(parameter.requires_grad for parameter in self.network_.parameters()):
                raise DataError(
                    "decoder.trainable=adapters: this decoder's adapters have no weights to train; use "
                    "decoder.trainable=all, which starts from decoder.start_from and tunes everything"
                )
        return found

    def _fingerprint(self, data: TrainingData, context: FitContext) -> str:
        rows = {s: [str(i) for i in t.table["stimulus_id"]] for s, t in data.train.items()}
        weights = {name: list(p.shape) for name, p in self.network_.named_parameters()}
        content = [asdict(self.engine), repr(self.scaling), self.shapes_, rows, weights, context.seed, self.start_from]
        return text_hash(json.dumps(content, sort_keys=True))

    @torch.no_grad()
    def predict(self, trials: Trials, device: str) -> dict[str, np.ndarray]:
        """Target name -> float32 (N, K, D).

        Raises
        ------
        DataError
            When nothing is fitted, the subject has no adapter, or its signal has another shape than in training.
        """
        if not hasattr(self, "network_"):
            raise DataError("NeuralDecoder is not fitted: call fit or load_state first")
        known = self.signals_.get(trials.subject)
        found = trials.signal.shape[1:]
        if known is not None and found != (known.n_space, known.n_times):
            raise DataError(
                f"signal of subject {trials.subject!r}: expected {known.n_space} positions x {known.n_times} time "
                f"points as in training, found {found[0]} x {found[1]}"
            )
        network = self.network_.to(device).eval()
        parts: dict[str, list[np.ndarray]] = {name: [] for name in self.shapes_}
        for start in range(0, len(trials), _BATCH):
            signal = torch.from_numpy(np.array(trials.signal[start : start + _BATCH])).to(device)
            outputs = (
                network({trials.subject: signal}) if known is not None else network.features(signal, trials.subject)
            )
            for name in parts:
                predicted = self._path(name, outputs).float().cpu().numpy()
                parts[name].append(self.scalings_[name].invert(predicted))
        empty = {name: np.zeros((0, *shape), dtype=np.float32) for name, shape in self.shapes_.items()}
        return {name: np.concatenate(found) if found else empty[name] for name, found in parts.items()}

    def values_of(self, signal_NST: torch.Tensor, subject: str) -> dict[str, torch.Tensor]:
        """Target name -> decoded values (N, K, D) that gradients flow through, in the network's scaling.

        A prior, which samples, is left out: its target's value is given. The network moves to the signal's device.
        """
        outputs = self.network_.to(signal_NST.device).eval()({subject: signal_NST})
        return {name: self._path(name, outputs, refined=False) for name in self.shapes_}

    def _path(self, name: str, outputs: Any, refined: bool = True) -> torch.Tensor:
        path = self.predicts if isinstance(self.predicts, str) else self.predicts.get(name, "value")
        if path == "contrast":
            return outputs.contrast[name]
        value = outputs.value[name]
        if path == "value" or (path == "prior" and not refined):
            return value
        if path == "joint":
            parts = (value, outputs.contrast[name])
            return torch.stack([nn.functional.normalize(p.flatten(1), dim=1) for p in parts]).sum(0).view_as(value)
        return self.network_.refine(name, value, torch.Generator(value.device).manual_seed(self.prior_seed))

    def state(self) -> State:
        """Weights as ``network/NAME``, targets' scaling, places of sensors or voxels, and the shapes as JSON bytes."""
        state: State = {}
        for name, value in self.network_.state_dict().items():
            state[WEIGHTS + name] = value.detach().cpu().numpy()
        for name, scaling in self.scalings_.items():
            state |= {f"scaling/{name}/{key}": array for key, array in scaling.state().items()}
        for subject, signal in self.signals_.items():
            for kind, places in (("positions", signal.positions_m), ("grid", signal.grid_index)):
                if places is not None:
                    state[f"{kind}/{subject}"] = np.asarray(places)
        shapes = {
            "signals": {s: [shape.n_space, shape.n_times] for s, shape in self.signals_.items()},
            "targets": {n: list(shape) for n, shape in self.shapes_.items()},
        }
        state["shapes"] = np.frombuffer(json.dumps(shapes).encode(), dtype=np.uint8).copy()
        return state

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Build the network for the state's shapes and take over its weights.

        Raises
        ------
        DataError
            If the state is of another decoder: a weight is missing, unknown, or has another shape.
        """
        if "shapes" not in state:
            raise DataError("decoder state: the array 'shapes' is missing; this is not a state of a NeuralDecoder")
        shapes = json.loads(bytes(np.asarray(state["shapes"])))
        self.signals_ = {
            s: SignalShape(n_space, n_times, *(_places(state, f"{kind}/{s}") for kind in ("positions", "grid")))
            for s, (n_space, n_times) in shapes["signals"].items()
        }
        self.shapes_ = {n: (int(k), int(d)) for n, (k, d) in shapes["targets"].items()}
        self.scalings_ = {
            name: TargetScaling.from_state({key: state[f"scaling/{name}/{key}"] for key in ("mean", "scale")})
            for name in self.shapes_
        }
        with torch.random.fork_rng(devices=[]):
            self.network_ = BrainNetwork(self.parts, self.signals_, self.shapes_)
        weights = {k.removeprefix(WEIGHTS): v for k, v in state.items() if k.startswith(WEIGHTS)}
        copy_weights(self.network_, weights, "decoder state", strict=True)
        self.network_.eval()


def _shape_of(trials: Trials) -> SignalShape:
    space = trials.space
    positions, grid = (None if p is None else np.array(p) for p in (space.positions_m, space.grid_index))
    return SignalShape(trials.signal.shape[1], trials.signal.shape[2], positions, grid)


def _places(state: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    return np.asarray(state[name]) if name in state else None


def _counts(network: BrainNetwork) -> dict[str, int]:
    counts = {
        "adapters": n_parameters(network.adapters),
        "encoder": n_parameters(network.encoder),
        "heads": n_parameters(network.heads),
        "priors": n_parameters(network.priors),
        "builders": n_parameters(network.builders),
        "stem": 0 if network.stem is None else n_parameters(network.stem),
    }
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return {**counts, "all": n_parameters(network), "trained": trained}
