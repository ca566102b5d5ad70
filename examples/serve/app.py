"""Serve a saved classifier, tagger or tree of classes over HTTP.

    SKTIP_MODEL=model.skops uvicorn --factory app:create_app

`POST /predict` takes one image, and `POST /predict/batch` several, as files of a form. `GET /healthz` says which
model is live as soon as it is loaded, `GET /drift` whether the latest images are like the shots, and `GET /metrics`
gives counts and times to Prometheus. Errors of the client are 4xx statuses with a message.
"""

import os
import time
from collections import deque
from hashlib import sha256
from typing import Any, NamedTuple

import anyio
import numpy as np
import skops.io
from fastapi import FastAPI, HTTPException, Response, UploadFile
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from sktip import FewShotClassifier, predict_images
from sktip.exceptions import ImageReadError
from sktip.model_selection import estimate_accuracy
from sktip.utils import split_encoder

MAX_FILES = 16
MAX_FILE_BYTES = 10 * 2**20
# A form adds a few hundred bytes to each file.
MAX_BODY_BYTES = MAX_FILES * (MAX_FILE_BYTES + 1024)
MAX_PIXELS = 25_000_000
TOP = 5
# Number of the latest images that are compared with the shots, and how many it takes.
LATEST, ENOUGH = 400, 100
PATHS = ("/predict", "/predict/batch")


class Model(NamedTuple):
    encoder: Any
    classifier: Any  # takes the features of the encoder
    version: str  # of the file; it changes with each new fit
    file: str  # its name, behind all links
    latest: deque  # features of the latest images

    @property
    def names(self):
        """What is predicted: tags, nodes of a tree, or classes, as a dict with one entry."""
        has = (
            kind for kind in ("tags", "nodes", "classes") if hasattr(self.classifier, f"{kind}_")
        )
        kind = next(has)
        return {kind: getattr(self.classifier, f"{kind}_").tolist()}


