"""Checks a composed configuration against the signatures it will call, before anything is built or any file opened.

Hydra composes; it does not check: a misspelt key in a YAML file, a value of the wrong type and a misspelt key beneath
``_partial_: true`` all pass it. `check_config` finds every such mistake at once and names the nearest valid spelling.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from braindec.types import DataError

if typing.TYPE_CHECKING:
    from omegaconf import DictConfig

INSTANTIATE_KEYS = frozenset({"_target_", "_partial_", "_recursive_", "_convert_", "_args_"})


class ConfigError(DataError):
    """One or more mistakes in a configuration; ``problems`` lists them."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = f"{len(problems)} mistake{'s' if len(problems) > 1 else ''} in the configuration"
        super().__init__(f"{count}:\n" + "\n".join(f"  - {p}" for p in problems))


def check_config(config: DictConfig, schema: Callable[..., Any], files: Mapping[str, str] | None = None) -> None:
    """Check keys, types, interpolations and targets of a composed configuration.

    Parameters
    ----------
    config : the composed configuration.
    schema : a function or dataclass whose parameters are the allowed top-level keys, with their types.
    files : top-level key -> the YAML file it came from, named in messages.

    Raises
    ------
    ConfigError
        Naming every mistake, each with where it is, what was expected, what was found and the nearest valid name.
    """
    problems = list(_interpolation_problems(config))
    plain = _plain(config)
    problems += _call_problems(plain, schema, "", partial=False)
    if problems:
        raise ConfigError([_with_file(problem, files or {}) for problem in problems])


def _with_file(problem: str, files: Mapping[str, str]) -> str:
    key = problem.split(":", 1)[0].split(".", 1)[0]
    return f"{problem} (in {files[key]})" if key in files else problem


def _interpolation_problems(config: DictConfig) -> Iterator[str]:
    from omegaconf import DictConfig, ListConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    def walk(node: DictConfig | ListConfig, where: str) -> Iterator[str]:
        keys: list[Any] = list(node.keys()) if isinstance(node, DictConfig) else list(range(len(node)))
        for key in keys:
            path = f"{where}.{key!s}" if where else str(key)
            if OmegaConf.is_missing(node, key):
                yield f"{path}: a value must be given (it is ???)"
                continue
            try:
                value = node[key]
            except OmegaConfBaseException as error:
                yield f"{path}: cannot be resolved: {str(error).splitlines()[0]}"
                continue
            if isinstance(value, DictConfig | ListConfig):
                yield from walk(value, path)

    yield from walk(config, "")


def _plain(node: Any) -> Any:
    """A container of plain values; what cannot be resolved becomes `_Unknown` (reported already)."""
    from omegaconf import DictConfig, ListConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    def value(key: Any) -> Any:
        if OmegaConf.is_missing(node, key):
            return _UNKNOWN
        try:
            return _plain(node[key])
        except OmegaConfBaseException:
            return _UNKNOWN

    if isinstance(node, DictConfig):
        return {key: value(key) for key in node}
    if isinstance(node, ListConfig):
        return [value(i) for i in range(len(node))]
    return node


class _Unknown:
    """A value that could not be resolved; it fits everything, since its mistake is reported already."""


_UNKNOWN = _Unknown()


def locate(name: str) -> Any:
    """Import ``package.module.attribute``.

    Raises
    ------
    ConfigError
        When it does not exist, with the nearest name that does; an import that fails inside says why.
    """
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            found = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
                continue
            raise ConfigError([f"{name}: importing it needs the package {error.name!r}, which is missing"]) from error
        except ImportError as error:
            raise ConfigError([f"{name}: importing it failed: {error}"]) from error
        for depth, attribute in enumerate(parts[cut:], start=cut):
            if not hasattr(found, attribute):
                known = _submodules(found) | {n for n in vars(found) if not n.startswith("_")}
                raise ConfigError(
                    [f"{name}: {'.'.join(parts[:depth])} has no {attribute!r}{_nearest(attribute, known)}"]
                )
            found = getattr(found, attribute)
        return found
    raise ConfigError([f"{name}: no module {parts[0]!r} can be imported"])


def _submodules(package: Any) -> set[str]:
    import pkgutil

    return {info.name for info in pkgutil.iter_modules(getattr(package, "__path__", []))}


def _nearest(name: str, known: collections.abc.Iterable[str]) -> str:
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid are {', '.join(known)}" if 0 < len(known) <= 20 else ""


def _call_problems(given: Mapping[Any, Any], called: Callable[..., Any], where: str, partial: bool) -> Iterator[str]:
    """Mistakes in the keyword arguments ``given`` to ``called``, which stands at the config path ``where``."""
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):  # some builtins have no signature: nothing to check against
        return
    hints = _annotations(called)
    parameters = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    n_positional = len(given.get("_args_", ())) if "_target_" in given else 0
    by_position = set(list(parameters)[:n_positional])
    for key, value in given.items():
        if key in INSTANTIATE_KEYS and "_target_" in given:
            continue
        path = f"{where}.{key}" if where else str(key)
        if key not in parameters:
            if not open_ended:
                yield f"{path}: unknown key{_nearest(key, parameters)}"
            elif isinstance(value, Mapping | list):
                yield from _value_problems(value, Any, path)
            continue
        yield from _value_problems(value, hints.get(key, Any), path)
    if partial:
        return
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in given and name not in by_position:
            place = where or "the configuration"
            yield f"{place}: the key {name!r} is missing ({_spell(hints.get(name, Any))})"


