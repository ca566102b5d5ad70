"""The server of the page: files of the page itself, photos, and the session as JSON."""

import hmac
import os
import secrets
import threading
import time
import webbrowser
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from socket import socket  # noqa: TID251  a port of this machine
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from sktip._label.export import Written, write_folders, write_report, write_table
from sktip._label.files import secret_file
from sktip._label.labelling import Session
from sktip._label.store import NONE, UNSURE, Change
from sktip.exceptions import ImageReadError

STATIC = Path(__file__).with_name("static")
#: Sides of the photos that are sent, in pixels: in a strip or grid, on a screen, enlarged.
SIDES = (320, 1600, 4096)
#: Photos that a window has at hand, the shown one and those fetched ahead.
AHEAD = 3
#: Photos on a page of the grid.
GRID = 48
#: Certainty from which a photo counts as suggested, and is "likely".
LIKELY = 0.8
#: Seconds after which a window that says nothing has gone; browsers let hidden ones speak once a minute.
SILENT = 150
#: Photos before and after in the strip.
BESIDE = 4
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """Lets in who asks by an address of this machine and from no other page; data need the token.

    The token comes in a header, which no page on another port can send or read. It is in no cookie:
    a browser sends cookies to every port of a machine.
    """

    def __init__(self, app: Any, token: str, port: int):
        self.app, self.token = app, token
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":  # There are no websockets.
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-sktip-token", "").encode()
        is_open = scope["path"] == "/" or scope["path"].startswith("/static/")
        # A browser says which page a request comes from, and a page cannot change that.
        origin = headers.get("origin")
        if (
            headers.get("host") not in self.hosts
            or (origin is not None and origin.removeprefix("http://") not in self.hosts)
            or not (is_open or hmac.compare_digest(given, self.token.encode()))
        ):
            refusal = PlainTextResponse("Open the address that `sktip label` has printed.", 403)
            await refusal(scope, receive, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, with_headers)


