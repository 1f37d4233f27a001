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
from server.formats import Runtime
from server.protocol import from_v1, from_v2, to_v1, to_v2
from server.signature import Array, InvalidRequest

log = logging.getLogger("server")


class ServedModel(Model):  # type: ignore[misc]
    """One runtime under one name; the model runs in one thread, which uses all cores itself, and health checks go on."""

    def __init__(self, name: str, version: str, runtime: Runtime) -> None:
        super().__init__(name)
        self.version, self.runtime = version, runtime
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
            if isinstance(payload, InferRequest):
                outputs = await self._run(from_v2(payload, self.runtime.signature))
                return to_v2(outputs, payload, self.version)
            return to_v1(await self._run(from_v1(payload, self.runtime.signature)), self.version)
        except InvalidRequest as error:
            metrics.errors.labels(self.name, self.version, "InvalidRequest").inc()
            raise InvalidInput(str(error)) from error

    async def _run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        try:
            outputs = await asyncio.get_running_loop().run_in_executor(self.pool, self._timed, inputs)
        except Exception as error:
            metrics.errors.labels(self.name, self.version, "ModelError").inc()
            log.exception("the model failed on inputs of %s", {name: value.shape for name, value in inputs.items()})
            raise InferenceError(
                f"the model failed on this input: {type(error).__name__}; its log says more"
            ) from error
        metrics.predictions.labels(self.name, self.version).inc(len(next(iter(inputs.values()))))
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
