"""Expressions in `when` and `constraints`, parsed with `ast` and interpreted here, without `eval`.

batch_size * lr <= 10
optimizer == 'sgd' and not (nesterov and momentum == 0)
model in ['cnn', 'resnet']
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

MAX_LENGTH = 500  # characters: far more than users write, far fewer than exhaust the parser's stack
MAX_POWER = 64  # keeps `9 ** 9 ** 9` from exhausting the memory

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, group: item in group,
    ast.NotIn: lambda item, group: item not in group,
}
_SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


class InvalidExpression(ValueError):
    """The text is not a valid expression, or cannot be evaluated on the given values."""


@dataclass(frozen=True)
class Expression:
    """A parsed expression; build it with `Expression.parse`."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Check the text against the grammar.

        Raises:
            InvalidExpression: the text cannot be parsed, is too long, or contains a call, an attribute, an index or
                another form outside the grammar.
        """
        if len(text) > MAX_LENGTH:
            raise InvalidExpression(f"is {len(text)} characters long; at most {MAX_LENGTH} are allowed")
        expression = cls(text)
        _check(expression._tree)
        return expression

    @cached_property
    def names(self) -> frozenset[str]:
        """The parameters that the expression reads."""
        return frozenset(node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name))

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """Return the value of the expression; each name is replaced by `values[name]`.

        Raises:
            InvalidExpression: a name is not in `values`, the types do not match, the expression divides by zero, or a
                power is too large.
        """
        try:
            return _walk(self._tree, values)
        except (TypeError, ZeroDivisionError, OverflowError) as error:
            raise InvalidExpression(f"{self.text!r} cannot be evaluated: {error}") from error

    @cached_property
    def _tree(self) -> ast.expr:
        try:
            return ast.parse(self.text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
            raise InvalidExpression(f"{self.text!r} is not an expression: {reason}") from error


def _check(node: ast.expr) -> None:
    match node:
        case ast.Name() | ast.Constant(value=bool() | int() | float() | str() | None):
            return
        case ast.BoolOp(values=parts) | ast.List(elts=parts) | ast.Tuple(elts=parts):
            children = list(parts)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _SIGNS:
            children = [operand]
        case ast.BinOp(left=left, op=arithmetic, right=right) if type(arithmetic) in _ARITHMETIC:
            children = [left, right]
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARISONS for op in ops):
            children = [left, *others]
        case _:
            raise InvalidExpression(
                f"{ast.unparse(node)!r} is not allowed: an expression has names, numbers, strings, lists, "
                "comparisons, and/or/not and + - * / // % **, but no calls, attributes or indices"
            )
    for child in children:
        _check(child)


def _walk(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            if name not in values:
                raise InvalidExpression(f"{name!r} has no value here")
            return values[name]
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_walk(part, values) for part in parts]
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_walk(part, values) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_walk(part, values) for part in parts)
        case ast.UnaryOp(op=op, operand=operand):
            return _SIGNS[type(op)](_walk(operand, values))
        case ast.BinOp(left=left, op=arithmetic, right=right):
            return _calculate(arithmetic, _walk(left, values), _walk(right, values))
        case ast.Compare(left=left, ops=ops, comparators=others):
            return _compare([_walk(part, values) for part in (left, *others)], ops)
    raise InvalidExpression(f"{ast.unparse(node)!r} is not allowed")


def _calculate(op: ast.operator, left: Any, right: Any) -> Any:
    if not (_is_number(left) and _is_number(right)):
        raise TypeError(f"arithmetic needs numbers, not {left!r} and {right!r}")
    if isinstance(op, ast.Pow) and abs(right) > MAX_POWER:
        raise OverflowError(f"a power may be at most {MAX_POWER}")
    result = _ARITHMETIC[type(op)](left, right)
    if isinstance(result, complex):
        raise TypeError("the result is not a real number")
    return float(result) if isinstance(result, int) and abs(result) > 2**64 else result


def _compare(operands: list[Any], ops: list[ast.cmpop]) -> bool:
    pairs = zip(operands, ops, operands[1:], strict=False)
    return all(_COMPARISONS[type(op)](left, right) for left, op, right in pairs)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
