"""Holds the manifests for Kubernetes, and every other YAML block of the documents, to what they have to be.

    python manifests.py FOLDER      writes the configurations of their ConfigMaps to this folder
"""

import copy
import pathlib
import re
import sys

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = "1.37"


def manifests(name, text):
    """The manifests in a text, each with where it stands."""
    for manifest in yaml.safe_load_all(text):
        if manifest is not None:
            yield name, manifest


def blocks():
    """The YAML blocks of the documents that do not say that they are for somebody else."""
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for block in re.findall(r"^```yaml\n(.*?)^```$", path.read_text(), re.M | re.S):
            yield str(path.relative_to(ROOT)), block


def check(name, manifest):
    kubernetes_validate.validate(manifest, VERSION, strict=True)
    print(f"{name}: {manifest['kind']} {manifest['metadata']['name']}")


def refuses(manifest, change):
    """Whether a manifest that is wrong would be noticed."""
    wrong = copy.deepcopy(manifest)
    change(wrong)
    try:
        kubernetes_validate.validate(wrong, VERSION, strict=True)
    except kubernetes_validate.ValidationError:
        return True
    return False


def is_confined(deployment):
    """The gate may do nothing that it has no use for, and the application is reached through it alone."""
    pod = deployment["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    application, gate = pod["containers"]
    assert gate["name"] == "clerk-gate" and "ports" not in application, "a port around the gate"
    assert gate["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert gate["resources"]["limits"]["memory"] and gate["resources"]["requests"]["cpu"]
    for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        assert gate[probe]["exec"]["command"][:2] == ["/clerk-gate", "health"]
        assert gate[probe]["exec"]["command"][2].endswith(path)
    assert all(mount["readOnly"] for mount in gate["volumeMounts"])
    assert not any("env" in container for container in pod["containers"]), "secrets are files"
    waits = [container["lifecycle"]["preStop"]["sleep"]["seconds"] for container in (gate, application)]
    drain = 30
    assert waits[0] + drain < waits[1] < pod["terminationGracePeriodSeconds"], waits


def main(folder):
    files = sorted((ROOT / "examples/kubernetes").glob("*.yaml"))
    found = [one for path in files for one in manifests(path.name, path.read_text())]
    kinds = sorted(manifest["kind"] for _, manifest in found)
    assert kinds == ["ConfigMap", "Deployment", "Ingress", "NetworkPolicy", "Service"], kinds
    parsed = [one for name, block in blocks() for one in manifests(name, block)]
    assert len(parsed) >= 3, f"{len(parsed)} blocks"
    found += [(name, manifest) for name, manifest in parsed if "apiVersion" in manifest]
    assert len(found) >= 6, f"{len(found)} manifests"
    for name, manifest in found:
        check(name, manifest)

    by_kind = {manifest["kind"]: manifest for _, manifest in found}
    deployment, service = by_kind["Deployment"], by_kind["Service"]
    is_confined(deployment)
    assert refuses(deployment, lambda wrong: wrong["spec"].update(replica=2))
    assert refuses(deployment, lambda wrong: wrong["spec"].update(replicas="two"))
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels
    ports = [port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][1]["ports"]]
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ports == ["http"]
    for _, manifest in found:
        if manifest["kind"] == "NetworkPolicy":
            assert manifest["spec"]["podSelector"]["matchLabels"] == labels
    backend = by_kind["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] == service["metadata"]["name"]

    configurations = [m["data"]["clerk-gate.toml"] for _, m in found if m["kind"] == "ConfigMap"]
    assert len(configurations) == 1
    pathlib.Path(folder, "kubernetes.toml").write_text(configurations[0])


main(sys.argv[1])
