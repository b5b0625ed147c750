# The simulator alone: `make image` builds it. See docs/test-your-lambda.md.
FROM scratch
COPY build/image/rotatorctl /rotatorctl
USER 65534:65534
EXPOSE 7788
ENTRYPOINT ["/rotatorctl", "sim", "--listen", "0.0.0.0:7788", "--force"]
