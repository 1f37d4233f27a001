"""What stands before KServe's web application and in it: plain predictions are answered at the door, and there is a route for labels.

Routing, middleware and the two lines of log that KServe's writes for each request take several times what a small model takes.
"""

import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from kserve import InferRequest
from kserve.errors import (
    InferenceError,
    InvalidInput,
    ModelNotFound,
    generic_exception_handler,
    inference_error_handler,
    invalid_input_handler,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server import metrics
from server.feedback import Feedback
from server.model import ServedModel
from server.signature import InvalidRequest

PREDICTIONS = (":predict", "/infer")
"""How the paths end that are counted."""
LINGER = 16
"""So many times what a body may have is read of one that is refused: who is answered while it sends hears of a broken connection."""
LEFT = 499
"""Code, as nginx counts it, of a request whose client went before it had sent all: no fault of the server's."""
CLOSED = {
    "/v2/repository/": "the model is loaded as long as the server runs",
    "/versions/": "one version is served here: POST to /v2/models/NAME/infer",
}
"""Parts of paths that KServe would answer: by letting any client unload the model, or by 501; and what is said instead."""
JSON = "application/json"
HANDLERS = (
    (InvalidInput, invalid_input_handler),
    (InferenceError, inference_error_handler),
    (Exception, generic_exception_handler),
)
"""KServe's own; the first that fits."""


class Door:
    """ASGI: answers plain v1 predictions, passes the rest on; seconds and code of every request for predictions. No body has
    more than `most` bytes: numbers in JSON take ten times their size when they are read."""

    def __init__(self, app: ASGIApp, model: ServedModel, most: int) -> None:
        self.app, self._model, self._most = app, model, most
        self._path = f"/v1/models/{model.name}:predict"
        self._codes = {code[0]: metrics.requests.labels(model.name, model.version, code) for code in metrics.CODES}
        self._seconds = metrics.request_seconds.labels(model.name, model.version)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI; an exception that reaches this far was answered with 500 inside."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if why := next((why for part, why in CLOSED.items() if part in scope["path"]), None):
            await self._read(receive)
            await _refused(404, why)(scope, receive, send)
            return
        if not scope["path"].endswith(PREDICTIONS):
            await self._answer(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if not await self._answer(scope, receive, noting):
                status = LEFT
        finally:
            self._seconds.observe(time.perf_counter() - started)
            self._codes[str(status)[0]].inc()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether somebody waits for the answer."""
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
            return True
        messages = await self._read(receive)
        if messages is None:
            text = f"the request has more than {self._most} bytes: send fewer samples at a time, "
            text += "or, as administrator, raise the chart's server.maxRequestBytes"
            await _refused(413, text)(scope, receive, send)
            return True
        if messages[-1]["type"] == "http.disconnect":
            return False
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        mine = scope["path"] == self._path and self._model.ready
        if request := _plain(headers, messages) if mine else None:
            await self._predict(request, headers, scope, receive, send)
            return True

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        await self.app(scope, again, send)
        return True

    async def _read(self, receive: Receive) -> list[Message] | None:
        """The request's messages; None if they are too large, which is known when they have come."""
        messages, size, more = list[Message](), 0, True
        while more and size <= LINGER * self._most:
            message = await receive()
            more, size = message.get("more_body", False), size + len(message.get("body", b""))
            if size > self._most:
                messages.clear()
            else:
                messages.append(message)
        return messages or None

    async def _predict(
        self, request: dict[str, Any], headers: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            answer, _ = await self._model(request, headers)
            response = Response(orjson.dumps(answer), media_type=JSON)
        except Exception as error:
            handler = next(handler for kind, handler in HANDLERS if isinstance(error, kind))
            response = await handler(None, error)
        await response(scope, receive, send)


def _refused(code: int, text: str) -> Response:
    """An answer to a request whose body nobody looks at."""
    return Response(orjson.dumps({"error": text}), code, media_type=JSON, headers={"Connection": "close"})


def told_apart(decode: Callable[..., InferRequest]) -> Callable[..., InferRequest]:
    """KServe's reading of a v2 request in bytes, of which it takes much for granted: what is missing is the client's mistake."""

    def read(*arguments: Any, **named: Any) -> InferRequest:
        try:
            return decode(*arguments, **named)
        except InvalidInput:
            raise
        except Exception as error:
            text = f"the request's bytes are no v2 request with binary tensor data: {type(error).__name__}: {error}"
            raise InvalidInput(text) from error

    return read


def _plain(headers: dict[str, str], messages: Sequence[Message]) -> dict[str, Any] | None:
    """The request as KServe would hand it to the model; None if it is no JSON, a CloudEvent, or anything else to look at twice."""
    if headers.get("content-type", JSON) != JSON or "ce-specversion" in headers:
        return None
    try:
        told = orjson.loads(b"".join(message.get("body", b"") for message in messages))
    except orjson.JSONDecodeError:
        return None
    return told if isinstance(told, dict) and "instances" in told and "specversion" not in told else None


def feedback_route(feedback: Feedback) -> APIRouter:
    """`POST /v1/models/NAME:feedback`."""
    router = APIRouter()

    @router.post("/v1/models/{name}:feedback")
    async def accept(name: str, request: Request) -> MutableMapping[str, Any]:
        if name != feedback.endpoint:
            raise ModelNotFound(name)
        try:
            return {"accepted": feedback.accept(orjson.loads(await request.body()))}
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"expected JSON: {error}") from error
        except InvalidRequest as error:
            raise InvalidInput(str(error)) from error

    return router
