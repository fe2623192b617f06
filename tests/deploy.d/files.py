"""Single files: are they what their readers understand, and as closed as they claim?"""

import base64
import hashlib
import json
import os
import re
import tempfile
from pathlib import Path

from kit import binary, checked, documents, need, prepared, present, run, tool

# What gcr.io/distroless/cc-debian12 has: the C library 2.36 and libgcc.
IN_IMAGE = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
GLIBC = (2, 36)
# systemd-analyze: 0 is locked in, 10 is wide open.
EXPOSURE = 1.1


def yaml_is_clean(top):
    rules = (
        "{extends: default, rules: {line-length: {max: 160}, document-start: disable, comments: {min-spaces-from-content: 1},"
        " braces: {max-spaces-inside: 1}, comments-indentation: disable, indentation: {indent-sequences: consistent}}}"
    )
    files = [path for path in (top / "deploy").rglob("*.yaml") if "templates" not in path.parts]
    need(len(files) >= 6, "the YAML files are gone")
    run(tool("yamllint"), "--strict", "-d", rules, *files)


def scripts_are_clean(top):
    run(tool("shellcheck"), top / "deploy/compose/prepare", top / "deploy/compose/initdb.sh")


def dockerfile_is_clean(top):
    run(tool("hadolint"), "--failure-threshold", "info", top / "deploy/Dockerfile")
    text = (top / "deploy/Dockerfile").read_text()
    last = text[text.rindex("\nFROM ") :]
    need("USER 65532:65532" in last, "the image must not run as root")
    need('"healthz"' in last and "HEALTHCHECK" in last, "the image needs a health check without a shell")
    need("CMD [" in last and "ENTRYPOINT [" in last, "without a shell only the exec form works")


