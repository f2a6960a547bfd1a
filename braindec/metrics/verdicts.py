"""What a score says beside chance and its controls, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from braindec.types import Direction

MIN_STIMULI = 6
"""With fewer stimuli no paired test can reach 5% two-sided (2 / 2^5 = 0.06), so no comparison is claimed."""


@dataclass(frozen=True)
class ControlResult:
    """A control's score and how decoding differs from it, stimulus by stimulus.

    ``value`` and ``difference`` hold ``value``, ``ci95`` and ``n``; the difference is decoded minus control.
    """

    name: str
    value: dict[str, Any]
    difference: dict[str, Any]
    direction: Direction
    beaten: bool

    def entry(self) -> dict[str, Any]:
        """The control's entry in ``scores.json``."""
        return {**self.value, "direction": self.direction, "difference": self.difference, "beaten": self.beaten}


def verdict(metric: str, entry: dict[str, Any], controls: Sequence[ControlResult]) -> list[str]:
    """Sentences on one metric: its value beside every control, and beside chance.

    Parameters
    ----------
    metric : its name.
    entry : its entry in ``scores.json``.
    controls : those that were scored by it.
    """
    if entry["value"] is None:
        return [f"{metric} is undefined for every prediction."]
    low, high = entry["ci95"]
    what = f"{metric} {_text(entry['value'])} [{_text(low)}, {_text(high)}]"
    if entry["n"] < MIN_STIMULI:
        stimuli = "1 stimulus" if entry["n"] == 1 else f"{entry['n']} stimuli"
        return [f"{what} rests on {stimuli}: too few to claim anything beside chance or controls."]
    return [_beside_controls(what, entry, controls), *_beside_chance(metric, entry)]


def _beside_controls(what: str, entry: dict[str, Any], controls: Sequence[ControlResult]) -> str:
    higher = entry["direction"] == "higher"
    defined = [control for control in controls if control.value["value"] is not None]
    # An oracle was told something of the truth: a reference from above, which a decoder need not beat.
    oracles = [control for control in defined if control.name.startswith("oracle")]
    known = [control for control in defined if control not in oracles]
    told = "".join(f" ({control.name}, told the truth's class: {_text(control.value['value'])})" for control in oracles)
    if not known:
        return f"{what} was compared with no control{told}."
    beyond = "above" if higher else "below (better than)"
    ordered = sorted(known, key=lambda control: control.value["value"], reverse=higher)
    missed = [control for control in ordered if not control.beaten]
    if not missed:
        return (
            f"{what} is {beyond} every control; the strongest control is {ordered[0].name} at "
            f"{_text(ordered[0].value['value'])}{told}."
        )
    listed = ", ".join(f"{control.name} at {_text(control.value['value'])}" for control in missed)
    beaten = f"; it is {beyond} {len(known) - len(missed)} of {len(known)} controls" if len(missed) < len(known) else ""
    return f"{what} does not beat {listed}{beaten}{told}."


def _beside_chance(metric: str, entry: dict[str, Any]) -> list[str]:
    if entry["chance"] is None:
        return []
    low, high = entry["ci95"]
    chance = _text(entry["chance"])
    better = low > entry["chance"] if entry["direction"] == "higher" else high < entry["chance"]
    worse = high < entry["chance"] if entry["direction"] == "higher" else low > entry["chance"]
    if better:
        return [f"{metric} is better than chance ({chance})."]
    if worse:
        return [f"{metric} is worse than chance ({chance})."]
    return [f"{metric} is not different from chance ({chance})."]


def _text(value: float) -> str:
    """Two decimals, or enough for two digits of a small value."""
    return f"{value:.2f}" if value == 0 or abs(value) >= 0.1 else f"{value:.2g}"
