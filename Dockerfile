# SPDX-License-Identifier: Apache-2.0
# podlv's image: docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=… .
# `make image` makes one of the same packages without an engine.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETARCH
ARG VERSION=unknown
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOARCH=$TARGETARCH go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /podlv ./cmd/podlv

FROM debian:bookworm-slim
RUN --mount=type=bind,source=tools/image-packages.txt,target=/packages.txt \
    apt-get update && \
    sed 's/#.*//' /packages.txt | xargs apt-get install --yes --no-install-recommends && \
    rm -rf /var/lib/apt/lists/*
COPY --from=build /podlv /usr/local/bin/podlv
ENTRYPOINT ["/usr/local/bin/podlv"]
