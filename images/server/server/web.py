"""What is added to KServe's web application: the route for labels, and the counting of requests for predictions."""

import time
from collections.abc import MutableMapping
from typing import Any

import orjson
from fastapi import APIRouter, Request
from kserve.errors import InvalidInput, ModelNotFound
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server import metrics
from server.feedback import Feedback
from server.signature import InvalidRequest

PREDICTIONS = (":predict", "/infer")
"""How the paths end that are counted."""


class RequestMetrics:
    """ASGI middleware: seconds and code of every request for predictions."""

    def __init__(self, app: ASGIApp, endpoint: str, version: str) -> None:
        self.app = app
        self._codes = {code[0]: metrics.requests.labels(endpoint, version, code) for code in metrics.CODES}
        self._seconds = metrics.request_seconds.labels(endpoint, version)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI; an exception that reaches this far is answered with 500 outside."""
        if scope["type"] != "http" or not scope["path"].endswith(PREDICTIONS):
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            self._seconds.observe(time.perf_counter() - started)
            self._codes[str(status)[0]].inc()


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
