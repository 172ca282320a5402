"""Built-in classes, found by convention: the file NAME.py of a package defines the class NAME."""

from __future__ import annotations

from importlib import import_module
from typing import TypeVar

T = TypeVar("T")


def built_in_class(package: str, name: str, *, base: type[T]) -> type[T]:
    """Return the subclass of `base` named `name` in the package's file `name.py`, which is imported at first use.

    Raises:
        ImportError: the file is missing, or does not define exactly one such class.
    """
    module = import_module(f"{package}.{name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and vars(value).get("name") == name
    ]
    if len(found) != 1:
        rule = f"must define exactly one subclass of {base.__name__} named {name!r}, and defines {len(found)}"
        raise ImportError(f"{module.__name__} {rule}")
    return found[0]