class Page:
    """The session as JSON, for any number of windows.

    Each photo is sent with a receipt, and an answer about a photo is taken only with its receipt: nothing
    is labelled that has not been sent to be shown. Each method is a route; its arguments and its result
    are JSON objects.
    """

    def __init__(self, session: Session, save_model: Callable[[], Written], note: str):
        self.session, self.note = session, note
        self._write: dict[str, Callable[[], Written]] = {
            "copies": partial(write_folders, session, copy=True),
            "links": partial(write_folders, session, copy=False),
            "report": partial(write_report, session),
            "table": partial(write_table, session),
            "model": save_model,
        }
        self._secret = secrets.token_bytes()
        self._unreadable: set[int] = set()
        # Of each window its photos, when it was heard last, and the photos in the order that it asked for last,
        # since a search looks at all.
        self._lock = threading.RLock()
        self._windows: dict[str, list[int]] = {}
        self._seen: dict[str, float] = {}
        self._ranked: dict[str, tuple[str, list[int]]] = {}
        self._changes: dict[str, Change] = {}
        actions = "next photo answer undo classes grid results write close".split()
        self.app = Starlette(
            routes=[
                Route("/", self._index),
                Mount("/static", StaticFiles(directory=STATIC)),
                Route("/photo/{row:int}/{side:int}", self._picture),
                Route("/api/state", self._state),
                *(
                    Route(f"/api/{name}", _answering(getattr(self, name)), methods=["POST"])
                    for name in actions
                ),
            ]
        )

    def _index(self, _: Request) -> Response:
        return Response((STATIC / "index.html").read_bytes(), media_type="text/html")

    def _picture(self, request: Request) -> Response:
        row, side = request.path_params["row"], request.path_params["side"]
        if side not in SIDES or row >= len(self.session.paths):
            return JSONResponse({"error": "There is no such photo."}, 404)
        try:
            content = self.session.picture(row, side)
        except (ImageReadError, OSError) as error:
            self._unreadable.add(row)
            return JSONResponse({"error": getattr(error, "reason", str(error))}, 422)
        headers = {"cache-control": "no-store", "x-sktip-receipt": self._receipt(row)}
        return Response(content, media_type="image/jpeg", headers=headers)

    def _receipt(self, row: int) -> str:
        return hmac.digest(self._secret, str(row).encode(), "sha256").hex()

    def _state(self, request: Request) -> Response:
        window = request.query_params.get("window", "")
        if window in self._seen:
            self._seen[window] = time.monotonic()
        known = request.query_params.get("version") == self._version()
        return JSONResponse({} if known else self.state())

    def _version(self) -> str:
        session = self.session
        return f"{session.run_id}-{session.version}-{session.learner.n_encoded}-{session.problem}"

    def state(self) -> dict[str, Any]:
        """Everything that is not about one photo."""
        session, version = self.session, self._version()
        now, learner = session.knowledge, session.learner
        rows: dict[str, list[int]] = {name: [] for name in session.classes}
        answers, labelled = session.store.answers, session.answered()
        for row in labelled:
            for label in answers[session.paths[row]].labels:
                rows.get(label, []).append(row)
        return {
            "version": version,
            "name": os.path.basename(session.root) or session.root,
            "output": session.store.folder,
            "tags": session.tags,
            "text": learner.has_text,
            "note": self.note,
            "problem": " ".join(filter(None, (learner.problem, session.problem))),
            "stage": learner.stage,
            "encoded": learner.n_encoded,
            "photos": len(session.paths),
            "damaged": len(session.errors),
            "labelled": len(labelled),
            "suggested": len(session.predicted_as(None, LIKELY)) if now.is_good else 0,
            "good": now.is_good,
            "classes": [
                {"name": name, "photos": len(own), "examples": own[:-4:-1]}
                for name, own in rows.items()
            ],
            "none": NONE,
            "unsure": UNSURE,
        }

    def _about(self, row: int) -> dict[str, Any]:
        session = self.session
        return {
            **self._brief(row),
            "time": session.time(row),
            "guess": list(session.guess(row).items())[:9],
            "certainty": session.certainty(row),
            "strip": [self._brief(other) for other in session.neighbours(row, BESIDE)],
            "pile": [self._brief(other) for other in session.pile(row)],
        }

    def _brief(self, row: int) -> dict[str, Any]:
        answer = self.session.answer_of(row)
        labels = [] if answer is None else answer.labels
        return {"row": row, "name": self.session.name(row), "answer": labels}

    def next(self, window: str, loaded: list[int], **order: Any) -> dict[str, Any]:
        """Return the photos that a window shows next: first those that it has, and none of another window."""
        rows = dict.fromkeys(chain(loaded, self._ordered(window, **order)))
        now = time.monotonic()
        with self._lock:
            self._seen[window] = now
            for key in [key for key, then in self._seen.items() if now - then > SILENT]:
                self.close(key)
            others = {row for key, own in self._windows.items() if key != window for row in own}
            others |= self._unreadable
            free = (row for row in rows if row not in others and self.session.is_open(row))
            self._windows[window] = mine = list(islice(free, AHEAD))
        return {"photos": [self._about(row) for row in mine]}

    def _ordered(self, window: str, order: str = "useful", **by: Any) -> Iterable[int]:
        if order == "useful":
            return self.session.queue()
        if order == "taken":
            return map(int, self.session.learner.in_time)
        asked = repr((order, by))
        if self._ranked.get(window, ("",))[0] != asked:
            rank = self.session.ranked_like if order == "like" else self.session.ranked_by_words
            self._ranked[window] = asked, rank(by[order])
        return self._ranked[window][1]

    def photo(self, row: int) -> dict[str, Any]:
        """Return what is known of a photo."""
        return self._about(row)

    def close(self, window: str) -> dict[str, Any]:
        """Free the photos of a window."""
        with self._lock:
            for known in (self._windows, self._seen, self._ranked):
                known.pop(window, None)
        return {}

    def answer(self, photos: dict[str, str], labels: list[str] | None) -> dict[str, Any]:
        """Store one answer about photos that were shown."""
        rows = [int(row) for row in photos]
        if not all(hmac.compare_digest(photos[str(r)], self._receipt(r)) for r in rows):
            raise ValueError("this photo was not shown; nothing is stored.")
        change = self.session.give(dict.fromkeys(rows, labels), bulk=len(rows) > 1)
        return self._changed(change)

    def undo(self, key: str) -> dict[str, Any]:
        """Take one change back."""
        if key not in self._changes:
            raise ValueError("there is nothing to take back.")
        rows = self.session.undo(self._changes[key])
        del self._changes[key]
        return {"rows": rows, "state": self.state()}

    def classes(self, do: str, name: str = "", new: str = "", names: Any = ()) -> dict[str, Any]:
        """Change the classes."""
        store = self.session.store
        actions: dict[str, Callable[[], Change]] = {
            "add": lambda: store.add_class(name),
            "rename": lambda: store.rename_class(name, new),
            "merge": lambda: store.merge_classes(name, new),
            "remove": lambda: store.remove_class(name),
            "order": lambda: store.order_classes(names),
        }
        return self._changed(actions[do]())

    def _changed(self, change: Change) -> dict[str, Any]:
        self.session.changed()
        key = secrets.token_hex(8)
        self._changes[key] = change
        return {"undo": key, "state": self.state()}

    def grid(self, kind: str, label: str | None, start: int) -> dict[str, Any]:
        """Return a page of photos."""
        session = self.session
        if kind == "damaged":
            rows = sorted(session.errors)
        elif kind == "labelled":
            answers, rows = session.store.answers, session.answered()[::-1]
            if label is not None:
                rows = [row for row in rows if label in answers[session.paths[row]].labels]
        else:
            rows = session.predicted_as(label)
        shown = rows[start : start + GRID]
        return {"photos": [self._tile(row) for row in shown], "total": len(rows), "size": GRID}

    def _tile(self, row: int) -> dict[str, Any]:
        label, _ = self.session.prediction(row)
        return {
            **self._brief(row),
            "label": ", ".join(label) if isinstance(label, tuple) else label,
            "certainty": self.session.certainty(row),
            "error": self.session.errors.get(row),
        }

    def results(self) -> dict[str, Any]:
        """Return what is known of all photos."""
        now = self.session.knowledge
        return {
            "accuracy": now.accuracy and now.accuracy._asdict(),
            "curve": [{"answers": n, **estimate._asdict()} for n, estimate in now.curve],
            "classes": [
                {
                    "name": name,
                    "labelled": known.n_answers,
                    "right": known.right,
                    "tried": known.n_held_out,
                    "by_name": known.right_by_name,
                    "share": known.share and known.share._asdict(),
                }
                for name, known in now.classes.items()
            ],
            "doubtful": [{**self._tile(row), "belief": belief} for row, belief in now.doubtful],
        }

    def write(self, what: str) -> dict[str, Any]:
        """Write results, and say where."""
        return self._write[what]()._asdict()


