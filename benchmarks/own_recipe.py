"""braindec's own recipe beside published ones and ridge on the same simulated EEG. Nothing in it was measured.

    python benchmarks/own_recipe.py --seeds 0 1 2 3 --out outputs/own_recipe

Two people look at pictures under 19 electrodes; test pictures are of four categories that training never shows, and
held-out training categories choose what is chosen (own recipe's layer, epochs of NICE and meg_realtime). Every recipe
is its own configuration, narrower, with kernels scaled to 100 samples a second or fewer epochs; all see the same
whitened averages of two showings, with the tiny CLIP of ``data/tiny`` as the image network. Test trials are sealed
until a decoder is saved. Scores: top-1 and top-5 retrieval among 100 test pictures (eight showings averaged) in the
embedding that a recipe predicts. Intervals (95%) resample pictures within worlds; differences are paired.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from braindec.artifacts import RunFolder, read_state
from braindec.compose import build, compose
from braindec.train import read_recording, train

WEIGHTS = "data/tiny/tiny_clip"
DATA = [
    "dataset=simulated_eeg",
    *(f"dataset.{knob}" for knob in (
        "sensors=eeg_19", "n_subjects=2", "n_train=600", "n_test=100", "repetitions_train=2", "repetitions_test=8",
        "ncsnr=0.8", "concept_disjoint=true", "window_s=[-0.1,0.5]", "n_dipoles=300",
    )),
    "split=published_concept", "transform=[baseline,mvnn]", "transforms.mvnn.per=all", "stage=[]", "controls=[]",
    "leak_unit=concept", "device=cpu",
]  # fmt: skip
NETWORK = "braindec.frozen.openclip.OpenClipVision"
CLIP = [
    "target=[clip_image]", f"targets.clip_image.network._target_={NETWORK}",
    f"targets.clip_image.network.weights={WEIGHTS}",
]  # fmt: skip
KERNELS = ["decoder.encoder.kernel=11", "decoder.encoder.pool=21", "decoder.encoder.pool_step=2"]
CANDIDATES = ("image", "layer_33", "layer_67")
OWN = [
    "experiment=braindec",
    f"targets.image.target.target.network._target_={NETWORK}",
    f"targets.image.target.target.network.weights={WEIGHTS}",
    *(f"targets.{target}.target.target.network.library=open_clip" for target in ("layer_33", "layer_67")),
    *(f"targets.{target}.target.{copies}" for target in CANDIDATES for copies in ("shift=0.0", "blur=[0.03]")),
]
NETWORKS = "decoder.decoder.members.networks"
OWN_DECODER = [
    *OWN, *(f"{NETWORKS}.members.network.{knob}" for knob in (
        "stem.n_virtual=32", "adapter.n_channels=32", "encoder.width=256", "heads.default.hidden=256",
        "engine.precision=float32",
    )),
]  # fmt: skip
RECIPES = {
    "braindec": OWN_DECODER,
    "braindec, networks alone": [*OWN_DECODER, "~decoder.decoder.members.ridge"],
    "ridge, own targets": [*OWN, "decoder=ridge_choice"],
    "ridge": ["decoder=ridge", *CLIP],
    "ubp": ["experiment=ubp", *CLIP, "decoder.engine.batch_size=128"],
    "nice": ["experiment=nice", *CLIP, *KERNELS, "decoder.engine.batch_size=256", "decoder.engine.epochs=50"],
    "atm": ["experiment=atm", *CLIP, *KERNELS, "decoder.adapter.width=61", "decoder.engine.epochs=20",
            "decoder.predicts=value", "~decoder.priors", "~decoder.objectives.prior", "average_train=true"],
    "meg_realtime": ["experiment=meg_realtime", *CLIP, "~targets.vae_latent", "~stages.latent_diffusion",
                     "decoder.predicts=contrast", "decoder.stem.n_virtual=32",
                     "decoder.stem.n_features=288", "decoder.stem.n_channels=32", "decoder.adapter.n_channels=32",
                     "decoder.encoder.hidden=64", "decoder.encoder.width=256", "decoder.heads.default.hidden=256",
                     "decoder.engine.precision=float32"],
}  # fmt: skip


def hits(run: RunFolder, config: DictConfig, recording: Any) -> dict[str, np.ndarray]:
    """Whether each prediction finds its picture among all test pictures, best or among the best five."""
    (fold,) = run.manifest()["folds"]
    folder = run.predictions("decoded", fold)
    table = pd.read_csv(folder / "table.csv")
    (path,) = folder.glob("*.npy")
    target = build(config.targets[path.stem])
    target.load_state(read_state(run.decoder(fold) / "targets" / path.stem))
    ids = sorted(table["stimulus_id"].unique())
    gallery_GF = target.embed(recording.stimuli.select(ids)).reshape(len(ids), -1)
    predicted_NF = np.load(path).reshape(len(table), -1)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (predicted_NF, gallery_GF)]
    similarity_NG = unit[0] @ unit[1].T
    own = similarity_NG[np.arange(len(table)), [ids.index(i) for i in table["stimulus_id"]]]
    rank_N = (similarity_NG > own[:, None]).sum(axis=1)
    order = np.lexsort((table["stimulus_id"], table["subject"]))
    return {"top1": (rank_N < 1).astype(float)[order], "top5": (rank_N < 5).astype(float)[order]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--out", type=Path, default=Path("outputs/own_recipe"))
    parser.add_argument("set", nargs="*", help="further overrides of every recipe")
    arguments = parser.parse_args()
    found: dict[str, dict[str, list[np.ndarray]]] = {r: {"top1": [], "top5": []} for r in arguments.recipes}
    for seed in arguments.seeds:
        recording = None
        for recipe in arguments.recipes:
            given = [*RECIPES[recipe], *DATA, f"dataset.seed={seed}", f"seed={seed}", *arguments.set]
            folder = arguments.out / f"{recipe.replace(', ', '_').replace(' ', '_')}_{seed}"
            config = compose("train", [*given, f"run_dir={folder}", f"cache_dir={arguments.out / 'cache'}"])
            recording = recording or read_recording(config)
            for name, values in hits(train(config, recording), config, recording).items():
                found[recipe][name].append(values)
            means = {name: round(float(values[-1].mean()), 3) for name, values in found[recipe].items()}
            print(f"world {seed}, {recipe}: {means}", flush=True)
    rows = summary({r: {n: np.stack(v) for n, v in scores.items()} for r, scores in found.items()})
    (arguments.out / "own_recipe.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(pd.DataFrame(rows).round(3).to_string(index=False))


def summary(found: dict[str, dict[str, np.ndarray]], n_resamples: int = 2000) -> list[dict[str, Any]]:
    """Means of (worlds, people x pictures), intervals over pictures, and what the first recipe is above each other."""
    first = next(iter(found))
    n_worlds, n_items = found[first]["top1"].shape
    n_pictures = n_items // 2
    draw = np.random.default_rng(0)
    picks = draw.integers(0, n_pictures, (n_resamples, n_worlds, n_pictures))
    rows = []
    for recipe, scores in found.items():
        for name, values in scores.items():
            means_WP, first_WP = (v.reshape(n_worlds, 2, n_pictures).mean(axis=1) for v in (values, found[first][name]))
            drawn, above = (
                np.take_along_axis(np.broadcast_to(m, picks.shape), picks, axis=2).mean(axis=(1, 2))
                for m in (means_WP, first_WP - means_WP)
            )
            rows.append(
                {"recipe": recipe, "score": name, "value": float(values.mean()),
                 "ci95": np.percentile(drawn, [2.5, 97.5]).tolist(), "worlds": values.mean(axis=1).tolist(),
                 "own_above": float((first_WP - means_WP).mean()),
                 "own_above_ci95": np.percentile(above, [2.5, 97.5]).tolist()}
            )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
