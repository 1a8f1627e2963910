# SPDX-License-Identifier: Apache-2.0
"""A monitor under test, with its API socket in a directory of its own.

$SQUIB names the program, build/squib without it. The mock engine runs no guest; everything that a
client sees of configuring and starting a machine is the same.
"""
import http.client
import os
import select
import signal
import socket
import subprocess
import time
import weakref

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SQUIB = os.environ.get("SQUIB", os.path.join(TOP, "build", "squib"))
HANG_S = float(os.environ.get("SQUIB_TEST_HANG_S", "60"))   # only ends what hangs


class UnixHTTPConnection(http.client.HTTPConnection):
    """Python's own HTTP client over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=HANG_S)
        self.socket_path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.socket_path)
        self.sock.settimeout(self.timeout)


class Monitor:
    """Started at once; end() must be called."""

    def __init__(self, directory, *args, program=SQUIB, engine="mock"):
        self.directory = str(directory)
        self.socket_path = os.path.join(self.directory, "api.sock")
        self.stderr_path = os.path.join(self.directory, "stderr")
        self.stdout_path = os.path.join(self.directory, "stdout")
        argv = [program, "--api-sock", self.socket_path, "--engine", engine, *args]
        with open(self.stdout_path, "wb") as out, open(self.stderr_path, "wb") as err:
            self.process = subprocess.Popen(argv, cwd=self.directory, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=err)
        pidfd = os.pidfd_open(self.process.pid)
        self.gone = select.poll()
        self.gone.register(pidfd, select.POLLIN)
        weakref.finalize(self, os.close, pidfd)
        try:
            self.wait_until(self.answers, "it served its socket")
        except AssertionError:
            self.kill()
            raise

    def wait_until(self, condition, what):
        """Poll a condition; give up when the program has ended or hangs."""
        deadline = time.monotonic() + HANG_S
        while not condition():
            assert not self.gone.poll(1) or condition(), f"it ended before {what}: {self.stderr()}"
            assert time.monotonic() < deadline, f"waited {HANG_S:g} s and {what} did not happen"

    def answers(self):
        try:
            self.connect().close()
            return True
        except OSError:
            return False

    def connect(self):
        """A plain connection. Waits for its turn when many come at once."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(self.socket_path)
        client.settimeout(HANG_S)
        return client

    def ask(self, method, path, body=None):
        """A request on a connection of its own: status and body."""
        connection = UnixHTTPConnection(self.socket_path)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def configure(self, path, body, method="PUT"):
        status, said = self.ask(method, path, body)
        assert (status, said) == (204, b""), f"{method} {path}: {status} {said}"

    def start_guest(self):
        kernel = self.file("kernel", b"no kernel, and no guest")
        self.configure("/boot-source", f'{{"kernel_image_path":"{kernel}"}}')
        self.configure("/actions", '{"action_type":"InstanceStart"}')

    def file(self, name, content):
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def fd_count(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))

    def stderr(self):
        with open(self.stderr_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def is_well(self):
        """It lives, answers, and no sanitizer found anything."""
        assert self.process.poll() is None, f"it ended: {self.process.returncode} {self.stderr()}"
        status, body = self.ask("GET", "/")
        assert status == 200 and b'"app_name":"Firecracker"' in body
        assert "Sanitizer" not in self.stderr() and "runtime error" not in self.stderr(), self.stderr()
        return True

    def kill(self):
        """Whatever happened, nothing stays."""
        self.process.kill()
        self.process.wait()

    def end(self):
        """Ends it as clients do, and sees that it was still there to be ended."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(HANG_S)
        assert "Sanitizer" not in self.stderr() and "runtime error" not in self.stderr(), self.stderr()
        return code
