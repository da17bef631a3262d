#!/usr/bin/env bash
# Builds the images with docker or buildah, whichever is there.
# usage: images/build.sh [IMAGE...]     (default: train serve pipeline control)
#   BASE=python:3.11-slim   base image: anything with python3.11 and its venv module
#   TAG=0.1.0  PREFIX=mgoe- names: PREFIXtrain:TAG (a registry goes into PREFIX)
#   ENGINE=docker|buildah
#   PIP_CONF=FILE           pip's settings on this machine (index, certificates); a secret of the build, never in the image
#   WHEELS=FOLDER           wheels that pip may use besides its index; mounted, never in the image
set -euo pipefail
cd "$(dirname "$0")/.."

BASE=${BASE:-python:3.11-slim}
TAG=${TAG:-0.1.0}
PREFIX=${PREFIX:-mgoe-}
IMAGES=("$@")
[ ${#IMAGES[@]} -gt 0 ] || IMAGES=(train serve pipeline control)

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
  [ -f "images/$image.Dockerfile" ] || { echo "images: no image $image; there are train, serve, pipeline, control" >&2; exit 2; }
  arguments=(--file "images/$image.Dockerfile" --tag "$PREFIX$image:$TAG" --build-arg "BASE=$BASE" --secret "id=pip,src=$settings")
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