def load(path):
    """Load a classifier of images; refuse a file with other types than those of sktip and scikit-learn."""
    try:
        with open(path, "rb") as file:
            content = file.read()
        types = skops.io.get_untrusted_types(data=content)
        foreign = [name for name in types if not name.startswith("sktip.")]
        if foreign:
            raise ValueError(f"it contains {', '.join(foreign)}, which is not from sktip")
        estimator = skops.io.loads(content, trusted=types)
        encoder, classifier = split_encoder(estimator)
        encoder.set_params(max_pixels=MAX_PIXELS)
        name, version = os.path.basename(os.path.realpath(path)), sha256(content).hexdigest()[:12]
        model = Model(encoder, classifier, version, name, deque(maxlen=LATEST))
        # Loads the weights, so that the first request is as fast as the others, and checks that they are those
        # of the fit, and that all requests can be answered.
        black = [np.zeros((64, 64, 3), np.uint8)]
        predict_images(estimator, black, verbose=0)
        predict(model, black)
        model.latest.clear()
        encoder.warm_up()
    except Exception as error:
        # Reading a damaged file can raise anything.
        raise SystemExit(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return model


def predict(model, images):
    """One answer for each image, as a dict."""
    features = model.encoder.transform(images)
    predicted, shares = model.classifier.predict(features), model.classifier.predict_proba(features)
    model.latest.extend(features)
    if tags := model.names.get("tags"):
        return [
            {
                "tags": [tag for tag, has in zip(tags, row) if has],
                "probabilities": dict(zip(map(str, tags), p)),
            }
            for row, p in zip(predicted, shares.tolist())
        ]
    classes = np.asarray(model.classifier.classes_)
    order = shares.argsort(axis=1)[:, ::-1][:, :TOP]
    answers = [
        {"label": label, "probability": row[best[0]], "top": top_of(classes[best], row[best])}
        for label, row, best in zip(predicted.tolist(), shares, order)
    ]
    if nodes := model.names.get("nodes"):
        # The label may stand for several classes.
        for answer, row in zip(answers, model.classifier.predict_node_proba(features)):
            answer["probability"] = row[nodes.index(answer["label"])]
    return answers


def top_of(labels, shares):
    """The most probable classes."""
    return [{"label": name, "probability": p} for name, p in zip(labels.tolist(), shares.tolist())]


def drift(model):
    """Estimated accuracy on the latest images, and whether they have become unlike the shots."""
    # Without what stands around the classifier, which is fitted on features.
    classifier = getattr(model.classifier, "estimator_", model.classifier)
    if not isinstance(classifier, FewShotClassifier):
        raise HTTPException(501, "only a FewShotClassifier estimates its accuracy without labels")
    latest = np.array(model.latest.copy())  # requests go on
    if len(latest) < ENOUGH:
        return {"images": len(latest), "needed": ENOUGH}
    estimate = estimate_accuracy(classifier, latest)
    own = {key: estimate[key] for key in ("drift", "p_value", "accuracy", "lower", "upper")}
    return {"images": len(latest), **own}


class Metrics:
    """What Prometheus reads: requests and their times, and what was predicted with which probability."""

    def __init__(self, model):
        self.registry = CollectorRegistry()
        own = {"registry": self.registry}
        Info("sktip_model", "The model that is served", **own).info(
            {"version": model.version, "file": model.file}
        )
        self.requests = Counter("sktip_requests", "Requests", ["path", "status"], **own)
        self.seconds = Histogram("sktip_request_seconds", "Time of a request", ["path"], **own)
        self.labels = Counter("sktip_predictions", "Images by label or tag", ["label"], **own)
        # A shift to lower values shows that images have become unlike the shots.
        shares = [tenth / 10 for tenth in range(1, 11)]
        self.probability = Histogram(
            "sktip_probability", "Largest probability of an image", buckets=shares, **own
        )
        # As of the latest request to /drift.
        self.drift = Gauge("sktip_drift", "1 if the latest images are unlike the shots", **own)
        self.accuracy = Gauge("sktip_estimated_accuracy", "Accuracy without labels", **own)

    def note(self, answer):
        """Count one answer."""
        labels = answer["tags"] if "tags" in answer else [answer["label"]]
        for label in labels:
            self.labels.labels(label).inc()
        top = answer["probabilities"].values() if "tags" in answer else [answer["probability"]]
        self.probability.observe(max(top))

    def middleware(self, app):
        async def call(scope, receive, send):
            path, start, status = scope.get("path"), time.perf_counter(), 500
            if path not in PATHS:
                await app(scope, receive, send)
                return

            async def send_and_note(message):
                nonlocal status
                status = message.get("status", status)
                await send(message)

            try:
                await app(scope, receive, send_and_note)
            finally:
                self.requests.labels(path, status).inc()
                self.seconds.labels(path).observe(time.perf_counter() - start)

        return call


class BodyLimit:
    """Refuse request bodies of more than `max_bytes`, before they are read or while they are read."""

    def __init__(self, app, max_bytes):
        self.app = app
        self.max_bytes = max_bytes
        self.message = f"the request has more than {max_bytes} bytes"

    async def __call__(self, scope, receive, send):
        declared = dict(scope.get("headers", [])).get(b"content-length", b"0")
        if int(declared) > self.max_bytes:
            refusal = JSONResponse({"detail": self.message}, status_code=413)
            await refusal(scope, receive, send)
            return
        n_bytes = 0

        async def receive_some():
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > self.max_bytes:
                raise HTTPException(413, self.message)
            return message

        await self.app(scope, receive_some, send)


def create_app():
    model = load(os.environ["SKTIP_MODEL"])
    metrics = Metrics(model)
    # At most one prediction per CPU at the same time; other requests wait.
    limiter = anyio.CapacityLimiter(os.cpu_count())
    app = FastAPI(title="sktip")
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(metrics.middleware)

    @app.get("/healthz")
    async def healthz():
        return {"status": "ok", "model": model.version, "file": model.file, **model.names}

    @app.get("/drift")
    async def read_drift():
        answer = await anyio.to_thread.run_sync(drift, model, limiter=limiter)
        if "drift" in answer:
            metrics.drift.set(answer["drift"])
            metrics.accuracy.set(answer["accuracy"])
        return answer

    @app.get("/metrics")
    async def read_metrics():
        return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")

    @app.post("/predict")
    async def predict_one(file: UploadFile):
        return (await answers([file]))[0]

    @app.post("/predict/batch")
    async def predict_batch(files: list[UploadFile]):
        if len(files) > MAX_FILES:
            raise HTTPException(413, f"{len(files)} files; at most {MAX_FILES} in one request")
        return await answers(files)

    async def answers(files):
        for index, file in enumerate(files):
            if file.size > MAX_FILE_BYTES:
                message = f"image {index} ({file.filename}) has more than {MAX_FILE_BYTES} bytes"
                raise HTTPException(413, message)
        images = [await file.read() for file in files]
        try:
            predicted = await anyio.to_thread.run_sync(predict, model, images, limiter=limiter)
        except ImageReadError as error:
            # The message gives the index of the image in the request.
            raise HTTPException(422, str(error)) from error
        for answer in predicted:
            metrics.note(answer)
        return [{**answer, "model": model.version} for answer in predicted]

    return app
