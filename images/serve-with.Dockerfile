# The image `serve` with Debian packages beside it: `torchserve` has Java 17, `serve-compiler` the C++ compiler that
# AOTInductor calls. Without a compiler a server scores through ONNX Runtime or plain torch, and says so in its log.
ARG SERVE=mgoe/serve:0.1.0
FROM ${SERVE}
ARG PACKAGES
USER 0:0
RUN export DEBIAN_FRONTEND=noninteractive \
 && apt-get update \
 && apt-get install --yes --no-install-recommends ${PACKAGES} \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
USER 10001:10001
