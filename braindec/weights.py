"""``braindec weights``: which weights of frozen networks are here, which are missing, and fetching them when asked.

braindec weights list                        every known network: size, licence, where it is or goes, who needs it
braindec weights list brain_diffuser         those of one experiment, as its configuration says
braindec weights check [NAME ...]            verify files and published checksums of weights or of what experiments
                                             need; exit status 1 when some are damaged or missing
braindec weights fetch ID [ID ...]           download into $BRAINDEC_WEIGHTS (the only command that uses the network)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from braindec.console import progress
from braindec.types import DataError

MARKS = {"present": "here   ", "missing": "missing", "damaged": "DAMAGED"}


def main(arguments: list[str]) -> None:
    """Run ``list``, ``check`` or ``fetch``."""
    actions: dict[str, Callable[[Sequence[str]], None]] = {"list": list_weights, "check": check, "fetch": fetch}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return
    if arguments[0] not in actions:
        raise DataError(f"weights: expected one of {', '.join(actions)}, found {arguments[0]!r}")
    actions[arguments[0]](arguments[1:])


def list_weights(names: Sequence[str]) -> None:
    """Print every known network, or the given ones and those that the given experiments need."""
    from braindec.frozen.weights import known_weights, status

    known = known_weights()
    chosen = identifiers_of(names) if names else tuple(known)
    if not chosen:
        print(f"no weights are needed by {', '.join(names)}")
    total_gb = missing_gb = 0.0
    for identifier in chosen:
        if identifier not in known:
            print(f"[{MARKS[_unlisted_status(identifier)]}] {identifier}  (not in the table)")
            continue
        own, found = known[identifier], status(identifier)
        total_gb += own.size_gb
        missing_gb += own.size_gb if found.status != "present" else 0.0
        needed = f"needed by {', '.join(own.experiments)}" if own.experiments else "needed by no experiment"
        print(f"[{MARKS[found.status]}] {identifier}  {own.size_gb:g} GB, {own.licence}")
        print(f"          {own.title}; {'comes with braindec' if own.shipped else needed}")
        print(f"          {found.path if found.path is not None else f'goes to $BRAINDEC_WEIGHTS/{identifier}'}")
    print(f"{len(chosen)} networks, {total_gb:.1f} GB in all, {missing_gb:.1f} GB of them missing")


def check(names: Sequence[str]) -> None:
    """Verify the given weights and those that the given experiments need, or all that are present."""
    from braindec.frozen.weights import known_weights, status

    known = known_weights()
    damaged = 0
    for identifier in identifiers_of(names) if names else known:
        if identifier not in known:
            state, detail = _unlisted_status(identifier), "has no published checksum"
        else:
            found = status(identifier, verify=True)
            state, detail = found.status, found.detail
        if names or state != "missing":
            print(f"[{MARKS[state]}] {identifier}: {detail}")
        damaged += state == "damaged" or (bool(names) and state == "missing")
    if damaged:
        raise SystemExit(1)


def fetch(identifiers: Sequence[str]) -> None:
    """Download the given weights."""
    from braindec.frozen.weights import fetch as fetch_one

    if not identifiers:
        raise DataError("weights fetch: name the weights to fetch; braindec weights list shows their ids")
    for identifier in identifiers:
        print(f"{identifier}: {fetch_one(identifier, progress)}")


def identifiers_of(names: Sequence[str]) -> tuple[str, ...]:
    """Ids of weights: those given, and for each experiment what its configuration and the table say it needs.

    Raises
    ------
    DataError
        If a name is neither known weights nor an experiment.
    """
    from braindec.frozen.weights import known_weights, needed_by
    from braindec.locations import configs_folder

    known = known_weights()
    configured = {path.stem for path in (configs_folder() / "experiment").glob("*.yaml")}
    others = {experiment for own in known.values() for experiment in own.experiments}
    found: dict[str, None] = {}
    for name in names:
        if name in known:
            found[name] = None
            continue
        if name not in configured | others:
            near = difflib.get_close_matches(name, [*known, *configured, *others], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise DataError(f"weights: {name!r} is neither known weights nor an experiment{hint}")
        if name in configured:
            found.update(dict.fromkeys(configured_weights(name)))
        found.update(dict.fromkeys(own.id for own in needed_by(name)))
    return tuple(found)


def configured_weights(experiment: str) -> tuple[str, ...]:
    """The weights that the parts of an experiment's configuration name, theirs by default among them."""
    from omegaconf import OmegaConf

    from braindec.compose import compose

    found: dict[str, None] = {}
    _collect(OmegaConf.to_container(compose("train", [f"experiment={experiment}"])), found)
    return tuple(found)


def _collect(node: Any, found: dict[str, None]) -> None:
    import inspect

    from braindec.compose import build
    from braindec.config import locate

    if isinstance(node, dict):
        target = node.get("_target_")
        if isinstance(target, str) and "weights" in inspect.signature(locate(target)).parameters:
            # Constructors only store, so that the part itself can say which weights it takes by default.
            found[str(build(node).weights)] = None
            return
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _collect(child, found)


def _unlisted_status(identifier: str) -> str:
    from braindec.frozen.weights import resolve

    try:
        resolve(identifier)
    except DataError:
        return "missing"
    return "present"
