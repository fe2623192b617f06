"""oust itself with the files as shipped: roles, backup and restore, a whole cluster."""

import base64
import contextlib
import json
import os
import re
import sqlite3
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from chart import pods, rendered
from kit import TOP, binary, documents, free_port, need, prepared, run, within
from servers import broker, database


@contextlib.contextmanager
def serving(roles, config, port, **variables):
    """A process with these roles, once it answers; it must end well when told to stop."""
    said = config.parent / f"{roles}.log"
    env = {"PATH": os.environ["PATH"], "NO_COLOR": "1", **variables}
    with open(said, "wb") as log:
        server = subprocess.Popen(
            [binary(), "serve", "--roles", roles, "--config", config], env=env, stdout=log, stderr=log
        )
    try:

        def lives():
            need(server.poll() is None, f"the role {roles} does not run: {said.read_text()[-2000:]}")
            run(binary(), "healthz", "--url", f"http://127.0.0.1:{port}/healthz")

        within(15, f"the role {roles} does not answer /healthz", lives)
        yield
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            need(answer.status == 200, f"the role {roles} is not ready: {answer.read()}")
        server.terminate()
        server.wait(timeout=30)
        need(server.returncode == 0, f"the role {roles} ended with {server.returncode}: {said.read_text()[-2000:]}")
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def roles_exist_and_answer(top):
    """Every role that runs by default is known to the binary, and answers probes by itself."""
    asked = set()
    for service in documents(top / "deploy/compose.yaml")[0]["services"].values():
        if "--roles" in service.get("command", []) and not service.get("profiles"):
            asked.add(service["command"][service["command"].index("--roles") + 1])
    for _, _, pod in pods(rendered(top)):
        args = pod["containers"][0]["args"]
        asked |= {args[args.index("--roles") + 1]} if "--roles" in args else set()
    need({role.split(",")[0] for role in asked} == {"receiver", "worker", "console"}, f"other roles than expected: {asked}")
    for roles in sorted(asked):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "oust.yaml"
            port = free_port()
            path.write_text(
                f"listen: 127.0.0.1:{port}\nmode: shadow\nstore: sqlite:oust.db\ntenants:\n  - name: t\n"
                "    tenant_id: 11111111-2222-3333-4444-555555555555\n    credential: { client_id: "
                "22222222-3333-4444-5555-666666666666, client_secret: { env: S } }\n"
                "    graph_url: http://127.0.0.1:9/\n    login_url: http://127.0.0.1:9/\n"
            )
            with serving(roles, path, port, S="x"):
                pass


