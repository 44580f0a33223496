"""The image: what is in it, and that it runs with no right that it doesn't need."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest

import nodeipam
from tests.image.engine import BASE, CA_BUNDLE, MARKER, ROOT, Container, Engine, Failed

pytestmark = [pytest.mark.programs("podman", "mmdebstrap"), pytest.mark.timeout(300)]

PYTHON = "/opt/nodeipam/bin/python"
RESTRICTED = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--network=host",
)
RIGHTS = """
import json, os, re
status = dict(re.findall(r"^(\\w+):\\s*(.*)$", open("/proc/self/status").read(), re.M))
def writable(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return error.strerror
    return "yes"
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "capabilities": status["CapEff"],
    "no_new_privileges": status["NoNewPrivs"], "root": writable("/file"), "tmp": writable("/tmp/file"),
    "own": writable("/opt/nodeipam/file"),
}))
"""


def start(engine: Engine, image: str, *flags: str) -> Container:
    """The controller with no API server to talk to; it goes on trying."""
    arguments = ("--apiserver=http://127.0.0.1:1", "--leader-elect-namespace=default", *flags)
    return engine.start("alone", image, *arguments, flags=RESTRICTED)


def wait_for_line(container: Container, text: str) -> None:
    """Wait until it has written this."""
    end = time.monotonic() + 30.0
    while text not in container.log:
        assert container.state["State"]["Running"], container.log
        assert time.monotonic() < end, container.log
        time.sleep(0.1)


def numeric_user(engine: Engine, tag: str) -> bool:
    """Whether Kubernetes can tell that a container of this image doesn't run as root."""
    user = engine.podman("inspect", "--format={{.Config.User}}", tag)
    return bool(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user))


class TestRights:
    def test_none_is_needed(self, containers: Engine, image: str) -> None:
        """It works as a numeric user, without capabilities, where nothing can be written."""
        container = start(containers, image, "--webserver-bind-address=127.0.0.1:0")
        wait_for_line(container, "starting")
        assert {
            "uid": 65532,
            "gid": 65532,
            "capabilities": "0000000000000000",
            "no_new_privileges": "1",
            "root": "Read-only file system",
            "tmp": "Read-only file system",
            "own": "Read-only file system",
        } == json.loads(container.execute(PYTHON, "-c", RIGHTS))

    def test_a_numeric_user(self, containers: Engine, image: str) -> None:
        """The image names its user by number."""
        assert numeric_user(containers, image)

    def test_a_dockerfile_without_its_user_is_noticed(self, containers: Engine, tmp_path: Path) -> None:
        """The test above fails without the one line."""
        text = (ROOT / "Dockerfile").read_text()
        dockerfile = tmp_path / "Dockerfile"
        dockerfile.write_text(text.replace("USER 65532:65532\n", ""))
        assert dockerfile.read_text() != text
        containers.build("localhost/nodeipam:without", dockerfile=dockerfile, cached=True)
        assert not numeric_user(containers, "localhost/nodeipam:without")

    @pytest.mark.parametrize("user", ["root", "0", "nobody"])
    def test_another_user_is_noticed(self, containers: Engine, image: str, user: str, tmp_path: Path) -> None:
        """The test above fails for root, and for a name, of which nobody knows whether it is root's."""
        dockerfile = tmp_path / "Dockerfile"
        dockerfile.write_text(f"FROM {image}\nUSER {user}\n")
        containers.build("localhost/nodeipam:other", dockerfile=dockerfile, context=tmp_path)
        assert not numeric_user(containers, "localhost/nodeipam:other")


