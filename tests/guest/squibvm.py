# SPDX-License-Identifier: Apache-2.0
"""Runs squib as a user would and talks to the guest in it.

A Squib is one squib process in a temporary directory of its own: an API client over the
Unix socket, a reader of the guest's console that waits for text, a shell in the guest, and
a check that nothing of it is left when it is gone. Waiting is always for something to
happen; the deadlines only keep a broken run from hanging, so they are generous.
"""

import contextlib
import ctypes
import hashlib
import http.client
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SQUIB = os.environ.get("SQUIB", os.path.join(ROOT, "build", "squib"))
ENGINE = os.environ.get("SQUIB_ENGINE", "qemu")
GUEST = os.environ.get("SQUIB_GUEST", os.path.join(ROOT, "build", "guest"))
KERNEL = os.environ.get("SQUIB_KERNEL", "kernel")  # where a test names none
CPUS = int(os.environ.get("SQUIB_CPUS", "1"))  # where a test does not say
CPUS_MAX = int(os.environ.get("SQUIB_CPUS_MAX", "32"))  # where a test would have more, see with-kvm


def cpu_counts(*counts):
    """The counts to parametrize a test with: those that guests cannot have here are skipped."""
    reason = f"guests have up to {CPUS_MAX} CPUs in the lab, where QEMU loses interrupts of more; see make lab"
    skip = pytest.mark.skip(reason=reason)
    return [pytest.param(n, marks=[skip] if n > CPUS_MAX else []) for n in counts]

# In the lab everything is slower, and a second of its clock is as many instructions as a second has
# nanoseconds: sizes are smaller there, and what has to take several seconds is left to hosts.
LAB = os.environ.get("SQUIB_IN_LAB") == "1"
too_long_for_lab = pytest.mark.skipif(LAB, reason="takes minutes in the lab, for little that is not tested anyway")


def size_in_lab(size, in_lab):
    return in_lab if LAB else size


# How long anything may take before a test gives up; longer where everything is emulated twice.
DEADLINE_S = float(os.environ.get("SQUIB_DEADLINE_S", "90"))

# Guests of these architectures run here: with KVM the host's, else both, or the one that SQUIB_ARCH
# names. Tests of what does not depend on it take one of them: some ARCH, some OTHER_ARCH.
HOST_ARCH = platform.machine()
ARCHES = [HOST_ARCH] if ENGINE == "kvm" else sorted(["x86_64", "aarch64"], key=lambda arch: arch != HOST_ARCH)
if "SQUIB_ARCH" in os.environ:
    ARCHES = [arch for arch in ARCHES if arch == os.environ["SQUIB_ARCH"]]
    assert ARCHES, f"the {ENGINE} engine has no guests of SQUIB_ARCH={os.environ['SQUIB_ARCH']} here"
ARCH, OTHER_ARCH = ARCHES[0], ARCHES[-1]


def only_on(arch, why_not_the_other):
    """Marks a test of what one architecture alone has."""
    return pytest.mark.skipif(arch not in ARCHES, reason=f"{arch} only: {why_not_the_other}")



def image(arch, name):
    """The path of one of the files guest/make-guest.sh made."""
    path = os.path.join(GUEST, arch, name)
    assert os.path.exists(path), f"{path} is not there: run guest/make-guest.sh {arch} {GUEST}/{arch}"
    return path


def partuuid(arch):
    with open(image(arch, "partuuid")) as file:
        return file.read().strip()


# Firecracker's defaults less `nomodule` (Debian's kernels have the virtio drivers as modules)
# and `8250.nr_uarts=0` (it switches the console off). On aarch64 too clients ask for ttyS0,
# Firecracker's console there, whatever the engine's machine really has; words for a keyboard
# controller that is not there do no harm.
BOOT_ARGS = (
    "console=ttyS0 reboot=k panic=1 quiet"
    " i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce"
)


def boot_source(arch, kernel=None, initrd=True):
    """The body of PUT /boot-source; the initramfs loads drivers and goes over to root=."""
    body = {
        "kernel_image_path": kernel or image(arch, KERNEL),
        "initrd_path": image(arch, "initrd"),
        "boot_args": BOOT_ARGS,
    }
    if not initrd:
        del body["initrd_path"]
    return body


