# qubix/train:local where a registry answers; build.sh makes the same from the machine's own Debian packages where none does.
ARG BASE=debian:bookworm-slim
FROM $BASE
RUN apt-get update \
  && apt-get install -y --no-install-recommends python3-minimal python3-numpy \
  && rm -rf /var/lib/apt/lists/*
COPY train/train.py images/prepare-train.sh /opt/train/
RUN sh /opt/train/prepare-train.sh
