"""Lossless encoding of a tree of Python, numpy and torch values as JSON plus flat tensors.

Values of JSON stay as they are. Every other value becomes an object with the key `$`, which names its kind:

    {"$": "tuple", "items": [...]}                      {"$": "int", "hex": "0x..."}      {"$": "float", "text": "nan"}
    {"$": "tensor", "at": "7", "dtype": "complex64", "shape": [2, 3]}

`at` is the name of a tensor that is stored beside the JSON. Nothing is pickled. Decoding supports only the kinds below
and calls no code that the data names.
"""

from __future__ import annotations

import json
import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from tunefleet.errors import TunefleetError

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

# Larger integers become hexadecimal text: many JSON readers, and Python's own beyond 4300 digits, refuse them.
EXACT_INT = 2**63
PLAIN_TENSOR_TYPES = (torch.Tensor, torch.nn.Parameter)
NATIVE_DTYPES = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool}
    | {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8}
)  # stored unchanged; other dtypes are stored as bytes, because some readers of safetensors do not support them
ARRAY_KINDS = "biufcmMUS"  # numpy's kinds of flat data, without Python objects or fields


class UnstorableState(TunefleetError):
    """A value in a state cannot be stored without pickling it."""

    code = "unstorable_state"


class BrokenTree(TunefleetError):
    """The stored tree was not written by this module."""

    code = "broken_tree"


