"""The commands of the review desk: `serve`, `users` and `audit`. Parse, call, print.

They are part of the command line in `cli.py`; nothing heavy is imported at the top.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from twinscope.console import EXIT_PROBLEMS, JsonOption, SetOption, SettingsOption, ThreadsOption, say, settings_of
from twinscope.errors import UsageError

if TYPE_CHECKING:
    from twinscope.settings import Desk
    from twinscope.web.options import Options

EVERYWHERE = ("0.0.0.0", "::")
LOCAL = ("127.0.0.1", "localhost", "::1")


FolderArgument = Annotated[
    Path | None, typer.Argument(metavar="CASES", help="Folder of the cases; ~/twinscope-cases if none is named.")
]
PortOption = Annotated[
    int | None, typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 8765 by default, 0: any free.")
]
HostOption = Annotated[
    str, typer.Option("--host", metavar="ADDRESS", help="Address to listen at; another one needs --users.")
]
UsersOption = Annotated[
    Path | None, typer.Option("--users", metavar="FILE", help="For a team: who may sign in; see `twinscope users`.")
]
HostNameOption = Annotated[
    list[str] | None,
    typer.Option("--host-name", metavar="NAME", help="A name by which browsers reach it. May be repeated."),
]
ProxyOption = Annotated[
    str | None,
    typer.Option("--proxy", metavar="ADDRESS", help="Stand behind a proxy at this address, which speaks TLS."),
]
LibraryOption = Annotated[
    str | None,
    typer.Option(
        "--library", metavar="DIR", envvar="TWINSCOPE_LIBRARY", help="Look in a library of earlier panels, too."
    ),
]
CallbackOption = Annotated[
    list[str] | None,
    typer.Option("--callback", metavar="HOST", help="A host that may be told of results. May be repeated."),
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", metavar="N", min=1, help="Screenings that run at a time; 1 by default.")
]
UploadOption = Annotated[
    int | None, typer.Option("--upload-mb", metavar="MB", min=1, help="Size of an upload, at most; 200 by default.")
]
OpenOption = Annotated[
    bool | None, typer.Option("--open/--no-open", help="Open a browser; by default where there is a display.")
]


def _home() -> Path:
    return Path.home() / "twinscope-cases"


def serve(
    folder: FolderArgument = None,
    port: PortOption = None,
    host: HostOption = "127.0.0.1",
    users: UsersOption = None,
    host_name: HostNameOption = None,
    proxy: ProxyOption = None,
    library: LibraryOption = None,
    callback: CallbackOption = None,
    jobs: JobsOption = None,
    upload_mb: UploadOption = None,
    open_: OpenOption = None,
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
    if proxy is not None and not host_name:
        raise UsageError("behind a proxy the desk must know its name; give it with --host-name")
    if host not in LOCAL and proxy is None:
        say("passwords and manuscripts travel unencrypted; put a proxy that speaks TLS before it, see docs/serve.md")
    if library is not None:
        from twinscope.library import ledger

        ledger.check(library)
    place = folder or _home()
    desk = _desk(port=port, jobs_at_once=jobs, upload_bytes=None if upload_mb is None else upload_mb * 2**20)
    with _listen(host, desk.port) as listening:
        bound = listening.getsockname()[1]
        from twinscope.web.options import Options

        options = Options(
            library=library,
            settings=chosen,
            desk=desk,
            hosts=_hosts(host, host_name),
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


def _hosts(host: str, names: list[str] | None) -> tuple[str, ...]:
    """Return the names under which the desk answers."""
    own = f"[{host}]" if ":" in host else host
    known = [*(names or ()), *([] if host in EVERYWHERE else [own]), "127.0.0.1", "localhost", "[::1]"]
    return tuple(dict.fromkeys(name.lower() for name in known))


def _shows() -> bool:
    """Say whether there is a display that a browser can open on."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _serve(folder: Path, options: Options, listening: socket.socket, proxy: str | None, browser: bool) -> None:
    """Run the desk until it is interrupted."""
    import uvicorn

    from twinscope.web import app as desk

    made = desk.create(folder, options)
    made.state.jobs.claim()
    entry = options.address + ("/" if options.users else f"/?token={options.token}")

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            made.state.jobs.stopping.set()  # pages that listen are let go, so that the end waits for none of them
            super().handle_exit(sig, frame)

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
    before = {one: signal.signal(one, signal.default_int_handler) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        say(f"the desk is closed; `twinscope serve {folder}` opens it again, and what was under way goes on")
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


# --- users ------------------------------------------------------------------------------------------------------

users_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Say who may sign in to a desk for a team: `twinscope serve --users FILE`.

FILE is made by the first `add`. A desk that is open reads it again when it changes. It holds hashes of passwords and
keys, and is for its owner alone.""",
)
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The file of users.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The user.")]


def _password() -> str:
    """Return the password from a prompt, asked twice; or the first line of standard input, if that is no terminal."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")


