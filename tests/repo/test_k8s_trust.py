"""That the CA of the certificates between services can be changed as docs/mtls.md says."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from scripts.k8s_schemas import problems
from tests.repo.k8s import of_kind, pods
from tests.repo.tree import ROOT

PAGE = (ROOT / "docs" / "mtls.md").read_text()

pytestmark = pytest.mark.xdist_group("k8s")  # rendered once


def identities(name: str) -> dict[str, dict[str, Any]]:
    """Return the volume with the certificate of each component that has one."""
    return {
        pod.component: volume
        for pod in pods(name)
        for volume in pod.spec.get("volumes", ())
        if volume["name"] == "identity"
    }


def test_every_pod_with_a_certificate_can_trust_two_authorities() -> None:
    """With the component `mtls-trust`, each has its own certificate, and `ca.crt` of the common ConfigMap."""
    changed = identities("tests/all-components")

    assert set(identities("overlays/production")) < set(changed)
    for component, volume in changed.items():
        certificate, authorities = volume["projected"]["sources"]
        assert {"name", "projected"} == set(volume), component
        assert f"{component}-tls" == certificate["secret"]["name"]
        assert ["tls.crt", "tls.key"] == [item["path"] for item in certificate["secret"]["items"]]
        assert "headrace-trust" == authorities["configMap"]["name"]
        assert ["ca.crt"] == [item["path"] for item in authorities["configMap"]["items"]]


def test_the_new_authority_is_made_like_the_old_one() -> None:
    """The Certificate on the page differs from the one of the component in its names alone."""
    block = next(
        text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "headrace-ca-2" in text
    )
    new = yaml.safe_load(block)
    [old] = [
        each
        for each in of_kind("overlays/production", "Certificate")
        if each["metadata"]["name"] == "headrace-ca"
    ]

    assert [] == problems(new)
    assert {**old["spec"], "commonName": "headrace-ca-2", "secretName": "headrace-ca-2"} == new["spec"]


def test_what_is_renewed_is_what_the_issuer_signs() -> None:
    """By its Issuer, every component's certificate is found, and neither the public one nor the CA's."""
    certificates = of_kind("overlays/production", "Certificate")
    found = {
        each["spec"]["secretName"] for each in certificates if each["spec"]["issuerRef"]["name"] == "headrace"
    }

    assert "@.spec.issuerRef.name=='headrace'" in PAGE
    assert {f"{component}-tls" for component in identities("overlays/production")} <= found
    assert {"front-door-tls", "headrace-ca"} == {each["spec"]["secretName"] for each in certificates} - found
