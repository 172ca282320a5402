"""The predictions file: its content, its limits, the chosen examples and the contact sheet."""

from __future__ import annotations

import json
import struct
import xml.etree.ElementTree as ET
import zlib
from typing import Any

import pytest

from tunefleet.errors import InvalidInput
from tunefleet.figures.contact_sheets import curves, png, trial_sheet
from tunefleet.protocol.looks import choose, trial_look
from tunefleet.protocol.predictions import MAX_BYTES, MAX_PROBABILITIES, Picture, Predictions
from tunefleet.study.spec import DataSpec

CLASSES = ["cat", "dog", "owl"]
ROWS = [
    (0, [0.9, 0.1, 0.0]),
    (0, [0.2, 0.8, 0.0]),
    (1, [0.3, 0.6, 0.1]),
    (1, [0.01, 0.0, 0.99]),
    (2, [0.4, 0.35, 0.25]),
    (2, [0.0, 0.0, 1.0]),
]


def data_of(**changes: Any) -> dict[str, Any]:
    data = {
        "classes": CLASSES,
        "ids": [10 * place for place in range(len(ROWS))],
        "labels": [label for label, _ in ROWS],
        "probabilities": [row for _, row in ROWS],
    }
    return {**data, **changes}


def predictions(**changes: Any) -> Predictions:
    return Predictions.read(json.dumps(data_of(**changes)).encode())


def refused(content: bytes) -> str:
    with pytest.raises(InvalidInput) as error:
        Predictions.read(content)
    return str(error.value)


def test_the_surest_the_least_likely_and_the_surest_errors_are_picked() -> None:
    chosen = choose(predictions(), 2)
    assert list(chosen.best) == [5, 0]
    assert list(chosen.worst) == [3, 1]
    assert list(chosen.confidently_wrong) == [3, 1]
    look = trial_look(predictions(), study="pets", trial=4)
    assert (look.n_samples, look.n_wrong) == (6, 3)
    first = look.confidently_wrong[0]
    assert (first.id, first.label, first.predicted, first.confidence, first.of_label) == (30, "dog", "owl", 0.99, 0.0)
    assert [each.id for each in look.best] == [50, 0, 20]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"labels": [0, 0, 1, 1, 2, 3]}, "a label must be from 0 to 2"),
        ({"labels": [0]}, "6 ids, 1 labels and 6 rows"),
        ({"ids": [0, 0, 1, 2, 3, 4]}, "the same id"),
        ({"probabilities": [[0.5, 0.5]] * 6}, "has 2 probabilities, but there are 3 classes"),
        ({"probabilities": [[0.5, 0.4, 0.5]] * 6}, "sum to 1.4, not to 1"),
        ({"probabilities": [[1.5, -0.5, 0.0]] * 6}, "greater than or equal to 0"),
        ({"classes": ["cat\x1b[2J", "dog", "owl"]}, "classes.0"),
        ({"pictures": {"6": {"shape": [1, 2], "values": "AAA="}}}, "a key of pictures must be from 0 to 5"),
        ({"pictures": {"0": {"shape": [9000, 9000, 3], "values": "AAA="}}}, "cannot have the shape"),
        ({"pictures": {"0": {"shape": [2, 2, 1], "values": "AAA="}}}, "needs 4 values, but has 2"),
        ({"pictures": {"0": {"shape": [2, 2, 1], "values": "<b>!"}}}, "base64"),
        ({"else": 1}, "unknown key"),
    ],
)
def test_invalid_predictions_are_refused_with_the_broken_rule(changes: Any, rule: str) -> None:
    assert rule in refused(json.dumps(data_of(**changes)).encode())


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"[]", b'{"probabilities": [[NaN]]}', b"\xff\xfe"])
def test_content_that_is_not_a_predictions_file_is_refused(content: bytes) -> None:
    assert "predictions.json" in refused(content)


def test_files_and_tables_over_the_limits_are_not_read() -> None:
    assert f"the limit is {MAX_BYTES:,}" in refused(b" " * (MAX_BYTES + 1))
    n = MAX_PROBABILITIES // 100 + 1
    many = data_of(
        ids=list(range(n)), labels=[0] * n, probabilities=[[1.0] + [0.0] * 99] * n, classes=list(map(str, range(100)))
    )
    assert "over 200,000" in refused(json.dumps(many).encode())


def test_a_probe_set_over_the_limit_is_refused_in_the_study() -> None:
    with pytest.raises(InvalidInput) as error:
        DataSpec.parse({"probe": 10_001}, field="data")
    [problem] = error.value.problems
    assert (problem.field, problem.value) == ("data.probe", "10001")
    assert "at most 10,000 samples" in problem.rule
    assert DataSpec.parse({"probe": 10_000}).probe == 10_000


@pytest.mark.parametrize(("channels", "colour"), [(1, 0), (3, 2)])
def test_a_picture_becomes_a_png_with_its_very_pixels(channels: int, colour: int) -> None:
    content = bytes(range(2 * 3 * channels))
    image = png(Picture.of((2, 3, channels), content))
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", image[16:24]) == (3, 2)
    assert image[24:26] == bytes([8, colour])
    length = struct.unpack(">I", image[33:37])[0]
    raw = zlib.decompress(image[41 : 41 + length])
    stride = 3 * channels
    assert raw == b"\0" + content[:stride] + b"\0" + content[stride:]
    assert image[41 + length : 45 + length] == struct.pack(">I", zlib.crc32(image[37 : 41 + length]))


def test_a_signal_is_drawn_from_its_least_value_at_the_bottom() -> None:
    assert curves(Picture.of((1, 3), bytes([0, 255, 51])), width=10, height=100) == ["0.0,100.0 5.0,0.0 10.0,80.0"]


def test_the_contact_sheet_has_no_scripts_or_links_for_any_names() -> None:
    classes = ["<script>alert(1)</script>", "dog", "owl & co"]
    picture = {"shape": [2, 2, 1], "values": "AAECAw=="}
    signal = {"shape": [1, 4], "values": "AAECAw=="}
    sheet = trial_sheet(
        trial_look(predictions(classes=classes, pictures={"3": picture, "1": signal}), study="s", trial=0)
    )
    root = ET.fromstring(sheet)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert {node.tag.rpartition("}")[2] for node in root.iter()} == {
        "svg",
        "title",
        "rect",
        "text",
        "image",
        "polyline",
    }
    links = [value for node in root.iter() for name, value in node.attrib.items() if "href" in name]
    assert len(links) == 2
    assert all(link.startswith("data:image/png;base64,") for link in links)
