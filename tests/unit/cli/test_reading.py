from __future__ import annotations

from collections.abc import Callable

import click
import pytest

from nodeipam.api.cidr import parse_cidr
from nodeipam.cli import reading
from nodeipam.cli.flag import Given
from nodeipam.cli.options import FLAGS
from nodeipam.cli.reading import Configuration, read_configuration
from nodeipam.controllers.settings import Settings
from nodeipam.runtime import ConfigurationError, CredentialsError, Election

NAMESPACE = {"POD_NAMESPACE": "ns"}


@pytest.fixture(autouse=True)
def _outside_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise CredentialsError("no Pod")

    monkeypatch.setattr(reading, "namespace", nowhere)


def read(flags: dict[str, str] | None = None, **environ: str) -> Configuration:
    """What these flags and variables make, in a namespace unless they say otherwise."""
    return read_configuration(Given(flags or {}, NAMESPACE | environ))


def election(configuration: Configuration) -> Election:
    """The election, which there must be."""
    assert configuration.settings.election is not None
    return configuration.settings.election


def test_defaults() -> None:
    """With nothing given, the defaults of the table are in force, and there is nothing to remark."""
    expected = Configuration(
        settings=Settings(
            election=Election(
                namespace="ns",
                name="node-ipam-controller",
                lock="leases",
                lease_duration=15.0,
                renew_deadline=10.0,
                retry_period=2.0,
            ),
            bind_address=":8081",
            concurrent_node_syncs=16,
        ),
        apiserver=None,
        kubeconfig=None,
    )

    assert expected == read()


CASES: dict[str, tuple[str, Callable[[Configuration], object], object]] = {
    "--apiserver": ("https://a:6443", lambda c: c.apiserver, "https://a:6443"),
    "--kubeconfig": ("/k", lambda c: c.kubeconfig, "/k"),
    "--webserver-bind-address": ("[::1]:1", lambda c: c.settings.bind_address, "[::1]:1"),
    "--health-probe-address": (":2", lambda c: c.settings.bind_address, ":2"),
    "--enable-leader-election": ("f", lambda c: c.settings.election, None),
    "--leader-elect-lease-duration": ("1m", lambda c: election(c).lease_duration, 60.0),
    "--leader-elect-renew-deadline": ("11s", lambda c: election(c).renew_deadline, 11.0),
    "--leader-elect-retry-period": ("500ms", lambda c: election(c).retry_period, 0.5),
    "--leader-elect-resource-lock": ("endpoints", lambda c: election(c).lock, "endpoints"),
    "--leader-elect-resource-name": ("ours", lambda c: election(c).name, "ours"),
    "--leader-elect-id": ("me", lambda c: election(c).id, "me"),
    "--leader-elect-namespace": ("there", lambda c: election(c).namespace, "there"),
    "--cluster-cidr": (
        "10.0.0.0/8,fd00::/48",
        lambda c: c.settings.cluster_cidrs,
        (parse_cidr("10.0.0.0/8"), parse_cidr("fd00::/48")),
    ),
    "--node-cidr-mask-size": ("25", lambda c: c.settings.node_cidr_mask_size, 25),
    "--node-cidr-mask-size-ipv4": ("25", lambda c: c.settings.node_cidr_mask_size_ipv4, 25),
    "--node-cidr-mask-size-ipv6": ("120", lambda c: c.settings.node_cidr_mask_size_ipv6, 120),
    "--service-cluster-ip-range": (
        "10.0.0.0/16",
        lambda c: c.settings.service_ranges,
        (parse_cidr("10.0.0.0/16"),),
    ),
    "--concurrent-node-syncs": ("3", lambda c: c.settings.concurrent_node_syncs, 3),
    "--kube-api-qps": ("2.5", lambda c: c.settings.kube_api_qps, 2.5),
    "--kube-api-burst": ("7", lambda c: c.settings.kube_api_burst, 7),
}
NEEDED = {
    "--node-cidr-mask-size": {"--cluster-cidr": "10.0.0.0/8"},
    "--node-cidr-mask-size-ipv4": {"--cluster-cidr": "10.0.0.0/8"},
    "--node-cidr-mask-size-ipv6": {"--cluster-cidr": "fd00::/48"},
    "--kube-api-burst": {"--kube-api-qps": "5"},
}
VARIABLES = [(flag.name, variable) for flag in FLAGS if flag.name in CASES for variable in flag.variables]


class TestEachSetting:
    def test_all_are_here(self) -> None:
        """Every flag is tried here, but those that only concern logging."""
        assert {flag.name for flag in FLAGS} - {"--log-level", "--log-format"} == CASES.keys()

    @pytest.mark.parametrize("name", CASES)
    def test_by_flag(self, name: str) -> None:
        """A flag reaches the settings."""
        text, look, value = CASES[name]

        assert value == look(read({name: text} | NEEDED.get(name, {})))

    @pytest.mark.parametrize("name,variable", VARIABLES)
    def test_by_variable(self, name: str, variable: str) -> None:
        """Each of its variables reaches the settings too."""
        text, look, value = CASES[name]

        assert value == look(read(NEEDED.get(name, {}), **{variable: text}))


