"""A program for -o alert= that records how it was called, and the records."""
from faulty import *

PYTHON = shutil.which("python3", path="/usr/bin:/bin") or sys.executable   # one that any user can run
RECORDER = """#!/bin/sh
exec {python} -S {path}.py "$(grep SigIgn /proc/$$/status)" "$@"
"""
RECORD = """import json, os, sys
def field(name):
    return next(line.split()[1] for line in open("/proc/self/status") if line.startswith(name + ":"))
fds = dict()
for fd in os.listdir("/proc/self/fd"):
    try:
        fds[fd] = os.readlink("/proc/self/fd/" + fd)
    except OSError:
        pass                             # that of the listing
line = json.dumps(dict(arguments=sys.argv[2:], ignored=sys.argv[1].split()[1], blocked=field("SigBlk"), fds=fds, cwd=os.getcwd(),
                       leader=os.getsid(0) == os.getpid(), environment=dict(os.environ)))
with open({log!r}, "a") as f:
    f.write(line + "\\n")
"""


class Recorder:
    def __init__(self, folder, name="recorder"):
        self.path, self.log = os.path.join(folder, name), os.path.join(folder, name + ".log")
        make_program(self.path, RECORDER.format(python=PYTHON, path=self.path))
        with open(self.path + ".py", "w") as f:
            f.write(RECORD.format(log=self.log))

    def calls(self, mountpoint=None):
        """Those of that mount: hooks in the machine's folder are called by every daemon."""
        if not os.path.exists(self.log):
            return []
        with open(self.log) as f:
            calls = [json.loads(line) for line in f if line.endswith("\n")]
        return [c for c in calls if mountpoint in (None, c["environment"]["RAID5CRYPTFS_MOUNTPOINT"])]

    def of(self, event, mountpoint=None):
        return [c for c in self.calls(mountpoint) if c["arguments"][0] == event]

    def wait(self, event, count=1, seconds=30):
        wait_for(lambda: len(self.of(event)) >= count, f"{event} is told {count} times; told was {self.calls()}", seconds)
        return self.of(event)[count - 1]


def make_program(path, text, mode=0o755):
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def variable(call, name):
    return call["environment"]["RAID5CRYPTFS_" + name]
