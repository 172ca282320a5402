"""A state is restored exactly from its tree, or refused with its path."""

from __future__ import annotations

import enum
import json
import math
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tunefleet_worker.state_tree import BrokenTree, TreeDecoder, TreeEncoder, UnstorableState

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**200, max_value=2**210)
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | st.binary(max_size=8)
)
ARRAYS = npst.arrays(
    dtype=npst.scalar_dtypes() | npst.unicode_string_dtypes(max_len=3), shape=npst.array_shapes(min_dims=0, min_side=0)
)
KEYS = (
    st.text(max_size=3) | st.integers() | st.just("$") | st.booleans() | st.tuples(st.integers(), st.text(max_size=2))
)
TREES = st.recursive(
    SCALARS | ARRAYS | npst.arrays(dtype=npst.scalar_dtypes(), shape=()).map(lambda array: array[()]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.lists(inner, max_size=4).map(deque)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4).map(OrderedDict)
    ),
    max_leaves=12,
)

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.complex64,
    torch.complex128,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.bool,
]


def there_and_back(value: object) -> Any:
    encoder = TreeEncoder()
    node = json.loads(json.dumps(encoder.encode(value), allow_nan=False))
    return TreeDecoder(lambda name: encoder.tensors[name].clone()).decode(node)


def is_same(a: Any, b: Any) -> bool:
    """Return True if two values are equal in type, structure and every bit; NaNs are equal."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray | np.generic):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(as_bytes(a), as_bytes(b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            is_same(k, m) and is_same(v, w) for (k, v), (m, w) in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, list | tuple | deque):
        return len(a) == len(b) and all(map(is_same, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, complex):
        return is_same(a.real, b.real) and is_same(a.imag, b.imag)
    return bool(a == b)


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.resolve_conj().contiguous().reshape(-1).view(torch.uint8)


@given(TREES)
@settings(deadline=None, max_examples=200)
def test_any_tree_comes_back_as_it_was(tree: object) -> None:
    assert is_same(there_and_back(tree), tree)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3)], ids=str)
def test_tensor_of_any_type_and_shape_comes_back(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (torch.rand(shape) * 100).to(dtype)
    assert is_same(there_and_back(tensor), tensor)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(12.0).reshape(3, 4).t(),
        torch.arange(12)[3:9:2],
        torch.ones(1).expand(4, 3),
        torch.tensor([1 + 2j, 3 - 4j]).conj(),
        torch.tensor([1 + 2j, 3 - 4j]).conj().imag,
    ],
    ids=["transposed", "strided", "expanded", "conjugated", "negated"],
)
def test_view_of_a_tensor_comes_back_with_its_values(tensor: torch.Tensor) -> None:
    back = there_and_back(tensor)
    assert back.shape == tensor.shape
    assert torch.equal(back, tensor)


def test_the_same_tensor_is_stored_once_and_stays_one() -> None:
    weight = torch.rand(4, 4)
    encoder = TreeEncoder()
    node = encoder.encode({"encoder": weight, "decoder": weight.detach()})
    back = TreeDecoder(lambda name: encoder.tensors[name]).decode(node)
    assert len(encoder.tensors) == 1
    assert back["encoder"] is back["decoder"]


def test_overlapping_views_are_each_stored() -> None:
    whole = torch.arange(6.0)
    back = there_and_back([whole, whole[:2], whole.reshape(2, 3)])
    assert [tensor.tolist() for tensor in back] == [[0, 1, 2, 3, 4, 5], [0, 1], [[0, 1, 2], [3, 4, 5]]]


def test_memory_that_is_used_again_while_encoding_is_not_confused() -> None:
    encoder = TreeEncoder()
    nodes = [encoder.encode(torch.full((1000,), float(index))) for index in range(20)]
    decoder = TreeDecoder(lambda name: encoder.tensors[name])
    assert [decoder.decode(node)[0].item() for node in nodes] == list(range(20))


def test_counters_sets_sizes_and_types_come_back() -> None:
    state = [
        Counter({30: 1, 60: 2}),
        {1, 2},
        frozenset({3}),
        torch.Size([2, 3]),
        torch.bfloat16,
        torch.device("cpu"),
        deque([1], 5),
    ]
    back = there_and_back(state)
    assert back == state
    assert [type(item) for item in back] == [type(item) for item in state]
    assert back[-1].maxlen == 5


def test_defaultdict_comes_back_as_a_dict() -> None:
    assert is_same(there_and_back(defaultdict(int, {1: 2})), {1: 2})


def test_versions_in_a_modules_state_come_back() -> None:
    state = torch.nn.BatchNorm1d(2).state_dict()
    assert there_and_back(state)._metadata == state._metadata  # type: ignore[attr-defined]


class Colour(enum.IntEnum):
    """A subclass of int."""

    RED = 1


class TaggedTensor(torch.Tensor):
    """A subclass of Tensor."""


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (lambda: 0, "function"),
        (Colour.RED, "Colour"),
        (torch.nn.Linear(1, 1), "Linear"),
        (torch.eye(2).to_sparse(), "sparse"),
        (torch.empty(2, device="meta"), "meta"),
        (torch.ones(2).as_subclass(TaggedTensor), "TaggedTensor"),
        (np.array([object()]), "object"),
        (np.ma.masked_array([1, 2], [True, False]), "MaskedArray"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_value_that_only_pickle_could_store_is_refused_with_its_path(value: object, what: str) -> None:
    with pytest.raises(UnstorableState, match=rf"cannot hold objects\.model\.extra\[1\]\['x'\]: .*{what}"):
        TreeEncoder().encode({"model": {"extra": [0, {"x": value, 1: 0}]}}, "objects")


@pytest.mark.parametrize(
    "node",
    [
        {"$": "unheard of"},
        {"$": ["list"]},
        {"$": "tensor", "at": "0"},
        {"$": "tensor", "at": "absent", "dtype": "float32", "shape": [1]},
        {"$": "tensor", "at": "0", "dtype": "load", "shape": [1]},
        {"$": "tensor", "at": "0", "dtype": "float32", "shape": [7, 7]},
        {"$": "array", "at": "0", "dtype": "O", "shape": [1]},
        {"$": "int", "hex": "soup"},
        {"$": "dict", "pairs": [[1]]},
        {"$": "dict", "pairs": [[[], 1]]},
        {"$": "device", "text": "kitchen"},
    ],
    ids=str,
)
def test_tree_that_no_encoder_wrote_is_refused(node: Any) -> None:
    with pytest.raises(BrokenTree):
        TreeDecoder({"0": torch.zeros(2)}.__getitem__).decode({"a": [node]})