class TestIdentity:
    def test_pod_name(self) -> None:
        """Without an id the Pod's name is the candidate's."""
        assert election(read(POD_NAME="ipam-0")).id == "ipam-0"

    def test_id_beats_pod_name(self) -> None:
        """An id that is given beats the Pod's name."""
        assert election(read(POD_NAME="ipam-0", IPAM_LEADER_ELECT_ID="me")).id == "me"

    def test_host_name(self) -> None:
        """Without either it is left to the election, which takes the host name."""
        assert election(read()).id == ""


class TestNamespace:
    def test_service_account(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without POD_NAMESPACE the service account's namespace holds the lock."""
        monkeypatch.setattr(reading, "namespace", lambda: "of-the-account")

        assert election(read(POD_NAMESPACE="")).namespace == "of-the-account"

    def test_nowhere(self) -> None:
        """Outside a Pod it is kube-system, with a remark, since all replicas have to agree."""
        found = read(POD_NAMESPACE="")

        assert (
            "kube-system",
            (
                (
                    "the lock is looked for in kube-system, since no --leader-elect-namespace is given and "
                    "this is no Pod; all replicas must use the same namespace"
                ),
            ),
        ) == (election(found).namespace, found.remarks)

    def test_without_election(self) -> None:
        """Without an election nobody needs a namespace, and nothing is remarked."""
        assert () == read({"--enable-leader-election": "false"}, POD_NAMESPACE="").remarks


class TestRetryPeriod:
    """Two variables say it, and one of them is named like something else."""

    def test_both(self) -> None:
        """IPAM_LEADER_ELECT_RETRY_PERIOD beats IPAM_RESOURCE_LOCK, with a remark."""
        found = read(IPAM_RESOURCE_LOCK="1s", IPAM_LEADER_ELECT_RETRY_PERIOD="3s")

        assert (
            3.0,
            (
                (
                    "IPAM_RESOURCE_LOCK=1s is not used, since IPAM_LEADER_ELECT_RETRY_PERIOD=3s sets "
                    "--leader-elect-retry-period too"
                ),
            ),
        ) == (election(found).retry_period, found.remarks)

    @pytest.mark.parametrize("kind", ["leases", "endpoints", "configmaps", "Lease"])
    def test_a_kind_of_lock(self, kind: str) -> None:
        """A kind of lock in IPAM_RESOURCE_LOCK is refused, with the variable where it belongs."""
        with pytest.raises(click.UsageError) as caught:
            read(IPAM_RESOURCE_LOCK=kind)

        assert (
            f'IPAM_RESOURCE_LOCK: "{kind}" is a kind of lock, and this is the wait between two attempts, '
            'such as "2s"; the kind of lock belongs into IPAM_RESOURCE_LOCK_NAME'
        ) == caught.value.message


class TestHealthProbeAddress:
    def test_wins(self) -> None:
        """It wins over the newer flag however either is given, with a remark."""
        found = read({"--webserver-bind-address": ":1"}, IPAM_HEALTH_PROBE_ADDR=":2")

        assert (
            ":2",
            (
                (
                    "IPAM_HEALTH_PROBE_ADDR is deprecated: use --webserver-bind-address, "
                    "and --webserver-bind-address=:1 is not used"
                ),
            ),
        ) == (found.settings.bind_address, found.remarks)

    def test_alone(self) -> None:
        """Alone it is used, with a remark."""
        assert ("--health-probe-address is deprecated: use --webserver-bind-address",) == (
            read({"--health-probe-address": ":2"}).remarks
        )

    def test_empty(self) -> None:
        """Set to nothing it doesn't count."""
        found = read({"--health-probe-address": "", "--webserver-bind-address": ":1"})

        assert (":1", ()) == (found.settings.bind_address, found.remarks)


class TestContradictions:
    def test_from_flags(self) -> None:
        """What contradicts itself is refused, with both numbers."""
        with pytest.raises(ConfigurationError) as caught:
            read({"--leader-elect-lease-duration": "5s"})

        assert "the lease duration (5 s) must be longer than the renew deadline (10 s)" == str(caught.value)

    def test_from_the_environment(self) -> None:
        """Where variables are in play they are named, as they are easily overlooked."""
        with pytest.raises(ConfigurationError) as caught:
            read({"--leader-elect-renew-deadline": "10s"}, IPAM_LEASE_DURATION="5s")

        assert (
            "the lease duration (5 s) must be longer than the renew deadline (10 s) "
            "[from the environment: IPAM_LEASE_DURATION]"
        ) == str(caught.value)

    def test_ignored_without_election(self) -> None:
        """Without an election its numbers don't matter."""
        assert (
            read({"--enable-leader-election": "0", "--leader-elect-lease-duration": "5s"}).settings.election
            is None
        )

    def test_settings(self) -> None:
        """Contradictions among the other settings are refused alike."""
        with pytest.raises(ConfigurationError, match=r"^kube-api-burst \(7\) means nothing without"):
            read({"--kube-api-burst": "7"})
