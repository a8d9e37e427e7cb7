"""Builds an image's stages from its Dockerfile without a daemon, and runs it: overlays on this machine's root.

Every RUN, COPY and ENV of the Dockerfile is carried out as written, each stage on an overlay of its own whose lowest
layer is this machine, with its own Python in place of the base image's. What that leaves open is the base image itself.
Needs root on Linux; everything is gone when the block ends.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from tests.dockerfile import Instruction, Stage, context_files, environment, last, read_dockerfile
from tests.processes import Process

NEEDED = ("unshare", "nsenter", "setpriv", "mount", "chroot")
# How a machine reaches its package index is the machine's business, not the image's.
HANDED_ON = ("PIP_", "UV_", "SSL_", "REQUESTS_", "http_proxy", "https_proxy", "no_proxy")


def unable() -> str:
    """Reason that images cannot be built here; empty if they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "building an image without a daemon needs root on Linux"
    if missing := [name for name in NEEDED if not shutil.which(name)]:
        return f"{', '.join(missing)} not found. Install util-linux and coreutils"
    tried = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True)
    return tried.stderr.strip()


class Image:
    """Stages of one Dockerfile, built as far as a target needs."""

    def __init__(self, root: Path, holder: int, arguments: Mapping[str, str]) -> None:
        self._root, self._holder, self._arguments = root, holder, arguments
        self.stages = read_dockerfile(root / "Dockerfile")
        self._mounts = Path(tempfile.mkdtemp(prefix="rerankd-image-"))
        self._layers: dict[str, list[Path]] = {}
        self.inside("mount", "-t", "tmpfs", "tmpfs", str(self._mounts))

    def inside(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command that sees the overlays."""
        seen = ["nsenter", "--mount", "--target", str(self._holder), *command]
        completed = subprocess.run(seen, capture_output=True, text=True)
        if check and completed.returncode:
            raise RuntimeError(
                f"{shlex.join(command)[:300]} failed:\n{completed.stdout[-2000:]}{completed.stderr[-2000:]}"
            )
        return completed

    def folder(self, stage: str) -> Path:
        """Return the folder of a built stage."""
        return self._mounts / stage / "root"

    def build(self, name: str) -> None:
        """Build a stage and those it needs."""
        if name in self._layers:
            return
        stage = self.stages[name]
        copied = [word for one in stage.instructions for word in one.text.split() if word.startswith("--from=")]
        for other in [*([stage.base] if stage.base in self.stages else []), *(word[7:] for word in copied)]:
            self.build(other)
        self._overlay(stage)
        variables = {"HOME": "/root", "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
        if stage.base in self.stages:
            variables |= environment(self.stages, stage.base)
        work = self._inherited_work(stage)
        for one in stage.instructions:
            if one.name == "ENV":
                variables |= one.pairs
            elif one.name == "ARG":
                variables |= {key: self._arguments.get(key, value) for key, value in one.pairs.items()}
            elif one.name == "WORKDIR":
                work = one.text
                self.inside("mkdir", "-p", f"{self.folder(name)}{work}")
            elif one.name == "RUN":
                self._run(name, one, variables, work)
            elif one.name == "COPY":
                self._copy(name, one, work)

    def _inherited_work(self, stage: Stage) -> str:
        if stage.base not in self.stages:
            return "/"
        return last(self.stages, stage.base, "WORKDIR").text

    def _overlay(self, stage: Stage) -> None:
        home = self._mounts / stage.name
        upper = home / "upper"
        below = self._layers[stage.base] if stage.base in self.stages else [Path("/")]
        for part in ("upper", "work", "root"):
            self.inside("mkdir", "-p", str(home / part))
        lower = ":".join(map(str, below))
        options = f"lowerdir={lower},upperdir={upper},workdir={home / 'work'}"
        self.inside("mount", "-t", "overlay", "overlay", "-o", options, str(home / "root"))
        self.inside("mount", "--rbind", "/dev", str(home / "root/dev"))
        self.inside("mount", "--rbind", "/proc", str(home / "root/proc"))
        self._layers[stage.name] = [upper, *below]
        if stage.base not in self.stages:
            self._base(home / "root")

    def _base(self, root: Path) -> None:
        """Put this machine's Python where the base image has its own, for every user to run."""
        python = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}").resolve()
        for parent in python.parents:
            self.inside("chmod", "o+x", f"{root}{parent}")
        for name, arguments in (("python", ""), ("python3", ""), ("pip", "-m pip ")):
            command = f"{root}/usr/local/bin/{name}"
            script = shlex.quote(f'#!/bin/sh\nexec {python} {arguments}"$@"\n')
            self.inside("sh", "-c", f"rm -f {command} && printf %s {script} > {command} && chmod 755 {command}")
        self.inside("rm", "-rf", f"{root}/src", f"{root}/opt", f"{root}/etc/rerankd", f"{root}/var/lib/rerankd")
        self.inside("mkdir", "-p", f"{root}/opt")

    def _run(self, stage: str, one: Instruction, variables: Mapping[str, str], work: str) -> None:
        outer = {key: value for key, value in os.environ.items() if key.startswith(HANDED_ON)}
        values = [f"{key}={value}" for key, value in {**outer, **variables}.items()]
        self.inside("chroot", str(self.folder(stage)), "env", "-i", "-C", work, *values, "sh", "-c", one.text)

    def _copy(self, stage: str, one: Instruction, work: str) -> None:
        """Copy a folder's content, or files, into a folder; our Dockerfile asks for nothing else."""
        *words, target = one.text.split()
        into = f"{self.folder(stage)}{target if target.startswith('/') else f'{work}/{target}'}"
        self.inside("mkdir", "-p", into)
        if words[0].startswith("--from="):
            other = self.folder(words.pop(0).removeprefix("--from="))
            for word in words:
                self.inside("cp", "-a", f"{other}{word}/.", into)
            return
        allowed = context_files(self._root)
        for word in words:
            if Path(word) not in allowed:
                raise RuntimeError(f"{word} is not in the build's context.")
            path = self._root / word
            self.inside("cp", "-r", "--preserve=mode,timestamps", f"{path}/." if path.is_dir() else str(path), into)
        self.inside("find", into, "-name", "__pycache__", "-prune", "-exec", "rm", "-rf", "{}", "+")

    def command(self, stage: str, variables: Mapping[str, str], words: list[str]) -> list[str]:
        """Return a command as a container runs it: read-only root, the image's user, no capability, process 1."""
        root = self.folder(stage)
        user, _, group = last(self.stages, stage, "USER").text.partition(":")
        volume = last(self.stages, stage, "VOLUME").text
        work = last(self.stages, stage, "WORKDIR").text
        prepare = (
            f"mount -o remount,ro,bind {root} && mount -t proc proc {root}/proc && "
            f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp && "
            f"mount -t tmpfs -o uid={user},gid={group},mode=0750 tmpfs {root}{volume} && exec "
        )
        values = [f"{key}={value}" for key, value in {**environment(self.stages, stage), **variables}.items()]
        dropped = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs"]
        dropped += ["--bounding-set=-all", "--inh-caps=-all"]
        contained = ["chroot", str(root), *dropped, "env", "-i", "-C", work, *values, *words]
        space = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", prepare + shlex.join(contained)]
        return ["nsenter", "--mount", "--target", str(self._holder), *space]

    def close(self) -> None:
        """Remove the folder that everything was mounted under."""
        self._mounts.rmdir()


@contextlib.contextmanager
def images(root: Path, **arguments: str) -> Iterator[Image]:
    """Return a place to build the images of a repository in; `arguments` are the build's."""
    hold = ["unshare", "--mount", "--propagation", "private", "sleep", "infinity"]
    holder = subprocess.Popen(hold)
    image: Image | None = None
    try:
        own_namespace = os.readlink("/proc/self/ns/mnt")
        deadline = time.monotonic() + 10
        while os.readlink(f"/proc/{holder.pid}/ns/mnt") == own_namespace:
            if time.monotonic() > deadline:
                raise RuntimeError("No mount namespace could be made.")
            time.sleep(0.01)
        time.sleep(0.1)  # mounts turn private right after
        image = Image(root, holder.pid, arguments)
        yield image
    finally:
        holder.kill()
        holder.wait()
        if image is not None:
            image.close()


def first_process(started: Process) -> psutil.Process:
    """Return the first process of the container that `Image.command` began."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        children = psutil.Process(started.pid).children()
        if children and children[0].name() not in ("unshare", "sh"):
            return children[0]
        time.sleep(0.02)
    raise RuntimeError("The container did not start.")
