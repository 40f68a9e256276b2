"""Who may come in, and what they may see: the gate before every route, sessions, and the dependencies of routes.

The gate answers for known host names only, refuses unsafe requests that come from other pages (CSRF), and puts the
security headers on every answer. Behind it `user` and `case` are the dependencies by which a route is guarded.
"""

from __future__ import annotations

import getpass
import secrets
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twinscope.types import Record
from twinscope.web import cases, page, users
from twinscope.web.options import Options
from twinscope.web.sessions import Sessions, Tries

SAFE = ("GET", "HEAD", "OPTIONS")
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "
    "object-src 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""What every answer says, unless its route says something else."""

router = APIRouter(include_in_schema=False)


class User(Record):
    """Somebody who has signed in."""

    name: str
    role: Literal["reviewer", "admin"]

    @property
    def admin(self) -> bool:
        return self.role == "admin"


class Door(NamedTuple):
    """What is kept in memory about those who come in; no book of users where there is one user."""

    book: users.Book | None
    sessions: Sessions
    names: Tries
    addresses: Tries


def door(options: Options) -> Door:
    """Return the door of a desk, without anybody inside."""
    desk = options.desk
    book = None if options.users is None else users.Book(options.users)
    if book is not None:
        book.read()
        users.check(None, "")  # so that the first unknown name takes no longer than any other
    return Door(
        book,
        Sessions(desk.session_s, desk.session_most_s),
        Tries(desk.tries, desk.tries_s),
        Tries(2 * desk.tries, desk.tries_s),
    )


def system_user() -> str:
    """Return the name by which the operating system knows who runs this."""
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):  # no name stands for the number of this user
        return "reviewer"


# ---- the gate ---------------------------------------------------------------------------------------------------


class Gate:
    """Stands before the whole app, its error pages, too."""

    def __init__(self, app: ASGIApp, options: Options) -> None:
        self.app = app
        self.options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        request = Request(scope, receive)

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                _secure(request, MutableHeaders(scope=message), self.options)
            await send(message)

        refusal = self._refusal(request)
        if refusal is not None:
            await told(request, *refusal)(scope, receive, secured)
        elif "token" in request.query_params and request.method == "GET" and self.options.users is None:
            await _shown(request)(scope, receive, secured)
        else:
            await self.app(scope, receive, secured)

    def _refusal(self, request: Request) -> tuple[int, str] | None:
        if host_name(request.headers.get("host", "")) not in self.options.hosts:
            return 400, "the desk does not answer under this host name; `twinscope serve --host-name` adds one"
        if request.method not in SAFE and not from_here(request):
            return 403, "the request came from another page than the desk's own and was refused"
        return None


def host_name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    return (host.rpartition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]).lower()


def from_here(request: Request) -> bool:
    """Say whether an unsafe request comes from a page of the desk itself, or from a program that shows a key."""
    if request.url.path.startswith("/api/") and bearer(request) and "cookie" not in request.headers:
        return True
    own = f"{request.url.scheme}://{request.headers.get('host', '')}".lower()
    same = request.headers.get("origin", "").lower() == own
    site = request.headers.get("sec-fetch-site")
    return site == "same-origin" or (site in (None, "none") and same)


def bearer(request: Request) -> str:
    """Return the key that a request shows, or ""."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _secure(request: Request, headers: MutableHeaders, options: Options) -> None:
    if request.url.path.startswith("/static/"):  # a query is a stamp that changes when the file does
        stamped = "public, max-age=31536000, immutable" if request.url.query else "no-cache"
        headers.setdefault("Cache-Control", stamped)
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if options.proxy:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")


def told(request: Request, status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """Return an answer that says in a sentence why there is no other: a page, or JSON to a program."""
    if wants_json(request):
        body = {"type": "about:blank", "status": status, "detail": sentence}
        return JSONResponse(body, status, headers, media_type="application/problem+json")
    made = page.render(request, "desk/error.html", status=status, code=status, sentence=sentence)
    made.headers.update(headers or {})
    return made


def wants_json(request: Request) -> bool:
    """Say whether a request comes from a program or a script, and not from somebody who reads pages."""
    accept = request.headers.get("accept", "")
    return request.url.path.startswith("/api/") or ("application/json" in accept and "text/html" not in accept)


# ---- who it is --------------------------------------------------------------------------------------------------


def who(request: Request, used: bool = True) -> User | None:
    """Return who sends a request, None where that is not known. used: the session counts as used by it."""
    door: Door = request.app.state.door
    if request.url.path.startswith("/api/") and bearer(request):
        return _of_key(request, bearer(request))
    session = door.sessions.find(request.cookies.get(cookie(request), ""), used)
    if session is None:
        return None
    if door.book is None:
        return User(name=system_user(), role="admin")
    person = door.book.read().get(session.name)
    if person is None or session.stamp != users.key_hash(person.password):  # who was removed or has a new password
        return None
    return User(name=person.name, role=person.role)


def _of_key(request: Request, key: str) -> User | None:
    book = request.app.state.door.book
    if book is None:
        right = secrets.compare_digest(key.encode(), request.app.state.options.token.encode())
        return User(name=system_user(), role="admin") if right else None
    person = users.of_key(book.read(), key)
    return None if person is None else User(name=person.name, role=person.role)


async def user(request: Request) -> User:
    """Return who sends a request; a dependency. 401 where that is not known, which shows the page to sign in at."""
    found = who(request)
    if found is None:
        raise HTTPException(401, "sign in first")
    return found


Known = Annotated[User, Depends(user)]


def case(case_id: str, request: Request, user: Known) -> cases.Case:
    """Return a case; a dependency. 404 where it is not there or not for this user: nothing is told of it."""
    with cases.connected(request.app.state.folder) as db:
        found = cases.get(db, case_id)
        if found is None or not cases.may_see(db, found, user.name, user.admin):
            raise HTTPException(404, "there is no such case")
    return found


Seen = Annotated[cases.Case, Depends(case)]


def own(case: Seen, user: Known) -> cases.Case:
    """Return a case that is the user's own; a dependency. 403 where it is shared with them; an admin owns all."""
    if not (user.admin or case.owner == user.name):
        raise HTTPException(403, "only the owner of the case or an admin may do this")
    return case


