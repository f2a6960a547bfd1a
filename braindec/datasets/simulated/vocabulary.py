"""What simulated scenes are made of: object categories, colours, places, lightings, and where each may occur."""

from __future__ import annotations

from types import MappingProxyType

GROUPS = MappingProxyType(
    {
        "face": ("face",),
        "body": ("person",),
        "animal": ("dog", "cat", "bird"),
        "vehicle": ("car", "bus", "boat", "airplane"),
        "building": ("house",),
        "plant": ("tree", "flower"),
        "thing": ("ball", "mug", "chair", "umbrella"),
    }
)
"""Superordinate group -> object categories."""

CATEGORIES = tuple(category for group in GROUPS.values() for category in group)
GROUP_OF = MappingProxyType({category: group for group, members in GROUPS.items() for category in members})

COLOURS = MappingProxyType(
    {
        "red": (0.86, 0.13, 0.13),
        "orange": (0.97, 0.52, 0.08),
        "yellow": (0.97, 0.85, 0.16),
        "green": (0.18, 0.62, 0.24),
        "blue": (0.13, 0.34, 0.86),
        "purple": (0.54, 0.22, 0.72),
        "pink": (0.98, 0.52, 0.70),
        "brown": (0.48, 0.29, 0.15),
        "black": (0.11, 0.11, 0.13),
        "grey": (0.55, 0.56, 0.58),
        "white": (0.95, 0.95, 0.93),
    }
)
"""Colour name -> sRGB in [0, 1]."""

_PAINT = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black", "white")
_FUR = ("brown", "black", "white", "grey", "orange")

COLOURS_OF = MappingProxyType(
    {
        "face": ("brown", "black", "yellow", "orange", "grey"),
        "person": ("red", "yellow", "green", "blue", "purple", "pink", "black", "white"),
        "dog": _FUR,
        "cat": _FUR,
        "bird": ("red", "yellow", "blue", "green", "black", "white", "pink"),
        "car": _PAINT,
        "bus": ("red", "yellow", "blue", "green", "white", "orange"),
        "boat": ("red", "white", "blue", "green", "brown", "yellow"),
        "airplane": ("white", "grey", "red", "blue", "yellow"),
        "house": ("white", "yellow", "red", "brown", "pink", "blue", "grey"),
        "tree": ("green", "orange", "yellow", "red"),
        "flower": ("red", "yellow", "pink", "purple", "blue", "orange", "white"),
        "ball": _PAINT,
        "mug": _PAINT,
        "chair": ("brown", "red", "blue", "green", "white", "black", "yellow"),
        "umbrella": ("red", "yellow", "blue", "green", "purple", "pink", "black", "orange"),
    }
)

PLACES = ("beach", "field", "forest", "city", "mountains", "snow", "desert", "lake", "room")
LIGHTINGS = ("sunny", "cloudy", "sunset", "night")
POSITIONS = ("left", "centre", "right")
SIZES = ("small", "medium", "large")

_OUTDOORS = tuple(place for place in PLACES if place != "room")
_OUTDOORS_ONLY = ("car", "bus", "airplane", "house", "tree")
PLACES_OF = MappingProxyType(
    {
        category: ("beach", "lake") if category == "boat" else _OUTDOORS if category in _OUTDOORS_ONLY else PLACES
        for category in CATEGORIES
    }
)
"""Category -> places where it may stand: boats need water, and some things do not fit into a room."""

FLYING = ("airplane", "bird")
"""Categories that are drawn in the air when the scene has a sky."""
