"""``braindec doctor``: what this machine has, what is missing, and how to mend it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from braindec.locations import configs_folder

EXTRAS = {
    "fmri": ("nibabel", "nilearn"),
    "meeg": ("mne", "mne_bids"),
    "train": ("accelerate", "tensorboard"),
    "generate": ("torchvision", "open_clip", "transformers", "diffusers"),
    "caption": ("rouge_score", "sacrebleu", "nltk"),
    "sweep": ("hydra_plugins.hydra_submitit_launcher",),
}
_LOW_DISK_GB = 20.0
_MARKS = {"ok": "ok  ", "note": "note", "bad": "BAD "}


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``fix`` says what to do about it."""

    level: Literal["ok", "note", "bad"]
    subject: str
    found: str
    fix: str = ""


def main(arguments: list[str]) -> None:
    """Print all findings; exit status 1 when something that braindec cannot work without is missing."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(__doc__)
        return
    findings = [python(), *torch_and_gpu(), disk(Path.cwd()), *extras(), *data_roots(), *weights()]
    for finding in findings:
        print(f"[{_MARKS[finding.level]}] {finding.subject}: {finding.found}")
        if finding.fix:
            print(f"       {finding.fix}")
    if any(finding.level == "bad" for finding in findings):
        raise SystemExit(1)


def python() -> Finding:
    """The Python that runs braindec."""
    return Finding("ok", "Python", f"{platform.python_version()} at {sys.executable}")


def torch_and_gpu() -> list[Finding]:
    """Torch's version and the GPUs it sees."""
    if importlib.util.find_spec("torch") is None:
        return [Finding("bad", "torch", "missing", "pip install braindec installs it; see README for a CPU-only torch")]
    import torch

    findings = [Finding("ok", "torch", torch.__version__)]
    if not torch.cuda.is_available():
        findings.append(Finding("note", "GPU", "none", "device=auto uses the CPU; large decoders want an NVIDIA GPU"))
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        findings.append(Finding("ok", f"GPU {index}", f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB"))
    return findings


def disk(folder: Path) -> Finding:
    """Free space where runs are written."""
    free = shutil.disk_usage(folder).free / 1e9
    if free < _LOW_DISK_GB:
        return Finding("note", "disk", f"{free:.0f} GB free in {folder}", "full-size runs need more: set run_dir")
    return Finding("ok", "disk", f"{free:.0f} GB free in {folder}")


def extras() -> list[Finding]:
    """Which optional extras are installed."""
    findings = []
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if not _installed(module)]
        if missing:
            fix = f"pip install 'braindec[{extra}]'"
            findings.append(Finding("note", f"extra {extra}", f"missing {', '.join(missing)}", fix))
        else:
            findings.append(Finding("ok", f"extra {extra}", "installed"))
    return findings


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def data_roots() -> list[Finding]:
    """For every data set whose config names a root: whether it is there."""
    from omegaconf.errors import OmegaConfBaseException

    from braindec.compose import load_config

    findings = []
    base = os.environ.get("BRAINDEC_DATA")
    if base is None:
        findings.append(
            Finding(
                "note",
                "BRAINDEC_DATA",
                "not set",
                "set it to the folder that holds your data sets (see docs/datasets.md)",
            )
        )
    for path in sorted((configs_folder() / "dataset").glob("*.yaml")):
        loaded = load_config(path)
        config = loaded.get("dataset", loaded)
        if "root" not in config:
            findings.append(Finding("ok", f"data set {path.stem}", "made on the fly, needs no files"))
            continue
        try:
            root = Path(str(config.root))
        except OmegaConfBaseException as error:
            findings.append(Finding("note", f"data set {path.stem}", f"its root cannot be resolved: {error}"))
            continue
        if root.is_dir():
            findings.append(Finding("ok", f"data set {path.stem}", f"found at {root}"))
        else:
            fix = f"{_remedy(str(config._target_))}; docs/datasets.md has the commands (dataset.root=, BRAINDEC_DATA)"
            findings.append(Finding("note", f"data set {path.stem}", f"not at {root}", fix))
    return findings


def _remedy(target: str) -> str:
    """What a reader's own errors say is to be downloaded, from where, how large, under which licence."""
    try:
        module = importlib.import_module(target.rpartition(".")[0])
    except ImportError as error:
        return f"its reader needs {error.name}"
    return str(getattr(module, "REMEDY", "get it"))


def weights() -> list[Finding]:
    """For every known network: whether its weights are here."""
    from braindec.frozen.weights import known_weights, status

    findings = []
    for identifier, known in known_weights().items():
        found = status(identifier)
        if found.status == "present":
            findings.append(Finding("ok", f"weights {identifier}", f"found at {found.path}"))
        elif found.status == "damaged":
            fix = f"braindec weights fetch {identifier}"
            findings.append(Finding("note", f"weights {identifier}", found.detail, fix))
        else:
            size = f"{known.size_gb:g} GB, {known.licence}"
            fix = f"set BRAINDEC_WEIGHTS, then braindec weights fetch {identifier} ({size})"
            findings.append(Finding("note", f"weights {identifier}", "missing", fix))
    return findings
