"""The kserve.Model: decodes, predicts, encodes, and counts."""

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kserve import InferRequest, InferResponse, Model
from kserve.errors import InferenceError, InvalidInput
from kserve.metrics import POST_HIST_TIME, PRE_HIST_TIME, PREDICT_HIST_TIME
from kserve.model import InferenceVerb

from server import metrics
from server.counts import Counts
from server.formats import Runtime
from server.ids import Ids, Slices
from server.protocol import from_v1, from_v2, to_v1, to_v2
from server.signature import Array, InvalidRequest

QUICK = 0.0005
"""Seconds that health checks may wait for a model; to hand a request over to a thread and back takes a sixth of that."""
FADING = 0.5
"""How much of the slowest pace is left after a request: a model that was slow once is quick again after a few."""

log = logging.getLogger("server")


class ServedModel(Model):  # type: ignore[misc]
    """One runtime under one name. One request at a time runs in it, with all cores: a quick one where it came, any other in a
    thread, so that health checks go on."""

    def __init__(self, name: str, version: str, runtime: Runtime, counts: Counts, ids: Ids, slices: Slices) -> None:
        super().__init__(name)
        self.version, self.runtime = version, runtime
        self.counts, self.ids, self.slices = counts, ids, slices
        self.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self.ready = True
        self._handed_over, self._pace = 0, QUICK
        self._predictions = metrics.predictions.labels(name, version)
        self._seconds = metrics.seconds.labels(name, version)
        self._before, self._predicting, self._after = (
            seconds.labels(name) for seconds in (PRE_HIST_TIME, PREDICT_HIST_TIME, POST_HIST_TIME)
        )

    async def __call__(
        self, body: Any, headers: dict[str, str] | None = None, verb: InferenceVerb = InferenceVerb.PREDICT
    ) -> tuple[dict[str, Any] | InferResponse, dict[str, str]]:
        """As KServe's own, which looks anew at each request what there is to do before and after: here it is nothing."""
        if verb is not InferenceVerb.PREDICT:
            return await super().__call__(body, headers, verb)  # type: ignore[no-any-return]
        self._before.observe(0)
        with self._predicting.time():
            answer = await self.predict(body, headers)
        self._after.observe(0)
        return answer, {}

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
        loop, samples = asyncio.get_running_loop(), len(next(iter(inputs.values())))
        try:
            if not self._handed_over and samples * self._pace < QUICK:
                outputs = self._timed(inputs, samples)
            else:
                outputs = await self._in_thread(inputs, samples)
        except Exception as error:
            metrics.errors.labels(self.name, self.version, "ModelError").inc()
            self.counts.add_failed(inputs)
            log.exception("the model failed on inputs of %s", {name: value.shape for name, value in inputs.items()})
            raise InferenceError(
                f"the model failed on this input: {type(error).__name__}; its log says more"
            ) from error
        self._predictions.inc(samples)
        if self.counts.add(inputs, outputs):
            loop.call_soon(self.counts.flush)  # after the answer
        return outputs

    async def _in_thread(self, inputs: Mapping[str, Array], samples: int) -> dict[str, Array]:
        self._handed_over += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.pool, self._timed, inputs, samples)
        finally:
            self._handed_over -= 1

    def _timed(self, inputs: Mapping[str, Array], samples: int) -> dict[str, Array]:
        started = time.perf_counter()
        try:
            return self.runtime.predict(inputs)
        finally:
            took = time.perf_counter() - started
            self._seconds.observe(took)
            self._pace = max(took / samples, self._pace * FADING)

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
