"""The commands of the review desk: `serve`, `users` and `audit`. Parse, call, print.

They are part of the command line in `cli.py`; nothing heavy is imported at the top.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinscope.console import SetOption, SettingsOption, ThreadsOption, say, settings_of
from twinscope.errors import UsageError

if TYPE_CHECKING:
    from twinscope.settings import Desk
    from twinscope.web.options import Options

LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(
    folder: Annotated[
        Path | None, typer.Argument(metavar="CASES", help="Folder of the cases; ~/twinscope-cases if none is named.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 8765 by default, 0: any free."),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to listen at; another one needs --users.")
    ] = "127.0.0.1",
    users: Annotated[
        Path | None, typer.Option("--users", metavar="FILE", help="For a team: who may sign in; see `twinscope users`.")
    ] = None,
    host_name: Annotated[
        list[str] | None,
        typer.Option("--host-name", metavar="NAME", help="A name by which browsers reach it. May be repeated."),
    ] = None,
    proxy: Annotated[
        str | None,
        typer.Option("--proxy", metavar="ADDRESS", help="Stand behind a proxy at this address, which speaks TLS."),
    ] = None,
    library: Annotated[
        str | None,
        typer.Option(
            "--library", metavar="DIR", envvar="TWINSCOPE_LIBRARY", help="Look in a library of earlier panels, too."
        ),
    ] = None,
    callback: Annotated[
        list[str] | None,
        typer.Option("--callback", metavar="HOST", help="A host that may be told of results. May be repeated."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", metavar="N", min=1, help="Screenings that run at a time; 1 by default."),
    ] = None,
    upload_mb: Annotated[
        int | None, typer.Option("--upload-mb", metavar="MB", min=1, help="Size of an upload, at most; 200 by default.")
    ] = None,
    open_: Annotated[
        bool | None, typer.Option("--open/--no-open", help="Open a browser; by default where there is a display.")
    ] = None,
    settings: SettingsOption = None,
    set_: SetOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Open the review desk: upload manuscripts, look at findings, decide, export.

    It is a web page on this machine. The address that is printed lets in who opens it, and nobody else. Ctrl-C ends
    the desk; a screening that was under way goes on at the next start. For a team see docs/serve.md.
    """
    chosen = settings_of(settings, set_, threads)
    if users is None and host not in LOCAL:
        raise UsageError(f"without --users the desk listens at 127.0.0.1 alone, not at {host}; see docs/serve.md")
    place = folder or Path.home() / "twinscope-cases"
    desk = _desk(port=port, jobs_at_once=jobs, upload_bytes=None if upload_mb is None else upload_mb * 2**20)
    listening = _listen(host, desk.port)
    bound = listening.getsockname()[1]
    from twinscope.web.options import Options

    options = Options(
        library=library,
        settings=chosen,
        desk=desk,
        hosts=tuple(dict.fromkeys([*(name.lower() for name in host_name or ()), "127.0.0.1", "localhost", "[::1]"])),
        address=_address(host, bound, host_name, proxy),
        callbacks=tuple(one.lower() for one in callback or ()),
        users=users,
        proxy=proxy is not None,
    )
    _serve(place, options, listening, proxy, _shows() if open_ is None else open_)


def _desk(**given: int | None) -> Desk:
    from twinscope.settings import Desk

    return Desk.model_validate({key: value for key, value in given.items() if value is not None})


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises UsageError where that cannot be."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=256
        )
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"the desk cannot listen at {host}, port {port} ({why}); take another --port") from error


def _address(host: str, port: int, names: list[str] | None, proxy: str | None) -> str:
    """Return what the addresses of this desk begin with."""
    if proxy is not None and names:
        return f"https://{names[0].lower()}"
    name = names[0].lower() if names else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"


def _shows() -> bool:
    """Say whether there is a display that a browser can open on."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _serve(folder: Path, options: Options, listening: socket.socket, proxy: str | None, browser: bool) -> None:
    """Run the desk until it is interrupted."""
    import uvicorn

    from twinscope.web import app as desk

    made = desk.create(folder, options)
    entry = options.address + ("/" if options.users else f"/?token={options.token}")

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                typer.echo(f"The review desk of {folder} is open at\n\n  {entry}\n\nCtrl-C ends it.")
                if browser:
                    typer.launch(entry)

    config = uvicorn.Config(
        made, log_level="warning", access_log=False, server_header=False, date_header=False, lifespan="on",
        proxy_headers=proxy is not None, forwarded_allow_ips=proxy, timeout_graceful_shutdown=3,
    )  # fmt: skip
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        say(f"the desk is closed; open it again with `twinscope serve {folder}`")
    finally:
        signal.signal(signal.SIGTERM, before)
