"""A chart that makes what the chart of kubernetes-sigs/node-ipam-controller makes."""

from pathlib import Path

import yaml

from tests.e2e.definition import REFERENCE
from tests.e2e.kube import Object, read_manifests

NAME = "node-ipam-controller"
SELECTED = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/instance": NAME}
COMMON = {**SELECTED, "helm.sh/chart": f"{NAME}-0.0.2", "app.kubernetes.io/version": "0.0.1"}
RBAC = Path(__file__).parents[1] / "manifests" / "reference-rbac.yaml"


def reference_chart(folder: Path) -> Path:
    """Write the chart into a folder of its own in this one."""
    chart = folder / "reference"
    (chart / "templates").mkdir(parents=True)
    metadata = {"apiVersion": "v2", "name": NAME, "version": "0.0.2", "appVersion": "0.0.1"}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(metadata))
    objects = [_definition(), *_rights(), _deployment()]
    (chart / "templates" / "all.yaml").write_text(yaml.safe_dump_all(objects))
    return chart


def _definition() -> Object:
    (definition,) = read_manifests(REFERENCE)
    definition["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    return definition


def _rights() -> list[Object]:
    """The roles and bindings, under the names that the reference gives them in this release."""
    names = {
        "ServiceAccount": NAME,
        "ClusterRole": f"{NAME}-manager-role",
        "ClusterRoleBinding": f"{NAME}-rolebinding",
        "Role": f"{NAME}-leader-election-role",
        "RoleBinding": f"{NAME}-leader-election-rolebinding",
    }
    found = [body for body in read_manifests(RBAC) if body["kind"] in names]
    for body in found:
        body["metadata"] = {"name": names[body["kind"]], "labels": COMMON}
        if "roleRef" in body:
            body["roleRef"]["name"] = names[body["roleRef"]["kind"]]
            body["subjects"] = [{"kind": "ServiceAccount", "name": NAME, "namespace": "nodeipam"}]
    return found


def _deployment() -> Object:
    container = {
        "name": NAME,
        "image": "registry.k8s.io/node-ipam-controller:0.0.1",
        "ports": [{"name": "http", "containerPort": 8081, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "100m", "memory": "128Mi"}},
        "env": [
            {"name": f"POD_{key.upper()}", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.{key}"}}}
            for key in ("name", "namespace")
        ],
    }
    pod = {
        "metadata": {"labels": SELECTED},
        "spec": {"hostNetwork": True, "serviceAccountName": NAME, "containers": [container]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "labels": COMMON},
        "spec": {"replicas": 1, "selector": {"matchLabels": SELECTED}, "template": pod},
    }
