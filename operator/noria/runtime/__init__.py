"""How it happens: the only effects. Watches feed a store, a queue holds keys, the reconciler observes, plans and applies.

`import kubernetes` loads the whole synchronous client (230 modules, 8 MB), and kopf imports it for two type checks; its
asyncio half loads a dynamic client besides (1.5 MB). Only that half's client and config are used, so both packages are put
in place unexecuted and the synchronous client is shut off.
"""

import importlib.util
import sys

if "kubernetes" not in sys.modules:
    for _name in ("kubernetes", "kubernetes.aio"):
        _spec = importlib.util.find_spec(_name)
        assert _spec, f"the package {_name} is not installed"
        sys.modules[_name] = importlib.util.module_from_spec(_spec)
    sys.modules["kubernetes.client"] = None  # type: ignore[assignment]
