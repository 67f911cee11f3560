#!/usr/bin/env python3
"""Does the benchmark work?  A tiny run: exit code, figures, plot; wrong arguments; and nothing is left behind, also when it is killed.

R5_BUILD is the build folder.  Exit code 77: cannot run here."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

RUN = os.path.join(os.path.dirname(os.path.realpath(__file__)), "run")
WORK = "stream-1m-1,fsync-1,files"


def check(condition, what):
    if not condition:
        print("failed:", what)
        sys.exit(1)


def start(folder, *arguments, **kwargs):
    return subprocess.Popen([sys.executable, RUN, "--build", os.environ["R5_BUILD"], *arguments], env=dict(os.environ, TMPDIR=folder),
                            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **kwargs)


def left_behind(folder):
    with open("/proc/self/mountinfo") as f:
        mounts = [line.split()[4] for line in f if f"{folder}/raid5cryptfs-bench" in line]
    loops = subprocess.run(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"], stdout=subprocess.PIPE, text=True).stdout
    folders = [name for name in os.listdir(folder) if name.startswith("raid5cryptfs-bench")]
    return mounts + [line for line in loops.splitlines() if folder in line] + folders


def test_run(folder):
    out = os.path.join(folder, "out")
    run = start(folder, "--smoke", "--peers", "raid5cryptfs,btrfs", "--work", WORK, "--out", out, stdout=subprocess.PIPE)
    table, said = run.communicate()
    check(run.returncode == 0, f"exit code {run.returncode}: {said}")
    with open(os.path.join(out, "results.json")) as f:
        results = json.load(f)
    check(results["failures"] == [], f"no failures: {results['failures']}")
    check("raid5cryptfs" not in results["left_out"], f"raid5cryptfs takes part: {results['left_out']}")
    for name in ["stream.write.1m.1", "stream.read.1m.1", "fsync.1", "files.create", "files.unlink"]:
        for peer, figures in results["measures"][name]["figures"].items():
            check(len(figures) == 1 and figures[0] > 0, f"{name} of {peer}: {figures}")
        check("raid5cryptfs" in results["measures"][name]["figures"], f"{name} was measured: {results['measures'][name]}")
    check(1.3 < results["measures"]["amplification.write.1m.1"]["medians"]["raid5cryptfs"] < 2, "a stream's bytes on the members")
    check("| sequential write and fsync, calls of 1 MiB, 1 stream | MB/s |" in table, f"the table: {table}")
    xml.etree.ElementTree.parse(os.path.join(out, "results.svg"))
    check(left_behind(folder) == [], f"left behind: {left_behind(folder)}")


def test_arguments(folder):
    for arguments, says in [(["--peers", "raid5cryptfs,ext4"], "ext4: not known; there are: all, raid5cryptfs"),
                            (["--work", "nothing"], "nothing: not known; there are: all, stream"),
                            (["--rounds", "0"], "0: a number from 1"),
                            (["--size", "12x"], "12x: a size is a number that may end in K, M or G"),
                            (["--size", "5M"], "--size: a multiple of 4M"), (["--dir", "/nonexistent"], "/nonexistent is not a folder")]:
        run = start(folder, *arguments)
        said = run.communicate()[1]
        check(run.returncode == 2 and says in said, f"{arguments}: exit code {run.returncode}, {said}")


def test_kill(folder):
    """Killed while a filesystem is mounted: the watcher cleans up."""
    for number in [signal.SIGTERM, signal.SIGKILL]:
        run = start(folder, "--smoke", "--peers", "raid5cryptfs", "--work", "fsync-1", stdout=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not any("/mnt" in path for path in left_behind(folder)):
            check(time.monotonic() < end and run.poll() is None, "the benchmark mounts something")
            time.sleep(0.05)
        run.send_signal(number)
        run.communicate()
        check(run.returncode != 0, f"killed by {number}, but exit code 0")
        while left_behind(folder):
            check(time.monotonic() < end, f"left behind after signal {number}: {left_behind(folder)}")
            time.sleep(0.1)


if __name__ == "__main__":
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse") or not os.path.exists("/dev/loop-control"):
        print("skipped: needs root, /dev/fuse and loop devices")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="raid5cryptfs-smoke-") as temporary:
        for test in [test_arguments, test_run, test_kill]:
            print("##", test.__name__, flush=True)
            test(temporary)
