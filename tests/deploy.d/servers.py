"""RabbitMQ and PostgreSQL, started with the files of deploy/compose."""

import contextlib
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import tempfile
from pathlib import Path

from kit import Wrong, as_user, documents, free_port, need, prepared, present, run, within


def speaks_tls(port, into, name):
    context = ssl.create_default_context(cafile=into / "ca.pem")
    with socket.create_connection(("127.0.0.1", port), timeout=3) as plain:
        with context.wrap_socket(plain, server_hostname=name) as secure:
            return secure.version()


@contextlib.contextmanager
def broker(top, into):
    """RabbitMQ with the files of deploy/compose: its port, and rabbitmqctl."""
    present("rabbitmq-server", "rabbitmq-server")
    with tempfile.TemporaryDirectory(prefix="oust-broker-") as name:
        folder = Path(name)
        secrets = folder / "secrets"
        shutil.copytree(into, secrets)
        port, distribution = free_port(), free_port()
        text = (top / "deploy/compose/rabbitmq.conf").read_text()
        (folder / "rabbitmq.conf").write_text(
            text.replace("/run/secrets", str(secrets)).replace("= 5671", f"= {port}").replace("= 2GB", "= 50MB")
        )
        (folder / "enabled_plugins").write_text("[].\n")
        owner = "rabbitmq" if os.geteuid() == 0 else None
        if owner:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, owner)
        node = f"oust-deploy-{port}@localhost"
        env = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "RABBITMQ_NODENAME": node,
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }
        programs = Path("/usr/lib/rabbitmq/bin")
        program = lambda one: str(programs / one) if (programs / one).exists() else one

        def control(*words, ok=(0,)):
            return run(
                *as_user(owner), program("rabbitmqctl"), "--quiet", "-n", node, *words, ok=ok, env=env, cwd=folder
            )

        with open(folder / "out", "wb") as log:
            server = subprocess.Popen(
                [*as_user(owner), program("rabbitmq-server")], env=env, cwd=folder, stdout=log, stderr=log
            )
        try:

            def up():
                if server.poll() is not None:
                    raise Wrong("the broker ended: " + (folder / "out").read_text()[-2000:])
                speaks_tls(port, into, "broker")

            within(90, "the broker did not come up", up)
            within(30, "the broker is not ready", lambda: control("await_startup"))
            yield port, control
        finally:
            control("stop", ok=None)
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                server.kill()


def broker_takes_its_configuration(top):
    with tempfile.TemporaryDirectory() as folder:
        into = prepared(top, Path(folder) / "secrets")
        with broker(top, into) as (port, control):
            users = set(re.findall(r"^(\S+)\t", control("list_users"), re.M)) - {"user"}
            need(users == {"oust-receiver", "oust-worker"}, f"users: {users}")
            for user in users:
                password = (into / user.replace("oust-", "broker-")).read_text()
                control("authenticate_user", user, password)
                need(
                    "Error" in control("authenticate_user", user, password + "x", ok=None),
                    f"{user}: any password is good",
                )
            made = control("list_permissions", "-p", "oust")
            # What README.md tells those with a broker of their own gives the same rights.
            told = re.findall(r"^rabbitmqctl (set_permissions .*)$", (top / "deploy/README.md").read_text(), re.M)
            need(len(told) == 2, "README.md names the rights of two users")
            for user in users:
                control("clear_permissions", "-p", "oust", user)
            for line in told:
                control(*shlex.split(line))
            listed = control("list_permissions", "-p", "oust")
            need(
                sorted(listed.splitlines()) == sorted(made.splitlines()),
                f"README.md: {listed}\ndefinitions.json: {made}",
            )
            rights_are_as_told(port, into)


