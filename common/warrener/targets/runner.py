"""The runner: one small process for each attempt, which holds the command's process tree until its end.

    python -I -S runner.py <attempt folder>

It outlives its worker, so it imports nothing of warrener and as little as it can of the standard library: it
must start in milliseconds and stay small, as there is one for each running job. Its worker speaks to it by
files in the attempt's folder, each replaced by an atomic rename:

    spec        what to run: records `key=value`, each ended by NUL; on disk before the runner starts
    lease       until when, on the boot-time clock (and the boot it was counted in)
    stop        why to end now; SIGTERM makes the runner look
    runner      pid, start time and boot of the one runner that this attempt has; appears with its content or not at all
    command     pid and start time of the command
    stdout, stderr   the first half and the newest half of what the command prints
    end.json    how it ended; after it, nothing of the command is left

Secrets come over standard input, as records `NAME=value`, and are never written down.

How nothing is left behind. The runner is a child subreaper: whatever the command starts, however often it
forks and whatever session it makes, stays below the runner, so "no child is left" means "nothing is left". If
the runner itself is killed, the kernel kills the command (PR_SET_PDEATHSIG), and whoever waits for the
attempt ends the rest.

The wait is one poll on the pipes and on the signals' wake-up descriptor. It is capped, because poll does not count the
time that the machine was suspended, and the lease does.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # `signal` makes enums of all numbers, which takes a third of the start

# pathlib and contextlib would take longer to import than all the rest.
# ruff: noqa: PTH104, PTH108, PTH123, PTH208, SIM105

IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)
HEARD = (signal.SIGTERM, signal.SIGCHLD)
LOOK_AGAIN_S = 5.0
LEASE_GRACE_S = 2.0  # the owner places the task anew soon after the lease: the usual grace could be too long
LEFTOVERS_S = 0.1  # a `tee` behind the command may still write what it has read
UNKILLABLE_S = 30.0  # a process that hangs in the kernel cannot be waited for for ever
CHUNK_BYTES = 64 * 1024
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
WORDS = {
    2: "there is no such file",
    7: "its arguments and environment are too long",
    8: "it is not a program: neither a binary of this machine nor a script that begins with #!",
    13: "permission denied: is it executable?",
}


class Stream:
    """One stream of the command: its pipe, and the file that keeps the first half and the newest half.

    What exceeds the first half goes round in a ring file, and is put in order at the end: disk and memory stay bounded
    however much is printed.
    """

    def __init__(self, name: str, pipe: int, keep_bytes: int) -> None:
        self.pipe = pipe
        os.set_blocking(pipe, False)
        self._ring_name = name + ".ring"
        self._file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._ring = -1
        self._head_left = keep_bytes // 2
        self._ring_bytes = keep_bytes - keep_bytes // 2
        self._turned = 0  # bytes that went into the ring, or past it
        self._unwritten = 0  # bytes that the disk did not take

    def pump(self) -> bool:
        """Take what is there, one chunk; tell whether more may come."""
        try:
            chunk = os.read(self.pipe, CHUNK_BYTES)
        except BlockingIOError:
            return True
        self._keep(chunk)
        return bool(chunk)

    def drain(self) -> None:
        """Take what is left in the pipe once its writers are gone; whoever else holds it is not waited for."""
        end = time.monotonic() + 1.0
        try:
            while time.monotonic() < end and (chunk := os.read(self.pipe, CHUNK_BYTES)):
                self._keep(chunk)
        except BlockingIOError:
            pass

    def finish(self) -> None:
        """Append the newest half, after a line that says how much was dropped before it."""
        dropped = max(0, self._turned - self._ring_bytes)
        try:
            if dropped + self._unwritten:
                line = f"\n[warrener: {dropped + self._unwritten} bytes dropped here]\n"
                _write(self._file, line.encode())
            if self._ring >= 0:
                start = self._turned % self._ring_bytes if dropped else 0
                self._copy(start, min(self._turned, self._ring_bytes))
                self._copy(0, start)
        except OSError:
            pass  # the disk is full: what is kept is what fitted
        if self._ring >= 0:
            os.unlink(self._ring_name)

    def _keep(self, chunk: bytes) -> None:
        head, rest = chunk[: self._head_left], chunk[self._head_left :]
        try:
            if head:
                self._head_left -= len(head)
                _write(self._file, head)
            if rest:
                self._turn(rest)
        except OSError:
            self._unwritten += len(chunk)  # a full disk must not stop the command

    def _turn(self, chunk: bytes) -> None:
        if self._ring < 0:
            self._ring = os.open(self._ring_name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        while chunk:
            at = self._turned % self._ring_bytes
            taken = os.pwrite(self._ring, chunk[: self._ring_bytes - at], at)
            self._turned += taken
            chunk = chunk[taken:]

    def _copy(self, start: int, end: int) -> None:
        while start < end and (chunk := os.pread(self._ring, min(CHUNK_BYTES, end - start), start)):
            _write(self._file, chunk)
            start += len(chunk)


class Runner:
    """The life of one attempt, from its spec to its end."""

    def __init__(self, spec: dict[str, list[bytes]], secrets: list[bytes], wakeup: int) -> None:
        self._argv = spec["argv"]
        self._folder = spec["cwd"][0]
        self._env = dict(_pair(record) for record in spec.get("env", []) + secrets)
        self._keep_bytes = max(2, int(spec["keep_bytes"][0]))
        self._timeout_s = float(spec["timeout_s"][0]) if "timeout_s" in spec else None
        self._grace_s = float(spec["grace_s"][0])
        self._wakeup = wakeup
        self._poll = select.poll()
        self._poll.register(wakeup, select.POLLIN)
        self._streams: dict[int, Stream] = {}
        self._refusals = -1  # the pipe that tells why the command could not be started
        self._command = 0
        self._status: int | None = None
        self._alone = True  # no child is left
        self._began = self._ended = time.monotonic()
        self._kill_at: float | None = None
        self._lease = read_lease()
        self._stopped: str | None = None
        self._error: str | None = None

    def run(self) -> None:
        """Start the command, hold it to its end, and write the end down."""
        try:
            self._heed_stop(told=False)
            self._check_deadlines(self._began)
            if self._stopped is None:
                self._start()
                self._hold()
        except Exception as error:  # the end must be told whatever happens; the log has the traceback
            self._error = f"the runner failed: {type(error).__name__}: {error}; see runner.log in its folder"
            raise
        finally:
            self._finish()

    def _start(self) -> None:
        refusals, refuse = os.pipe()
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        for name, pipe in (("stdout", out), ("stderr", err)):
            self._streams[pipe] = Stream(name, pipe, self._keep_bytes)
            self._poll.register(pipe, select.POLLIN)
        runner = os.getpid()
        self._alone = False
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)  # until the command has no handlers of ours
        self._command = os.fork()
        if self._command == 0:
            self._become_the_command(runner, out_end, err_end, refuse)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
        for end in (out_end, err_end, refuse):
            os.close(end)
        self._refusals = refusals
        write_atomically("command", f"{self._command} {started_at(self._command)}\n")

    def _become_the_command(self, runner: int, out: int, err: int, refuse: int) -> None:
        step = b"start"
        try:
            os.setpgid(0, 0)
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != runner:  # it died before the kernel was told
                os._exit(127)
            for number in IGNORED + HEARD:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            _offer_to_the_oom_killer()
            os.dup2(out, 1)
            os.dup2(err, 2)
            step = b"folder"
            os.chdir(self._folder)
            step = b"command"
            os.execvpe(self._argv[0], self._argv, self._env)  # noqa: S606 - no shell is the point
        except OSError as error:
            os.write(refuse, b"%s %d" % (step, error.errno or 0))
        finally:
            os._exit(127)

    def _hold(self) -> None:
        while True:
            self._reap()
            now = time.monotonic()
            if self._alone or (self._kill_at is not None and now >= self._kill_at):
                return
            if self._status is not None:
                if self._kill_at is None:
                    self._kill_at = now + LEFTOVERS_S
            else:
                self._check_deadlines(now)
            for pipe, _ in self._poll.poll(self._pause_ms()):
                if pipe == self._wakeup:
                    self._heed_stop(told=signal.SIGTERM in self._signals())
                elif not self._streams[pipe].pump():
                    self._poll.unregister(pipe)

    def _check_deadlines(self, now: float) -> None:
        if self._stopped is not None:
            return
        if boot_s() >= self._lease:
            self._lease = read_lease()
        if boot_s() >= self._lease:
            self._end("lease", min(self._grace_s, LEASE_GRACE_S))
        elif self._timeout_s is not None and now >= self._began + self._timeout_s:
            self._end("timeout", self._grace_s)

    def _pause_ms(self) -> int:
        pause = LOOK_AGAIN_S
        if self._kill_at is not None:
            pause = min(pause, self._kill_at - time.monotonic())
        elif self._stopped is None:
            pause = min(pause, self._lease - boot_s())
            if self._timeout_s is not None:
                pause = min(pause, self._began + self._timeout_s - time.monotonic())
        return max(0, int(pause * 1000) + 1)

    def _heed_stop(self, *, told: bool) -> None:
        if self._stopped is not None or self._status is not None:
            return
        reason = read_text("stop")
        if reason:
            self._end(reason, self._grace_s)
        elif told:
            self._error = "something other than its worker told the runner to end (SIGTERM); the command was ended"
            self._end("", self._grace_s)

    def _end(self, reason: str, grace_s: float) -> None:
        self._stopped = reason
        self._kill_at = time.monotonic() + grace_s
        for pid in descendants() if self._command else []:
            send(pid, signal.SIGTERM)
            send(pid, signal.SIGCONT)

    def _reap(self) -> None:
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._command:
                    self._status, self._ended = status, time.monotonic()
        except ChildProcessError:
            self._alone = True

    def _kill_all(self) -> None:
        """Kill until no child is left: a whole group at a time, as no fork escapes that, and faster than it forks."""
        try:
            os.setpriority(os.PRIO_PROCESS, 0, -20)
        except OSError:
            pass  # only root may; the passes below then need longer against a storm of forks
        give_up = time.monotonic() + UNKILLABLE_S
        killed: set[int] = set()
        self._reap()
        while not self._alone:
            pids = descendants()
            for group in {group_of(pid) for pid in pids} - {0, os.getpgrp()}:
                send(-group, signal.SIGKILL)
            for pid in pids:
                send(pid, signal.SIGKILL)
            self._reap()
            if killed.issuperset(pids) and not self._alone:
                select.select([self._wakeup], [], [], 0.02)
                self._signals()
            killed.update(pids)
            if time.monotonic() > give_up:
                self._error = f"processes {sorted(pids)[:10]} could not be killed; look at them on this host"
                return

    def _signals(self) -> bytes:
        try:
            return os.read(self._wakeup, 4096)  # a byte for each signal: its number
        except BlockingIOError:
            return b""

    def _finish(self) -> None:
        self._kill_all()
        for stream in self._streams.values():
            stream.drain()
            stream.finish()
        if self._refusals >= 0 and not self._error:
            os.set_blocking(self._refusals, False)
            self._error = self._refusal()
        code = os.waitstatus_to_exitcode(self._status) if self._status is not None else -signal.SIGKILL
        seconds = max(0.0, self._ended - self._began) if self._status is not None else 0.0
        write_atomically(
            "end.json",
            f'{{"exit_code": {code}, "seconds": {seconds:.3f}, '
            f'"stopped": {_json(self._stopped)}, "error": {_json(self._error)}}}\n',
            sync=True,
        )

    def _refusal(self) -> str | None:
        try:
            told = os.read(self._refusals, 100)
        except BlockingIOError:
            return None
        if not told:
            return None
        step, _, number = told.decode().partition(" ")
        subject = f"the folder {_shown(self._folder)}" if step == "folder" else f"the command {_shown(self._argv[0])}"
        return f"{subject} cannot be {'entered' if step == 'folder' else 'started'}: {_reason(int(number))}"


LIBC = ctypes.CDLL(None)


def boot_s() -> float:
    """Return seconds since the machine's boot, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read_text(name: str) -> str:
    """Return a small file's text; empty if it is not there."""
    try:
        with open(name, encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def read_lease() -> float:
    """Return until when the command may run."""
    return float(read_text("lease").split()[0])


def started_at(pid: int) -> str:
    """Return a process's start time in ticks since boot: with its number, this names a process for good."""
    return read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[19]


def write_atomically(name: str, text: str, *, sync: bool = False) -> None:
    """Let a file appear with its whole content."""
    with open(name + ".new", "w", encoding="utf-8") as file:
        file.write(text)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    os.rename(name + ".new", name)
    if sync:
        folder = os.open(".", os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def descendants() -> list[int]:
    """List what is below this process, parents first. May miss what is born or dies meanwhile: call it again."""
    found = [os.getpid()]
    for pid in found:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                found += [int(child) for child in read_text(f"/proc/{pid}/task/{thread}/children").split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found[1:]


def group_of(pid: int) -> int:
    """Return a process's group; 0 if it is gone."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def send(pid: int, number: int) -> None:
    """Send a signal, if there is somebody to take it who may be sent one."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def take_the_attempt() -> bool:
    """Become the one runner of this attempt; false if it has or had one."""
    pid = os.getpid()
    mine = f"runner.{pid}"
    boot = read_text("/proc/sys/kernel/random/boot_id")
    write_atomically(mine, f"{pid} {started_at(pid)} {boot}\n")
    try:
        os.link(mine, "runner")
    except FileExistsError:
        return False
    finally:
        os.unlink(mine)
    return True


def hear_signals() -> int:
    """Let SIGTERM and the end of a child wake the poll; return the descriptor to poll."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    for number in HEARD:
        signal.signal(number, lambda *_: None)  # the wake-up descriptor tells
    return reading


def _offer_to_the_oom_killer() -> None:
    """Without memory, the kernel should take the command, and leave its runner to tell of it."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("500")
    except OSError:
        pass


def _records(raw: bytes) -> list[bytes]:
    return raw.split(b"\0")[:-1]


def _pair(record: bytes) -> tuple[bytes, bytes]:
    name, _, value = record.partition(b"=")
    return name, value


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _reason(number: int) -> str:
    return WORDS.get(number) or os.strerror(number)


def _json(text: str | None) -> str:
    """Quote a text; the module `json` would take a third of the start."""
    if not text:
        return "null"
    units = text.encode("utf-16-be", "replace")
    codes = [units[i] << 8 | units[i + 1] for i in range(0, len(units), 2)]
    plain = (0x20 <= code < 0x7F and code not in b'"\\' for code in codes)  # noqa: PLR2004 - printable ASCII
    return '"' + "".join(chr(c) if ok else f"\\u{c:04x}" for c, ok in zip(codes, plain, strict=True)) + '"'


def main(folder: str) -> None:
    """Run the attempt that a folder describes, if no other runner has it."""
    os.chdir(folder)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    with open(0, "rb", closefd=False) as given:
        secrets = _records(given.read())
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wakeup = hear_signals()
    if not take_the_attempt():
        return
    try:
        os.write(1, b"1")  # whoever started it may go now
    except OSError:
        pass  # it has gone already: its next life finds this runner by its record
    os.dup2(nothing, 1)
    spec: dict[str, list[bytes]] = {}
    with open("spec", "rb") as file:
        for key, value in map(_pair, _records(file.read())):
            spec.setdefault(key.decode(), []).append(value)
    Runner(spec, secrets, wakeup).run()


if __name__ == "__main__":
    main(sys.argv[1])
