"""The api: `uvicorn app.main:app`."""

import contextlib
import logging
from collections.abc import AsyncIterator

import httpx
import psycopg
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from psycopg_pool import PoolTimeout, TooManyRequests

from app import __version__
from app.config import Settings, settings
from app.failures import database_failure
from app.http_failures import qdrant_failure
from app.metrics import Metrics
from app.middleware import RequestMiddleware
from app.ratelimit import Proxies
from app.resources import make_limiter, make_redis, opened
from app.routes import router


def create_app(configured: Settings) -> FastAPI:
    """An application object with its own connections and figures."""
    metrics = Metrics()
    redis = make_redis(configured)

    @contextlib.asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        async with opened(configured, redis, metrics) as resources:
            application.state.resources = resources
            yield

    application = FastAPI(title="DocuQuery", version=__version__, lifespan=lifespan)
    application.add_middleware(
        RequestMiddleware,
        limiter=make_limiter(configured, redis),
        metrics=metrics,
        proxies=Proxies.parse(configured.trusted_proxies),
    )
    application.include_router(router)
    for failure in (psycopg.Error, PoolTimeout, TooManyRequests):
        application.add_exception_handler(failure, database_error)
    application.add_exception_handler(httpx.HTTPError, qdrant_error)
    return application


async def database_error(request: Request, error: Exception) -> JSONResponse:
    """A request failed in PostgreSQL."""
    return unavailable(request, "database", database_failure(error).kind)


async def qdrant_error(request: Request, error: Exception) -> JSONResponse:
    """A request failed in Qdrant."""
    return unavailable(request, "qdrant", qdrant_failure(error).kind)


def unavailable(request: Request, dependency: str, kind: str) -> JSONResponse:
    """Say which dependency failed and how, and nothing that it said: its text may hold a secret."""
    logging.getLogger(__name__).error("%s %s failed: %s %s", request.method, request.url.path, dependency, kind)
    body = {"detail": f"{dependency} does not answer as it should: {kind}", "dependency": dependency, "error": kind}
    return JSONResponse(body, 503)


logging.basicConfig(
    level=logging.INFO,
    format='{"ts":"%(asctime)s","level":"%(levelname)s","logger":"%(name)s","message":"%(message)s"}',
)
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
app = create_app(settings())
