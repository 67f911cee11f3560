"""Where the benchmark works: one temporary folder, its tmpfs, and what was started there.

Everything made has the folder's name in it: mounts lie below it, loop devices have their images in it, daemons name it on their
command line.  So clean() finds what is left without a list, and takes away exactly that; it runs at the end, after a failure or Ctrl-C,
and by a watcher process if this one is killed."""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time


class Failure(Exception):
    """Something could not be done; the text is for the user."""


COMMANDS = {}                            # what was run, for the report, and how often


def note_command(command):
    """Without what differs from turn to turn."""
    words = re.sub(r"/dev/loop\d+", "LOOP", re.sub(r"[^\s=,]*/raid5cryptfs-bench-\w+", "DIR", " ".join(command)))
    COMMANDS[words] = COMMANDS.get(words, 0) + 1
    return words


def run(*command, **kwargs):
    """Runs a program and returns its output; Failure with what it said if it fails."""
    command = [str(c) for c in command]
    words = note_command(command)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                          **kwargs)
    if done.returncode:
        raise Failure(f"{words}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout


def mounts_below(folder):
    with open("/proc/self/mountinfo") as f:
        return [path for path in (line.split()[4] for line in f) if path == folder or path.startswith(folder + "/")]


def processes_of(folder):
    """Those with the folder's name on their command line, but for this one and its parent."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) not in (os.getpid(), os.getppid()):
            with contextlib.suppress(OSError):
                with open(f"/proc/{entry}/cmdline", "rb") as f:
                    if folder.encode() in f.read():
                        found.append(int(entry))
    return found


def loops_of(folder):
    done = subprocess.run(["losetup", "--list", "--json", "--output", "NAME,BACK-FILE"], stdout=subprocess.PIPE, text=True)
    if not done.stdout.strip():
        return []
    return [d["name"] for d in json.loads(done.stdout)["loopdevices"] if (d["back-file"] or "").startswith(folder + "/")]


def clean(folder):
    """Takes away whatever is left of a folder: mounts, daemons, loop devices, files."""
    for mountpoint in reversed(mounts_below(folder)):
        if mountpoint not in (folder, os.path.join(folder, "images")):
            subprocess.run(["umount", "-l", mountpoint], stderr=subprocess.DEVNULL)
    for number, seconds in [(0, 5), (signal.SIGTERM, 5), (signal.SIGKILL, 5)]:
        for pid in processes_of(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        end = time.monotonic() + seconds
        while processes_of(folder) and time.monotonic() < end:
            time.sleep(0.05)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
    for loop in loops_of(folder):
        subprocess.run(["losetup", "-d", loop], stderr=subprocess.DEVNULL)
    for mountpoint in reversed(mounts_below(folder)):
        subprocess.run(["umount", "-l", mountpoint], stderr=subprocess.DEVNULL)
    if not mounts_below(folder):
        shutil.rmtree(folder, ignore_errors=True)


class Place:
    """With `images_folder` None, images go to a tmpfs of `tmpfs_bytes`; else to a temporary folder in that one."""

    def __init__(self, tmpfs_bytes, images_folder=None):
        self.on_tmpfs = images_folder is None
        self.dir = os.path.realpath(tempfile.mkdtemp(prefix="raid5cryptfs-bench-", dir=images_folder))
        self.watcher = self.start_watcher()
        self.images = self.path("images")
        os.mkdir(self.images)
        try:
            if self.on_tmpfs:
                run("mount", "-t", "tmpfs", "-o", f"size={tmpfs_bytes},mode=700", "tmpfs", self.images)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        clean(self.dir)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.watcher, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.watcher, 0)

    def start_watcher(self):
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        os.setsid()                      # Ctrl-C is for the others
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while os.getppid() == parent:
            time.sleep(0.5)
        clean(self.dir)
        os._exit(0)

    def path(self, name):
        return os.path.join(self.dir, name)

    def folder(self, name):
        os.makedirs(self.path(name), exist_ok=True)
        return self.path(name)

    def loops(self, count, size):
        """New loop devices over new images, whose space is taken already: as a disk has its own.  (In a virtual machine the first use of
        a page of memory can cost ten times what is measured.)"""
        loops = []
        for i in range(count):
            image = os.path.join(self.images, f"member{i}.img")
            with open(image, "wb") as f:
                os.posix_fallocate(f.fileno(), 0, size)
            loops.append(run("losetup", "-f", "--show", image).strip())
        return loops

    def drop_loops(self, loops):
        for i, loop in enumerate(loops):
            run("losetup", "-d", loop)
            os.unlink(os.path.join(self.images, f"member{i}.img"))

    def daemon(self, *command, mountpoint=None, ready=None, seconds=30, **kwargs):
        """Starts a daemon in the foreground, as a child, and waits until it has mounted (or `ready()`)."""
        command = [str(c) for c in command]
        words = note_command(command)
        with open(self.path("daemon.log"), "wb") as log:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **kwargs)
        ready = ready or (lambda: os.path.ismount(mountpoint))
        end = time.monotonic() + seconds
        while not ready():
            if child.poll() is not None or time.monotonic() > end:
                how = "did not mount in time" if child.poll() is None else f"exit code {child.returncode}"
                child.kill()
                child.wait()
                raise Failure(f"{words}: {how}: {self.messages()}")
            time.sleep(0.02)
        return child

    def messages(self):
        """The end of what the daemon said."""
        with open(self.path("daemon.log"), errors="replace") as log:
            return log.read().strip()[-400:]

    def until_not_busy(self, *command, seconds=30):
        """Runs a command, again while it says that something is busy: FUSE daemons learn of closed files a little later."""
        end = time.monotonic() + seconds
        while True:
            try:
                run(*command)
                return
            except Failure as e:
                if "busy" not in str(e) or time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def umount(self, mountpoint):
        self.until_not_busy("umount", mountpoint)


def end_child(child, number=None, seconds=60):
    """Waits for a daemon to end (after a signal, if one is given).  Returns its exit code."""
    if number is not None:
        child.send_signal(number)
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        raise Failure(f"{child.args[0]} did not end {seconds} s after the unmount") from None
    return child.returncode
