"""The example of a server: real requests to a real uvicorn on this machine."""

import io
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline

from sktip import (
    BackOff,
    CLIPFeatureTransformer,
    FewShotClassifier,
    FewShotTagger,
    RejectUnknown,
    TipAdapterClassifier,
    predict_images,
)

httpx = pytest.importorskip("httpx")
skops_io = pytest.importorskip("skops.io")
testclient = pytest.importorskip("fastapi.testclient")
for name in ("multipart", "prometheus_client", "uvicorn"):
    pytest.importorskip(name)

SERVE = Path(__file__).parents[1] / "examples" / "serve"


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def load():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SERVE)
        import load

        yield load


@pytest.fixture(scope="module")
def clf(digits, tmp_path_factory):
    """As people save it: with a memory and a bar of the machine that fitted. It rejects unknown images."""
    images, labels = digits
    memory = tmp_path_factory.mktemp("memory") / "features.sqlite"
    encoder = CLIPFeatureTransformer("tiny", device="cpu", memory=memory, verbose=1)
    clf = RejectUnknown(FewShotClassifier(encoder, templates="the digit {}"))
    return clf.fit(images[:60], labels[:60])


@pytest.fixture(scope="module")
def server(clf, tmp_path_factory):
    """Address of the server, the folder that it runs in, and what it has printed so far."""
    folder = tmp_path_factory.mktemp("server")
    skops_io.dump(clf, folder / "model.skops")
    path = os.pathsep.join(map(str, sys.path))
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "--factory", "app:create_app", "--app-dir", str(SERVE),
         "--port", "0", "--no-access-log"],
        cwd=folder,
        env=os.environ | {"SKTIP_MODEL": "model.skops", "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    printed = []
    for line in process.stderr:
        printed.append(line)
        if address := re.search(r"running on (http://127\.0\.0\.1:\d+)", line):
            break
    else:
        pytest.fail("".join(printed))
    reader = threading.Thread(target=lambda: printed.extend(process.stderr), daemon=True)
    reader.start()
    try:
        yield address[1], folder, printed
    finally:
        process.terminate()
        process.wait(30)
        reader.join(30)
        process.stderr.close()


@pytest.fixture
def session(server):
    with httpx.Client(base_url=server[0], timeout=60) as session:
        yield session


def test_healthz(session, clf):
    answer = session.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.json()["classes"] == clf.classes_.tolist()
    assert re.fullmatch("[0-9a-f]{12}", answer.json()["model"])
    assert answer.json()["file"] == "model.skops"


def test_one_image(session, clf, digits):
    image = digits[0][60]
    answer = session.post("/predict", files={"file": ("seven.png", png(image))})
    assert answer.status_code == 200
    (row,) = clf.predict_proba([image])
    assert answer.json()["label"] == clf.predict([image])[0]
    assert answer.json()["model"] == session.get("/healthz").json()["model"]
    assert answer.json()["probability"] == pytest.approx(row.max(), abs=1e-5)
    assert [top["probability"] for top in answer.json()["top"]] == pytest.approx(
        sorted(row)[::-1][:5], abs=1e-5
    )


def test_a_batch(session, clf, digits):
    images = digits[0][60:76]
    files = [("files", (f"{n}.png", png(image))) for n, image in enumerate(images)]
    answer = session.post("/predict/batch", files=files)
    assert answer.status_code == 200
    assert [own["label"] for own in answer.json()] == clf.predict(images).tolist()


def test_bad_images_are_named(session, digits):
    good = png(digits[0][60])
    for bad in (b"no image at all", b"", good[:100]):
        answer = session.post("/predict", files={"file": ("bad.png", bad)})
        assert answer.status_code == 422
        assert "image 0" in answer.json()["detail"]
    files = [("files", ("a.png", good)), ("files", ("b.png", b"no image at all"))]
    answer = session.post("/predict/batch", files=files)
    assert answer.status_code == 422
    assert "image 1" in answer.json()["detail"]
    assert session.post("/predict", files={"other": ("a.png", good)}).status_code == 422
    assert session.post("/predict", content=good).status_code == 422
    assert session.get("/predict").status_code == 405


def test_limits(session, digits):
    good = png(digits[0][60])
    answer = session.post("/predict", files={"file": ("long.png", good + bytes(10 * 2**20))})
    assert (answer.status_code, "image 0 (long.png) has more than" in answer.text) == (413, True)
    files = [("files", (f"{n}.png", good)) for n in range(17)]
    answer = session.post("/predict/batch", files=files)
    assert (answer.status_code, "at most 16" in answer.text) == (413, True)
    bomb = io.BytesIO()
    Image.new("1", (6000, 5000)).save(bomb, "PNG")
    answer = session.post("/predict", files={"file": ("bomb.png", bomb.getvalue())})
    assert answer.status_code == 422
    assert "max_pixels" in answer.json()["detail"]


def test_a_body_that_is_too_long_is_not_read(server, session):
    """By its declared length, and by its real length if none is declared."""
    host, port = server[0].removeprefix("http://").split(":")
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(f"{head}Content-Length: {10**10}\r\n\r\n".encode())
        assert b" 413 " in connection.recv(1000).split(b"\r\n")[0]

    def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(200):
            yield bytes(2**20)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    try:
        status = session.post("/predict", content=endless(), headers=headers).status_code
    except httpx.TransportError:
        # The server has answered and closed the connection while more was being sent.
        status = 413
    assert status == 413
    assert session.get("/healthz").status_code == 200


def test_unknown_images_and_metrics(session):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    session.post("/predict", files={"file": ("a.png", b"no image")})
    before = metrics_of(session)
    answer = session.post("/predict", files={"file": ("a.png", png(noise))}).json()
    assert answer["label"] == "unknown"
    assert answer["top"][0]["label"] != "unknown"
    after = metrics_of(session)
    assert before['sktip_requests_total{path="/predict",status="422"}'] >= 1
    for name in (
        'sktip_requests_total{path="/predict",status="200"}',
        'sktip_request_seconds_count{path="/predict"}',
        'sktip_predictions_total{label="unknown"}',
        "sktip_probability_count",
    ):
        assert after[name] == before.get(name, 0) + 1
    assert after[f'sktip_model_info{{file="model.skops",version="{answer["model"]}"}}'] == 1


def metrics_of(session):
    lines = session.get("/metrics").text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_under_load(server, load, digits):
    taken = load.under_load(server[0], png(digits[0][60]), clients=8, requests=64)
    assert len(taken) == 64
    assert "p99" in load.summary(taken)


def test_many_clients_get_their_own_answers(server, clf, digits):
    images = digits[0][60:124]
    expected = clf.predict_proba(images).max(axis=1)
    answers = np.empty(len(images))

    def client(first):
        with httpx.Client(base_url=server[0], timeout=60) as session:
            for index in range(first, len(images), 32):
                files = {"file": ("a.png", png(images[index]))}
                answers[index] = session.post("/predict", files=files).json()["probability"]

    threads = [threading.Thread(target=client, args=[first]) for first in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_the_server_leaves_no_file_and_no_bar(server, session, digits):
    _, folder, printed = server
    session.post("/predict", files={"file": ("a.png", png(digits[0][70]))}).raise_for_status()
    assert os.listdir(folder) == ["model.skops"]
    assert not [line for line in printed if "Encoding" in line or "Warning" in line]


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Serve an estimator in this process, behind a link to its file."""

    def client_of(estimator):
        monkeypatch.syspath_prepend(SERVE)
        import app

        skops_io.dump(estimator, tmp_path / "week 1.skops")
        (tmp_path / "live.skops").unlink(missing_ok=True)
        (tmp_path / "live.skops").symlink_to("week 1.skops")
        monkeypatch.setenv("SKTIP_MODEL", str(tmp_path / "live.skops"))
        return testclient.TestClient(app.create_app())

    return client_of


def ask(client, images):
    files = [("files", (f"{n}.png", png(image))) for n, image in enumerate(images)]
    answer = client.post("/predict/batch", files=files)
    assert answer.status_code == 200
    return answer.json()


def test_tags(serve, digits):
    images, labels = digits
    have = {"a loop": ["zero", "six", "eight", "nine"], "a line": ["one", "four", "seven"]}
    y = pd.DataFrame({tag: np.isin(labels, own).astype(int) for tag, own in have.items()})
    tagger = FewShotTagger("tiny").fit(images[:60], y[:60])
    client = serve(tagger)
    about = client.get("/healthz").json()
    assert (about["tags"], about["file"]) == ([*have], "week 1.skops")
    answers = ask(client, images[60:76])
    expected = tagger.predict(images[60:76])
    assert [[int(tag in own["tags"]) for tag in have] for own in answers] == expected.tolist()
    shown = [[own["probabilities"][tag] for tag in have] for own in answers]
    np.testing.assert_allclose(shown, tagger.predict_proba(images[60:76]), atol=1e-5)
    counts = metrics_of(client)
    assert counts['sktip_predictions_total{label="a loop"}'] == expected[:, 0].sum()
    assert client.get("/drift").status_code == 501


def test_a_tree(serve, digits):
    images, labels = digits
    tree = dict.fromkeys(("four", "seven", "nine"), "angular")
    clf = BackOff(FewShotClassifier("tiny", templates="the digit {}"), tree)
    clf.fit(images[:60], labels[:60])
    clf.threshold_ = 0.95
    client = serve(clf)
    assert client.get("/healthz").json()["nodes"] == clf.nodes_.tolist()
    answers = [own for start in (60, 76, 92) for own in ask(client, images[start : start + 16])]
    expected = predict_images(clf, images[60:108], verbose=0)
    assert [own["label"] for own in answers] == expected.prediction.tolist()
    assert "angular" in expected.prediction
    shown = [own["probability"] for own in answers]
    np.testing.assert_allclose(shown, expected.probability, atol=1e-5)


def test_drift(serve, digits):
    images, labels = digits
    client = serve(RejectUnknown(FewShotClassifier("tiny")).fit(images[:80], labels[:80]))
    assert client.get("/drift").json() == {"images": 0, "needed": 100}
    new = images[80:192]
    for start in range(0, 112, 16):
        ask(client, new[start : start + 16])
    answer = client.get("/drift").json()
    assert answer["images"] == 112
    assert answer["drift"] == (answer["p_value"] < 0.05)
    assert answer["lower"] < answer["accuracy"] <= answer["upper"]
    for start in range(0, 112, 16):
        ask(client, [255 - image for image in new[start : start + 16]])
    answer = client.get("/drift").json()
    assert (answer["images"], answer["drift"]) == (224, True)
    counts = metrics_of(client)
    assert counts["sktip_drift"] == 1
    assert counts["sktip_estimated_accuracy"] == pytest.approx(answer["accuracy"])


def test_what_is_not_served(tmp_path, features, monkeypatch):
    monkeypatch.syspath_prepend(SERVE)
    import app

    X, y, W = features()
    skops_io.dump(TipAdapterClassifier(text_features=W).fit(X, y), tmp_path / "a.skops")
    with pytest.raises(SystemExit, match="TipAdapterClassifier has no encoder"):
        app.load(tmp_path / "a.skops")
    images = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
    several = make_pipeline(
        CLIPFeatureTransformer("tiny"), MultiOutputClassifier(LogisticRegression())
    )
    skops_io.dump(several.fit(images, np.eye(3)[[0, 1, 2] * 3]), tmp_path / "e.skops")
    with pytest.raises(SystemExit, match="predicts 3 values per image"):
        app.load(tmp_path / "e.skops")
    skops_io.dump([pytest.approx], tmp_path / "b.skops")
    with pytest.raises(
        SystemExit, match="b.skops cannot be loaded: .*contains .*approx.* not from sktip"
    ):
        app.load(tmp_path / "b.skops")
    skops_io.dump(FewShotClassifier(CLIPFeatureTransformer("tiny")), tmp_path / "c.skops")
    with pytest.raises(SystemExit, match="c.skops cannot be loaded: .*not fitted"):
        app.load(tmp_path / "c.skops")
    whole = (tmp_path / "a.skops").read_bytes()
    (tmp_path / "d.skops").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SystemExit, match="d.skops cannot be loaded: BadZipFile"):
        app.load(tmp_path / "d.skops")
