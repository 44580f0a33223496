"""Sets of values that between them reach every line of the templates, and sets that contradict themselves."""

from typing import Any

Values = dict[str, Any]

GOOD: dict[str, Values] = {
    "the defaults": {},
    "one replica": {"replicaCount": 1},
    "no election": {"replicaCount": 1, "leaderElection": {"enabled": False}},
    "another lock": {
        "leaderElection": {
            "resourceLock": "configmaps",
            "resourceName": "mine",
            "leaseDuration": "1m30s",
            "renewDeadline": "1m",
            "retryPeriod": "2500ms",
        },
    },
    "endpoints as the lock": {"leaderElection": {"resourceLock": "endpoints"}},
    "names": {
        "nameOverride": "ipam",
        "fullnameOverride": "node-ipam",
        "serviceAccount": {"name": "ipam-account", "annotations": {"example.com/role": "ipam"}},
    },
    "another port, outside the host's network": {
        "hostNetwork": False,
        "service": {"type": "NodePort", "port": 9090, "annotations": {"example.com/scrape": "true"}},
        "networkPolicy": {"enabled": True, "from": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]},
    },
    "an image of one's own": {
        "image": {"repository": "registry.example.com/ipam", "tag": "local", "pullPolicy": "Never"},
        "imagePullSecrets": [{"name": "registry"}],
    },
    "an image by digest": {"image": {"digest": f"sha256:{'0' * 64}"}},
    "a default ClusterCIDR": {
        "defaultClusterCIDR": {"ranges": ["10.244.0.0/16"], "nodeMaskSize": 25},
        "serviceRanges": ["10.96.0.0/12", "fd00:96::/112"],
        "concurrentNodeSyncs": 8,
    },
    "a default ClusterCIDR of both families": {
        "defaultClusterCIDR": {
            "ranges": ["10.244.0.0/16", "2001:db8::/64"],
            "nodeMaskSizeIPv4": 24,
            "nodeMaskSizeIPv6": 120,
        },
    },
    "everything about the Pod": {
        "podAnnotations": {"example.com/a": "1"},
        "podLabels": {"team": "platform"},
        "nodeSelector": {"node-role.kubernetes.io/control-plane": ""},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "arm", "operator": "DoesNotExist"}]}]
                }
            }
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "node-ipam-controller"}},
            }
        ],
        "tolerations": [],
        "resources": {},
        "priorityClassName": "",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "extraArgs": ["--kube-api-qps=50", "--kube-api-burst=100"],
        "extraEnv": [{"name": "IPAM_LOG_LEVEL", "value": "debug"}],
        "apiServer": {"host": "api.example.com", "port": 6443},
        "podDisruptionBudget": {"enabled": False},
    },
    "no definition": {"installCRDs": False},
    "the dashboard": {"dashboard": {"enabled": True, "annotations": {"example.com/folder": "network"}}},
    "what the Prometheus operator knows": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    "Pods monitored without a Service": {
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}
    },
    "what the reference's chart has by default": {
        "replicaCount": 1,
        "leaderElection": {"enabled": True},
        "image": {
            "repository": "registry.k8s.io/node-ipam-controller",
            "pullPolicy": "IfNotPresent",
            "tag": "",
        },
        "nameOverride": "",
        "fullnameOverride": "",
        "serviceAccount": {"annotations": {}, "name": ""},
        "podAnnotations": {},
        "podSecurityContext": {},
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "readOnlyRootFilesystem": True},
        "service": {"type": "ClusterIP", "port": 8081},
        "resources": {"limits": {"cpu": "100m", "memory": "128Mi"}},
        "nodeSelector": {},
        "topologySpreadConstraints": [],
        "tolerations": [],
        "affinity": {},
        "installCRDs": True,
    },
}

BAD: dict[str, tuple[Values, str]] = {
    "two without an election": (
        {"leaderElection": {"enabled": False}},
        "replicaCount is 2 and leaderElection.enabled is false",
    ),
    "a lease shorter than its renewal": (
        {"leaderElection": {"leaseDuration": "5s"}},
        "leaseDuration (5s) has to be longer than leaderElection.renewDeadline (10s, the default)",
    ),
    "a lease of a fraction": (
        {"leaderElection": {"leaseDuration": "15500ms"}},
        "leaderElection.leaseDuration is whole seconds, not 15500ms",
    ),
    "retries as long as the deadline": (
        {"leaderElection": {"retryPeriod": "8s334ms"}},
        "(10s, the default) has to be longer than 1.2 times leaderElection.retryPeriod (8s334ms)",
    ),
    "a duration without a unit": (
        {"leaderElection": {"retryPeriod": "2"}},
        'leaderElection.retryPeriod is a duration such as 15s or 1m30s, not "2"',
    ),
    "a malformed range": (
        {"defaultClusterCIDR": {"ranges": ["10.244.0.0"]}},
        'defaultClusterCIDR.ranges[0] is a range such as 10.244.0.0/16 or 2001:db8::/64, not "10.244.0.0"',
    ),
    "a range with a leading zero": (
        {"defaultClusterCIDR": {"ranges": ["2001:db8::/64", "10.244.00.0/16"]}},
        'ranges[1] is a range such as 10.244.0.0/16 or 2001:db8::/64, not "10.244.00.0/16"',
    ),
    "a malformed range of Services": (
        {"serviceRanges": ["1::2::3/64"]},
        'serviceRanges[0] is a range such as 10.244.0.0/16 or 2001:db8::/64, not "1::2::3/64"',
    ),
    "two ranges of one family": (
        {"defaultClusterCIDR": {"ranges": ["10.0.0.0/8", "11.0.0.0/8"]}},
        "defaultClusterCIDR.ranges is one range, or one of IPv4 and one of IPv6, not 10.0.0.0/8, 11.0.0.0/8",
    ),
    "a mask size that goes with one range": (
        {"defaultClusterCIDR": {"ranges": ["10.0.0.0/8", "2001:db8::/64"], "nodeMaskSize": 24}},
        "defaultClusterCIDR.nodeMaskSize (24) goes with one range in defaultClusterCIDR.ranges, not with 2",
    ),
    "a mask size of nothing": (
        {"defaultClusterCIDR": {"nodeMaskSizeIPv4": 24}},
        "defaultClusterCIDR.nodeMaskSizeIPv4 (24) goes with a range of each family",
    ),
    "half an address": (
        {"apiServer": {"host": "api.example.com"}},
        'apiServer.host ("api.example.com") and apiServer.port ("") belong together',
    ),
    "scraped twice": (
        {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}},
        "serviceMonitor.enabled and podMonitor.enabled are both true",
    ),
    "a policy that doesn't hold": (
        {"networkPolicy": {"enabled": True}},
        "networkPolicy.enabled is true, and hostNetwork too",
    ),
    "an unknown key": ({"replicas": 2}, "'replicas' not allowed"),
    "an unknown key further down": (
        {"leaderElection": {"leaseduration": "15s"}},
        "'leaseduration' not allowed",
    ),
    "no kind of lock": ({"leaderElection": {"resourceLock": "lease"}}, "at '/leaderElection/resourceLock'"),
    "no port": ({"service": {"port": 0}}, "at '/service/port'"),
    "no number": ({"replicaCount": "two"}, "at '/replicaCount': got string, want integer"),
}
