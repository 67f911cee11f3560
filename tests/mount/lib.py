"""What the tests of real mounts share.

A Scene is a temporary folder with images, loop devices and mounts; leaving it removes exactly what it made, also after a
failure.  Checks raise; main() turns an exception into exit code 1, and Skip into 77.
"""
import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import pwd
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback

ENVIRONMENT = dict(os.environ)
LIBC = ctypes.CDLL(None, use_errno=True)
CIPHERS = ["xchacha20-poly1305", "aes256-gcm", "none"]
SIZE = 64 << 20
TRANSPORT = os.environ.get("R5_TRANSPORT")         # that all mounts use; None: as they are by default
SCENE_SECONDS = int(os.environ.get("R5_SCENE_SECONDS", "400"))

# Exit codes (base/fail.h).
SYSTEM, USAGE, KEY, SLOT, KEYFILE, NOT_MEMBER, MIXED, TWICE, VERSION, TOO_FEW, BUSY, MOUNTPOINT, SIGNATURE, TOO_SMALL, \
    DIVERGED, DAMAGED, NOT_FOUND = range(1, 18)
DEGRADED, FAILED = 20, 21


class Skip(Exception):
    pass


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def check_equal(a, b, what):
    if a != b:
        raise AssertionError(f"{what}: {a!r} is not {b!r}")


def wait_for(condition, what, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.05)


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr


def run(*command, code=0, says=None, says_not=None, **kwargs):
    """Runs, checks the exit code (None: any) and that standard error contains `says`."""
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          errors="replace", **kwargs)
    what = f"{' '.join(map(str, command))}\nexit code {done.returncode}\nout: {done.stdout}\nerr: {done.stderr}"
    if code is not None and done.returncode != code:
        raise AssertionError(f"exit code {code} expected: {what}")
    for text in [says] if isinstance(says, str) else says or []:
        if text not in done.stderr:
            raise AssertionError(f"expected on standard error: {text!r}: {what}")
    if says_not and says_not in done.stderr:
        raise AssertionError(f"not expected on standard error: {says_not!r}: {what}")
    return Result(done)


def unmount(mountpoint, **kwargs):
    """Whoever looks at all mounts of the machine, a status or fsck of another test for one, keeps each busy for a moment."""
    end = time.monotonic() + 10
    while (done := run("umount", mountpoint, code=None, **kwargs)).code and "busy" in done.err and time.monotonic() < end:
        time.sleep(0.1)
    check_equal(done.code, 0, f"umount {mountpoint}: {done.err}")


def has_cipher(cipher):
    if cipher != "aes256-gcm":
        return True
    with open("/proc/cpuinfo") as f:
        return " aes " in f.read()


