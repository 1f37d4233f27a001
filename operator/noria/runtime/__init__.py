"""How it happens: the only effects. Watches feed a store, a queue holds keys, the reconciler observes, plans and applies.

`import kubernetes` loads the whole synchronous client (230 modules, 8 MB), and kopf imports it for two type checks.
Only the package's asyncio half is used, so the package is put in place unexecuted and the other half shut off.
"""

import importlib.util
import sys

if "kubernetes" not in sys.modules:
    _spec = importlib.util.find_spec("kubernetes")
    assert _spec, "the kubernetes package is not installed"
    sys.modules["kubernetes"] = importlib.util.module_from_spec(_spec)
    sys.modules["kubernetes.client"] = None  # type: ignore[assignment]
