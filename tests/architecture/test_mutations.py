"""The mutations of `make mutants` fit the sources of today, and their tests exist."""

from __future__ import annotations

import ast

import pytest
from tests.mutations import MUTATIONS, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_a_mutation_still_fits_the_sources(mutation: Mutation, root) -> None:
    changed: dict[str, str] = {}
    for change in mutation.changes:
        changed[change.file] = change.apply(changed.get(change.file) or (root / change.file).read_text())

    for file, text in changed.items():
        assert ast.parse(text)
        assert text != (root / file).read_text()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_the_tests_that_must_notice_a_mutation_exist(mutation: Mutation, root) -> None:
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (root / file).read_text()
