#!/usr/bin/env bash
# Build the image with docker or podman. IMG: its name; BASE_IMAGE, PLATFORM: as in the Dockerfile's ARG and the
# engine's --platform; CA_FILE: a bundle of certificates for a proxy before the package index.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/tools.sh
source scripts/tools.sh

tool=$(container_tool)
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' nodeipam/__init__.py)
arguments=(--build-arg "VERSION=$version" --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)")
[[ -z ${BASE_IMAGE:-} ]] || arguments+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
[[ -z ${PLATFORM:-} ]] || arguments+=(--platform "$PLATFORM")
[[ -z ${CA_FILE:-} ]] || arguments+=(--secret "id=ca,src=$CA_FILE")
# The same tree makes the same image, by podman at least: every file is of the time of the commit.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH
[[ $tool != *podman ]] || arguments+=(--timestamp "$SOURCE_DATE_EPOCH")
"$tool" build "${arguments[@]}" --tag "${IMG:-ghcr.io/nodeipam/nodeipam:local}" .
