# A shell with ping and curl: for the storage provisioner's pods, and for a look around inside the cluster.
FROM docker.io/library/debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends curl iputils-ping && rm -rf /var/lib/apt/lists/* /var/cache/apt
ENTRYPOINT ["/bin/sh"]
