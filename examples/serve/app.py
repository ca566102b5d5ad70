"""Serve a saved classifier over HTTP.

    SKTIP_MODEL=model.skops uvicorn --factory app:create_app

`POST /predict` takes one image, and `POST /predict/batch` several, as files of a form. `GET /healthz` answers
as soon as the model is loaded, and `GET /metrics` gives counts and times to Prometheus. Errors of the client
are 4xx statuses with a message.
"""

import os
import time
from hashlib import sha256
from typing import Any, NamedTuple

import anyio
import numpy as np
import skops.io
from fastapi import FastAPI, HTTPException, Response, UploadFile
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Histogram, Info, generate_latest

from sktip import predict_images
from sktip.exceptions import ImageReadError
from sktip.utils import split_encoder

MAX_FILES = 16
MAX_FILE_BYTES = 10 * 2**20
# A form adds a few hundred bytes to each file.
MAX_BODY_BYTES = MAX_FILES * (MAX_FILE_BYTES + 1024)
MAX_PIXELS = 25_000_000
TOP = 5
PATHS = ("/predict", "/predict/batch")


class Model(NamedTuple):
    encoder: Any
    classifier: Any  # takes the features of the encoder
    version: str  # of the file; it changes with each new fit


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
        # Loads the weights, so that the first request is as fast as the others, and checks that they are those
        # of the fit.
        predict_images(estimator, [np.zeros((64, 64, 3), np.uint8)], verbose=0)
        encoder.warm_up()
    except Exception as error:
        # Reading a damaged file can raise anything.
        raise SystemExit(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return Model(encoder, classifier, sha256(content).hexdigest()[:12])


def predict(model, images):
    """Labels of the images, and the probabilities of all classes."""
    features = model.encoder.transform(images)
    return model.classifier.predict(features), model.classifier.predict_proba(features)


class Metrics:
    """What Prometheus reads: requests and their times, and what was predicted with which probability."""

    def __init__(self, version):
        self.registry = CollectorRegistry()
        own = {"registry": self.registry}
        Info("sktip_model", "The model that is served", **own).info({"version": version})
        self.requests = Counter("sktip_requests", "Requests", ["path", "status"], **own)
        self.seconds = Histogram("sktip_request_seconds", "Time of a request", ["path"], **own)
        self.labels = Counter("sktip_predictions", "Images by predicted label", ["label"], **own)
        # A shift to lower values shows that images have become unlike the shots.
        shares = [tenth / 10 for tenth in range(1, 11)]
        self.probability = Histogram(
            "sktip_probability", "Largest probability of an image", buckets=shares, **own
        )

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
    classes = np.asarray(model.classifier.classes_)
    metrics = Metrics(model.version)
    # At most one prediction per CPU at the same time; other requests wait.
    limiter = anyio.CapacityLimiter(os.cpu_count())
    app = FastAPI(title="sktip")
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(metrics.middleware)

    @app.get("/healthz")
    async def healthz():
        return {"status": "ok", "classes": classes.tolist(), "model": model.version}

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
        return [answer(label, row) for label, row in zip(predicted[0].tolist(), predicted[1])]

    def answer(label, row):
        """The label, which may be that of unknown images, and the most probable classes."""
        best = row.argsort()[::-1][:TOP]
        labels, shares = classes[best].tolist(), row[best].tolist()
        metrics.labels.labels(label).inc()
        metrics.probability.observe(shares[0])
        top = [{"label": name, "probability": share} for name, share in zip(labels, shares)]
        return {"label": label, "probability": shares[0], "top": top, "model": model.version}

    return app
