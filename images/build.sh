#!/usr/bin/env bash
# Builds the images with docker or buildah, whichever is there.
# usage: images/build.sh [IMAGE...]     (default: train serve torchserve pipeline control)
#   torchserve, serve-compiler        `serve` with Java 17, and with a C++ compiler for AOTInductor; `serve` is built before
#   BASE=python:3.11-slim-bookworm    base image: Debian with python3.11 and its venv module
#   TAG=0.1.0  PREFIX=mgoe/           names: PREFIXtrain:TAG (a registry goes into PREFIX)
#   TORCH_INDEX=URL         index with torch's build, the CPU's by default; empty: the index of PIP_CONF has the right one
#   ENGINE=docker|buildah
#   PIP_CONF=FILE           pip's settings on this machine (index, certificates); a secret of the build, never in the image
#   WHEELS=FOLDER           wheels that pip may use besides its index; mounted, never in the image
set -euo pipefail
cd "$(dirname "$0")/.."

BASE=${BASE:-python:3.11-slim-bookworm}
TAG=${TAG:-0.1.0}
PREFIX=${PREFIX:-mgoe/}
TORCH_INDEX=${TORCH_INDEX-https://download.pytorch.org/whl/cpu}
IMAGES=("$@")
[ ${#IMAGES[@]} -gt 0 ] || IMAGES=(train serve torchserve pipeline control)

if [ -z "${ENGINE:-}" ]; then
  if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    ENGINE=docker
  elif command -v buildah >/dev/null; then
    ENGINE=buildah
  else
    echo "images: neither a running docker nor buildah is here; install one (Debian: apt-get install buildah)" >&2
    exit 2
  fi
fi

settings=$(mktemp)
trap 'rm -f "$settings"' EXIT
[ -z "${PIP_CONF:-}" ] || cat "$PIP_CONF" >"$settings"

for image in "${IMAGES[@]}"; do
  arguments=(--tag "$PREFIX$image:$TAG")
  case $image in train|serve) arguments+=(--build-arg "TORCH_INDEX=$TORCH_INDEX") ;; esac
  case $image in
    train|serve|pipeline|control)
      arguments+=(--file "images/$image.Dockerfile" --build-arg "BASE=$BASE" --secret "id=pip,src=$settings") ;;
    torchserve|serve-compiler)
      packages=openjdk-17-jre-headless
      [ "$image" = torchserve ] || packages=g++
      arguments+=(--file images/serve-with.Dockerfile --build-arg "SERVE=${PREFIX}serve:$TAG" --build-arg "PACKAGES=$packages") ;;
    *) echo "images: no image $image; there are train, serve, torchserve, serve-compiler, pipeline, control" >&2; exit 2 ;;
  esac
  case $ENGINE in
    docker)
      # Wheels come in as a named context, since docker mounts no folder of the host into a build.
      [ -z "${WHEELS:-}" ] || arguments+=(--build-context "wheels=$WHEELS")
      DOCKER_BUILDKIT=1 docker build "${arguments[@]}" . ;;
    buildah)
      [ -z "${WHEELS:-}" ] || arguments+=(--volume "$WHEELS:/wheels:ro")
      # shellcheck disable=SC2086  # several options in one variable
      buildah ${BUILDAH_STORAGE:-} bud --format docker ${BUILDAH_OPTIONS:-} "${arguments[@]}" . ;;
    *) echo "images: ENGINE=$ENGINE is unknown; use docker or buildah" >&2; exit 2 ;;
  esac
done
