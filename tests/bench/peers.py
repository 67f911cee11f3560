"""The filesystems that are compared: how each is made, mounted and taken away again.

A peer is set up anew for each of its turns, alone, so that nobody's background work or memory meets another's turn, and every figure is
that of a fresh filesystem.  `about` says what it is and with which options; doc/performance.md has the reasons."""
import contextlib
import gzip
import os
import shutil
import signal
import subprocess

from place import Failure, end_child, run

MEMBERS = 4
PASSPHRASE = "a passphrase for the benchmark"


def version_of(*command):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace")
    except OSError:
        return "?"
    return (done.stdout.strip().splitlines() or ["?"])[0]


def is_on(switch):
    try:
        with open(switch) as f:
            return f.read().strip() == "Y"
    except OSError:
        return False


class Peer:
    programs = []                        # without them the peer is left out
    about = ""
    has_members = True                   # it writes to loop devices of its own

    def __init__(self, name):
        self.name = name
        self.children = []               # its daemons
        self.loops = []
        self.folder = None               # where files are made, while it is set up
        self.lower = None                # another filesystem, or a folder of it, that these lie in

    def missing(self):
        """Why it cannot take part, or None."""
        gone = [p for p in self.programs if not shutil.which(p)]
        return f"not installed: {', '.join(gone)}" if gone else None

    def version(self):
        return ""

    def prepare(self, session):
        """Once, before the first turn: `session` is a place that lasts as long as all turns."""

    def set_up(self, place, member_bytes):
        if self.has_members:
            self.loops = place.loops(MEMBERS, member_bytes)
        self.start(place)

    def take_down(self, place):
        self.stop(place)
        self.children = []
        if self.loops:
            place.drop_loops(self.loops)
        self.loops = []
        self.folder = None

    def start(self, place):
        raise NotImplementedError

    def stop(self, place):
        place.umount(self.folder)
        for child in self.children:
            end_child(child)


class Raid5cryptfs(Peer):
    programs = ["raid5cryptfs", "mkfs.raid5cryptfs", "raid5cryptfs-key"]

    def __init__(self, name, mkfs=(), mount=(), leave_out=0):
        super().__init__(name)
        self.mkfs, self.mount, self.leave_out = list(mkfs), list(mount), leave_out
        words = " ".join(self.mkfs + self.mount)
        self.about = f"4 members, {words or 'default options'}" + (f", mounted without {leave_out} of them" if leave_out else "")

    def missing(self):
        if "transport=uring" in self.mount and not is_on(URING_SWITCH):
            return f"FUSE over io_uring is not offered: needs Linux 6.14, and: echo Y >{URING_SWITCH}"
        return super().missing()

    def version(self):
        return version_of("raid5cryptfs", "--version")

    def start(self, place):
        key, key_options = [], []
        if "none" not in self.mkfs:
            path = place.path("key")
            if not os.path.exists(path):
                run("raid5cryptfs-key", "generate", path)
            key, key_options = ["--key-file", path], ["-o", f"key-file={path}"]
        run("mkfs.raid5cryptfs", "--force", *key, *self.mkfs, *self.loops)
        self.folder = place.folder("mnt")
        members = self.loops[self.leave_out:]
        self.children = [place.daemon("raid5cryptfs", "-f", *key_options, *self.mount, *members, self.folder, mountpoint=self.folder)]

    def stop(self, place):
        place.umount(self.folder)
        code = end_child(self.children[0])
        if code:
            raise Failure(f"{self.name}: the daemon ended with exit code {code}: {place.messages()}")