class TestRunning:
    def test_sigterm_ends_it_in_good_order(self, containers: Engine, image: str) -> None:
        """No shell stands between the signal and the controller."""
        container = start(containers, image, "--webserver-bind-address=127.0.0.1:0")
        wait_for_line(container, "starting")
        assert 0 == container.stop(), container.log
        assert "stopped" in container.log

    def test_version(self, containers: Engine, image: str) -> None:
        """It says which version it is."""
        ended = containers.run(image, "version", flags=RESTRICTED)
        assert 0 == ended.code
        assert ended.output.startswith(f"nodeipam {nodeipam.__version__} (Python 3.")

    def test_without_a_cluster(self, containers: Engine, image: str) -> None:
        """It says in one line what it looked for."""
        ended = containers.run(image, flags=RESTRICTED)
        assert 1 == ended.code
        last = ended.output.splitlines()[-1]
        for looked_for in ("/.kube/config", "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "serviceaccount/token"):
            assert looked_for in last


class TestContents:
    def test_only_what_runs(self, containers: Engine, image: str) -> None:
        """The packages are those of the lock file and our own; pip isn't among them."""
        code = "import importlib.metadata as m; print(*sorted(d.name.lower() for d in m.distributions()))"
        found = containers.podman("run", "--rm", f"--entrypoint={PYTHON}", image, "-c", code).split()
        lock = (ROOT / "requirements" / "run.txt").read_text()
        locked = {name.lower() for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
        normal = {name.replace("_", "-") for name in found}
        assert normal <= locked | {"nodeipam"}
        assert {"nodeipam", "aiohttp", "msgspec"} <= normal

    def test_it_is_compiled(self, containers: Engine, image: str) -> None:
        """Every module of ours is there as bytecode that needs no check against its source."""
        code = (
            "import glob, importlib.util, nodeipam, os, struct\n"
            "sources = glob.glob(os.path.dirname(nodeipam.__file__) + '/**/*.py', recursive=True)\n"
            "flags = {struct.unpack('<I', open(importlib.util.cache_from_source(s), 'rb').read(8)[4:])[0]\n"
            "         for s in sources}\n"
            "print(len(sources) > 100, flags)\n"
        )
        assert "True {1}" == containers.podman("run", "--rm", f"--entrypoint={PYTHON}", image, "-c", code)

    def test_labels(self, containers: Engine, image: str) -> None:
        """It says what it is and where it comes from."""
        labels = json.loads(containers.podman("inspect", "--format={{json .Config.Labels}}", image))
        assert "https://github.com/nodeipam/nodeipam" == labels["org.opencontainers.image.source"]
        assert "Apache-2.0" == labels["org.opencontainers.image.licenses"]
        assert {"title", "description", "version", "revision"} <= {name.split(".")[-1] for name in labels}

    def test_certificates_of_the_build_stay_there(self, containers: Engine, image: str) -> None:
        """The secret that a build may be given leaves no trace, and the bundle is the base's."""
        everywhere = ("/etc", "/opt", "/root", "/run", "/tmp", "/usr", "/var")
        search = ("-rlsFe", MARKER.strip(), *everywhere)
        found = containers.run(image, *search, flags=("--entrypoint=/usr/bin/grep", "--user=0:0"))
        assert (1, "") == (found.code, found.output)
        digests = {
            containers.podman("run", "--rm", "--entrypoint=/usr/bin/sha256sum", tag, str(CA_BUNDLE))
            for tag in (BASE, image)
        }
        assert 1 == len(digests)


class TestBuilding:
    def test_it_is_reproducible(self, containers: Engine, image: str) -> None:
        """The same tree makes the same image, bit for bit."""
        first = containers.podman("inspect", "--format={{.Id}}", image)
        assert first == containers.build("localhost/nodeipam:again")

    def test_a_wrong_hash_ends_it(self, containers: Engine, tmp_path: Path) -> None:
        """A wheel that isn't the locked one is refused."""
        context = tmp_path / "context"
        shutil.copytree(ROOT / "requirements", context / "requirements")
        for name in ("Dockerfile", "README.md", "LICENSE", "pyproject.toml"):
            shutil.copy(ROOT / name, context / name)
        (context / "nodeipam").mkdir()
        lock = context / "requirements" / "run.txt"
        lock.write_text(re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", lock.read_text()))
        with pytest.raises(Failed, match="DO NOT MATCH THE HASHES"):
            containers.build("localhost/nodeipam:wrong", context=context)
