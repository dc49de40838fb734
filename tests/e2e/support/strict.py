"""Checks a value against an SDK's own types and allows nothing beyond them.

The SDKs describe requests as TypedDicts and check nothing at run time; pydantic's adapters allow
unknown keys.
"""

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typing_extensions


class Mismatch(Exception):
    """A value that differs from its type. The message begins with the path to the value."""


def check(value, kind, at="$"):
    """Raises `Mismatch` unless `value` is of type `kind`."""
    kind = _unwrap(kind)
    origin = get_origin(kind)
    if kind is Any or kind is object:
        return
    if typing_extensions.is_typeddict(kind):
        _check_dict(value, kind, at)
    elif origin in (Union, types.UnionType):
        _check_union(value, kind, at)
    elif origin is Literal:
        if value not in get_args(kind):
            raise Mismatch(f"{at}: {value!r} is not one of {get_args(kind)}")
    elif origin in (list, Iterable, Sequence):
        if not isinstance(value, list):
            raise Mismatch(f"{at}: {value!r} is not a list")
        for index, item in enumerate(value):
            check(item, get_args(kind)[0], f"{at}[{index}]")
    elif origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise Mismatch(f"{at}: {value!r} is not an object")
        for name, item in value.items():
            check(item, get_args(kind)[1], f"{at}.{name}")
    elif kind is None or kind is type(None):
        if value is not None:
            raise Mismatch(f"{at}: {value!r} is not null")
    elif kind is float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise Mismatch(f"{at}: {value!r} is not a number")
    elif kind in (str, int, bool):
        if type(value) is not kind:
            raise Mismatch(f"{at}: {value!r} is not {kind.__name__}")
    elif isinstance(kind, type):
        # Files and response objects, which a JSON body can't contain.
        raise Mismatch(f"{at}: {value!r} can't be {kind.__name__}")
    else:
        raise Mismatch(f"{at}: no rule for {kind!r}")


def _unwrap(kind):
    wrappers = (
        Annotated,
        typing.Required,
        typing.NotRequired,
        typing_extensions.Required,
        typing_extensions.NotRequired,
    )
    while get_origin(kind) in wrappers:
        kind = get_args(kind)[0]
    if isinstance(
        kind, (typing.TypeAliasType if hasattr(typing, "TypeAliasType") else typing_extensions.TypeAliasType,)
    ):
        return _unwrap(kind.__value__)
    return kind


def _check_dict(value, kind, at):
    if not isinstance(value, dict):
        raise Mismatch(f"{at}: {value!r} is not an object")
    members = get_type_hints(kind, include_extras=True)
    for name in value:
        if name not in members:
            raise Mismatch(f"{at}.{name}: {kind.__name__} has no such member")
    for name in kind.__required_keys__:
        if name not in value:
            raise Mismatch(f"{at}.{name}: {kind.__name__} requires it")
    for name, item in value.items():
        check(item, members[name], f"{at}.{name}")


def _check_union(value, kind, at):
    problems = []
    for member in get_args(kind):
        try:
            return check(value, member, at)
        except Mismatch as problem:
            problems.append(str(problem))
    raise Mismatch(f"{at}: matches no member: " + "; ".join(problems))