Owned = Annotated[cases.Case, Depends(own)]


# ---- signing in and out -----------------------------------------------------------------------------------------


def cookie(request: Request) -> str:
    """Return the name of the session's cookie."""
    return cookie_name(request.app.state.folder, request.app.state.options)


def cookie_name(folder: Path, options: Options) -> str:
    """Return the name of the session's cookie of a desk: cookies do not know ports, so each folder has its own."""
    mark = users.key_hash(str(folder))[:8]
    return f"__Host-twinscope-{mark}" if options.proxy else f"twinscope-{mark}"


def _welcome(request: Request, place: str, name: str, stamp: str) -> Response:
    """Begin a new session, whatever there was before, and go on to a place."""
    sessions: Sessions = request.app.state.door.sessions
    sessions.end(request.cookies.get(cookie(request), ""))
    answer = RedirectResponse(place, 303)
    answer.set_cookie(
        cookie(request), sessions.begin(name, stamp), httponly=True, samesite="strict", path="/",
        secure=request.app.state.options.proxy,
    )  # fmt: skip
    return answer


def _shown(request: Request) -> Response:
    """Answer who shows the start-up token in an address: the token goes out of the address."""
    rest = [(key, value) for key, value in parse_qsl(request.url.query) if key != "token"]
    place = local(request.url.path + ("?" + urlencode(rest) if rest else ""))
    if not secrets.compare_digest(request.query_params["token"].encode(), request.app.state.options.token.encode()):
        return RedirectResponse("/login?" + urlencode({"next": place, "wrong": "1"}), 303)
    return _welcome(request, place, system_user(), "")


def local(place: str) -> str:
    """Return a place of the desk, "/" for anything that leads elsewhere."""
    plain = place.startswith("/") and not place.startswith(("//", "/\\")) and place.isprintable() and "\\" not in place
    return place if plain else "/"


@router.get("/login")
def login_page(request: Request, next: str = "/", wrong: bool = False) -> Response:
    """Show the page to sign in at."""
    sentence = "That is not the token of this desk; the address that was printed at its start has it." if wrong else ""
    return _form(request, 200, local(next), sentence)


def _form(request: Request, status: int, place: str, sentence: str) -> Response:
    team = request.app.state.options.users is not None
    return page.render(request, "desk/login.html", status=status, team=team, next=place, sentence=sentence)


@router.post("/login")
def login(
    request: Request,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    token: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Sign somebody in: by name and password, or by the start-up token where there is one user."""
    options: Options = request.app.state.options
    door: Door = request.app.state.door
    address = request.client.host if request.client else ""
    place, name = local(next), name[:100]
    wait_s = door.addresses.take(address) or (door.names.take(name) if door.book else 0.0)
    if wait_s:
        minutes = max(1, round(wait_s / 60))
        answer = _form(request, 429, place, f"There were too many wrong tries; the next may come in {minutes} min.")
        answer.headers["Retry-After"] = str(int(wait_s) + 1)
        return answer
    if door.book is None:
        if not secrets.compare_digest(token.strip().encode(), options.token.encode()):
            return _form(request, 403, place, "That is not the token of this desk.")
        door.addresses.forget(address, 1)
        return _welcome(request, place, system_user(), "")
    person = door.book.read().get(name)
    with door.names.few:
        right = users.check(person, password)
    if not right or person is None:
        return _form(request, 403, place, "The name or the password is wrong.")
    door.names.forget(name)
    door.addresses.forget(address, 1)
    return _welcome(request, place, person.name, users.key_hash(person.password))


@router.post("/logout")
def logout(request: Request) -> Response:
    """End the session."""
    request.app.state.door.sessions.end(request.cookies.get(cookie(request), ""))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(cookie(request), path="/", secure=request.app.state.options.proxy, httponly=True,
                         samesite="strict")  # fmt: skip
    return answer


def signed_out(request: Request) -> Response:
    """Answer who is not known: the page to sign in at, or 401 to a program."""
    if wants_json(request) or request.method != "GET" or "text/event-stream" in request.headers.get("accept", ""):
        return told(request, 401, "sign in first", {"WWW-Authenticate": "Bearer"})
    place = request.url.path + ("?" + request.url.query if request.url.query else "")
    return RedirectResponse("/login?next=" + quote(place, safe=""), 303)