def cluster_carries_a_signal_to_a_case(top):
    """Broker, database, migration, receiver, worker and console, each with its file of deploy/: what goes in comes out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        into = prepared(top, folder / "secrets")
        with broker(top, into) as (amqp, _), database(top, into) as sql:
            configs, nothing = {}, folder / "nothing"
            nothing.write_text("none-of-its-business")
            files = {"worker": "oust-cluster.yaml", "receiver": "oust-receiver.yaml", "console": "oust-cluster.yaml"}
            for role, file in files.items():
                port = free_port()
                text = (top / "deploy" / file).read_text()
                for old, new in {
                    "/run/secrets": str(into),
                    "/var/lib/oust": name,
                    "0.0.0.0:8080": f"127.0.0.1:{port}",
                    "@broker/": f"@localhost:{amqp}/",
                    "@db/": f"@localhost:{sql}/",
                    # Nobody at Microsoft is asked: nothing listens there.
                    "  - name: contoso": "  - name: contoso\n    graph_url: http://127.0.0.1:9/\n    login_url: http://127.0.0.1:9/",
                }.items():
                    text = text.replace(old, new)
                if role == "console":
                    # As in compose: neither the broker nor its password is there.
                    text = text.replace(f"@localhost:{amqp}/", "@127.0.0.1:9/")
                    for secret in ("graph", "broker-worker"):
                        text = text.replace(str(into / secret), str(nothing))
                configs[role] = (folder / f"{role}.yaml", port)
                configs[role][0].write_text(text)
            worker, receiver = configs["worker"][0], configs["receiver"][0]
            none = {"OUST_NO_CREDENTIAL": "none"}
            oust = lambda *words: run(binary(), *words, env={"PATH": os.environ["PATH"], "NO_COLOR": "1", **none})
            oust("migrate", "--config", worker)
            with (
                serving("receiver", *configs["receiver"], **none),
                serving("worker", *configs["worker"]),
                serving("console", *configs["console"]),
            ):
                a_signal_becomes_a_case(oust, receiver, worker, folder)
                people_can_sign_in(oust, *configs["console"])


def people_can_sign_in(oust, config, port):
    front = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Accept": "text/html"})
    with urllib.request.urlopen(front, timeout=10) as page:
        way_in = "/console/sign-in" in page.url and b"Sign in with a passkey" in page.read()
        need(way_in, f"no way to sign in: {page.url}")
    said = oust("reviewer", "invite", "ada", "--role", "admin", "--config", config)
    need("https://oust.contoso.example/console/" in said, f"the link leads elsewhere: {said}")


def a_backup_comes_back_paused(top):
    """What README.md says about SQLite: a snapshot of a running store, restored, paused before the first start."""
    readme = (top / "deploy/README.md").read_text()
    order = r"VACUUM INTO.*`oust migrate`\*\*, then \*\*`oust pause.*4\. \*\*Start\*\*"
    need(re.search(order, readme, re.S), "README.md tells another order than is tried here")
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        text = (top / "deploy/oust.yaml").read_text().replace("127.0.0.1:8080", f"127.0.0.1:{port}")
        nobody = "  - name: contoso\n    graph_url: http://127.0.0.1:9/\n    login_url: http://127.0.0.1:9/\n    arm_url: http://127.0.0.1:9/\n"
        config = folder / "oust.yaml"
        config.write_text(re.sub(r"  - name: contoso .*\n", nobody, text, count=1))
        secrets = {one: "whsec_" + base64.b64encode(os.urandom(24)).decode() for one in re.findall(r"env: (\w+)", text)}
        env = {"PATH": os.environ["PATH"], "NO_COLOR": "1", **secrets}
        oust = lambda *words, ok=(0,): run(binary(), *words, env=env, ok=ok)
        store, copy = folder / "oust.db", folder / "copy.db"
        with serving("receiver,worker", config, port, **secrets):
            a_signal_becomes_a_case(oust, config, config, folder)
            with contextlib.closing(sqlite3.connect(store)) as running:
                running.execute("VACUUM INTO ?", (str(copy),))
        with contextlib.closing(sqlite3.connect(copy)) as restored:
            need(restored.execute("PRAGMA integrity_check").fetchone() == ("ok",), "the copy is broken")
        for path in folder.glob("oust.db*"):
            path.unlink()
        copy.rename(store)
        oust("migrate", "--config", config)
        oust("pause", "--reason", "restored", "--config", config)
        with serving("receiver,worker", config, port, **secrets):
            need("already paused" in oust("pause", "--config", config), "the pause did not last")
            need("3f2504e0-4f89-41d3-9a0c-0305e82c3301" in oust("case", "list", "--config", config), "the case is gone")
            need("resumed" in oust("resume", "--config", config), "it cannot be resumed")


def a_signal_becomes_a_case(oust, receiver, worker, folder):
    fixture = json.loads((TOP / "tests/fixtures/risk_detection/atypical_travel.json").read_text())
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60))
    fixture |= {key: now for key in ("activityDateTime", "detectedDateTime", "lastUpdatedDateTime")}
    body = folder / "signal.json"
    body.write_text(json.dumps(fixture))
    said = oust("--json", "send", body, "--source", "sentinel", "--config", receiver)
    need('"accepted":1' in said.replace(" ", ""), f"not taken: {said}")

    def opened():
        cases = oust("--json", "case", "list", "--config", worker)
        need(fixture["userId"] in cases, f"no case of this person yet: {cases}")

    within(20, "the signal became no case", opened)
