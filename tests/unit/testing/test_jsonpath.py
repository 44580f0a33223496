from __future__ import annotations

from typing import Any

import pytest

from nodeipam.testing.jsonpath import compile_path

OBJECT = {
    "metadata": {"labels": {"app.example.com/name": "x"}},
    "spec": {"ports": [80, 443], "none": None},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
}


class TestFind:
    @pytest.mark.parametrize(
        "path, found",
        [
            (".spec.ports", [[80, 443]]),
            (".spec.ports[0]", [80]),
            (".spec.ports[-1]", [443]),
            (".spec.ports[2]", []),
            (".spec.ports[*]", [80, 443]),
            (".spec.none", [None]),
            (".spec.none.more", []),
            (".nothing.more", []),
            (r".metadata.labels.app\.example\.com/name", ["x"]),
            (".metadata.labels['app.example.com/name']", ["x"]),
            ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
            (".status.conditions[?(@.type == 'Other')].status", ["False"]),
            (".status.conditions[?(@.type=='Gone')].status", []),
            (".status.conditions[*].type", ["Ready", "Other"]),
        ],
    )
    def test_found(self, path: str, found: list[Any]) -> None:
        """A path finds what stands there: one value, several, or none."""
        assert found == compile_path(path)(OBJECT)

    @pytest.mark.parametrize("path", ["spec", "..spec", ".spec.ports[0:1]", ".a[?(@.b>1)]", ".a[", "."])
    def test_unknown(self, path: str) -> None:
        """A path that the model can't follow is refused with the part that it doesn't know."""
        with pytest.raises(ValueError, match="the model doesn't know"):
            compile_path(path)
