"""The kserve.Model: decodes, predicts in a thread, encodes, and counts."""

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kserve import InferRequest, InferResponse, Model
from kserve.errors import InferenceError, InvalidInput

from server import metrics
from server.counts import Counts
from server.formats import Runtime
from server.ids import Ids, Slices
from server.protocol import from_v1, from_v2, to_v1, to_v2
from server.signature import Array, InvalidRequest

log = logging.getLogger("server")


class ServedModel(Model):  # type: ignore[misc]
    """One runtime under one name; the model runs in one thread, which uses all cores itself, and health checks go on."""

    def __init__(self, name: str, version: str, runtime: Runtime, counts: Counts, ids: Ids, slices: Slices) -> None:
        super().__init__(name)
        self.version, self.runtime = version, runtime
        self.counts, self.ids, self.slices = counts, ids, slices
        self.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self.ready = True

    def validate(self, payload: Any) -> Any:
        """Nothing: predict checks more, and says more."""
        return payload

    async def predict(
        self,
        payload: dict[str, Any] | InferRequest,
        headers: dict[str, str] | None = None,
        response_headers: Any = None,
    ) -> dict[str, Any] | InferResponse:
        """Answers one request of either protocol; InvalidInput becomes 400, InferenceError 500."""
        try:
            slice = self.slices.of(headers)
            outputs = await self._run(self._decoded(payload))
            ids = self.ids.issue(slice, outputs)
            if isinstance(payload, InferRequest):
                return to_v2(outputs, payload, self.version, ids)
            return to_v1(outputs, self.version, ids)
        except InvalidRequest as error:
            metrics.errors.labels(self.name, self.version, "InvalidRequest").inc()
            raise InvalidInput(str(error)) from error

    def _decoded(self, payload: dict[str, Any] | InferRequest) -> dict[str, Array]:
        try:
            if isinstance(payload, InferRequest):
                return from_v2(payload, self.runtime.signature)
            return from_v1(payload, self.runtime.signature)
        except InvalidRequest:
            self.counts.add_refused(payload)
            raise

    async def _run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        loop = asyncio.get_running_loop()
        try:
            outputs = await loop.run_in_executor(self.pool, self._timed, inputs)
        except Exception as error:
            metrics.errors.labels(self.name, self.version, "ModelError").inc()
            self.counts.add_failed(inputs)
            log.exception("the model failed on inputs of %s", {name: value.shape for name, value in inputs.items()})
            raise InferenceError(
                f"the model failed on this input: {type(error).__name__}; its log says more"
            ) from error
        metrics.predictions.labels(self.name, self.version).inc(len(next(iter(inputs.values()))))
        if self.counts.add(inputs, outputs):
            loop.call_soon(self.counts.flush)  # after the answer
        return outputs

    def _timed(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        started = time.perf_counter()
        try:
            return self.runtime.predict(inputs)
        finally:
            metrics.seconds.labels(self.name, self.version).observe(time.perf_counter() - started)

    def get_input_types(self) -> list[dict[str, Any]]:
        """Inputs for the v2 metadata request."""
        return [
            {"name": one.name, "datatype": one.datatype, "shape": list(one.shape)}
            for one in self.runtime.signature.inputs
        ]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Outputs for the v2 metadata request."""
        return [
            {"name": one.name, "datatype": one.datatype, "shape": list(one.shape)}
            for one in self.runtime.signature.outputs
        ]
