"""JSON Schemas for editors."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import APIRouter

from tunefleet.protocol import API
from tunefleet.study.spec import StudySpec
from tunefleet_master.access import Access, needs

router = APIRouter(prefix=f"{API}/schema", tags=["studies"])


@router.get("/study", summary="The JSON Schema of a study")
@needs(Access.READ)
async def study_schema() -> dict[str, Any]:
    """Return the schema; an editor uses it (`# yaml-language-server: $schema=…`) to complete and check study files."""
    return _schema()


@cache
def _schema() -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **StudySpec.model_json_schema(by_alias=True)}
