"""The search space: named parameters, their conditions, and constraints on configurations."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

from pydantic import JsonValue

from tunefleet.errors import InvalidInput, Problem
from tunefleet.model import did_you_mean, shown
from tunefleet.study.expressions import Expression, InvalidExpression
from tunefleet.study.parameters import Parameter

Configuration = dict[str, JsonValue]
"""The values of a space's active parameters."""


class Space:
    """Parameters by name, sorted so that each one comes after those that its condition reads.

    Raises InvalidInput if a `when` or a constraint names an unknown parameter, or if conditions form a cycle.
    """

    def __init__(self, parameters: Mapping[str, Parameter], constraints: tuple[str, ...] = ()) -> None:
        problems = [*_unknown_names(parameters, constraints)]
        if not problems:
            problems = _cycle(parameters)
        if problems:
            raise InvalidInput(problems)
        self.parameters: dict[str, Parameter] = {name: parameters[name] for name in _ordered(parameters)}
        self.constraints = tuple(Expression.parse(text) for text in constraints)
        self._conditions = {name: parameter.condition for name, parameter in self.parameters.items()}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All parameters; the unit cube has one axis for each, in this order."""
        return tuple(self.parameters)

    @cached_property
    def size(self) -> int | None:
        """An upper bound of the number of configurations; None if they cannot be counted."""
        sizes = [parameter.size for parameter in self.parameters.values()]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    @property
    def grid_size(self) -> int:
        """The number of points in the full grid, before conditions merge some and constraints exclude others."""
        return math.prod(parameter.grid_size for parameter in self.parameters.values())

    def grid(self) -> Iterator[Configuration]:
        """Yield the distinct grid configurations that the constraints allow; the last parameter varies fastest."""
        seen: set[str] = set()
        for values in itertools.product(*(parameter.grid() for parameter in self.parameters.values())):
            configuration = self._activate(dict(zip(self.parameters, values, strict=True)).__getitem__)
            key = configuration_hash(configuration)
            if key not in seen and self.allows(configuration):
                seen.add(key)
                yield configuration

    def from_unit(self, point: Mapping[str, float]) -> Configuration:
        """Return the configuration at a point of the unit cube, without inactive parameters.

        Constraints are not checked.
        """
        return self._activate(lambda name: self.parameters[name].from_unit(point[name]))

    def around(self, known: Mapping[str, JsonValue]) -> Configuration:
        """Return the configuration with the known values and the middle of all others, without inactive parameters.

        Neither constraints nor ranges are checked.
        """
        return self._activate(lambda name: known[name] if name in known else self.parameters[name].from_unit(0.5))

    def allows(self, configuration: Configuration) -> bool:
        """Return True if all constraints hold; one that reads an inactive parameter or cannot be computed holds too."""
        return all(self._holds(constraint, configuration) for constraint in self.constraints)

    def check(self, configuration: Mapping[str, JsonValue]) -> Configuration:
        """Return the configuration in the space's order.

        Raises:
            InvalidInput: a parameter is unknown, missing, inactive or out of range, or a constraint is broken.
        """
        problems = [
            Problem(
                f"params.{name}",
                f"unknown parameter{did_you_mean(name, list(self.names))}",
            )
            for name in configuration
            if name not in self.parameters
        ]
        active: Configuration = {}
        for name, parameter in self.parameters.items():
            if not self._is_active(name, active):
                if name in configuration:
                    problems.append(
                        Problem(
                            f"params.{name}",
                            f"must be left out, because {parameter.when!r} is not true here",
                        )
                    )
            elif name not in configuration:
                problems.append(Problem(f"params.{name}", "is required"))
            elif not parameter.contains(configuration[name]):
                problems.append(
                    Problem(
                        f"params.{name}",
                        f"is not in {describe(parameter)}",
                        shown(configuration[name]),
                    )
                )
            else:
                active[name] = configuration[name]
        problems = problems or [
            Problem("params", f"breaks the constraint {constraint.text!r}")
            for constraint in self.constraints
            if not self._holds(constraint, active)
        ]
        if problems:
            raise InvalidInput(problems)
        return active

    def _activate(self, value_of: Callable[[str], JsonValue]) -> Configuration:
        active: Configuration = {}
        for name in self.parameters:
            if self._is_active(name, active):
                active[name] = value_of(name)
        return active

    def _is_active(self, name: str, active: Configuration) -> bool:
        condition = self._conditions[name]
        if condition is None:
            return True
        # A condition on an inactive parameter is false, as in ConfigSpace.
        return condition.names <= active.keys() and _is_true(condition, active, default=False)

    @staticmethod
    def _holds(constraint: Expression, configuration: Configuration) -> bool:
        return not constraint.names <= configuration.keys() or _is_true(constraint, configuration, default=True)


def configuration_hash(configuration: Mapping[str, JsonValue]) -> str:
    """Return the sha256 of a configuration's canonical JSON. Two hashes are equal only if the configurations are."""
    text = json.dumps(configuration, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def describe(parameter: Parameter) -> str:
    """Return the parameter as users write it: `log [1e-06, 0.1]`."""
    data = parameter.model_dump(by_alias=True, exclude_defaults=True, exclude={"when"})
    kind = next(key for key in ("float", "int", "choice", "fixed", "log") if key in data)
    value = data[kind]
    text = json.dumps(list(value) if isinstance(value, tuple) else value)
    return f"{kind} {text}" + (" on a log scale" if kind != "log" and data.get("log") else "")


def _is_true(expression: Expression, values: Configuration, *, default: bool) -> bool:
    try:
        return bool(expression.evaluate(values))
    except InvalidExpression:
        return default


def _unknown_names(parameters: Mapping[str, Parameter], constraints: tuple[str, ...]) -> Iterator[Problem]:
    texts = [(f"space.{name}.when", parameter.when) for name, parameter in parameters.items() if parameter.when]
    texts += [(f"constraints.{index}", text) for index, text in enumerate(constraints)]
    for field, text in texts:
        try:
            names = Expression.parse(text).names
        except InvalidExpression as error:
            yield Problem(field, str(error))
            continue
        for name in sorted(names - parameters.keys()):
            yield Problem(
                field,
                f"names the unknown parameter {name!r}{did_you_mean(name, list(parameters))}",
                shown(text),
            )


def _cycle(parameters: Mapping[str, Parameter]) -> list[Problem]:
    placed = _ordered(parameters)
    stuck = [name for name in parameters if name not in placed]
    return (
        [
            Problem(
                f"space.{stuck[0]}.when",
                f"conditions form a cycle: {', '.join(stuck)}",
            )
        ]
        if stuck
        else []
    )


def _ordered(parameters: Mapping[str, Parameter]) -> list[str]:
    """Return the names, each after those that its condition reads, otherwise as written, without cycles."""
    needs = {
        name: parameter.condition.names if parameter.condition else frozenset()
        for name, parameter in parameters.items()
    }
    placed: list[str] = []
    while ready := next(
        (name for name in needs if name not in placed and needs[name] <= set(placed)),
        None,
    ):
        placed.append(ready)
    return placed
