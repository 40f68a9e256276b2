"""The desk as a web application: its routes behind the gate, its error pages, its static files."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from twinscope import __version__
from twinscope.errors import TwinscopeError, UsageError
from twinscope.web import access, api, callbacks, cases, desk, events, export, intake, jobs, page, panels, uploads
from twinscope.web.options import Options

__all__ = ["Options", "create"]


def create(folder: Path, options: Options) -> FastAPI:
    """Return the desk of a folder of cases. Raises UsageError where the folder or the file of users cannot be used."""
    folder = folder.resolve()
    if not folder.exists():
        _make(folder)
    with cases.connected(folder) as db:
        cases.register(db, folder, "" if options.users else access.system_user())
    app = FastAPI(
        title="twinscope",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_alive,
        max_body_size=options.desk.form_bytes,
        exception_handlers={
            HTTPException: _refused,
            RequestValidationError: _invalid,
            TwinscopeError: _foreseen,
            Exception: _unforeseen,
        },
    )
    app.state.folder = folder
    app.state.options = options
    app.state.door = access.door(options)
    app.state.callbacks = callbacks.Callbacks(folder, options)
    app.state.jobs = jobs.Jobs(folder, options, app.state.callbacks)
    app.state.filing = threading.Lock()  # the files of a case get their numbers one after the other
    for part in (access, intake, events, api, desk, panels, export):
        app.include_router(part.router)
    app.add_api_route("/health", _health, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=str(files("twinscope.web").joinpath("static"))))
    # around the error pages, too, which stand outside of all middleware that can be added
    app.middleware_stack = access.Gate(app.build_middleware_stack(), options)
    return app


def _make(folder: Path) -> None:
    """Make the folder of a desk: manuscripts are for nobody else on the machine."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the desk's folder {folder} cannot be made ({error.strerror}); name another one") from error


@asynccontextmanager
async def _alive(app: FastAPI) -> AsyncIterator[None]:
    uploads.clear(app.state.folder)
    await run_in_threadpool(page.warm)
    app.state.jobs.start()
    try:
        yield
    finally:
        app.state.callbacks.stop()
        await run_in_threadpool(app.state.jobs.stop)


async def _health() -> Response:
    """Say that the server answers; without the database, so that it says so quickly."""
    return JSONResponse({"status": "ok"})


# ---- answers that are no answers --------------------------------------------------------------------------------


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 401:
        return access.signed_out(request)
    known = {404: "there is no such page", 405: "this cannot be done here", 413: "the request brings too much"}
    plain = error.detail in ("Not Found", "Method Not Allowed", "Content Too Large")
    sentence = known[error.status_code] if plain else str(error.detail)
    return access.told(request, error.status_code, sentence, dict(error.headers or {}))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return access.told(request, 422, f"{where}: {first['msg']}")


async def _foreseen(request: Request, error: Exception) -> Response:
    return access.told(request, 500, str(error))


async def _unforeseen(request: Request, error: Exception) -> Response:
    return access.told(request, 500, "the desk made an error; what is decided is kept, and its log has the details")
