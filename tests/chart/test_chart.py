"""The chart: what helm 3 and helm 4 make of it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

import nodeipam
from tests.chart.helm import CHART, Helm, Refused, by_kind
from tests.chart.matrix import BAD, GOOD, Values

ROOT = Path(__file__).parents[2]
OLDEST = "1.31.0"

HELMS = pytest.mark.parametrize(
    "helm",
    [pytest.param(name, marks=pytest.mark.programs(name)) for name in ("helm3", "helm4")],
    indirect=True,
)


@pytest.fixture
def helm(request: pytest.FixtureRequest, program: Callable[[str], Path]) -> Helm:
    """The helm that the test is run with."""
    return Helm(program(request.param))


@HELMS
class TestRendering:
    def test_lint(self, helm: Helm) -> None:
        """Neither helm has anything to complain of."""
        assert "0 chart(s) failed" in helm.run("lint", "--strict", CHART)

    @pytest.mark.parametrize("values", [pytest.param(values, id=name) for name, values in GOOD.items()])
    def test_the_oldest_kubernetes_takes_it(self, helm: Helm, values: Values, tmp_path: Path) -> None:
        """Each object is one of Kubernetes 1.31, without a field that it doesn't know."""
        objects = helm.render(values, tmp_path)
        known = [body for body in objects if not body["apiVersion"].startswith("monitoring.coreos.com/")]
        assert {"Deployment", "Service", "ClusterRole"} <= {body["kind"] for body in known}
        for body in known:
            kubernetes_validate.validate(body, OLDEST, strict=True)

    @pytest.mark.parametrize(
        "values, complaint", [pytest.param(*case, id=name) for name, case in BAD.items()]
    )
    def test_what_is_refused(self, helm: Helm, values: Values, complaint: str, tmp_path: Path) -> None:
        """What can't work ends with a sentence that names the value."""
        with pytest.raises(Refused) as refused:
            helm.render(values, tmp_path)
        assert complaint in str(refused.value)


@pytest.mark.programs("helm3", "helm4")
@pytest.mark.parametrize("values", [pytest.param(values, id=name) for name, values in GOOD.items()])
def test_both_helms_agree(program: Callable[[str], Path], values: Values, tmp_path: Path) -> None:
    """Helm 3 and helm 4 make the same objects."""
    assert Helm(program("helm3")).render(values, tmp_path) == Helm(program("helm4")).render(values, tmp_path)


@pytest.mark.programs("helm-unittest")
def test_templates(program: Callable[[str], Path]) -> None:
    """The suites beside the chart hold."""
    ended = subprocess.run(
        [program("helm-unittest"), "--strict", "--color=false", CHART],
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == ended.returncode, ended.stdout + ended.stderr
    suites = len(list((CHART / "tests").glob("*_test.yaml")))
    assert f"Test Suites: {suites} passed, {suites} total" in ended.stdout


@pytest.mark.programs("helm4")
class TestManifests:
    def test_they_are_the_charts(self, program: Callable[[str], Path], tmp_path: Path) -> None:
        """manifests/ is what `make manifests` writes."""
        subprocess.run(
            [ROOT / "scripts" / "manifests.sh", tmp_path], env={"HELM": str(program("helm4"))}, check=True
        )
        written = {path.name: path.read_text() for path in tmp_path.iterdir()}
        there = {path.name: path.read_text() for path in (ROOT / "manifests").glob("*.yaml")}
        assert written == there, "run 'make manifests'"

    def test_no_helm(self, tmp_path: Path) -> None:
        """Without helm the script says where to get it."""
        ended = subprocess.run(
            [ROOT / "scripts" / "manifests.sh", tmp_path],
            env={"HELM": "/nonexistent/helm", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert 1 == ended.returncode
        assert "no /nonexistent/helm: see https://helm.sh" in ended.stderr


@pytest.mark.programs("helm4")
class TestDefaults:
    def test_the_image_is_of_this_version(self, program: Callable[[str], Path], tmp_path: Path) -> None:
        """The chart installs the controller that it is released with."""
        (deployment,) = by_kind(Helm(program("helm4")).render({}, tmp_path), "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert f"ghcr.io/nodeipam/nodeipam:{nodeipam.__version__}" == container["image"]

    def test_the_schema_knows_every_value(self) -> None:
        """values.yaml and values.schema.json have the same keys."""
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        schema = yaml.safe_load((CHART / "values.schema.json").read_text())  # JSON is YAML
        assert set(values) == set(schema["properties"]) - {"global"}