class Scene:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="raid5cryptfs-test-", dir=os.environ.get("R5_TEST_DIR", "/var/tmp"))
        self.mounts = []
        self.loops = []
        self.count = 0
        # What sanitizers find in a daemon would go to /dev/null.
        self.reports = tempfile.mkdtemp(prefix="raid5cryptfs-reports-", dir="/tmp")
        os.chmod(self.reports, 0o777)
        for name in ["ASAN_OPTIONS", "UBSAN_OPTIONS"]:
            os.environ[name] = f"{ENVIRONMENT.get(name, '')}:log_path={self.reports}/report".lstrip(":")

        self.watchdog = self.start_watchdog()

    def start_watchdog(self):
        """A daemon that hangs would hang this test in the kernel, beyond the reach of signals: so another process kills the
        scene's daemons when the test takes too long, or is gone."""
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        os.setsid()                      # what ends the test's process group does not end this
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        end = time.monotonic() + SCENE_SECONDS
        while time.monotonic() < end and os.getppid() == parent:
            time.sleep(0.5)
        late = os.getppid() == parent
        if late:
            print(f"stopped after {SCENE_SECONDS} s", file=sys.stderr, flush=True)
        for pid in self.processes("faulty") + self.daemons():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not late:
            self.clean_up()
            shutil.rmtree(self.reports, ignore_errors=True)
        os._exit(0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.clean_up()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.watchdog, signal.SIGKILL)
        os.waitpid(self.watchdog, 0)
        found = ""
        for name in os.listdir(self.reports):
            with open(os.path.join(self.reports, name), errors="replace") as f:
                found += f.read()
        shutil.rmtree(self.reports, ignore_errors=True)
        if found:
            print(found, file=sys.stderr)
            raise AssertionError("a sanitizer complained")

    def clean_up(self):
        for pid in self.processes("faulty"):     # what hangs in a daemon ends with them (faulty.py)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with open("/proc/self/mountinfo") as f:
            mounted = [line.split()[4] for line in f]
        for mountpoint in reversed([m for m in mounted if m.startswith(self.dir + "/")]):
            subprocess.run(["umount", "-l", mountpoint], stderr=subprocess.DEVNULL)
        self.end_daemons()
        for loop in self.loops:
            subprocess.run(["losetup", "-d", loop], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def daemons(self):
        return self.processes("raid5cryptfs")

    def processes(self, program):
        """Those whose command line names this scene's folder."""
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as f:
                    words = f.read().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(program.encode()) and any(self.dir.encode() in w for w in words):
                found.append(int(entry))
        return found

    def end_daemons(self):
        end = time.monotonic() + 20
        while self.daemons() and time.monotonic() < end:
            time.sleep(0.05)
        for pid in self.daemons():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def wait_no_daemon(self, seconds=60):
        wait_for(lambda: not self.daemons(), "the daemon ends after the unmount", seconds)

    def key(self):
        path = self.path("key")
        if not os.path.exists(path):
            run("raid5cryptfs-key", "generate", path)
        return path

    def image(self, size=SIZE):
        self.count += 1
        path = self.path(f"disk{self.count}.img")
        with open(path, "wb") as f:
            f.truncate(size)
        return path

    def images(self, count, size=SIZE):
        return [self.image(size) for _ in range(count)]

    def loop(self, image):
        for number in range(16):
            with contextlib.suppress(OSError):
                if not os.path.exists(f"/dev/loop{number}"):
                    os.mknod(f"/dev/loop{number}", 0o600 | stat.S_IFBLK, os.makedev(7, number))
        done = subprocess.run(["losetup", "-f", "--show", image], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Skip(f"no loop device: {done.stderr}")
        self.loops.append(done.stdout.strip())
        return self.loops[-1]

    def key_options(self, cipher):
        return ["-o", "cipher=none"] if cipher == "none" else ["-o", f"key-file={self.key()}"]

    def mkfs(self, members, *options, cipher=CIPHERS[0], **kwargs):
        key = [] if cipher == "none" else ["--key-file", self.key()]
        return run("mkfs.raid5cryptfs", "--cipher", cipher, *key, *options, *members, **kwargs)

    def mountpoint(self, name="mnt"):
        path = self.path(name)
        os.makedirs(path, exist_ok=True)
        return path

    def mount(self, members, *options, cipher=CIPHERS[0], name="mnt", code=0, **kwargs):
        path = self.mountpoint(name)
        transport = ["-o", f"transport={TRANSPORT}"] if TRANSPORT else []
        result = run("raid5cryptfs", *self.key_options(cipher), *transport, *options, *members, path, code=code, **kwargs)
        if code == 0:
            self.mounts.append(path)
            check(os.path.ismount(path), "it is mounted")
            check(not TRANSPORT or "transport=" not in result.err, "requests come as was asked for: " + result.err)
        return result

    def umount(self, name="mnt"):
        path = self.path(name)
        unmount(path)
        self.mounts.remove(path)
        self.wait_no_daemon()

    def status(self, *arguments, code=0, options=()):
        return json.loads(run("raid5cryptfs-status", "--json", *options, *arguments, code=code).out)["arrays"][0]


# ---- Files ----

def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def syncfs(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        check_equal(LIBC.syncfs(fd), 0, f"{path}: syncfs")
    finally:
        os.close(fd)


# ---- Trees ----

def make_tree(root, seed=1, files=200, big=3, xattr_bytes=5000):
    """Files of many sizes, folders, links, a fifo, xattrs, modes, times; the same for the same seed."""
    rng = random.Random(seed)
    folders = [root]
    for i in range(files // 10):
        path = os.path.join(rng.choice(folders), f"folder {i} ä")
        os.mkdir(path)
        folders.append(path)
    paths = []
    for i in range(files):
        path = os.path.join(rng.choice(folders), f"file-{i}" + "x" * rng.choice([0, 0, 100, 200]))
        size = rng.choice([0, 1, 100, 2000, 4095, 4096, 4097, 16384, 70000])
        with open(path, "wb") as f:
            f.write(rng.randbytes(size))
        os.chmod(path, rng.choice([0o644, 0o600, 0o755, 0o4755, 0o2711]))
        paths.append(path)
    for i in range(big):
        path = os.path.join(root, f"big-{i}")
        with open(path, "wb") as f:
            for _ in range(rng.randrange(2, 6)):
                f.write(rng.randbytes(1 << 20))
        paths.append(path)
    for i in range(10):
        os.symlink(rng.choice(["a", "../b" * 50, "/absolute " + "c" * 3000]), os.path.join(root, f"link-{i}"))
        os.link(rng.choice(paths), os.path.join(rng.choice(folders), f"hard-{i}"))
        os.setxattr(rng.choice(paths), "user.test", rng.randbytes(rng.choice([1, 50, xattr_bytes])))
    with open(os.path.join(root, "holes"), "wb") as f:
        f.write(b"start")
        f.seek(5 << 20)
        f.write(b"middle")
        f.truncate(9 << 20)
    os.mkfifo(os.path.join(root, "fifo"))
    for path in paths:
        os.utime(path, ns=(rng.randrange(1 << 60), rng.randrange(1 << 60)))


def describe_tree(root):
    """Everything that a user can see of a tree, for comparing. Of hard links, those inside the tree."""
    links = {}
    tree = {}
    for folder, names, files in os.walk(root):
        names.sort()                     # the walk's order, which says what a hard link's first name is
        for name in sorted(names + files) + ["."]:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, root)
            st = os.lstat(path)
            entry = [stat.filemode(st.st_mode), st.st_uid, st.st_gid]
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    entry += [st.st_size, st.st_mtime_ns, hashlib.file_digest(f, "sha256").hexdigest()]
                links.setdefault(st.st_ino, []).append(relative)
                entry.append(links[st.st_ino])
            elif stat.S_ISLNK(st.st_mode):
                entry.append(os.readlink(path))
            if not stat.S_ISLNK(st.st_mode):
                entry.append({n: os.getxattr(path, n) for n in os.listxattr(path)})
            tree[relative] = entry
    return tree


def compare_trees(a, b, what):
    for path in sorted(set(a) | set(b)):
        if a.get(path) != b.get(path):
            raise AssertionError(f"{what}: {path}: {a.get(path)} is not {b.get(path)}")
    check(len(a) > 1, f"{what}: the tree is not empty")


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root")


@contextlib.contextmanager
def one_test_at_a_time(name):
    with open(f"/run/lock/raid5cryptfs-test-{name}", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


URING_SWITCH = "/sys/module/fuse/parameters/enable_uring"


@contextlib.contextmanager
def uring_offered(offered=True):
    """The kernel offers FUSE over io_uring meanwhile, or does not, to mounts that ask for it; one test at a time."""
    need_root()
    if not os.path.exists(URING_SWITCH):
        raise Skip("this kernel has no FUSE over io_uring")
    with one_test_at_a_time("uring"):
        before = read(URING_SWITCH)
        write(URING_SWITCH, b"Y" if offered else b"N")
        try:
            yield
        finally:
            write(URING_SWITCH, before)


PROGRAMS = ["raid5cryptfs", "mkfs.raid5cryptfs", "raid5cryptfs-status", "raid5cryptfs-key", "raid5cryptfs-rebuild", "raid5cryptfs-scrub",
            "umount.fuse.raid5cryptfs"]


@contextlib.contextmanager
def as_nobody(scene):
    """An ordinary user with a home in the scene's folder and the programs, and Debian's mode of /dev/fuse meanwhile: gives what
    run() and Popen() need to act as that user (who), the home and the folder of the programs."""
    need_root()
    try:
        user = pwd.getpwnam("nobody")
    except KeyError as e:
        raise Skip("no user nobody") from e
    if not shutil.which("fusermount3"):
        raise Skip("no fusermount3")
    tools, home = scene.path("bin"), scene.path("home")
    os.mkdir(tools)
    os.mkdir(home)
    for name in PROGRAMS:
        shutil.copy(shutil.which(name), tools)
    os.chmod(scene.dir, 0o755)
    os.chown(home, user.pw_uid, user.pw_gid)
    with one_test_at_a_time("fuse-mode"):
        mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
        os.chmod("/dev/fuse", 0o666)
        try:
            yield {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": home,
                   "env": {"PATH": tools + ":/usr/bin:/bin:/usr/sbin:/sbin", "HOME": home}}, home, tools
        finally:
            os.chmod("/dev/fuse", mode)


def main(*tests):
    """Runs the test functions, each with a scene of its own."""
    sys.stdout.reconfigure(line_buffering=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))    # a test that is stopped cleans up too
    try:
        try:
            os.close(os.open("/dev/fuse", os.O_RDWR))
        except OSError as e:
            raise Skip(f"/dev/fuse: {e}") from e
        with uring_offered() if TRANSPORT == "uring" else contextlib.nullcontext():
            for test in tests:
                print("##", test.__name__)
                with Scene() as scene:
                    test(scene)
    except Skip as e:
        print("skipped:", e)
        sys.exit(77)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