def wait_until(condition, what):
    """Waits for a change that nobody announces (a file appears, a process goes)."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE_S} s for: {what}"
        time.sleep(0.01)


class Console:
    """Collects what a stream says and waits for text in it."""

    def __init__(self, stream):
        self._stream = stream
        self._changed = threading.Condition()
        self._text = ""
        self._ended = False
        self._position = 0  # what expect() has matched so far lies before it
        self.skipped = ""  # what came between the last two matches of expect()
        self._wanted = threading.Event()
        self._wanted.set()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            self._wanted.wait()
            data = os.read(self._stream.fileno(), 65536)
            with self._changed:
                if data:
                    # The shell asks the terminal where its cursor is, which is noise here.
                    text = data.decode("utf-8", "replace").replace("\x1b[6n", "")
                    self._text += text.replace("\r", "")
                else:
                    self._ended = True
                self._changed.notify_all()
            if not data:
                return

    @property
    def text(self):
        with self._changed:
            return self._text

    def expect(self, pattern):
        """Waits until `pattern` appears behind the last match; returns the match.

        A match is at most 4096 characters long, so that a long wait does not look at
        everything again for each byte.
        """
        end = time.monotonic() + DEADLINE_S
        regex = re.compile(pattern)
        with self._changed:
            start = self._position
            while True:
                match = regex.search(self._text, start)
                start = max(self._position, len(self._text) - 4096)
                if match:
                    self.skipped = self._text[self._position : match.start()]
                    self._position = match.end()
                    return match
                left = end - time.monotonic()
                if self._ended or left <= 0:
                    why = "the console was closed" if self._ended else f"waited {DEADLINE_S} s"
                    raise AssertionError(f"{why} before {pattern!r} came")
                self._changed.wait(left)

    def expect_silence(self):
        """Waits until nothing has been said for a second, and skips what was said before.

        True of a guest that was stopped however slow the host is, and never true of one
        that talks all the time.
        """
        end = time.monotonic() + DEADLINE_S
        with self._changed:
            while self._changed.wait(1.0):
                assert time.monotonic() < end, "the console does not fall silent"
            self._position = len(self._text)

    def hold(self):
        """Reads no more, at most once again, as a terminal that is stopped with Ctrl-S."""
        self._wanted.clear()

    def release(self):
        self._wanted.set()

    def expect_end(self):
        with self._changed:
            assert self._changed.wait_for(lambda: self._ended, DEADLINE_S), "output goes on"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=DEADLINE_S)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def processes_with(marker):
    """Process ids whose command line contains `marker`, zombies excepted."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if marker.encode() in file.read():
                    found.append(int(pid))
        except OSError:  # gone in the meantime
            pass
    return found


def children_of(pid):
    """Process ids of the living children of `pid`."""
    found = []
    for other in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{other}/stat") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(other))
    return found


def start_time(pid):
    """When `pid` was started, to tell a process from a later one with its number."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


NOBODY = 65534
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def checked(result):
    """The result of a C function; raises what it set errno to."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Network:
    """A network namespace, with the hosts' ends of guests' interfaces in it.

    It has no name: it is gone, with all that is in it, as soon as nobody uses it, and that is so when
    this process is killed too. Sockets made and processes started between entered() are in it.
    """

    def __init__(self):
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        checked(libc.unshare(CLONE_NEWNET))
        self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        checked(libc.setns(here, CLONE_NEWNET))
        os.close(here)
        self.ip("link set lo up")

    @contextlib.contextmanager
    def entered(self):
        """This thread is in the namespace meanwhile."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        checked(libc.setns(self._fd, CLONE_NEWNET))
        try:
            yield
        finally:
            checked(libc.setns(here, CLONE_NEWNET))
            os.close(here)

    def ip(self, command):
        """Runs ip(8) in it; returns its output."""
        with self.entered():
            done = subprocess.run(["ip", *command.split()], check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"ip {command}: {done.stderr}"
        return done.stdout

    def add_tap(self, name, address=None, more=""):
        """Makes the tap `name`, up, with the `address` 192.0.2.1/24, say."""
        self.ip(f"tuntap add dev {name} mode tap {more}")
        if address:
            self.ip(f"address add {address} dev {name}")
        self.ip(f"link set {name} up")

    def listen(self, address="0.0.0.0", port=0):
        """A socket that listens in it."""
        with self.entered():
            server = socket.create_server((address, port))
        server.settimeout(DEADLINE_S)
        return server

    def connect(self, address, port):
        """A connection from it, as soon as there is a listener."""
        connected = []

        def try_to():
            try:
                connected.append(socket.create_connection((address, port), DEADLINE_S))
            except ConnectionRefusedError:
                pass
            return connected

        with self.entered():
            wait_until(try_to, f"somebody listens at {address}:{port}")
        return connected[0]

    def popen(self, argv, **more):
        with self.entered():
            return subprocess.Popen(argv, **more)

    def close(self):
        os.close(self._fd)


def exchange(sock, data, chunk=65536):
    """Sends data, in writes of `chunk` bytes, to somebody who sends it back; checks what comes back."""

    def send():
        for start in range(0, len(data), chunk):
            sock.sendall(data[start : start + chunk])

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    assert receive(sock, len(data)) == data
    sender.join(DEADLINE_S)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def receive_until_end(sock):
    """What comes until the other end closes, or is reset."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(1 << 20):
            data += piece
    return data


