#!/usr/bin/env bash
# Write manifests/ from the chart, for those who use kubectl: manifests.sh FOLDER. HELM may name a helm 3 or 4.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?usage: manifests.sh FOLDER}
helm=${HELM:-helm}
# shellcheck source=scripts/tools.sh
source scripts/tools.sh
need "$helm"

made="# Made from charts/node-ipam-controller by 'make manifests'."

# render TEMPLATE: its objects, without what only Helm looks at.
render() {
  "$helm" template node-ipam-controller charts/node-ipam-controller --namespace nodeipam --show-only "templates/$1" |
    sed -e '/^# Source: /d' -e '/^ *helm\.sh\//d' -e '/^ *app\.kubernetes\.io\/managed-by: /d' \
      -e '/^  annotations:$/d' -e '/^$/d'
}

mkdir -p "$folder"
{
  echo "$made"
  render crds.yaml
} >"$folder/crd.yaml"
{
  printf '%s\n' "$made" 'apiVersion: v1' 'kind: Namespace' 'metadata:' '  name: nodeipam'
  render rbac.yaml
} >"$folder/rbac.yaml"
{
  echo "$made"
  render deployment.yaml
  render service.yaml
  render poddisruptionbudget.yaml
} >"$folder/deployment.yaml"
cat >"$folder/kustomization.yaml" <<END
$made
# kubectl apply -k installs all of it.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- crd.yaml
- rbac.yaml
- deployment.yaml
END
