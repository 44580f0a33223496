"""What a kubelet makes of a Pod, as the flags of `podman run`."""

from pathlib import Path

from tests.e2e.controlplane import ControlPlane
from tests.e2e.kube import Object

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def port(pod: Object, name: str) -> int:
    """The number of a named port, as probes and Services refer to it."""
    (number,) = [each["containerPort"] for each in _container(pod)["ports"] if each["name"] == name]
    return int(number)


def probed(pod: Object, probe: str) -> tuple[int, str]:
    """The port and the path that a probe asks."""
    asked = _container(pod)[probe]["httpGet"]
    number = asked["port"] if isinstance(asked["port"], int) else port(pod, asked["port"])
    return number, asked["path"]


def mount_account(folder: Path, plane: ControlPlane, *, namespace: str, token: str) -> Path:
    """Write what a kubelet puts into a Pod for its ServiceAccount, readable by any user."""
    folder.mkdir()
    (folder / "token").write_text(token)
    (folder / "ca.crt").write_bytes(plane.ca_file.read_bytes())
    (folder / "namespace").write_text(namespace)
    for file in folder.iterdir():
        file.chmod(0o644)
    folder.chmod(0o755)
    return folder


def flags(pod: Object, *, network: str, account: Path, environment: dict[str, str]) -> list[str]:
    """The flags that make this Pod's security context, environment and mounts those of a container.

    `environment` is what a kubelet adds of its own accord, and what the Pod's own variables override.
    """
    container, user = _container(pod), _container(pod)["securityContext"]
    made = [f"--network=ns:{network}", f"--volume={account}:{ACCOUNT}:ro"]
    made += [f"--user={user['runAsUser']}:{user['runAsGroup']}"]
    made += [f"--cap-drop={each}" for each in user["capabilities"]["drop"]]
    if user["readOnlyRootFilesystem"]:
        made += ["--read-only", "--read-only-tmpfs=false"]
    if user["allowPrivilegeEscalation"] is False:
        made.append("--security-opt=no-new-privileges")
    variables = {**environment, **{each["name"]: _value(each, pod) for each in container.get("env", ())}}
    return made + [f"--env={name}={value}" for name, value in variables.items()]


def image(pod: Object) -> str:
    """The image of its container."""
    return str(_container(pod)["image"])


def arguments(pod: Object) -> list[str]:
    """The arguments of its container."""
    return list(_container(pod)["args"])


def _value(variable: Object, pod: Object) -> str:
    if "value" in variable:
        return str(variable["value"])
    value = pod
    for key in variable["valueFrom"]["fieldRef"]["fieldPath"].split("."):
        value = value[key]
    return str(value)


def _container(pod: Object) -> Object:
    (container,) = pod["spec"]["containers"]
    return dict(container)