def _annotations(called: Callable[..., Any]) -> dict[str, Any]:
    # The fields of a dataclass name types of the module that declares them, which may be that of a base class.
    fields = inspect.isclass(called) and dataclasses.is_dataclass(called)
    owner = called.__init__ if inspect.isclass(called) and not fields else called
    try:
        return typing.get_type_hints(owner)
    except (NameError, TypeError, AttributeError):
        # Annotations that exist for the type checker only cannot be evaluated; keys are still checked.
        return {}


def _value_problems(value: Any, hint: Any, where: str) -> Iterator[str]:
    if isinstance(value, _Unknown):
        return
    if isinstance(value, Mapping) and "_target_" in value:
        yield from _target_problems(value, hint, where)
        return
    if isinstance(value, Mapping) and any(getattr(option, "_is_protocol", False) for option in _options(hint)):
        yield f"{where}: settings {sorted(value)} of a part that was not chosen; choose it in its group, or drop them"
        return
    if not _fits(value, hint):
        yield f"{where}: expected {_spell(hint)}, found {value!r}{_literal_hint(value, hint)}"
        return
    if isinstance(value, Mapping):
        inner = _mapping_value_hint(hint)
        for key, item in value.items():
            yield from _value_problems(item, inner, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, Mapping):
                yield from _value_problems(item, _item_hint(hint), f"{where}.{index}")


def _target_problems(node: Mapping[str, Any], hint: Any, where: str) -> Iterator[str]:
    try:
        found = locate(str(node["_target_"]))
    except ConfigError as error:
        for problem in error.problems:
            yield f"{where}._target_: {problem}"
        return
    if not callable(found):
        yield f"{where}._target_: {node['_target_']} is not callable"
        return
    partial = bool(node.get("_partial_", False))
    if not partial:
        lacking = _lacks(found, hint)
        if lacking:
            yield f"{where}._target_: expected {_spell(hint)}, found {node['_target_']}, which {lacking}"
    yield from _call_problems(node, found, where, partial=partial)


def _lacks(found: Any, hint: Any) -> str:
    """Why the class ``found`` does not make a ``hint``, or an empty string."""
    if not inspect.isclass(found):
        return ""
    options = [option for option in _options(hint) if inspect.isclass(option)]
    if not options or any(option is object for option in options) or Any in _options(hint):
        return ""
    reasons = []
    for option in options:
        if getattr(option, "_is_protocol", False):
            needed = [n for n, v in vars(option).items() if inspect.isfunction(v) and not n.startswith("_")]
            absent = [name for name in needed if not callable(getattr(found, name, None))]
            if not absent:
                return ""
            reasons.append(f"lacks {', '.join(f'{name}()' for name in absent)}")
        elif issubclass(found, option):
            return ""
        else:
            reasons.append(f"is not a {option.__name__}")
    return " and ".join(reasons)


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _mapping_value_hint(hint: Any) -> Any:
    for option in _options(hint):
        if get_origin(option) in (dict, collections.abc.Mapping) and len(get_args(option)) == 2:
            return get_args(option)[1]
    return Any


def _item_hint(hint: Any) -> Any:
    for option in _options(hint):
        if get_origin(option) in (list, tuple, collections.abc.Sequence) and get_args(option):
            return get_args(option)[0]
    return Any


def _fits(value: Any, hint: Any) -> bool:
    return any(_fits_one(value, option) for option in _options(hint))


def _fits_one(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if (
        isinstance(value, _Unknown)
        or hint in (Any, inspect.Parameter.empty, object)
        or isinstance(hint, typing.TypeVar)
    ):
        return True
    if hint in (None, type(None)):
        return value is None
    if origin is typing.Annotated:
        return _fits(value, get_args(hint)[0])
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    if hint is Path:
        return isinstance(value, str)
    if origin is not None and inspect.isclass(origin):
        return _fits_container(value, origin, get_args(hint))
    if inspect.isclass(hint):
        if issubclass(hint, Mapping) or hint is dict:
            return isinstance(value, Mapping)
        if issubclass(hint, list | tuple | set | frozenset) or hint in (
            collections.abc.Sequence,
            collections.abc.Iterable,
        ):
            return isinstance(value, list)
        return isinstance(value, hint) if hint.__module__ == "builtins" else False
    return True


def _fits_container(value: Any, origin: type, arguments: tuple[Any, ...]) -> bool:
    if origin is collections.abc.Callable:
        return False  # only a node with _target_ makes a callable
    if issubclass(origin, collections.abc.Mapping):
        return isinstance(value, Mapping)
    if not isinstance(value, list):
        return False
    if origin is tuple and arguments and Ellipsis not in arguments:
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    inner = arguments[0] if arguments else Any
    return all(_fits(item, inner) or (isinstance(item, Mapping) and "_target_" in item) for item in value)


def _spell(hint: Any) -> str:
    if hint is Any or hint is inspect.Parameter.empty:
        return "any value"
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(hint))
    if get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_spell(option) for option in get_args(hint))
    if hint is type(None):
        return "null"
    return getattr(hint, "__name__", str(hint)) if get_origin(hint) is None else str(hint).replace("typing.", "")


def _literal_hint(value: Any, hint: Any) -> str:
    choices = [c for option in _options(hint) if get_origin(option) is Literal for c in get_args(option)]
    return _nearest(str(value), [str(c) for c in choices]) if choices else ""
