"""Fashion-MNIST: 60000 + 10000 grey pictures of clothes, 28x28, in IDX files (Xiao et al. 2017, arXiv:1708.07747)."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tunefleet_worker.tasks.datasets.source import DataUnavailable, Raw, Source

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
IMAGES, LABELS = "{part}-images-idx3-ubyte", "{part}-labels-idx1-ubyte"
UBYTE = 0x08  # IDX's code for unsigned bytes


def fashion_mnist(folder: str | None = None) -> Source:
    """Return the data set in `folder`, or in the result of `find_folder`. The 10000 test pictures are official."""
    return Source(
        "fashion_mnist", CLASSES, open=partial(_read, folder, "train"), open_test=partial(_read, folder, "t10k")
    )


def find_folder(folder: str | None, environ: Mapping[str, str], *, installed: Path = DEBIAN_FOLDER) -> Path:
    """Return the folder with the IDX files: `folder`, or else TUNEFLEET_DATA/fashion-mnist or that of Debian.

    Raises:
        DataUnavailable: none of these holds the files. The message names each place and the package to install.
    """
    places = [Path(folder).expanduser()] if folder is not None else [installed]
    if folder is None and (data := environ.get("TUNEFLEET_DATA")):
        places.insert(0, Path(data) / "fashion-mnist")
    for place in places:
        if _file(place, IMAGES.format(part="train")) is not None:
            return place
    raise DataUnavailable(
        f"the data set fashion_mnist is not here; searched {', '.join(str(place) for place in places)} "
        f"for {IMAGES.format(part='train')}.gz.",
        hint="Run: apt-get install dataset-fashion-mnist; or put its four IDX files into a folder, and name it by "
        "run: {folder: ...} or as TUNEFLEET_DATA/fashion-mnist.",
    )


def read_idx(path: Path) -> Tensor:
    """Return the unsigned bytes of an IDX file, gzipped or not, in the shape of its header.

    Raises:
        DataUnavailable: the file cannot be read, or is not an IDX file.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataUnavailable(f"{path} cannot be read: {error}.") from error
    n_dims = content[3] if len(content) >= 4 else 0
    start = 4 + 4 * n_dims
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if content[:3] != bytes([0, 0, UBYTE]) or len(content) != start + math.prod(shape):
        raise DataUnavailable(f"{path} is not a whole IDX file of unsigned bytes.")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(shape)


def _read(folder: str | None, part: str) -> Raw:
    place = find_folder(folder, os.environ)
    images, labels = (read_idx(_existing(place, name.format(part=part))) for name in (IMAGES, LABELS))
    if images.dim() != 3 or labels.dim() != 1 or len(images) != len(labels):
        raise DataUnavailable(f"{place} holds {tuple(images.shape)} images with {tuple(labels.shape)} labels.")
    if len(labels) and int(labels.max()) >= len(CLASSES):
        raise DataUnavailable(f"{place} holds the label {int(labels.max())}; there are {len(CLASSES)} classes.")
    return Raw(images.unsqueeze(1), labels.to(torch.int64), scale=255.0)


def _existing(folder: Path, name: str) -> Path:
    path = _file(folder, name)
    if path is None:
        raise DataUnavailable(f"the data set fashion_mnist lacks {folder / name}.gz.")
    return path


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)