def context_has_what_the_build_reads(top):
    ignored = (top / ".dockerignore").read_text().splitlines()
    sent = [line[1:] for line in ignored if line.startswith("!")]
    need("*" in ignored, ".dockerignore must begin with nothing allowed")
    inside = lambda path: any(path == one or path.startswith(one + "/") for one in sent)
    copied = []
    for line in (top / "deploy/Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied += line.split()[1:-1]
    for path in copied:
        need((top / path).exists(), f"the Dockerfile copies {path}, which is not there")
        need(inside(path), f"the Dockerfile copies {path}, which .dockerignore holds back")
    carried = lambda path: any(path == one or path.startswith(one + "/") for one in copied)
    manifest = (top / "Cargo.toml").read_text()
    read = set(re.findall(r'^path = "(.+)"', manifest, re.M))
    read |= {f"benches/{name}.rs" for name in re.findall(r'^\[\[bench\]\]\nname = "(.+)"', manifest, re.M)}
    for source in (top / "src").rglob("*.rs"):
        for named in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', source.read_text()):
            read.add(str(Path(os.path.normpath(source.parent / named)).relative_to(top)))
    stand_ins = {"tests/it/main.rs"}
    for path in sorted(read - stand_ins):
        need(carried(path), f"the build reads {path}, which never reaches the image's build stage")


def binary_fits_the_image(_top):
    present("readelf", "binutils")
    dynamic = run("readelf", "--dynamic", binary())
    needed = set(re.findall(r"NEEDED.*\[(.+)\]", dynamic))
    need(needed, "the binary names no library: is it static? Then the Dockerfile may use distroless/static")
    need(needed <= IN_IMAGE, f"the image lacks {sorted(needed - IN_IMAGE)}")
    versions = {
        tuple(map(int, v.split(".")))
        for v in re.findall(r"GLIBC_([0-9.]+)", run("readelf", "--version-info", binary()))
    }
    need(max(versions) <= GLIBC, f"the binary wants glibc {max(versions)}; the image has {GLIBC}")


def compose_is_valid(top):
    path = top / "deploy/compose.yaml"
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", path)
    compose = documents(path)[0]
    for name, service in compose["services"].items():
        need(service.get("read_only") is True, f"{name}: its root must be read-only")
        need(service.get("cap_drop") == ["ALL"], f"{name}: capabilities must be dropped")
        need("no-new-privileges:true" in service.get("security_opt", []), f"{name}: no-new-privileges is missing")
        need(not str(service.get("user", "0")).startswith("0"), f"{name}: must not run as root")
        need(service.get("restart"), f"{name}: no restart policy")
        need(service["logging"]["options"].get("max-size"), f"{name}: its log is unbounded")
        for mount in service.get("volumes", []):
            if mount["type"] == "bind":
                need((top / "deploy" / mount["source"]).exists(), f"{name}: {mount['source']} is not there")
        secrets = service.get("secrets", [])
        held = {f"/run/secrets/{secret}" for secret in secrets}
        held |= {config["target"] for config in service.get("configs", [])}
        for mount in service.get("volumes", []):
            if mount["type"] == "bind":
                text = (top / "deploy" / mount["source"]).read_text()
                for wanted in re.findall(r"/run/secrets/[\w.-]+", text):
                    need(wanted in held, f"{name}: {mount['source']} reads {wanted}, which it is not given")
        given = {
            "networks": service["networks"],
            "secrets": secrets,
            "configs": [one["source"] for one in service.get("configs", [])],
            "volumes": [mount["source"] for mount in service.get("volumes", []) if mount["type"] == "volume"],
        }
        for kind, named in given.items():
            need(set(named) <= set(compose[kind]), f"{name}: {set(named) - set(compose[kind])} is not among {kind}")
        for other, wait in service.get("depends_on", {}).items():
            awaited = compose["services"][other]
            healthy = awaited.get("healthcheck", {}).get("test")
            need(
                wait["condition"] != "service_healthy" or healthy,
                f"{name} waits for the health of {other}, which tells none",
            )
            need(not awaited.get("profiles"), f"{name} waits for {other}, which is not started by default")
    reach = {name: set(service["networks"]) for name, service in compose["services"].items()}
    need(not reach["receiver"] & reach["db"], "the receiver must not reach the database")
    inward = [
        name
        for name, network in compose["networks"].items()
        if (network or {}).get("internal")
        or (network or {}).get("driver_opts", {}).get("com.docker.network.bridge.enable_ip_masquerade") == "false"
    ]
    need(reach["receiver"] <= set(inward), "the receiver must not reach the Internet")
    need("graph" not in compose["services"]["receiver"]["secrets"], "the receiver must hold no Graph credential")
    prepare = (top / "deploy/compose/prepare").read_text()
    for name, secret in compose["secrets"].items():
        need(Path(secret["file"]).name in prepare, f"compose/prepare does not make {name}")


def prepare_makes_what_servers_understand(top):
    with tempfile.TemporaryDirectory() as folder:
        into = prepared(top, Path(folder) / "secrets")
        before = {path.name: path.read_bytes() for path in into.iterdir()}
        prepared(top, into)
        need(before == {path.name: path.read_bytes() for path in into.iterdir()}, "a second run changed something")
        for name in ("broker", "db"):
            run(
                "openssl",
                "verify",
                "-CAfile",
                into / "ca.pem",
                "-verify_hostname",
                name,
                "-purpose",
                "sslserver",
                into / f"{name}.pem",
            )
        definitions = json.loads((into / "definitions.json").read_text())
        for user in definitions["users"]:
            password = (into / user["name"].replace("oust-", "broker-")).read_bytes()
            stored = base64.b64decode(user["password_hash"])
            need(stored[4:] == hashlib.sha256(stored[:4] + password).digest(), f"{user['name']}: the hash does not fit")
        rights = {one["user"]: one for one in definitions["permissions"]}
        need(
            rights["oust-receiver"]["configure"] == rights["oust-receiver"]["read"] == "^$", "a receiver only publishes"
        )
        for path in into.iterdir():
            if path.suffix != ".pem":
                need(path.stat().st_mode & 0o077 == 0, f"{path.name} is open to others")


def configurations_are_valid(top):
    deploy = top / "deploy"
    text = (deploy / "oust.yaml").read_text()
    named = {name: "whsec_" + base64.b64encode(os.urandom(24)).decode() for name in re.findall(r"env: (\w+)", text)}
    checked(text, **named)
    with tempfile.TemporaryDirectory() as folder:
        into = prepared(top, Path(folder) / "secrets")
        for name in ("oust-cluster.yaml", "oust-receiver.yaml"):
            text = (deploy / name).read_text()
            for mentioned in set(re.findall(r"/run/secrets/([\w.-]+)", text)):
                need((into / mentioned).exists(), f"{name}: nobody makes the secret {mentioned}")
            said = checked(text.replace("/run/secrets", str(into)), OUST_NO_CREDENTIAL="none")
            # A receiver runs no playbook: that it names no approval policy is no oversight there.
            odd = [line for line in re.findall(r"^warning: .*", said, re.M) if "no approval policy" not in line]
            need(not odd, f"{name}: {odd}")
            need(name != "oust-cluster.yaml" or "warning" not in said, f"{name}: {said}")


def units_are_tight(top):
    present("systemd-analyze", "systemd")
    with tempfile.TemporaryDirectory() as folder:
        for unit, name in (("oust.service", "oust.service"), ("oust@.service", "oust@worker.service")):
            text = (top / "deploy/systemd" / unit).read_text()
            need(
                "Restart=always" in text and "LoadCredential=" in text, f"{unit}: restart and credentials belong in it"
            )
            # verify wants the program to exist where the unit says.
            (Path(folder) / unit).write_text(text.replace("/usr/local/bin/oust", str(binary())))
            path = Path(folder) / name
            path.write_text((Path(folder) / unit).read_text())
            said = run("systemd-analyze", "verify", "--man=no", path)
            need(not said, f"{unit}: {said}")
            said = run("systemd-analyze", "security", "--offline=true", "--no-pager", path)
            score = float(re.search(r"Overall exposure level for .*?: ([0-9.]+)", said).group(1))
            need(score <= EXPOSURE, f"{unit}: exposure {score}, at most {EXPOSURE} is wanted\n{said}")
