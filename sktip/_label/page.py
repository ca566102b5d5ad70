"""The page of `sktip label`: a thin layer of NiceGUI over the session."""

import secrets
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Response
from nicegui import run, ui
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocketClose

from sktip._label.export import write_folders, write_table
from sktip._label.files import secret_file
from sktip._label.session import Session
from sktip._label.store import NONE, UNSURE
from sktip.exceptions import ImageReadError

#: Keys of the classes. If there are more classes, the nine likeliest of a photo have the digits.
KEYS = "123456789abcdefghijklmopqrtvwxyz"
#: Number of photos on a page of the grid.
GRID = 48
DAMAGED = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 300"><rect width="300" height="300" fill="#eee"/>'
    '<text x="150" y="155" text-anchor="middle" font-family="sans-serif">This photo cannot be read.</text></svg>'
)
HEADERS = {
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """Lets in who has the token, by the address of this machine, and from no other page."""

    def __init__(self, app: Any, token: str, port: int):
        self.app, self.token, self.cookie = app, token, f"sktip-{port}"
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        given = connection.query_params.get("token") or connection.cookies.get(self.cookie, "")
        # A browser says which page a request comes from, and a page cannot change that.
        origin = connection.headers.get("origin", f"http://{min(self.hosts)}")
        if (
            not secrets.compare_digest(given.encode(), self.token.encode())
            or connection.headers.get("host") not in self.hosts
            or origin.removeprefix("http://") not in self.hosts
        ):
            refusal = PlainTextResponse("Open the address that `sktip label` has printed.", 403)
            is_socket = scope["type"] == "websocket"
            await (WebSocketClose() if is_socket else refusal)(scope, receive, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                cookie = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"
                headers.append("set-cookie", cookie)
            await send(message)

        await self.app(scope, receive, with_headers)


def serve(
    session: Session, save_model: Callable[[], str], note: str, *, port: int, browser: bool
) -> None:
    """Show the page on 127.0.0.1 until the process is stopped."""
    app = FastAPI(openapi_url=None)

    @app.get("/photo/{row}/{side}")
    def photo(row: int, side: int) -> Response:
        try:
            content = session.picture(row, min(max(side, 16), 1200))
            kept = {"cache-control": "private, max-age=3600"}
            return Response(content, media_type="image/jpeg", headers=kept)
        except (ImageReadError, OSError, IndexError):
            return Response(DAMAGED, media_type="image/svg+xml")

    ui.page("/", title="sktip label")(lambda: Page(session, save_model, note))
    ui.run_with(app, show_welcome_message=False)
    token = secrets.token_urlsafe(24)
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
    socket = config.bind_socket()
    # From here on a browser waits, instead of being refused.
    socket.listen()
    port = socket.getsockname()[1]
    config.app = Guard(app, token, port)
    address = f"http://127.0.0.1:{port}/?token={token}"
    print(f"Label at {address} and stop with Ctrl-C.", flush=True)
    server = uvicorn.Server(config)
    # Other users can read the command line of a browser, but not this file with the token.
    text = f'<meta http-equiv="refresh" content="0; url={address}">'
    with secret_file(session.store.folder, ".html", text) as start:
        if browser:
            webbrowser.open(Path(start).as_uri())
        session.start(lambda: setattr(server, "should_exit", True))
        with suppress(KeyboardInterrupt):  # The normal end.
            server.run(sockets=[socket])
    session.close()


def _in_percent(estimate: Any) -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:.0%} ({estimate.lower:.0%} to {estimate.upper:.0%})"


class Page:
    """One window."""

    def __init__(self, session: Session, save_model: Callable[[], str], note: str):
        self.session, self.save_model, self.window = session, save_model, session.window()
        self.row: int | None = None
        self.boxes: dict[int, Any] = {}
        self.version, self.start = -1, 0
        ui.context.client.on_disconnect(self.window.close)
        ui.keyboard(self._on_key, repeating=False, ignore=["input", "select", "textarea"])
        with ui.row().classes("w-full items-center"):
            with ui.tabs() as self.tabs:
                for name in ("Label", "What it knows", "Sort"):
                    ui.tab(name).props("no-caps")
            self.status = ui.label().props("role=status")
        ui.label(note).classes("text-red-800").set_visibility(bool(note))
        with ui.tab_panels(self.tabs, value="Label").classes("w-full"):
            with ui.tab_panel("Label"):
                self._draw_label()
            with ui.tab_panel("What it knows"):
                self.see = ui.refreshable(self._draw_knowledge)
                self.see()
            with ui.tab_panel("Sort"):
                self._draw_sort()
        self._show()
        self.tabs.on_value_change(lambda: self._turn(0))
        ui.timer(0.3, self._tick)

    def _tick(self) -> None:
        """Show what the thread has learned since."""
        if self.version != (version := self.session.version):
            self.version = version
            if self.row is None:
                self._show()
            if self.classes != self.session.classes:
                self._show_classes()
            self._show_guess()
            self.see.refresh()
            if not self.boxes:
                self.grid.refresh()

    def _try(self, action: Callable[[], Any]) -> bool:
        """Do what may fail for a reason that a person can understand."""
        try:
            action()
        except (OSError, ValueError) as error:
            ui.notify(str(error), type="negative")
            return False
        return True

    # Label

    def _draw_label(self) -> None:
        """Show one photo large, and a button per class."""
        classes = self.session.classes
        with ui.row().classes("w-full no-wrap"):
            with ui.column().classes("w-2/3"):
                self.picture = ui.element("img").classes("w-full")
                self.picture.style("height: 75vh; object-fit: contain")
                self.following = ui.element("img").classes("hidden")
                self.caption = ui.label()
            with ui.column().classes("w-1/3 gap-2"):
                self.class_buttons = ui.refreshable(self._draw_buttons)
                self.class_buttons()
                self._button(NONE, partial(self._answer, NONE), "n")
                self._button(UNSURE, partial(self._answer, UNSURE), "s")
                self._button("undo", self._undo, "u")
                with ui.expansion("add or rename a class").classes("w-full"):
                    new = ui.input("new class")
                    ui.button("add", on_click=lambda: self._add(new)).props("no-caps")
                    self.old = ui.select(classes, label="rename", with_input=True)
                    name = ui.input("its new name")
                    ui.button("rename", on_click=lambda: self._rename(name)).props("no-caps")

    def _button(self, text: str, action: Callable[[], None], key: str) -> Any:
        shown = ui.button(f"{key}  {text}", on_click=action).classes("w-full")
        return shown.props("no-caps align=left outline")

    def _draw_buttons(self) -> None:
        """Draw a button per class; with many classes, nine for the likeliest and a list of all."""
        classes = self.classes = self.session.classes
        few = len(classes) <= len(KEYS)
        self.names = classes if few else classes[:9]
        pairs = enumerate(zip(KEYS, self.names, strict=False))
        self.buttons = [
            self._button(name, partial(self._press, i), key) for i, (key, name) in pairs
        ]
        if not few:
            chosen = ui.select(classes, label="another class", with_input=True)
            chosen.on_value_change(lambda event: self._choose(chosen, event.value))

    def _choose(self, chosen: Any, label: str | None) -> None:
        if label is not None:
            chosen.set_value(None)
            self._answer(label)

    def _show(self, row: int | None = None) -> None:
        """Show a photo, by default the one that teaches most."""
        if row is not None:
            self.window.show(row)
        elif self.window.row is None:
            self.window.next()
        self.row = row = self.window.row
        name = "" if row is None else self.session.name(row)
        self.picture.props.update(src=self._source(row, 1000), alt=name)
        self.picture.update()
        self.following.props["src"] = self._source(self.window.following(), 1000)
        self.following.update()
        self.caption.set_text(name or "All photos have an answer.")
        self.names = self.classes[: len(self.buttons)]
        self._show_guess()

    def _show_guess(self) -> None:
        """Fill the button of the likeliest class, and say how far the work is."""
        session, accuracy = self.session, _in_percent(self.session.knowledge.accuracy)
        guess = {} if self.row is None else session.guess(self.row)
        if guess and len(self.buttons) < len(self.classes) and self.names == self.classes[:9]:
            self.names = list(guess)[
                :9
            ]  # They stay until the next photo, for who is about to press a key.
        best = next(iter(guess), None)
        for key, name, button in zip(KEYS, self.names, self.buttons, strict=False):
            button.set_text(f"{key}  {name}" + (f" ({guess[name]:.0%})" if name == best else ""))
            button.props(remove="outline") if name == best else button.props("outline")
        learner = session.learner
        parts = [f"{session.n_answered():,} of {len(session.paths):,} answered", learner.problem]
        parts += [f"expected accuracy {accuracy}"] if accuracy else []
        self.status.set_text("; ".join(filter(None, parts)))

    def _source(self, row: int | None, side: int) -> str:
        # The browser keeps photos; those of another run have other addresses.
        return "" if row is None else f"photo/{row}/{side}?{self.session.run_id}"

    def _press(self, i: int) -> None:
        self._answer(self.names[i])

    def _answer(self, label: str) -> None:
        row = self.row
        if row is not None and self._try(lambda: self.window.answer(row, label)):
            self._show()

    def _undo(self) -> None:
        """Take back the last answers of this window."""
        if self._try(self.window.undo):
            self._show()

    def _add(self, new: Any) -> None:
        if self._try(lambda: self.window.add_class(new.value)):
            new.set_value("")
            self._show_classes()

    def _rename(self, name: Any) -> None:
        if self._try(lambda: self.window.rename_class(self.old.value, name.value)):
            name.set_value("")
            self._show_classes()

    def _show_classes(self) -> None:
        classes = self.session.classes
        self.old.set_options(classes, value=None)
        self.wanted.set_options([*classes, NONE])
        self.target.set_options([*classes, NONE])
        self.class_buttons.refresh()
        self._show_guess()

    def _on_key(self, event: Any) -> None:
        held = event.modifiers
        if self.tabs.value != "Label" or held.ctrl or held.alt or held.meta:
            return
        named = {"n": NONE, "s": UNSURE} | dict(zip(KEYS, self.names, strict=False))
        key = event.key.name.lower()
        if event.action.keydown and key == "u":
            self._undo()
        elif event.action.keydown and key in named:
            self._answer(named[key])

    # What it knows

    def _draw_knowledge(self) -> None:
        """Show accuracy, shares, weak classes, misread names and doubtful labels."""
        now = self.session.knowledge
        ui.label(
            f"Expected accuracy on the photos without answer: {_in_percent(now.accuracy)}."
            if now.accuracy
            else "Label photos of two classes to see the expected accuracy."
        )
        ui.label("Rename a class that its name alone rarely finds.")
        rows = [
            {
                "class": name,
                "answers": known.n_answers,
                "right when held out": f"{known.right:,} of {known.n_held_out:,}",
                "found by name alone": "" if known.right_by_name is None else known.right_by_name,
                "share of the folder": _in_percent(known.share),
            }
            for name, known in now.classes.items()
        ]
        titles = list(rows[0]) if rows else []
        columns = [
            {"name": title, "label": title, "field": title, "align": "left"} for title in titles
        ]
        ui.table(columns=columns, rows=rows, pagination=20)
        if now.doubtful:
            ui.label("These labels are the most doubtful. Click on a photo to label it again:")
            with ui.row():
                for row, _ in now.doubtful:
                    with ui.column():
                        self._thumbnail(row).on("click", partial(self._again, row))
                        ui.label(self.session.label_of(row) or "")

    def _again(self, row: int) -> None:
        self.tabs.set_value("Label")
        self._show(row)

    def _thumbnail(self, row: int) -> Any:
        """Draw a small photo, which is loaded when it comes into view."""
        image = ui.element("img").props("loading=lazy").classes("cursor-pointer")
        image.props.update(src=self._source(row, 200), alt=self.session.name(row))
        return image.style("width: 150px; height: 150px; object-fit: contain")

    # Sort

    def _draw_sort(self) -> None:
        """Show photos by class and certainty, label several at once, and write results."""
        session, again = self.session, lambda: self._turn(0)
        classes = [*session.classes, NONE]
        kinds = {"rest": "not labelled", "done": "labelled", "bad": "cannot be read"}
        with ui.row().classes("items-center"):
            self.kind = ui.select(kinds, value="rest", on_change=again)
            self.wanted = ui.select(classes, label="show", clearable=True, on_change=again)
            self.wanted.classes("w-48")
            ui.label("certainty in %")
            self.certainty = ui.range(min=0, max=100, value={"min": 0, "max": 100})
            self.certainty.props("label").classes("w-48").on("change", again)
            self.target = ui.select(classes, label="label the ticked as", with_input=True)
            ui.button("label them", on_click=self._label_ticked).props("no-caps")
        self.grid = ui.refreshable(self._draw_grid)
        self.grid()
        with ui.row():
            for text, action in (
                ("write the table", partial(write_table, session)),
                ("write the model", self.save_model),
                ("make folders of links", partial(write_folders, session, copy=False)),
                ("make folders of copies", partial(write_folders, session, copy=True)),
            ):
                ui.button(text, on_click=partial(self._write, action)).props("no-caps outline")

    def _turn(self, start: int) -> None:
        """Show another part of the photos."""
        self.start = start
        self.target.set_value(self.wanted.value or self.target.value)
        self.grid.refresh()

    def _draw_grid(self) -> None:
        """Draw a page of photos, each with a box to tick."""
        session, wanted = self.session, self.wanted.value
        low, high = (self.certainty.value[end] / 100 for end in ("min", "max"))
        rows = session.predicted_as(wanted, low, high)
        if self.kind.value == "done":
            rows = [row for row in session.answered() if wanted in (None, session.label_of(row))]
        elif self.kind.value == "bad":
            rows = sorted(session.errors)
        shown = rows[self.start : self.start + GRID]
        self.boxes = {}
        with ui.row().classes("items-center"):
            ui.label(f"{len(rows):,} photos; here are {len(shown)} from number {self.start + 1:,}")
            for text, action, is_there in (
                ("previous", lambda: self._turn(self.start - GRID), self.start),
                ("next", lambda: self._turn(self.start + GRID), len(rows) > self.start + GRID),
                ("tick all", lambda: self._tick_all(True), shown),
                ("tick none", lambda: self._tick_all(False), shown),
            ):
                if is_there:
                    ui.button(text, on_click=action).props("no-caps flat")
        with ui.row():
            for row in shown:
                label, probability = session.prediction(row)
                text = (
                    session.errors.get(row) or f"{session.label_of(row) or label} {probability:.0%}"
                )
                with ui.column().classes("gap-0"):
                    image = self._thumbnail(row)
                    box = self.boxes[row] = ui.checkbox(text).classes("w-36")
                    image.on("click", lambda box=box: box.set_value(not box.value))

    def _tick_all(self, value: bool) -> None:
        for box in self.boxes.values():
            box.set_value(value)

    def _label_ticked(self) -> None:
        """Label the ticked photos; those of the class that were not ticked are labelled next."""
        ticked = [row for row, box in self.boxes.items() if box.value]
        if not ticked or not self.target.value:
            ui.notify("Tick photos, and choose their label.")
        elif self._try(lambda: self.window.answer_all(ticked, self.target.value)):
            if self.target.value == self.wanted.value and self.kind.value == "rest":
                self.session.show_first([row for row in self.boxes if row not in ticked])
            self._turn(0)
            self._show()

    async def _write(self, action: Callable[[], str]) -> None:
        """Write in a thread, and say where."""
        try:
            ui.notify(f"written: {await run.io_bound(action)}", timeout=10_000)
        except (OSError, ValueError) as error:
            ui.notify(str(error), type="negative")
