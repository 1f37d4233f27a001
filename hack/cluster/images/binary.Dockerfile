# One static binary of the tools and nothing else.
FROM scratch
ARG NAME
COPY ${NAME} /app
USER 65532:65532
ENTRYPOINT ["/app"]
