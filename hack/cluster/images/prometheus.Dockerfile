# Prometheus as Debian packages it.
FROM docker.io/library/debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends prometheus && rm -rf /var/lib/apt/lists/* /var/cache/apt
USER 65534:65534
ENTRYPOINT ["/usr/bin/prometheus"]
