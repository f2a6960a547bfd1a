"""Sentences that describe a planned scene."""

from __future__ import annotations

from types import MappingProxyType

from braindec.datasets.simulated.plan import PlannedObject, ScenePlan

_PLACE = MappingProxyType(
    {
        "beach": ("on a beach", "beach"),
        "field": ("in a field", "field"),
        "forest": ("in a forest", "forest"),
        "city": ("on a city street", "city street"),
        "mountains": ("in the mountains", "mountain landscape"),
        "snow": ("in the snow", "snow landscape"),
        "desert": ("in a desert", "desert"),
        "lake": ("by a lake", "lake"),
        "room": ("in a room", "room"),
    }
)
"""Place -> phrase, noun."""

_LIGHTING = MappingProxyType(
    {
        "sunny": ("on a sunny day", "sunny"),
        "cloudy": ("on a cloudy day", "cloudy"),
        "sunset": ("at sunset", "sunset-lit"),
        "night": ("at night", "dark"),
    }
)
"""Lighting -> phrase, adjective."""

_POSITION = MappingProxyType({"left": "on the left", "centre": "in the centre", "right": "on the right"})
_SIZE = MappingProxyType({"small": "small", "medium": "medium-sized", "large": "large"})


def with_article(noun_phrase: str) -> str:
    """Put a or an before a noun phrase."""
    return ("an " if noun_phrase[0] in "aeiou" else "a ") + noun_phrase


def describe(planned: PlannedObject, size: bool = False) -> str:
    """Noun phrase of an object with its colour, e.g. "a large red boat", "a person in blue"."""
    prefix = f"{_SIZE[planned.size]} " if size else ""
    if planned.category == "person":
        return with_article(f"{prefix}person in {planned.colour}")
    if planned.category == "face":
        return with_article(f"{prefix}face with {planned.colour} hair")
    return with_article(f"{prefix}{planned.colour} {planned.category}")


def captions_of(plan: ScenePlan) -> tuple[str, ...]:
    """Six paraphrases: each names object, colour and place; some add position, size, lighting, the second object."""
    main = plan.objects[0]
    what, sized = describe(main), describe(main, size=True)
    where, noun = _PLACE[plan.place]
    when, adjective = _LIGHTING[plan.lighting]
    side = _POSITION[main.position]
    company = f" and {describe(plan.objects[1])}" if len(plan.objects) > 1 else ""
    beside = f", with {describe(plan.objects[1])} {_POSITION[plan.objects[1].position]}" if company else ""
    return (
        f"{what} {side} of {with_article(f'{adjective} {noun}')}",
        f"{what} {where} {when}",
        f"{what}{company} {where}",
        f"{with_article(f'{adjective} {noun}')} with {sized} {side}",
        f"there is {what} {side} of the picture, {where} {when}",
        f"a picture of {sized} {where}{beside}",
    )
