"""``braindec weights``: which weights of frozen networks are here, which are missing, and fetching them when asked.

braindec weights list                        every known network, its size, licence and the experiments that need it
braindec weights list brain_diffuser         those of one experiment
braindec weights check [ID ...]              verify files and published checksums; exit status 1 when some are damaged
braindec weights fetch ID [ID ...]           download into $BRAINDEC_WEIGHTS (the only command that uses the network)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


def list_weights(experiments: Sequence[str]) -> None:
    """Print every known network, or those that the given experiments need."""
    from braindec.frozen.weights import known_weights, needed_by, status

    known = known_weights()
    chosen = [own.id for experiment in experiments for own in needed_by(experiment)] if experiments else list(known)
    if experiments and not chosen:
        print(f"no known weights are needed by {', '.join(experiments)}")
    for identifier in dict.fromkeys(chosen):
        own = known[identifier]
        print(f"[{MARKS[status(identifier).status]}] {identifier}  {own.size_gb:g} GB, {own.licence}")
        print(f"          {own.title}; needed by {', '.join(own.experiments) or 'no experiment'}")


def check(identifiers: Sequence[str]) -> None:
    """Verify the given weights, or all that are present."""
    from braindec.frozen.weights import known_weights, status

    damaged = 0
    for identifier in identifiers or known_weights():
        found = status(identifier, verify=True)
        if identifiers or found.status != "missing":
            print(f"[{MARKS[found.status]}] {identifier}: {found.detail}")
        damaged += found.status == "damaged" or (bool(identifiers) and found.status == "missing")
    if damaged:
        raise SystemExit(1)


def fetch(identifiers: Sequence[str]) -> None:
    """Download the given weights."""
    from braindec.frozen.weights import fetch as fetch_one

    if not identifiers:
        raise DataError("weights fetch: name the weights to fetch; braindec weights list shows their ids")
    for identifier in identifiers:
        print(f"{identifier}: {fetch_one(identifier, progress)}")
