"""check_config reports what Hydra lets through, all at once, before anything is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import pytest
from omegaconf import OmegaConf

from braindec.config import ConfigError, check_config, locate
from braindec.locations import configs_folder


class Engine(Protocol):
    def start(self) -> None: ...


class Diesel:
    def __init__(self, power_kw: float, fuel: Literal["clean", "dirty"] = "clean", valves: list[int] | None = None):
        raise AssertionError("check_config must not build anything")

    def start(self) -> None: ...


class Rock:
    def __init__(self, weight_kg: float = 1.0) -> None: ...


def polish(surface: str, strength: int = 1) -> str:
    return surface * strength


@dataclass(frozen=True)
class Car:
    engine: Engine
    wheels: int
    finish: Callable[[str], str] | None = None
    spare: Mapping[str, Engine] | None = None
    name: str = "car"


HERE = __name__


def problems(**keys: object) -> tuple[str, ...]:
    base = {"engine": {"_target_": f"{HERE}.Diesel", "power_kw": 90.0}, "wheels": 4}
    config = OmegaConf.create({**base, **keys})
    try:
        check_config(config, Car)
    except ConfigError as error:
        return error.problems
    return ()


def test_a_right_configuration_passes_and_builds_nothing() -> None:
    assert problems() == ()
    assert problems(engine={"_target_": f"{HERE}.Diesel", "power_kw": 90, "valves": [1, 2]}) == ()
    assert problems(finish={"_target_": f"{HERE}.polish", "_partial_": True, "strength": 2}) == ()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"engine": {"_target_": f"{HERE}.Diesel", "power_kW": 9.0, "power_kw": 1.0}}, "did you mean 'power_kw'"),
        ({"engine": {"_target_": f"{HERE}.Diesel", "power_kw": "strong"}}, "engine.power_kw: expected float"),
        ({"engine": {"_target_": f"{HERE}.Diesel", "power_kw": True}}, "engine.power_kw: expected float"),
        ({"engine": {"_target_": f"{HERE}.Diesel"}}, "'power_kw' is missing"),
        ({"engine": {"_target_": f"{HERE}.Diesel", "power_kw": 1, "fuel": "cleen"}}, "did you mean 'clean'"),
        ({"engine": {"_target_": f"{HERE}.Diesel", "power_kw": 1, "valves": [1, "x"]}}, "engine.valves: expected"),
        ({"engine": {"_target_": f"{HERE}.Deisel", "power_kw": 1}}, "did you mean 'Diesel'"),
        ({"engine": {"_target_": f"{HERE}.Rock"}}, "lacks start()"),
        ({"engine": {"power_kw": 1}}, "engine: settings ['power_kw'] of a part that was not chosen"),
        ({"engine": None}, "engine: expected Engine"),
        ({"finish": {"_target_": f"{HERE}.polish", "_partial_": True, "strenght": 2}}, "did you mean 'strength'"),
        (
            {"finish": {"_target_": f"{HERE}.polish", "_partial_": True, "strength": "2"}},
            "finish.strength: expected int",
        ),
        ({"spare": {"a": {"_target_": f"{HERE}.Rock"}}}, "spare.a._target_: expected Engine"),
        ({"wheels": 4.5}, "wheels: expected int"),
        ({"whels": 3}, "whels: unknown key; did you mean 'wheels'"),
        ({"name": "${nowhere}"}, "name: cannot be resolved"),
        ({"name": "???"}, "name: a value must be given"),
        ({"engine": {"_target_": "no_such_package.X"}}, "no module 'no_such_package'"),
    ],
)
def test_each_mistake_is_reported_with_its_place(keys: dict[str, object], expected: str) -> None:
    found = problems(**keys)
    assert len(found) == 1
    assert expected in found[0]


def test_all_mistakes_come_at_once_with_their_file() -> None:
    config = OmegaConf.create(
        {"engine": {"_target_": f"{HERE}.Diesel", "power": 1}, "wheels": "four", "name": "${nowhere}"}
    )
    with pytest.raises(ConfigError) as caught:
        check_config(config, Car, {"engine": "configs/engine/diesel.yaml"})
    text = str(caught.value)
    assert "4 mistakes" in text
    assert "configs/engine/diesel.yaml" in text
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("schema", ["experiment.Experiment", "over_space.OverSpace", "over_time.OverTime"])
def test_types_are_checked_in_a_schema_that_inherits_keys(schema: str) -> None:
    """A base class' fields name types that the subclass' module does not import; nothing was checked then."""
    with pytest.raises(ConfigError) as caught:
        check_config(OmegaConf.create({"seed": "one", "device": 7}), locate(f"braindec.{schema}"))
    wrong = {problem.split(":")[0] for problem in caught.value.problems if "found" in problem}
    assert wrong == {"seed", "device"}


def test_locate_names_the_missing_package_of_a_failing_import(tmp_path, monkeypatch) -> None:
    (tmp_path / "needs_absent.py").write_text("import absent_package_xyz\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="needs the package 'absent_package_xyz'"):
        locate("needs_absent.Thing")


def test_configs_folder_holds_the_groups() -> None:
    assert {"dataset", "decoder", "experiment", "metric", "split", "stage", "target"} <= {
        p.name for p in configs_folder().iterdir()
    }
