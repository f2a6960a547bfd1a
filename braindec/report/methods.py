"""The methods paragraph and the provenance table, worded from a run's manifest and configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from braindec.report.words import capital, label

PROVENANCE_LABELS = {
    "command": "Command",
    "created": "Created",
    "git_revision": "Code revision",
    "data_version": "Data version",
    "split_hash": "Split hash",
    "weights_hash": "Weights hash",
    "selected_on": "Selected on",
    "selection_source": "Selected on",
    "seed": "Seed",
    "seeds": "Seeds",
    "flags": "Flags",
    "repetitions_averaged": "Repetitions averaged",
    "library_versions": "Library versions",
}
GROUPS = ("transform", "target", "decoder", "stage", "metric")


def _config(manifest: Mapping[str, Any], config_yaml: str) -> Mapping[str, Any]:
    if isinstance(manifest.get("config"), Mapping):
        return manifest["config"]
    import yaml

    loaded = yaml.safe_load(config_yaml) if config_yaml.strip() else {}
    return loaded if isinstance(loaded, Mapping) else {}


def _words(name: str) -> str:
    """``RidgeDecoder`` or ``ridge_decoder`` -> ``ridge decoder``; acronyms stay."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return " ".join(w if w.isupper() or any(c.isdigit() for c in w) else w.lower() for w in label(spaced).split())


def _settings(part: Mapping[str, Any]) -> str:
    shown = []
    for key, value in part.items():
        if key.startswith("_") or value is None or isinstance(value, Mapping):
            continue
        if isinstance(value, (list, tuple)):
            if any(isinstance(v, Mapping) for v in value):
                continue
            value = ", ".join(map(str, value)) if len(value) <= 6 else f"{value[0]} … {value[-1]} ({len(value)} values)"
        if isinstance(value, bool):
            value = "yes" if value else "no"
        shown.append(f"{label(key)}: {value}")
    return f" ({'; '.join(shown)})" if shown else ""


def _part(part: Any) -> str:
    """One configured part in words: the last name of its ``_target_`` and its plain settings."""
    if not isinstance(part, Mapping):
        return str(part)
    target = str(part.get("_target_", "")).rsplit(".", 1)[-1]
    return f"{_words(target)}{_settings(part)}" if target else _settings(part).strip(" ()")


def _parts(group: Any) -> list[str]:
    """A group's parts: a mapping with ``_target_`` is one part, otherwise each of its named values is."""
    if not group:
        return []
    if isinstance(group, Mapping) and "_target_" not in group:
        return [text for part in group.values() if part and (text := _part(part))]
    if isinstance(group, (list, tuple)):
        return [text for part in group if part and (text := _part(part))]
    return [_part(group)]


def _listing(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{'; '.join(parts[:-1])}; and {parts[-1]}"


def methods(
    manifest: Mapping[str, Any], config_yaml: str, subjects: list[str], n_items: int, controls: list[str]
) -> tuple[str, ...]:
    """The methods as sentences, in the order of a paper; what a run does not record is not claimed."""
    config = _config(manifest, config_yaml)

    def group(name: str) -> list[str]:
        return _parts(config.get(name) or config.get(f"{name}s"))

    sentences = []
    who = f"{len(subjects)} subject{'' if len(subjects) == 1 else 's'} ({', '.join(subjects)})" if subjects else ""
    if dataset := group("dataset"):
        version = f", version {manifest['data_version']}" if manifest.get("data_version") else ""
        sentences.append(f"Data: {_listing(dataset)}{version}" + (f"; {who}." if who else "."))
    elif who:
        sentences.append(f"Data: {who}.")
    if split := group("split"):
        hashed = f" (hash {_digest(manifest['split_hash'])})" if manifest.get("split_hash") else ""
        sentences.append(f"Trials were divided by {_listing(split).removeprefix('by ')}{hashed}.")
    wording = {
        "transform": "Signals were transformed, in this order, with statistics fitted on training trials: {}.",
        "target": "Stimuli were represented as {}.",
        "decoder": "The decoder was {}.",
        "stage": "Predictions became reconstructions through {}.",
        "metric": "They were scored by {}.",
    }
    flags = manifest.get("flags") or ()
    if "transductive" in str(flags):
        wording["transform"] = "Signals were transformed, in this order: {}."
    for name in GROUPS:
        if parts := group(name):
            sentences.append(wording[name].format(_listing(parts)))
    if selected := manifest.get("selected_on") or manifest.get("selection_source"):
        sentences.append(f"Hyper-parameters were selected on {selected}.")
    seeds = manifest.get("seeds", manifest.get("seed"))
    if seeds is not None:
        listed = ", ".join(map(str, seeds)) if isinstance(seeds, (list, tuple)) else seeds
        sentences.append(f"Random numbers were seeded with {_inline(listed)}.")
    if (averaged := manifest.get("repetitions_averaged")) is not None:
        sentences.append(f"Test repetitions averaged: {_inline(averaged)}.")
    sentences.append(f"{n_items} test items were scored; intervals are 95% bootstrap intervals.")
    if controls:
        sentences.append(
            f"The same scores were computed for {len(controls)} controls: {', '.join(map(label, controls))}."
        )
    return tuple(capital(s) for s in sentences)


def _digest(found: Any) -> str:
    """The first characters of a hash, or of each subject's."""
    if isinstance(found, Mapping):
        return ", ".join(f"{subject} {str(digest)[:12]}" for subject, digest in found.items())
    return str(found)[:12]


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{label(str(k))} {_inline(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_inline(v) for v in value)
    return "–" if value is None else str(value)


def provenance(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Rows (label, value) for every manifest key but the configuration, which has its own place."""
    rows = []
    for key, value in manifest.items():
        if key == "config":
            continue
        text = _inline(value)
        rows.append((PROVENANCE_LABELS.get(key, capital(label(key))), text or "none"))
    return tuple(rows)


def flatten(report: Mapping[str, Any], prefix: str = "", limit: int = 200) -> tuple[tuple[str, str], ...]:
    """Nested fit report -> rows (path, value); long number lists become their count and range."""
    rows: list[tuple[str, str]] = []
    for key, value in report.items():
        path = f"{prefix} › {label(str(key))}" if prefix else label(str(key))
        if isinstance(value, Mapping):
            rows += flatten(value, path, limit)
        elif isinstance(value, (list, tuple)) and len(value) > 8 and all(isinstance(v, (int, float)) for v in value):
            rows.append((path, f"{len(value)} values from {min(value):g} to {max(value):g}"))
        elif isinstance(value, float):
            rows.append((path, f"{value:.4g}"))
        else:
            rows.append((path, value if isinstance(value, str) else json.dumps(value, default=str)))
    if len(rows) > limit and not prefix:
        return (*rows[:limit], ("more", f"{len(rows) - limit} further entries are in the run's own files"))
    return tuple(rows)