class Btrfs(Peer):
    programs = ["mkfs.btrfs"]
    about = "btrfs of the kernel, 4 members, -d raid5 -m raid1, default mount options, no encryption"

    def missing(self):
        with open("/proc/filesystems") as f:
            if "\tbtrfs\n" not in f.read() and subprocess.run(["modprobe", "btrfs"], stderr=subprocess.DEVNULL).returncode:
                return "the kernel has no btrfs"
        return super().missing()

    def version(self):
        return f"{version_of('mkfs.btrfs', '--version')}, Linux {os.uname().release}"

    def mount_below(self, place, name):
        run("mkfs.btrfs", "-q", "-f", "-K", "-d", "raid5", "-m", "raid1", *self.loops)
        folder = place.folder(name)
        run("mount", "-t", "btrfs", "-o", ",".join(f"device={d}" for d in self.loops), self.loops[0], folder)
        return folder

    def forget(self):
        subprocess.run(["btrfs", "device", "scan", "--forget", *self.loops], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self, place):
        self.folder = self.mount_below(place, "mnt")

    def stop(self, place):
        place.umount(self.folder)
        self.forget()


class OverBtrfs(Btrfs):
    """An encrypting FUSE filesystem in a folder of btrfs RAID5."""

    def start(self, place):
        self.lower = self.mount_below(place, "lower")
        cipher_folder = os.path.join(self.lower, "cipher")
        os.mkdir(cipher_folder)
        self.folder = place.folder("mnt")
        self.children = [self.start_upper(place, cipher_folder)]

    def stop(self, place):
        place.umount(self.folder)
        for child in self.children:
            end_child(child)
        place.umount(self.lower)
        self.forget()


class Gocryptfs(OverBtrfs):
    programs = ["mkfs.btrfs", "gocryptfs"]
    about = "gocryptfs over btrfs RAID5 (as the peer btrfs): default cipher, -noprealloc (as advised for btrfs)"

    def version(self):
        return version_of("gocryptfs", "-version")

    def start_upper(self, place, cipher_folder):
        passphrase = place.path("passphrase")
        with open(passphrase, "w") as f:
            f.write(PASSPHRASE + "\n")
        run("gocryptfs", "-init", "-q", "-scryptn", "10", "-passfile", passphrase, cipher_folder)
        return place.daemon("gocryptfs", "-fg", "-q", "-noprealloc", "-passfile", passphrase, cipher_folder, self.folder,
                            mountpoint=self.folder)


class Securefs(OverBtrfs):
    programs = ["mkfs.btrfs", "securefs"]
    about = "securefs over btrfs RAID5 (as the peer btrfs): default format"

    def version(self):
        return version_of("securefs", "version")

    def start_upper(self, place, cipher_folder):
        key = place.path("securefs.key")
        if not os.path.exists(key):
            with open(key, "wb") as f:
                f.write(os.urandom(64))
        run("securefs", "create", "--keyfile", key, cipher_folder)
        return place.daemon("securefs", "mount", "--keyfile", key, cipher_folder, self.folder, mountpoint=self.folder)


