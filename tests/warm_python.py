"""A Python that starts warm: its processes are forked from one that has imported all they need.

DVC, GTO, BentoML, Jupyter's kernels and the commands of nextclick each import for seconds what they use for a moment.
`WarmPython` makes a folder bin/ with a `python` and the console scripts of the environment; each of them is a small
client that asks the warm process for a fork with its own arguments, folder, environment and streams, waits for it and
ends as it ended. So what is a process of its own stays one, and may be killed like one.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import marshal
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

SCRIPTS = Path(sys.prefix) / "bin"
ADDRESS, COLD = "NEXTCLICK_TESTS_WARM_PYTHON", "NEXTCLICK_TESTS_COLD_PYTHON"
CLIENT = """#!{python} -IS
import marshal, os, signal, socket, sys, time
if {cold!r} in os.environ:
    real = os.path.join({scripts!r}, os.path.basename(sys.argv[0]))
    os.execv(real, [real, *sys.argv[1:]])
signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the process that it stands for
with socket.socket(socket.AF_UNIX) as server:
    address, until = os.environ.get({address!r}, {default!r}), time.monotonic() + 300
    while not os.path.exists(address) and time.monotonic() < until:  # it still imports
        if os.path.exists(address + ".failed"):
            sys.exit("the warm Python did not start: " + open(address + ".failed").read())
        time.sleep(0.02)
    server.connect(address)
    asked = {{"argv": sys.argv, "folder": os.getcwd(), "environment": dict(os.environ)}}
    socket.send_fds(server, [b"."], [0, 1, 2])
    server.sendall(marshal.dumps(asked))
    server.shutdown(socket.SHUT_WR)
    said = server.makefile("rb").read().split()
os._exit(int(said[1]) if len(said) == 2 else 137)
"""


class WarmPython:
    """preload: the modules that it has imported before it forks. threads: of what sums in parallel.

    bin: the folder of its scripts; what runs with COLD in its environment starts the environment's own Python there.
    """

    def __init__(self, *preload: str, threads: int = 1) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="nextclick-warm-"))  # short, as the name of a socket has to be
        self.bin, self._address = self._folder / "bin", self._folder / "socket"
        self.python = str(self.bin / "python")
        self.bin.mkdir()
        about = {"python": os.path.realpath(sys.executable), "scripts": str(SCRIPTS), "default": str(self._address)}
        for name in ("python", "dvc", "gto", "bentoml"):
            (self.bin / name).write_text(CLIENT.format(address=ADDRESS, cold=COLD, **about))
            (self.bin / name).chmod(0o755)
        held = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
        # a kernel sets the backend when matplotlib has been imported already
        environment = os.environ | held | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
        self._said = (self._folder / "said").open("w")
        command = [sys.executable, __file__, self.python, str(self._address), str(os.getpid()), *preload]
        self._server = subprocess.Popen(command, env=environment, stderr=self._said, start_new_session=True)

    def start(self, folder: Path, environment: dict[str, str], says: Path, *arguments: str) -> Process:
        """In a process group of its own, with all the processes of this Python that it starts in turn."""
        while not self._address.exists():
            assert self._server.poll() is None, Path(self._said.name).read_text()
            time.sleep(0.02)
        asked = {"folder": str(folder), "environment": environment, "argv": [self.python, *arguments]}
        return Process(self._address, asked, says)

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()
        self._said.close()
        shutil.rmtree(self._folder)


class Process:
    """out, said: the files of what it says on stdout and stderr, in the folder `says`."""

    def __init__(self, address: Path, asked: dict[str, Any], says: Path) -> None:
        self.out, self.said = says / "out", says / "said"
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(str(address))
        with open(os.devnull) as nothing, self.out.open("w") as out, self.said.open("w") as said:
            socket.send_fds(self._server, [b"."], [file.fileno() for file in (nothing, out, said)])
        self._server.sendall(marshal.dumps({**asked, "alone": f"{address}-{time.monotonic_ns()}"}))
        self._server.shutdown(socket.SHUT_WR)
        self.pid = int(self._line())

    def _line(self) -> bytes:
        """What the process says next of itself; nothing where it has been killed."""
        line = b""
        while not line.endswith(b"\n") and (byte := self._server.recv(1)):
            line += byte
        return line

    def wait(self) -> int:
        """Its exit code; that of a killed one is 137."""
        return int(self._line() or 137)

    def is_alive(self) -> bool:
        try:
            self._server.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        return False

    def kill(self) -> None:
        os.killpg(self.pid, signal.SIGKILL)
        self.wait()


def serve(listening: socket.socket, parent: int) -> None:
    """Fork for each that asks, as long as who started this lives."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: they tell how they end
    listening.settimeout(2)
    while True:
        try:
            asking, _ = listening.accept()
        except TimeoutError:
            if os.getppid() != parent:
                os._exit(0)
            continue
        if os.fork() == 0:
            listening.close()
            run(asking)
        asking.close()


def run(asking: socket.socket) -> None:
    """Be the process that was asked for, to its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, files, _, _ = socket.recv_fds(asking, 1, 3)
    asked = marshal.loads(asking.makefile("rb").read())
    server = None
    if alone := asked.get("alone"):
        os.setsid()
        leader = os.getpid()
        with listen(alone) as listening:
            server = os.fork()
            if server == 0:
                for file in (*files, asking.fileno()):
                    os.close(file)
                serve(listening, leader)
        asked["environment"][ADDRESS] = alone
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    asking.sendall(f"{os.getpid()}\n".encode())
    code = ended(asked["argv"])
    if server:
        os.kill(server, signal.SIGKILL)
        Path(alone).unlink()
    with suppress(OSError):
        asking.sendall(f"{code}\n".encode())
    os._exit(code)


def ended(argv: list[str]) -> int:
    """The exit code of `python ...`, or of a console script."""
    try:
        execute(argv)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    with suppress(Exception):
        threading._shutdown()
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    return code


def execute(argv: list[str]) -> None:
    command, *arguments = argv
    if COLD in os.environ:
        sys.exit(subprocess.call([SCRIPTS / "python", *arguments]))
    if Path(command).name != "python":
        sys.argv = [command, *arguments]
        runpy.run_path(str(SCRIPTS / Path(command).name), run_name="__main__")
    elif arguments[0] == "-m":
        sys.argv, sys.path[0] = arguments[1:], os.getcwd()
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).absolute().parent)
        runpy.run_path(arguments[0], run_name="__main__")


def listen(address: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{address}.bound")
    listening.listen(100)
    os.rename(f"{address}.bound", address)  # who sees it can connect
    return listening


if __name__ == "__main__":
    sys.executable = sys.argv[1]  # what is started from here is warm, too
    try:
        for name in sys.argv[4:]:
            importlib.import_module(name)
        assert threading.active_count() == 1, threading.enumerate()
    except Exception:
        Path(f"{sys.argv[2]}.failed").write_text(traceback.format_exc())
        raise
    gc.freeze()
    serve(listen(sys.argv[2]), int(sys.argv[3]))