@users_app.command("add")
def users_add(
    file: FileArgument,
    name: NameArgument,
    admin: Annotated[bool, typer.Option("--admin", help="An admin sees all cases.")] = False,
) -> None:
    """Add a user; the password is asked for, or read from standard input."""
    from twinscope.web import users

    users.add(file, name, "admin" if admin else "reviewer", _password())
    typer.echo(f"{name} may sign in now, as {'an admin' if admin else 'a reviewer'}")


@users_app.command("remove")
def users_remove(file: FileArgument, name: NameArgument) -> None:
    """Take a user out; sessions and keys of the user end at once."""
    from twinscope.web import users

    users.remove(file, name)
    typer.echo(f"{name} is taken out; the decisions of {name} stay")


@users_app.command("password")
def users_password(file: FileArgument, name: NameArgument) -> None:
    """Give a user another password; sessions of the user end at once."""
    from twinscope.web import users

    users.set_password(file, name, _password())
    typer.echo(f"{name} has another password")


@users_app.command("role")
def users_role(
    file: FileArgument,
    name: NameArgument,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="reviewer or admin.")],
) -> None:
    """Make a user a reviewer or an admin."""
    from twinscope.web import users

    if role not in ("reviewer", "admin"):
        raise UsageError(f"{role} is no role; take reviewer or admin")
    users.set_role(file, name, "admin" if role == "admin" else "reviewer")
    typer.echo(f"{name} is {role} now")


@users_app.command("list")
def users_list(file: FileArgument, json_: JsonOption = False) -> None:
    """List the users, their roles and the labels of their keys."""
    from twinscope.web import users

    people = [
        {"name": one.name, "role": one.role, "keys": [key.label for key in one.keys]}
        for one in users.read(file).values()
    ]
    if json_:
        typer.echo(json.dumps(people, indent=2))
        return
    for one in people:
        keys = f"  keys: {', '.join(one['keys'])}" if one["keys"] else ""
        typer.echo(f"{one['name']:24} {one['role']:8}{keys}".rstrip())


@users_app.command("key")
def users_key(
    file: FileArgument,
    name: NameArgument,
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="What the key is for.")] = "default",
    remove: Annotated[bool, typer.Option("--remove", help="Take the key of this label away.")] = False,
) -> None:
    """Make a key by which a program uses the REST API for a user; it is printed once, and kept nowhere."""
    from twinscope.web import users

    if remove:
        users.remove_key(file, name, label)
        say(f"the key {label} of {name} is taken away")
        return
    typer.echo(users.add_key(file, name, label))


# --- the record of decisions ------------------------------------------------------------------------------------

audit_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check the record of decisions of a desk.")


@audit_app.command("verify")
def audit_verify(
    folder: FolderArgument = None,
    noted: Annotated[
        str | None, typer.Option("--noted", metavar="SEQ:HASH", help="An end that was noted before, as this prints it.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Check that no decision was changed, and none is missing.

    Each entry holds the hash of the one before, so that any change shows. What was cut off the end shows only against
    an end that was noted elsewhere: note the one that this prints. Exit code 3 where something is wrong.
    """
    place = folder or _home()
    known = _noted(noted)
    from twinscope.web import cases, ledger

    if not (place / cases.DATABASE).is_file():
        raise UsageError(f"{place} is no folder of a desk; name the one that `twinscope serve` uses")
    with cases.connected(place) as db:
        chain = ledger.verify(db, known)
    if json_:
        told = {"folder": str(place), "whole": not chain.troubles, "entries": chain.entries, "head": chain.head}
        typer.echo(json.dumps({**told, "wrong": list(chain.troubles)}, indent=2))
    else:
        told_end = f"{chain.entries}:{chain.head}"
        state = "is not whole" if chain.troubles else "is whole"
        typer.echo("\n".join([*chain.troubles, f"the record of {place} {state}", f"its end, to note: {told_end}"]))
    if chain.troubles:
        raise typer.Exit(EXIT_PROBLEMS)


def _noted(text: str | None) -> tuple[int, str] | None:
    """Return a noted end as number and hash. Raises UsageError for what is none."""
    if text is None:
        return None
    number, _, mark = text.partition(":")
    if not (number.isdecimal() and number.isascii() and re.fullmatch("[0-9a-f]{64}", mark)):
        raise UsageError(f"--noted {text} is not of the form SEQ:HASH, with the 64 digits of the hash")
    return int(number), mark