class ZfsFuse(Peer):
    programs = ["zfs-fuse", "zpool"]
    about = "zfs-fuse raidz of 4 members, no encryption; entries and attributes cached for an hour (-a 3600 -e 3600)"
    socket = "/var/run/zfs/zfs_socket"

    def version(self):
        return version_of("dpkg-query", "-W", "-f", "zfs-fuse ${Version}\n", "zfs-fuse")

    def __init__(self, name):
        super().__init__(name)
        self.pool = f"raid5cryptfs-bench-{os.getpid()}"

    def zfs_answers(self):
        done = subprocess.run(["zpool", "list"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return done.returncode == 0

    def missing(self):
        return super().missing() or ("a zfs-fuse daemon runs already; stop it to measure" if self.zfs_answers() else None)

    def start(self, place):
        os.makedirs(os.path.dirname(self.socket), exist_ok=True)
        self.folder = place.folder("mnt")
        self.children = [place.daemon("zfs-fuse", "--no-daemon", "--no-kstat-mount", "-a", "3600", "-e", "3600",
                                      "-p", place.path("zfs.pid"), ready=self.zfs_answers)]
        run("zpool", "create", "-f", "-o", "cachefile=none", "-m", self.folder, self.pool, "raidz", *self.loops)

    def stop(self, place):
        try:
            place.until_not_busy("zpool", "destroy", "-f", self.pool)
        finally:
            end_child(self.children[0], signal.SIGTERM)
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(self.socket))


class Passthrough(Peer):
    programs = ["cc", "pkg-config"]
    has_members = False
    examples = "/usr/share/doc/libfuse3-dev/examples"
    # It allocates a buffer for each read, which the C library maps and unmaps unless told to keep such memory; that can cost ten times
    # what the read costs.
    keeping = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}

    def __init__(self, name, options, keeps_memory=True):
        super().__init__(name)
        self.options = options
        self.environment = self.keeping if keeps_memory else {}
        self.about = (f"passthrough_ll, libfuse's example, over a folder beside the members' images: -o {options}"
                      + "".join(f" {name}={value}" for name, value in self.environment.items()))

    def version(self):
        return f"libfuse {version_of('pkg-config', '--modversion', 'fuse3')}"

    def source(self, name):
        for path in [os.path.join(self.examples, name), os.path.join(self.examples, name + ".gz")]:
            if os.path.exists(path):
                return path
        return None

    def missing(self):
        return super().missing() or (None if self.source("passthrough_ll.c") else f"no passthrough_ll.c in {self.examples}")

    def prepare(self, session):
        self.program = session.path("passthrough_ll")
        if os.path.exists(self.program):
            return
        for name in ["passthrough_ll.c", "passthrough_helpers.h"]:
            path = self.source(name)
            if not path:
                raise Failure(f"{self.examples}: {name} is missing")
            with (gzip.open if path.endswith(".gz") else open)(path, "rb") as f, open(session.path(name), "wb") as copy:
                shutil.copyfileobj(f, copy)
        flags = run("pkg-config", "--cflags", "--libs", "fuse3").split()
        run("cc", "-O2", "-D_GNU_SOURCE", "-o", self.program, session.path("passthrough_ll.c"), *flags)

    def start(self, place):
        self.lower = os.path.join(place.images, "lower")
        os.mkdir(self.lower)
        self.folder = place.folder("mnt")
        self.children = [place.daemon(self.program, "-f", "-o", f"source={self.lower},{self.options}", self.folder, mountpoint=self.folder,
                                      env=dict(os.environ, **self.environment))]

    def stop(self, place):
        super().stop(place)
        shutil.rmtree(self.lower)


class Below(Peer):
    """No filesystem of its own: the tmpfs (or folder) that the images are on.  What a copy into the page cache costs."""
    has_members = False
    about = "the tmpfs (or folder) itself that the members' images are on"

    def start(self, place):
        self.folder = os.path.join(place.images, "plain")
        os.mkdir(self.folder)

    def stop(self, place):
        shutil.rmtree(self.folder)


OURS = "raid5cryptfs"
# Variants: name, options of mkfs, options of mounting, members left out.
VARIANTS = [
    (OURS, [], [], 0),
    (f"{OURS}:degraded", [], [], 1),
    (f"{OURS}:aes256-gcm", ["--cipher", "aes256-gcm"], [], 0),
    (f"{OURS}:none", ["--cipher", "none"], ["-o", "cipher=none"], 0),
    (f"{OURS}:sodium", [], ["-o", "engine=sodium"], 0),
    (f"{OURS}:openssl", [], ["-o", "engine=openssl"], 0),
    (f"{OURS}:uring", [], ["-o", "transport=uring"], 0),
]
URING_SWITCH = "/sys/module/fuse/parameters/enable_uring"
DEFAULT = [OURS, f"{OURS}:degraded", "passthrough_ll", "btrfs", "gocryptfs", "securefs", "zfs-fuse", "below"]


def all_peers():
    peers = [Raid5cryptfs(*variant) for variant in VARIANTS]
    peers += [
        Passthrough("passthrough_ll", "writeback,cache=always"),
        Passthrough("passthrough_ll:checked", "writeback,cache=always,default_permissions,xattr"),
        Passthrough("passthrough_ll:auto", "writeback,cache=auto"),
        Passthrough("passthrough_ll:plain", "writeback,cache=always", keeps_memory=False),
        Btrfs("btrfs"),
        Gocryptfs("gocryptfs"),
        Securefs("securefs"),
        ZfsFuse("zfs-fuse"),
        Below("below"),
    ]
    return {peer.name: peer for peer in peers}