class TreeEncoder:
    """Encodes values as JSON and collects their tensors in `tensors`.

    Tensors that share memory and shape are stored once, and are one tensor again after decoding.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._names: dict[tuple[object, ...], str] = {}
        self._storages: set[int] = set()
        # Memory addresses identify tensors only while the tensors exist.
        self._sources: list[Tensor] = []

    def encode(self, value: object, path: str = "") -> Json:
        """Encode a value as JSON; `path` is its path in the tree, for errors.

        Raises:
            UnstorableState: the value has a part of an unsupported kind; the message names its path.
        """
        if value is None or type(value) in (bool, str):
            return cast("Json", value)
        if isinstance(value, Tensor):
            return self._tensor(value, path)
        if isinstance(value, np.ndarray | np.generic):
            return self._array(value, path)
        if isinstance(value, dict):
            return self._dict(value, path)
        encode = _ENCODERS.get(type(value))
        if encode is None:
            raise _unstorable(path, f"a value of type {type(value).__qualname__!r}")
        return encode(self, value, path)

    def items(self, values: Any, path: str) -> list[Json]:
        """Encode each of the values."""
        return [self.encode(value, f"{path}[{index}]") for index, value in enumerate(values)]

    def _dict(self, value: dict[Any, Any], path: str) -> Json:
        kind = _DICT_KINDS.get(type(value))
        if kind is None:
            raise _unstorable(path, f"a dict of type {type(value).__qualname__!r}")
        if kind == "dict" and "$" not in value and all(type(key) is str for key in value):
            return {key: self.encode(item, f"{path}.{key}" if path else key) for key, item in value.items()}
        pairs: list[Json] = [
            [self.encode(key, path), self.encode(item, f"{path}[{key!r}]")] for key, item in value.items()
        ]
        node: dict[str, Json] = {"$": kind, "pairs": pairs}
        # torch stores the versions of a module's state in this attribute; load_state_dict reads them.
        if (metadata := getattr(value, "_metadata", None)) is not None:
            node["metadata"] = self.encode(metadata, f"{path}._metadata")
        return node

    def _tensor(self, value: Tensor, path: str) -> Json:
        if type(value) not in PLAIN_TENSOR_TYPES or value.layout is not torch.strided:
            raise _unstorable(
                path, f"a {type(value).__qualname__} in the layout {value.layout}, which is not a dense tensor"
            )
        if value.is_quantized or value.is_meta:
            raise _unstorable(path, f"a tensor of {value.dtype} on {value.device}, which has no plain values")
        storage = value.untyped_storage().data_ptr()
        view = (value.storage_offset(), value.shape, value.stride(), value.dtype, value.is_conj(), value.is_neg())
        key = (value.device, storage, *view)
        if key not in self._names:
            self._sources.append(value)
            self._names[key] = self._store(value.detach().resolve_conj().resolve_neg().cpu().contiguous())
        return {"$": "tensor", "at": self._names[key], "dtype": _dtype_name(value.dtype), "shape": list(value.shape)}

    def _array(self, value: np.ndarray[Any, Any] | np.generic, path: str) -> Json:
        is_scalar = isinstance(value, np.generic)
        if (
            value.dtype.kind not in ARRAY_KINDS
            or value.dtype.itemsize == 0
            or not (is_scalar or type(value) is np.ndarray)
        ):
            raise _unstorable(path, f"a {type(value).__qualname__} of {value.dtype}, which has no plain values")
        name = self._store(torch.from_numpy(np.frombuffer(value.tobytes(), np.uint8).copy()))
        return {
            "$": "scalar" if is_scalar else "array",
            "at": name,
            "dtype": value.dtype.str,
            "shape": list(value.shape),
        }

    def _store(self, tensor: Tensor) -> str:
        """Store a contiguous CPU tensor in its own memory, and return its name."""
        if tensor.dtype not in NATIVE_DTYPES:
            tensor = tensor.reshape(-1).view(torch.uint8)
        if tensor.untyped_storage().data_ptr() in self._storages:
            tensor = tensor.clone()  # safetensors refuses overlapping tensors
        self._storages.add(tensor.untyped_storage().data_ptr())
        name = str(len(self.tensors))
        self.tensors[name] = tensor
        return name


class TreeDecoder:
    """Decodes the JSON of a TreeEncoder; `tensor` returns a stored tensor by name. Decoded tensors are on the CPU."""

    def __init__(self, tensor: Callable[[str], Tensor]) -> None:
        self._read = tensor
        self._tensors: dict[tuple[str, str], Tensor] = {}

    def decode(self, node: Json) -> Any:
        """Decode a value.

        Raises:
            BrokenTree: the node was not written by a TreeEncoder.
        """
        if isinstance(node, list):
            return [self.decode(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$" not in node:
            return {key: self.decode(item) for key, item in node.items()}
        try:
            return _DECODERS[cast("str", node["$"])](self, node)
        except BrokenTree:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise BrokenTree(
                f"the stored state has a part that cannot be read: {json.dumps(node)[:120]} ({error})."
            ) from error

    def _pairs(self, node: dict[str, Any]) -> list[tuple[Any, Any]]:
        return [(self.decode(key), self.decode(item)) for key, item in node["pairs"]]

    def _ordered(self, node: dict[str, Any]) -> OrderedDict[Any, Any]:
        value = OrderedDict(self._pairs(node))
        if "metadata" in node:
            value._metadata = self.decode(node["metadata"])  # type: ignore[attr-defined]
        return value

    def _tensor(self, node: dict[str, Any]) -> Tensor:
        key = (node["at"], node["dtype"])
        if key not in self._tensors:
            stored, dtype = self._read(node["at"]), _dtype(node["dtype"])
            self._tensors[key] = stored if stored.dtype == dtype else stored.view(dtype)
        tensor = self._tensors[key]
        return tensor if list(tensor.shape) == node["shape"] else tensor.reshape(node["shape"])

    def _array(self, node: dict[str, Any]) -> np.ndarray[Any, Any]:
        stored = self._read(node["at"]).numpy().tobytes()
        return np.frombuffer(stored, np.dtype(node["dtype"])).reshape(node["shape"]).copy()

    def _scalar(self, node: dict[str, Any]) -> np.generic:
        return cast("np.generic", self._array(node)[()])


def _unstorable(path: str, what: str) -> UnstorableState:
    return UnstorableState(
        f"a checkpoint cannot hold {path or 'the state'}: {what}.",
        hint="It can hold numbers, text, dense tensors, plain arrays, and lists, tuples, sets or dicts of these.",
    )


def _int(_: TreeEncoder, value: int, path: str) -> Json:
    return value if abs(value) < EXACT_INT else {"$": "int", "hex": hex(value)}


def _float(_: TreeEncoder, value: float, path: str) -> Json:
    return value if math.isfinite(value) else {"$": "float", "text": repr(value)}


def _complex(encoder: TreeEncoder, value: complex, path: str) -> Json:
    return {"$": "complex", "parts": encoder.items([value.real, value.imag], path)}


def _deque(encoder: TreeEncoder, value: deque[Any], path: str) -> Json:
    return {"$": "deque", "items": encoder.items(value, path), "maxlen": value.maxlen}


def _list(encoder: TreeEncoder, value: list[Any], path: str) -> Json:
    return encoder.items(value, path)


def _text_of(kind: str, text: Callable[[Any], str]) -> Callable[[TreeEncoder, Any, str], Json]:
    return lambda _encoder, value, _path: {"$": kind, "text": text(value)}


def _items_of(kind: str) -> Callable[[TreeEncoder, Any, str], Json]:
    return lambda encoder, value, path: {"$": kind, "items": encoder.items(value, path)}


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise BrokenTree(f"the stored state names the unknown tensor type {name!r}.")
    return dtype


# A defaultdict is restored as a dict, because its factory cannot be stored.
_DICT_KINDS: Mapping[type, str] = {dict: "dict", defaultdict: "dict", OrderedDict: "ordered", Counter: "counter"}

_ENCODERS: Mapping[type, Callable[[TreeEncoder, Any, str], Json]] = {
    int: _int,
    float: _float,
    complex: _complex,
    list: _list,
    deque: _deque,
    tuple: _items_of("tuple"),
    set: _items_of("set"),
    frozenset: _items_of("frozenset"),
    torch.Size: _items_of("size"),
    bytes: _text_of("bytes", bytes.hex),
    torch.dtype: _text_of("dtype", _dtype_name),
    torch.device: _text_of("device", str),
}

_DECODERS: Mapping[str, Callable[[TreeDecoder, dict[str, Any]], Any]] = {
    "int": lambda _, node: int(node["hex"], 16),
    "float": lambda _, node: float(node["text"]),
    "complex": lambda decoder, node: complex(*decoder.decode(node["parts"])),
    "deque": lambda decoder, node: deque(decoder.decode(node["items"]), node["maxlen"]),
    "tuple": lambda decoder, node: tuple(decoder.decode(node["items"])),
    "set": lambda decoder, node: set(decoder.decode(node["items"])),
    "frozenset": lambda decoder, node: frozenset(decoder.decode(node["items"])),
    "size": lambda decoder, node: torch.Size(decoder.decode(node["items"])),
    "bytes": lambda _, node: bytes.fromhex(node["text"]),
    "dtype": lambda _, node: _dtype(node["text"]),
    "device": lambda _, node: torch.device(node["text"]),
    "dict": lambda decoder, node: dict(decoder._pairs(node)),
    "ordered": lambda decoder, node: decoder._ordered(node),
    "counter": lambda decoder, node: Counter(dict(decoder._pairs(node))),
    "tensor": lambda decoder, node: decoder._tensor(node),
    "array": lambda decoder, node: decoder._array(node),
    "scalar": lambda decoder, node: decoder._scalar(node),
}
