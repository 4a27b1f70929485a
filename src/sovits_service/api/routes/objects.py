"""Serve the signed links of `response: url` where files are kept in a local folder."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from starlette.requests import Request

from sovits_service.api.deps import context_of
from sovits_service.api.openapi import OBJECT_ANSWERS, OBJECT_PARAMETERS
from sovits_service.api.stored import StoredFile
from sovits_service.audio.encode import MEDIA_TYPES, content_type
from sovits_service.errors import ForbiddenError
from sovits_service.storage.objects.objects import LocalObjects

router = APIRouter(tags=["speech"])


@router.get("/objects/{key:path}", response_class=StoredFile, responses=OBJECT_ANSWERS, openapi_extra=OBJECT_PARAMETERS)
async def get_object(request: Request) -> StoredFile:
    """The file of a link, or a range of it; the signature in the link is the right to it."""
    objects = context_of(request).service.objects
    if not isinstance(objects, LocalObjects):
        raise ForbiddenError("this service serves no linked files")
    query = request.query_params
    file = await asyncio.to_thread(
        objects.verify, request.path_params["key"], query.get("expires", ""), query.get("signature", "")
    )
    ending = file.suffix.removeprefix(".")
    media_type = content_type(ending) if ending in MEDIA_TYPES else "application/octet-stream"
    return StoredFile(file, media_type=media_type)
