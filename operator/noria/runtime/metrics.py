"""What the operator tells about itself, in Prometheus's terms."""

from prometheus_client import Counter, Gauge, Histogram

RECONCILES = Counter("noria_reconciles_total", "Reconciliations by outcome.", ["kind", "result"])
RECONCILE_SECONDS = Histogram(
    "noria_reconcile_seconds",
    "Duration of one reconciliation.",
    ["kind"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
QUEUE_DEPTH = Gauge("noria_queue_depth", "Keys that are ready and not yet being reconciled.")
ACTIVE_WORKERS = Gauge("noria_active_workers", "Keys that are being reconciled, or wait for the lease to be renewed.")
HELD_STATUSES = Gauge("noria_held_statuses", "Statuses that wait, a second or ten, for what follows from a beginning.")
API_REQUESTS = Counter("noria_api_requests_total", "Requests to the API server.", ["verb", "kind", "code"])
LEADER = Gauge("noria_leader", "1 in the process that holds the lease.")
RESYNC_AGE = Gauge(
    "noria_resync_age_seconds", "Seconds since the oldest of the newest full lists of the kinds watched."
)
OBJECTS = Gauge("noria_store_objects", "Objects held in memory.", ["kind"])
PROMETHEUS_UP = Gauge("noria_prometheus_up", "1 while Prometheus answers.")
PROMETHEUS_QUERIES = Counter("noria_prometheus_queries_total", "Queries to Prometheus by outcome.", ["result"])
EVENTS = Counter(
    "noria_events_total", "Events told, among them each stage of an Endpoint's cycles.", ["kind", "reason"]
)
