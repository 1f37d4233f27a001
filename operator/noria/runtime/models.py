"""Objects as their models: those read last are kept, since most plans follow from news of children, and reading 500 steps takes long."""

from collections import OrderedDict

from noria.api.meta import Resource
from noria.plan.contract import Manifest

KEPT = 64


class Models:
    """The newest KEPT objects that were read, by uid."""

    def __init__(self) -> None:
        self._read: OrderedDict[str, tuple[Manifest, Resource]] = OrderedDict()

    def read(self, resource: type[Resource], live: Manifest) -> Resource:
        """The model of an object of the store, which holds another when it has changed. Raises ValidationError."""
        uid = live["metadata"]["uid"]
        before, model = self._read.pop(uid, (None, None))
        if before is not live or model is None:
            model = resource.model_validate(live)
        self._read[uid] = live, model
        if len(self._read) > KEPT:
            self._read.popitem(last=False)
        return model
