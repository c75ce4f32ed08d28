"""Recipes as TOML can hold them, and back."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from daskimg.errors import OptionError
from daskimg.recipe._steps import NAMED, short_name, step_class

if TYPE_CHECKING:
    from collections.abc import Mapping


def plain(options: Any) -> dict[str, Any]:
    """Return a dataclass's fields as TOML can hold them: no ``None``, lists for tuples."""
    if not is_dataclass(options):
        raise OptionError(f"{type(options).__name__} must be a frozen dataclass")
    values = {f.name: getattr(options, f.name) for f in fields(options)}
    return {name: _as_plain(value) for name, value in values.items() if value is not None}


def _as_plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_as_plain(each) for each in value]
    return named(value) if is_dataclass(value) else value


def named(step: Any) -> dict[str, Any]:
    """Return a step or a target with its name."""
    return {"name": short_name(step), **plain(step)}


def table(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a table of TOML; an empty one where there is none."""
    found = given.get(name, {})
    if not isinstance(found, dict):
        raise OptionError(f"{name} must be a table, got {found!r}; write [{name}]")
    return found


def steps_from(given: Mapping[str, Any], kind: str) -> tuple[Any, ...]:
    """Return the steps in a list of tables; none where there is no list."""
    found = given.get(kind, [])
    if not isinstance(found, list) or not all(isinstance(step, dict) for step in found):
        raise OptionError(f"{kind} must be a list of tables; write [[{kind}]]")
    return tuple(_step_from(step, kind) for step in found)


def _step_from(step: Mapping[str, Any], kind: str) -> Any:
    values = {name: _as_field(value, kind) for name, value in step.items()}
    if "name" not in values:
        raise OptionError(f"a {kind} needs a name, got {values}; try name = {next(iter(NAMED))!r}")
    name = str(values.pop("name"))
    return made(step_class(name, kind), name, values)


def _as_field(value: Any, kind: str) -> Any:
    """Return a value of TOML as a field holds it: steps within steps, tuples for lists."""
    if isinstance(value, dict) and "name" in value:
        return _step_from(value, kind)
    return tuple(_as_field(each, kind) for each in value) if isinstance(value, list) else value


def made(kind: type[Any], name: str, values: Mapping[str, Any]) -> Any:
    """Return an object of a class with fields as TOML has them, or refuse them."""
    refuse_unknown(name, values, tuple(f.name for f in fields(kind)))
    given = {name: _as_field(value, "transform") for name, value in values.items()}
    try:
        return kind(**given)
    except TypeError as error:
        missing = [f.name for f in fields(kind) if f.name not in given]
        hint = f"; it also takes {', '.join(missing)}" if missing else f": {error}"
        raise OptionError(f"{name} cannot be made of {given}{hint}") from error


def refuse_unknown(what: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse a field that there is not, naming those there are."""
    for name in given:
        if name not in known:
            raise OptionError(f"{what} has no field {name!r}; it has {', '.join(known)}")
