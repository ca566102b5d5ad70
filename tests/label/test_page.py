"""What the server of the page gives to whom, and what it takes: without a browser."""

import csv
import os
from pathlib import Path

import pytest
from PIL import Image

for package in ("starlette", "uvicorn", "httpx"):
    pytest.importorskip(package)

from drive import TOKEN  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

import sktip._label.page  # noqa: E402
from sktip._label.labelling import open_session  # noqa: E402
from sktip._label.page import Guard, Page  # noqa: E402

HOST = "127.0.0.1:8765"
HAS_TOKEN = {"x-sktip-token": TOKEN}


@pytest.fixture
def session(tmp_path, clip):
    """Six photos with markup in their names, and a damaged one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        name = f"<img src=x onerror=alert({number})>.png"
        Image.new("RGB", (40, 40), (40 * number, 0, 0)).save(folder / name)
    (folder / "damaged.png").write_bytes(b"no picture")
    return open_session(str(folder), f"{tmp_path}/labels", ["red", "black"], clip, "{}")


@pytest.fixture
def client(session):
    app = Guard(Page(session, lambda: "model.skops", "").app, TOKEN, 8765)
    with TestClient(app, base_url=f"http://{HOST}", headers=HAS_TOKEN) as client:
        yield client


def post(client, action, **body):
    return client.post(f"/api/{action}", json=body)


def receipt(client, row, side=320):
    return client.get(f"/photo/{row}/{side}").headers["x-sktip-receipt"]


DATA = ["/photo/0/320", "/api/state", "/api/next", "/nothing"]


@pytest.mark.parametrize("path", ["/", "/static/page.js", *DATA])
def test_others_are_refused(client, path):
    """Without the token there is nothing but the empty page; from another page or by another name, nothing."""
    token = HAS_TOKEN if path in DATA else {}
    assert client.get(path, headers=token).status_code != 403
    is_open = client.get(path, headers={"x-sktip-token": ""})
    assert (is_open.status_code == 403) == (path in DATA)
    assert (client.get(path, headers={"x-sktip-token": TOKEN[:-1]}).status_code == 403) == (
        path in DATA
    )
    for other in ("http://evil.example", "null", "http://127.0.0.1:8766", f"https://{HOST}"):
        assert client.get(path, headers={**token, "origin": other}).status_code == 403
    for other in ("evil.example", "127.0.0.1:8766", "127.0.0.1"):
        assert client.get(path, headers={**token, "host": other}).status_code == 403


def test_the_token_is_in_no_cookie_address_or_page(client):
    """A browser sends cookies to every port of the machine, and addresses are kept in its history."""
    for path in ("/", "/static/page.js", "/api/state", "/photo/0/320"):
        answer = client.get(path)
        assert "set-cookie" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
        assert TOKEN not in f"{answer.headers} {answer.content}"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    assert (
        client.get(f"/photo/0/320?token={TOKEN}", headers={"x-sktip-token": ""}).status_code == 403
    )


def test_photos_and_nothing_else_are_served(client, session):
    kinds = [client.get(f"/photo/{row}/320").headers["content-type"] for row in range(7)]
    assert sorted(kinds) == ["application/json"] + 6 * ["image/jpeg"]
    damaged = client.get(f"/photo/{kinds.index('application/json')}/320").json()
    assert "not an image" in damaged["error"]
    assert session.root not in damaged["error"]
    for path in ("/photo/7/320", "/photo/-1/320", "/photo/0/321", "/photo/0/99999"):
        assert client.get(path).status_code == 404
    for path in ("/static/../page.py", "/static/..%2fpage.py", "/photo/..%2f..%2fetc%2fpasswd/320"):
        assert client.get(path).status_code in (403, 404)


def test_no_photo_is_labelled_that_was_not_sent(client, session):
    """The receipt of a photo comes with its pixels; it is of no use for another photo, or in another run."""
    one, two = receipt(client, 0), receipt(client, 1, 1600)
    for photos in ({"0": ""}, {"0": two}, {"0": one, "1": one}, {"1": one}):
        refused = post(client, "answer", photos=photos, labels=["red"])
        assert refused.status_code == 409
        assert "not shown" in refused.json()["error"]
    other = TestClient(Page(session, lambda: "", "").app)
    assert post(other, "answer", photos={"0": one}, labels=["red"]).status_code == 409
    assert session.answered() == []
    assert post(client, "answer", photos={"0": one, "1": two}, labels=["red"]).status_code == 200
    assert session.answered() == [0, 1]


def test_answers_and_classes_and_the_way_back(client, session):
    photos = {str(row): receipt(client, row) for row in (0, 1, 2)}
    done = post(client, "answer", photos=photos, labels=["red"]).json()
    assert done["state"]["labelled"] == 3
    assert done["state"]["classes"][0] == {"name": "red", "photos": 3, "examples": [2, 1, 0]}
    merged = post(client, "classes", do="merge", name="red", new="black").json()
    assert [each["name"] for each in merged["state"]["classes"]] == ["black"]
    assert post(client, "undo", key=merged["undo"]).json()["state"]["classes"][0]["photos"] == 3
    back = post(client, "undo", key=done["undo"]).json()
    assert (back["rows"], back["state"]["labelled"]) == ([0, 1, 2], 0)
    assert "nothing to take back" in post(client, "undo", key=done["undo"]).json()["error"]
    assert post(client, "answer", photos={"0": photos["0"]}, labels=["blue"]).status_code == 409
    assert post(client, "classes", do="add", name="unknown").status_code == 409
    added = post(client, "classes", do="add", name="<i>new</i>").json()
    assert added["state"]["classes"][-1]["name"] == "<i>new</i>"


def test_two_windows_never_show_the_same_photo(client):
    one = post(client, "next", window="a", loaded=[]).json()["photos"]
    two = post(client, "next", window="b", loaded=[]).json()["photos"]
    rows = [photo["row"] for photo in one + two]
    assert len(rows) == len(set(rows)) == 6
    kept = post(client, "next", window="a", loaded=[one[1]["row"]], order="taken").json()["photos"]
    assert kept[0]["row"] == one[1]["row"]
    post(client, "close", window="b")
    assert post(client, "next", window="c", loaded=[]).json()["photos"]


def test_what_is_written_says_where(client, session):
    photos = {"0": receipt(client, 0)}
    post(client, "answer", photos=photos, labels=["red"])
    for what in ("table", "copies", "links"):
        path = post(client, "write", what=what).json()["path"]
        assert path.startswith(session.store.folder)
        assert os.path.exists(path)
    with open(post(client, "write", what="table").json()["path"], newline="") as file:
        assert len(list(csv.DictReader(file))) == 7


def test_every_file_of_the_page_is_in_the_package():
    folder = Path(sktip._label.page.__file__).with_name("static")
    text = "".join(path.read_text(encoding="utf-8") for path in folder.iterdir())
    assert "http://" not in text.replace("http://www.w3.org/", "")
    assert "https://" not in text
