"""What the release consists of in the cluster."""

from tests.chart.helm import NAMESPACE, RELEASE
from tests.e2e.kube import CRDS, ApiError, Kube

__all__ = ["DEFINITION", "DEPLOYMENT", "KINDS", "NAMESPACE", "RELEASE", "ours", "served"]

DEFINITION = f"{CRDS}/clustercidrs.networking.x-k8s.io"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{RELEASE}"

# One object of each is in it, and the definition.
KINDS = (
    f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts",
    f"/api/v1/namespaces/{NAMESPACE}/services",
    f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
    f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets",
    f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles",
    f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/rolebindings",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
)


async def ours(kube: Kube) -> list[str]:
    """The paths of all objects that bear the release's label, but for its definition."""
    return [
        f"{path}/{item['metadata']['name']}"
        for path in KINDS
        for item in await kube.items(path, labelSelector=f"app.kubernetes.io/instance={RELEASE}")
    ]


async def served(kube: Kube, path: str) -> bool:
    """Whether there is something at a path."""
    try:
        await kube.get(path)
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return True
