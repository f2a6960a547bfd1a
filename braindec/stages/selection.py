"""Which stages a command reconstructs with: a run's own, some of them, others, with values changed on the way."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from braindec.types import DataError

Node = Mapping[str, Any]


def chosen_stages(own: Mapping[str, Node], given: Mapping[str, Node], defaults: Mapping[str, Node]) -> dict[str, Node]:
    """Configurations of the stages to run, in order.

    Parameters
    ----------
    own : the run's own stages.
    given : what the command line composed: whole stages that it named, or single values of own ones.
    defaults : the whole stages as their files have them, without the command line's values.

    A stage that the run has keeps the run's values, but for those that the command line changes.
    """
    named = {name for name, node in given.items() if "_target_" in node}
    chosen: dict[str, Node] = {}
    for name in given if named else own:
        node = given.get(name, {})
        if name not in own:
            chosen[name] = node
            continue
        changed = _changed(node, defaults.get(name, {}))
        same_part = "_target_" not in changed
        chosen[name] = _merged(own[name], changed) if same_part else node
    unknown = [name for name in given if name not in chosen]
    if unknown:
        raise DataError(f"stages.{unknown[0]}: the run has no such stage; it has {sorted(own)}, or say stages=[NAME]")
    return chosen


def with_samples(stages: Mapping[str, Node], n_samples: int) -> dict[str, Node]:
    """Give every stage that draws samples so many of them.

    Raises
    ------
    DataError
        If no stage draws samples.
    """
    from hydra.utils import get_class

    able = {
        name
        for name, node in stages.items()
        if "n_samples" in inspect.signature(get_class(str(node["_target_"]))).parameters
    }
    if not able:
        raise DataError(f"n_samples={n_samples}: none of the stages {sorted(stages)} draws samples")
    return {name: {**node, "n_samples": n_samples} if name in able else node for name, node in stages.items()}


def _changed(node: Node, default: Node) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping) and isinstance(default.get(key), Mapping):
            inner = _changed(value, default[key])
            if inner:
                changed[key] = inner
        elif key not in default or default[key] != value:
            changed[key] = value
    return changed


def _merged(base: Node, change: Node) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
    return merged
