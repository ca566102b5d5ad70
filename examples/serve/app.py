"""Serve a saved classifier over HTTP.

    SKTIP_MODEL=model.skops uvicorn --factory app:create_app

`POST /predict` takes one image, and `POST /predict/batch` several, as files of a form. `GET /healthz` answers
as soon as the model is loaded. Errors of the client are 4xx statuses with a message.
"""

import os
from contextlib import asynccontextmanager

import anyio
import skops.io
from fastapi import FastAPI, HTTPException, UploadFile
from fastapi.responses import JSONResponse
from sklearn.utils.validation import check_is_fitted

from sktip.exceptions import ImageReadError

MAX_FILES = 16
MAX_FILE_BYTES = 10 * 2**20
# A form adds a few hundred bytes to each file.
MAX_BODY_BYTES = MAX_FILES * (MAX_FILE_BYTES + 1024)
MAX_PIXELS = 25_000_000
TOP = 5


def load(path):
    """Load a classifier of images; refuse a file with other types than those of sktip and scikit-learn."""
    try:
        types = skops.io.get_untrusted_types(file=path)
        foreign = [name for name in types if not name.startswith("sktip.")]
        if foreign:
            raise SystemExit(
                f"{path} contains {', '.join(foreign)}, which is not from sktip; it was not loaded."
            )
        classifier = skops.io.load(path, trusted=types)
        if getattr(classifier, "encoder", None) is None:
            raise SystemExit(
                f"{path} contains a {type(classifier).__name__} without an encoder for images."
            )
        check_is_fitted(classifier)
    except Exception as error:
        # Reading a damaged file can raise anything.
        raise SystemExit(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return classifier.set_params(input="image", encoder__max_pixels=MAX_PIXELS)


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
    classifier = load(os.environ["SKTIP_MODEL"])
    # At most one prediction per CPU at the same time; other requests wait.
    limiter = anyio.CapacityLimiter(os.cpu_count())

    @asynccontextmanager
    async def lifespan(app):
        classifier.encoder.warm_up()
        yield

    app = FastAPI(title="sktip", lifespan=lifespan)
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)

    @app.get("/healthz")
    async def healthz():
        return {"status": "ok", "classes": classifier.classes_.tolist()}

    @app.post("/predict")
    async def predict(file: UploadFile):
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
            rows = await anyio.to_thread.run_sync(classifier.predict_proba, images, limiter=limiter)
        except ImageReadError as error:
            # The message gives the index of the image in the request.
            raise HTTPException(422, str(error)) from error
        return [answer(row) for row in rows]

    def answer(row):
        best = row.argsort()[::-1][:TOP]
        labels, shares = classifier.classes_[best].tolist(), row[best].tolist()
        top = [{"label": label, "probability": share} for label, share in zip(labels, shares)]
        return {**top[0], "top": top}

    return app
