"""The paths of the api."""

import asyncio
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field, ValidationError
from redis.exceptions import RedisError
from starlette.datastructures import UploadFile

from app import __version__, metrics, qdrant
from app.database import NewDocument
from app.queue import QUEUE
from app.resources import Resources

MAX_BYTES = 1_000_000
MAX_BATCH = 100

router = APIRouter()


def resources(request: Request) -> Resources:
    """The open connections of this process."""
    opened: Resources = request.app.state.resources
    return opened


Open = Annotated[Resources, Depends(resources)]


class DocumentIn(BaseModel):
    """A document as JSON."""

    # PostgreSQL's text holds no NUL.
    title: str = Field(min_length=1, max_length=300, pattern=r"^[^\x00]*$")
    text: str = Field(min_length=1, max_length=MAX_BYTES, pattern=r"^[^\x00]*$")

    def new(self) -> NewDocument:
        """The same without surrounding blanks."""
        return NewDocument(self.title.strip(), self.text.strip())


class Batch(BaseModel):
    """Several documents in one request."""

    documents: list[DocumentIn] = Field(min_length=1, max_length=MAX_BATCH)


class Question(BaseModel):
    """A search."""

    text: str = Field(min_length=1, max_length=2000)
    top: int = Field(default=5, ge=1, le=50)


@router.get("/livez")
async def livez() -> PlainTextResponse:
    """The process runs; says nothing about others."""
    return PlainTextResponse("ok")


@router.get("/readyz")
async def readyz(opened: Open) -> PlainTextResponse:
    """The process can take requests. Independent of the database: its outage must not also remove the api."""
    return PlainTextResponse(f"ready {opened.settings.qdrant_collection}")


@router.get("/health")
async def health(opened: Open) -> JSONResponse:
    """The state of every dependency; 503 only when the database is down."""
    report = await opened.health.report()
    return JSONResponse(report, 503 if report["status"] == "unhealthy" else 200)


@router.get("/metrics")
async def exposition(opened: Open) -> Response:
    """Prometheus text."""
    try:
        async with asyncio.timeout(1.0):
            length = float(await opened.redis.llen(QUEUE))
    except (RedisError, OSError, TimeoutError):
        length = float("nan")
    opened.metrics.queue.labels(QUEUE).set(length)
    return Response(opened.metrics.text(), media_type=metrics.CONTENT_TYPE)


@router.get("/info")
async def info(opened: Open) -> dict[str, Any]:
    """Version and amounts, as the data verification after a restore compares them."""
    by_status, chunks = await opened.documents.counts()
    states = {name: by_status.get(name, 0) for name in ("queued", "processing", "processed", "failed")}
    found: dict[str, Any] = {
        "version": __version__,
        "documents": {"total": sum(states.values()), **states},
        "chunks": chunks,
    }
    if opened.settings.qdrant_url:
        name = opened.settings.qdrant_collection
        result = (await opened.ask_qdrant(qdrant.describe(name))).json()["result"]
        found["collection"] = {"name": name, "status": result["status"], "points": result["points_count"]}
    return found


@router.post("/documents", status_code=202)
async def upload(request: Request, opened: Open) -> dict[str, Any]:
    """Take one document, as JSON or as a file."""
    return (await _accept(opened, [await _read(request)]))[0]


@router.post("/documents/batch", status_code=202)
async def upload_batch(batch: Batch, opened: Open) -> dict[str, Any]:
    """Take up to 100 documents."""
    return {"documents": await _accept(opened, [document.new() for document in batch.documents])}


async def _accept(opened: Resources, documents: list[NewDocument]) -> list[dict[str, Any]]:
    if not all(document.title and document.text for document in documents):
        raise HTTPException(422, "title and text must not be blank")
    await opened.documents.add(documents)
    sent = await opened.queue.send([document.id for document in documents])
    return [{"id": str(document.id), "status": "queued", "sent": sent} for document in documents]


async def _read(request: Request) -> NewDocument:
    if int(request.headers.get("content-length") or 0) > MAX_BYTES:
        raise HTTPException(413, f"a document may have {MAX_BYTES} bytes at most")
    try:
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            return (await _read_form(request)).new()
        return DocumentIn.model_validate_json(await request.body()).new()
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg']}" for each in error.errors()]
        raise HTTPException(422, "; ".join(problems)) from error


async def _read_form(request: Request) -> DocumentIn:
    async with request.form(max_files=1) as form:
        file, title = form.get("file"), form.get("title")
        if not isinstance(file, UploadFile):
            raise HTTPException(422, "send the document in a form field named file")
        content = await file.read()
    return DocumentIn(title=str(title or file.filename or "untitled"), text=content.decode("utf-8", "replace"))


@router.get("/documents/{document_id}")
async def document(document_id: uuid.UUID, opened: Open) -> dict[str, Any]:
    """One document and how far it is."""
    row = await opened.documents.get(document_id)
    if row is None:
        raise HTTPException(404, f"there is no document {document_id}")
    return row


@router.post("/query")
async def query(question: Question, opened: Open) -> dict[str, Any]:
    """The chunks that are nearest to the question."""
    if not opened.settings.qdrant_url:
        raise HTTPException(501, "this installation has no vector store")
    call = qdrant.search(opened.settings.qdrant_collection, question.text, question.top)
    found = (await opened.ask_qdrant(call)).json()["result"]["points"]
    rows = await opened.documents.chunks([uuid.UUID(str(point["id"])) for point in found])
    hits = ((rows.get(uuid.UUID(str(point["id"]))), point["score"]) for point in found)
    return {"results": [{**row, "score": score} for row, score in hits if row is not None]}
