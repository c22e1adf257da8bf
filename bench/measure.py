"""Runs one command and measures it."""

import ctypes
import json
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
STOP_S = 20

# A process begins with the peak memory of the one that started it. So a small interpreter stands
# between this program, which may hold a list of every file, and the tool: what is reported never
# counts more than the interpreter's ten MiB that is not the tool's.
LAUNCHER = """
import json, os, signal, sys, time
# When both are told to stop, the tool may still tidy up; this waits for it.
signal.signal(signal.SIGTERM, lambda *_: None)
report, command = int(sys.argv[1]), sys.argv[2:]
os.set_inheritable(report, False)
start = time.monotonic()
pid = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(pid, 0)
wall = time.monotonic() - start
os.write(report, json.dumps({
    "wall_s": wall, "user_s": usage.ru_utime, "system_s": usage.ru_stime,
    "rss_bytes": usage.ru_maxrss * 1024, "exit_code": os.waitstatus_to_exitcode(status),
}).encode())
"""


class MeasureError(Exception):
    """A command that could not be started or did not end in time."""


@dataclass
class Sample:
    """What one run cost."""

    wall_s: float
    user_s: float
    system_s: float
    rss_bytes: int
    exit_code: int
    # Processor time of everything else on the machine meanwhile, the kernel's writers included.
    foreign_cpu_s: float
    # Processor time that the hypervisor gave to others meanwhile.
    steal_s: float


def run(command, environment, folder, log, timeout_s):
    """Runs `command` in `folder`, its output appended to `log`, and returns a `Sample`."""
    report_reader, report_writer = os.pipe()
    launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(report_writer)]
    busy_before, steal_before = machine_cpu()
    with open(log, "ab") as output, os.fdopen(report_reader, "rb") as report:
        output.write(f"\n$ {' '.join(map(str, command))}\n".encode())
        output.flush()
        child = subprocess.Popen(
            launcher + [str(part) for part in command], env=environment, cwd=folder,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            pass_fds=[report_writer], start_new_session=True)
        os.close(report_writer)
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise MeasureError(f"{command[0]} did not end within {timeout_s} s") from None
        finally:
            stop(child)
        busy_after, steal_after = machine_cpu()
        text = report.read()
    if not text:
        raise MeasureError(f"{command[0]} could not be started, see {log}")
    result = json.loads(text)
    foreign = busy_after - busy_before - result["user_s"] - result["system_s"]
    return Sample(**result, foreign_cpu_s=max(0.0, foreign), steal_s=steal_after - steal_before)


def stop(child):
    """Ends the launcher and its tool if they still run: a process group that is ours alone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        os.killpg(child.pid, number)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            continue


def machine_cpu():
    """Returns the seconds that all processors worked, and that were stolen from them, so far."""
    with open("/proc/stat", encoding="ascii") as lines:
        fields = [int(field) / TICKS_PER_SECOND for field in lines.readline().split()[1:9]]
    user, nice, system, _idle, _wait, interrupt, soft_interrupt, steal = fields
    return user + nice + system + interrupt + soft_interrupt, steal


def sync_folder(folder):
    """Writes out the file system that `folder` is on and returns the seconds it took."""
    start = time.monotonic()
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            os.sync()
    finally:
        os.close(descriptor)
    return time.monotonic() - start


def tree_bytes(folder):
    """Returns the apparent size of all files below `folder`."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            total += os.lstat(os.path.join(path, name)).st_size
    return total


def read_tree(folder):
    """Reads every file below `folder` once, so that the page cache holds it."""
    buffer = bytearray(1 << 20)
    for path, _, names in os.walk(folder):
        for name in names:
            file = os.path.join(path, name)
            if stat.S_ISREG(os.lstat(file).st_mode):
                with open(file, "rb", buffering=0) as stream:
                    while stream.readinto(buffer):
                        pass
