#!/usr/bin/env bash
# Resolves constraints/*.txt from pyproject.toml: one environment that holds everything, then each image as a subset of it.
# usage: constraints/resolve.sh UV [--upgrade]
set -euo pipefail
uv=$1
shift
cd "$(dirname "$0")/.."

resolve() { # resolve OUTPUT ARGUMENTS...
  local output=$1
  shift
  "$uv" pip compile pyproject.toml --python-version 3.11 --quiet --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links --output-file "$output" "$@"
  sed -i 's/^torch==\([0-9.]*\).*/torch==\1/' "$output" # the build (+cpu, +cu…) is the installer's choice
}

# A pinned torch would be kept without its build, and its plain build brings CUDA: let the build be chosen anew.
sed -i '/^torch==/d' constraints/*.txt
resolve constraints/all.txt --all-extras --override constraints/overrides.txt "$@"
for extra in train serve pipeline control; do
  resolve "constraints/$extra.txt" --extra "$extra" --constraint constraints/all.txt
done
