# Sourced by the scripts beside it: which programs there are, and where to get those that are missing.
# shellcheck shell=bash

declare -A where=(
  [docker]="https://docs.docker.com/engine/install, or podman: https://podman.io/docs/installation"
  [kind]="https://kind.sigs.k8s.io/docs/user/quick-start/#installation"
  [kubectl]="https://kubernetes.io/docs/tasks/tools"
  [helm]="https://helm.sh/docs/intro/install"
)

# need PROGRAM…: end with a message unless they are all there.
need() {
  local program missing=0
  for program; do
    command -v "$program" >/dev/null && continue
    echo "no $program: see ${where[$(basename "$program")]:-its documentation}" >&2
    missing=1
  done
  ((missing == 0)) || exit 1
}

# Prints the container engine: CONTAINER_TOOL, else docker or podman, whichever is there.
container_tool() {
  local tool
  for tool in ${CONTAINER_TOOL:-docker podman}; do
    # A docker client without its engine is of no use.
    "$tool" info >/dev/null 2>&1 && echo "$tool" && return
  done
  need "${CONTAINER_TOOL:-docker}"
  echo "${CONTAINER_TOOL:-docker} is there but doesn't answer: is its engine running?" >&2
  exit 1
}
