"""What a transform is: frozen, picklable, and writable as TOML."""

from __future__ import annotations

import pickle
import tomllib
from dataclasses import is_dataclass
from typing import Any

from daskimg.contract._demand import demand
from daskimg.errors import DaskimgError
from daskimg.options import given
from daskimg.recipe import Recipe
from daskimg.transforms import Spec, Transform

_PARAMETERS = "__dataclass_params__"  # where dataclasses keeps what a class was declared with


def check_nature(transform: Any) -> None:
    """Demand a frozen dataclass that can be sent to workers and written into a recipe's file."""
    kind = transform if isinstance(transform, type) else type(transform)
    name = kind.__name__
    demand(kind is not transform, f"{name} is a class: give an instance, as {name}(...)")
    demand(
        isinstance(transform, Transform),
        f"{name} is not a transform: it needs resolve(spec) and __call__(sample)",
    )
    frozen = is_dataclass(transform) and getattr(transform, _PARAMETERS).frozen
    demand(frozen, f"{name} must be a frozen dataclass: @dataclass(frozen=True)")
    _check_travels(name, transform)
    _check_toml(name, transform)


def _check_travels(name: str, transform: Any) -> None:
    try:
        arrived = pickle.loads(pickle.dumps(transform))
        hash(transform)
    except Exception as error:
        raise AssertionError(
            f"{name} must be picklable and hashable, to reach the workers: {error}"
        ) from error
    demand(arrived == transform, f"{name} is another one after pickling: {arrived!r}")


def _check_toml(name: str, transform: Any) -> None:
    recipe = Recipe((transform,))
    try:
        read = Recipe.from_dict(tomllib.loads(recipe.to_toml()))
    except Exception as error:
        raise AssertionError(
            f"{name} does not go to TOML and back: {error}; its fields must be numbers, text, "
            "or lists of them, and its class must be in a module"
        ) from error
    demand(
        read == recipe,
        f"{name} is another one after TOML: {read.transforms[0]!r}, was {transform!r}; its "
        "__post_init__ must take what it has made, and turn lists into tuples",
    )


def check_resolve(transform: Any) -> None:
    """Demand a list of specs, before what refuses a picture is passed over."""
    for channels, mode in ((3, "RGB"), (1, "L")):
        try:
            made = transform.resolve(Spec(96, 128, channels, "uint8", mode=mode))
        except DaskimgError:
            continue
        demand(
            isinstance(made, list | tuple) and all(isinstance(each, Spec) for each in made),
            f"{type(transform).__name__}.resolve(spec) must return a list of Spec, got "
            f"{given(made)}; write return [replace(spec, ...)]",
        )