def receive(sock, count):
    """`count` bytes, or less if the other end closes before."""
    data = bytearray()
    while len(data) < count:
        piece = sock.recv(min(1 << 20, count - len(data)))
        if not piece:
            break
        data += piece
    return bytes(data)


class Squib:
    """One squib process, and the guest in it.

    `options` are further command line options. Without `api` squib gets `--no-api` and is
    configured by the `config` given, which with `api` is optional. `stdin` is a pipe to type
    into unless it is given. squib runs in the `network`, as the user `uid`, who may use KVM, with a
    copy of the program that this user can read, behind the words `under` (setpriv, say).
    """

    def __init__(
        self,
        arch=ARCH,
        options=(),
        api=True,
        config=None,
        stdin=subprocess.PIPE,
        network=None,
        uid=None,
        under=(),
    ):
        self.arch = arch
        self.id = f"guest-test-{uuid.uuid4()}"
        self.dir = tempfile.mkdtemp(prefix="squib-")  # short: socket paths end at 107 bytes
        self.socket = self.path("api.sock")
        self.log_path = self.path("log")
        self._run_count = 0

        program = SQUIB
        if uid is not None:
            os.chown(self.dir, uid, uid)
            program = self.copy(SQUIB)
            groups = os.stat("/dev/kvm").st_gid if ENGINE == "kvm" else uid
            under = ["setpriv", f"--reuid={uid}", f"--regid={uid}", f"--groups={groups}", *under]
        argv = [*under, program, "--id", self.id, "--engine", ENGINE, "--arch", arch]
        argv += ["--log-path", self.log_path, "--level", "Info"]
        argv += ["--api-sock", self.socket] if api else ["--no-api"]
        if config is not None:
            with open(self.path("config.json"), "w") as file:
                json.dump(config, file)
            argv += ["--config-file", self.path("config.json")]
        inside = network.entered() if network else contextlib.nullcontext()
        with open(self.path("stderr"), "wb") as stderr, inside:
            self.process = subprocess.Popen(
                [*argv, *options],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=stderr,
                bufsize=0,
                cwd=self.dir,
            )
        self.console = Console(self.process.stdout)
        if api:
            wait_until(self._answers, "squib answers on its socket")
            if CPUS > 1 and config is None:
                self.patch("/machine-config", {"vcpu_count": CPUS})

    def path(self, name):
        return os.path.join(self.dir, name)

    def copy(self, path):
        """Copies a file into squib's directory, for any user to read; returns the copy's path."""
        copy = self.path(os.path.basename(path))
        subprocess.run(["cp", "--sparse=always", path, copy], check=True)
        os.chmod(copy, 0o755)
        return copy

    def _answers(self):
        assert self.process.poll() is None, f"squib ended:\n{self.report()}"
        try:
            return self.get("/")["id"] == self.id
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    # The API.

    def request(self, method, path, body=None):
        """One request on a connection of its own; returns the status and the decoded answer."""
        connection = UnixConnection(self.socket)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text)
            response = connection.getresponse()
            data = response.read()
            return response.status, json.loads(data) if data else None
        finally:
            connection.close()

    def get(self, path):
        status, answer = self.request("GET", path)
        assert status == 200, answer
        return answer

    def put(self, path, body):
        status, answer = self.request("PUT", path, body)
        assert status == 204, f"PUT {path}: {answer}"

    def patch(self, path, body):
        status, answer = self.request("PATCH", path, body)
        assert status == 204, f"PATCH {path}: {answer}"

    def refused(self, method, path, body):
        """A request that must be a client's error; returns the fault message."""
        status, answer = self.request(method, path, body)
        assert status == 400, f"{method} {path} was answered with {status} {answer}"
        return answer["fault_message"]

    def start(self):
        self.put("/actions", {"action_type": "InstanceStart"})

    def state(self):
        return self.get("/")["state"]

    def add_drive(self, path, drive_id="rootfs", root=True, **more):
        self.put(
            f"/drives/{drive_id}",
            {"drive_id": drive_id, "path_on_host": path, "is_root_device": root, **more},
        )

    def add_programs(self):
        """The root drive with curl, iperf3 and socat, which the initramfs has not, to be read only."""
        self.add_drive(image(self.arch, "rootfs.ext4"), is_read_only=True)

    def add_interface(self, iface_id, tap, **more):
        self.put(f"/network-interfaces/{iface_id}", {"iface_id": iface_id, "host_dev_name": tap, **more})

    def metrics(self):
        """The counters since the last time; squib must have been given a metrics path."""
        self.put("/actions", {"action_type": "FlushMetrics"})
        with open(self.path("metrics")) as file:
            return json.loads(file.readlines()[-1])

    def cpu_seconds(self):
        """What squib itself used, its vCPUs excepted."""
        ticks = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{self.process.pid}/task/{task}/stat") as file:
                name, _, rest = file.read().rpartition(")")
                if "vcpu" not in name:
                    ticks += sum(map(int, rest.split()[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def boot(self, kernel=None, initrd=True):
        """Starts the machine as configured so far and waits for a shell in the guest."""
        self.put("/boot-source", boot_source(self.arch, kernel, initrd))
        self.start()
        return self.wait_for_guest()

    # The guest.

    def wait_for_guest(self):
        """Waits for the guest's own greeting; returns what it says of itself."""
        facts = self.console.expect(
            r"squib-guest: kernel=(?P<kernel>\S+) cpus=(?P<cpus>\d+) mem_kib=(?P<mem_kib>\d+)"
            r" root=(?P<root>\S+) (?P<mode>r[ow])\n"
        ).groupdict()
        self.console.expect("squib-guest: ready\n")
        # Without echo the shell edits no lines either, so what comes back is output only.
        self.console.expect("squib-guest# ")
        self.send("stty -echo")
        self.console.expect("squib-guest# ")
        return facts

    def type(self, data):
        """Types bytes on the guest's console; waits while squib takes no more."""
        while data:
            data = data[self.process.stdin.write(data) :]

    def send(self, line):
        """Types a line on the guest's console."""
        self.type(line.encode() + b"\n")

    def run(self, command):
        """Runs a shell command in the guest; returns its output. It must succeed."""
        self._run_count += 1
        mark = f"{self._run_count}-done"
        self.send(f'{command}\necho "<$? {mark}>"')
        match = self.console.expect(rf"<(\d+) {mark}>\n")
        output = self.console.skipped.replace("squib-guest# ", "")
        assert match[1] == "0", f"in the guest, `{command}` failed:\n{output}"
        return output

    # The end.

    def wait_exit(self):
        """Waits until squib ends by itself; returns its exit code, -N when signal N ended it."""
        code = self.process.wait(DEADLINE_S)
        self.console.expect_end()
        return code

    def engine_processes(self):
        """The processes squib keeps for the running machine (none with KVM)."""
        return children_of(self.process.pid)

    def helpers(self):
        """squib's children now, in a form that assert_gone() takes."""
        return [(pid, start_time(pid)) for pid in children_of(self.process.pid)]

    def assert_gone(self, helpers=()):
        """squib has ended: waits until no process that belonged to it is left."""
        wait_until(lambda: not processes_with(self.id), f"processes of {self.id} are gone")
        for pid, started in helpers:
            wait_until(lambda: start_time(pid) != started, f"process {pid} is gone")

    def log(self):
        try:
            with open(self.log_path) as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def report(self):
        with open(self.path("stderr"), errors="replace") as file:
            stderr = file.read()
        console = self.console.text[-3000:]
        return (
            f"exit code: {self.process.poll()}\n--- log\n{self.log()[-3000:]}"
            f"\n--- standard error\n{stderr[-3000:]}\n--- console\n{console}"
        )

    def close(self):
        """Ends squib, however it is, and checks that nothing is left of it."""
        helpers = self.helpers()
        self.console.release()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        print(f"--- {self.arch} {self.id}\n{self.report()}")  # pytest shows it on failure
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.assert_gone(helpers)
        finally:
            shutil.rmtree(self.dir)
