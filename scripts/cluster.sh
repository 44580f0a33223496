#!/usr/bin/env bash
# A kind cluster to try the controller in:
#   cluster.sh up     the cluster, with the definition of ClusterCIDR alone, for a controller that runs outside
#   cluster.sh run    the cluster, with the image of this tree, the chart and a ClusterCIDR
#   cluster.sh down   remove it
# Environment: TEST_ENV_CLUSTER_NAME and TEST_ENV_KUBECONFIG_PATH name the cluster and its kubeconfig, CLUSTERCIDR_PATH
# the ClusterCIDR to create, IMG_TAG the image's tag; SKIP_CRDS_INSTALL=true leaves the definition out.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/tools.sh
source scripts/tools.sh

name=${TEST_ENV_CLUSTER_NAME:-nodeipam}
export KUBECONFIG=${TEST_ENV_KUBECONFIG_PATH:-$PWD/build/$name.kubeconfig}
repository=ghcr.io/nodeipam/nodeipam
tag=${IMG_TAG:-local}

create() {
  need kind kubectl
  mkdir -p "$(dirname "$KUBECONFIG")"
  kind delete cluster --name "$name"
  kind create cluster --name "$name" --config scripts/kind.yaml --kubeconfig "$KUBECONFIG"
}

load() {
  local tool archive
  tool=$(container_tool)
  CONTAINER_TOOL=$tool IMG=$repository:$tag scripts/image-build.sh
  archive=$(mktemp --suffix=.tar)
  # An archive is what kind takes from any engine.
  "$tool" save --output "$archive" "$repository:$tag"
  kind load image-archive "$archive" --name "$name"
  rm "$archive"
}

install() {
  need helm
  helm install node-ipam-controller ./charts/node-ipam-controller --create-namespace --namespace nodeipam \
    --set image.repository="$repository" --set image.tag="$tag"
  kubectl wait --for=condition=Established crd/clustercidrs.networking.x-k8s.io
  kubectl create -f "${CLUSTERCIDR_PATH:-manifests/examples/dual.yaml}"
}

case ${1:-} in
up)
  create
  [[ ${SKIP_CRDS_INSTALL:-} == true ]] || kubectl create -f manifests/crd.yaml
  echo "export KUBECONFIG=$KUBECONFIG"
  ;;
run)
  create
  load
  install
  echo "export KUBECONFIG=$KUBECONFIG"
  ;;
down)
  need kind
  kind delete cluster --name "$name"
  rm -f "$KUBECONFIG"
  ;;
*)
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"
  exit 1
  ;;
esac