def _answering(action: Callable[..., dict[str, Any]]) -> Any:
    """Make a route of a method: its arguments are a JSON object, and so is its result."""

    async def respond(request: Request) -> Response:
        try:
            return JSONResponse(await run_in_threadpool(action, **await request.json()))
        except (OSError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 409)

    return respond


def serve(
    session: Session, save_model: Callable[[], Written], note: str, *, bound: socket, browser: bool
) -> None:
    """Show the page at a port of 127.0.0.1, to which a socket is bound, until the process is stopped."""
    # From here on a browser waits, instead of being refused.
    bound.listen()
    port = bound.getsockname()[1]
    token = secrets.token_urlsafe(24)
    app: Any = Guard(Page(session, save_model, note).app, token, port)
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    # What follows "#" stays in the browser, which sends it to no server.
    address = f"http://127.0.0.1:{port}/#token={token}"
    print(f"Label at {address} and stop with Ctrl-C.", flush=True)
    server = uvicorn.Server(config)
    # Other users can read the command line of a browser, but not this file with the token.
    text = f'<meta http-equiv="refresh" content="0; url={address}">'
    with secret_file(session.store.folder, ".html", text) as start:
        if browser:
            webbrowser.open(Path(start).as_uri())
        session.start(lambda: setattr(server, "should_exit", True))
        with suppress(KeyboardInterrupt):  # The normal end.
            server.run(sockets=[bound])
    session.close()