def rights_are_as_told(port, into):
    """With a client that is not ours: what a worker needs it may, what a receiver does not need it may not."""
    import pika
    from pika import exceptions

    def channel(user):
        context = ssl.create_default_context(cafile=into / "ca.pem")
        credentials = pika.PlainCredentials(user, (into / user.replace("oust-", "broker-")).read_text())
        settings = pika.ConnectionParameters(
            "127.0.0.1",
            port,
            "oust",
            credentials,
            ssl_options=pika.SSLOptions(context, "broker"),
            connection_attempts=1,
            socket_timeout=5,
        )
        return pika.BlockingConnection(settings).channel()

    worker = channel("oust-worker")
    worker.exchange_declare("oust", "direct", durable=True)
    quorum = {"x-queue-type": "quorum"}
    dead = {
        "x-dead-letter-exchange": "oust",
        "x-dead-letter-routing-key": "buried",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-delivery-limit": 100,
    }
    for name, more in (("buried", {}), ("signals", dead), ("wake", {"x-max-length": 64, "x-overflow": "drop-head"})):
        worker.queue_declare(f"oust.{name}", durable=True, arguments={**quorum, **more})
        worker.queue_bind(f"oust.{name}", "oust", name)
    receiver = channel("oust-receiver")
    receiver.confirm_delivery()
    receiver.basic_publish("oust", "signals", b"{}", pika.BasicProperties(delivery_mode=2), mandatory=True)
    got = within(
        10, "a receiver's message arrives", lambda: worker.basic_get("oust.signals")[2] or need(False, "nothing yet")
    )
    need(got == b"{}", got)
    for what, attempt in {
        "read": lambda one: one.basic_get("oust.signals"),
        "declare": lambda one: one.queue_declare("oust.more", durable=True),
        "bind": lambda one: one.queue_bind("oust.signals", "oust", "more"),
        "purge": lambda one: one.queue_purge("oust.signals"),
        "delete": lambda one: one.queue_delete("oust.signals"),
        "publish to a queue directly": lambda one: (
            one.basic_publish("", "oust.signals", b"{}") or one.queue_declare("oust.signals", passive=True)
        ),
    }.items():
        tried = channel("oust-receiver")
        tried.confirm_delivery()
        try:
            attempt(tried)
        except exceptions.ChannelClosedByBroker as error:
            need(error.reply_code == 403, f"a receiver may not {what}: {error}")
        else:
            raise Wrong(f"a receiver may {what}")
    other = channel("oust-worker")
    try:
        other.queue_declare("elsewhere", durable=True)
    except exceptions.ChannelClosedByBroker as error:
        need(error.reply_code == 403, str(error))
    else:
        raise Wrong("a worker may declare what is not oust's")


@contextlib.contextmanager
def database(top, into):
    """PostgreSQL with the files of deploy/compose: its port."""
    for program in ("postgres", "initdb", "pg_ctl", "psql"):
        present(program, "postgresql")
    with tempfile.TemporaryDirectory(prefix="oust-db-") as name:
        folder = Path(name)
        secrets = folder / "secrets"
        shutil.copytree(into, secrets)
        data, port = folder / "data", free_port()
        (folder / "initdb.sh").write_text(
            (top / "deploy/compose/initdb.sh").read_text().replace("/run/secrets", str(secrets))
        )
        owner = "postgres" if os.geteuid() == 0 else None
        if owner:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, owner)
        env = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "PGDATA": str(data),
            "POSTGRES_USER": "postgres",
            "PGHOST": str(folder),
            "PGPORT": str(port),
        }
        local = lambda *command: run(*as_user(owner), *command, env=env, cwd=folder)
        local("initdb", "--username=postgres", "--auth=trust", "--data-checksums", "--auth-host=scram-sha-256")
        command = documents(top / "deploy/compose.yaml")[0]["services"]["db"]["command"]
        settings = [word.replace("/run/secrets", str(secrets)) for word in command[1:]]
        listening = f"-k {folder} -p {port} -c listen_addresses=127.0.0.1 " + " ".join(settings)
        local("pg_ctl", "--wait", "--silent", "--log", folder / "log", "-o", listening, "start")
        try:
            local("sh", folder / "initdb.sh")
            local("pg_ctl", "reload", "--silent")
            yield port
        finally:
            local("pg_ctl", "stop", "--silent", "--mode=immediate")


def database_takes_its_configuration(top):
    with tempfile.TemporaryDirectory() as folder:
        into = prepared(top, Path(folder) / "secrets")
        with database(top, into) as port:

            def ask(query, url="sslmode=verify-full", ok=(0,), password="", name="oust"):
                password = password or (into / "db-oust").read_text()
                url = f"host=localhost port={port} user=oust dbname={name} sslrootcert={into / 'ca.pem'} {url}"
                return run("psql", url, "-Atc", query, env={"PATH": os.environ["PATH"], "PGPASSWORD": password}, ok=ok)

            within(10, "oust cannot sign in over TLS", lambda: ask("select 1"))
            more = ask(
                "select rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls from pg_roles where rolname = current_user"
            )
            need(more == "f", "the role may too much")
            ask("create table probe (a int); drop table probe")
            need(
                "no pg_hba.conf entry" in ask("select 1", "sslmode=disable", ok=(2,)), "the database speaks without TLS"
            )
            need("authentication failed" in ask("select 1", ok=(2,), password="wrong"), "any password is good")
            need("no pg_hba.conf entry" in ask("select 1", ok=(2,), name="postgres"), "oust reaches other databases")
