"""Members that fail on command, and what tests with them share.  tests/mount/faulty.c says what they can be told."""
import socket
import threading

from lib import *

LINES_SHOWN = 30
PROGRAM = os.environ.get("R5_FAULTY", "faulty")


class Faulty:
    """An image behind the fault layer: `path` is the member.  It ends with this process at the latest."""

    def __init__(self, scene, image):
        self.image, self.scene = image, scene
        folder = scene.mountpoint(f"faulty{os.path.basename(image)}")
        self.control = folder + ".control"
        self.path = os.path.join(folder, "disk")
        self.server = subprocess.Popen([PROGRAM, image, folder, self.control], stdin=subprocess.PIPE)
        wait_for(lambda: os.path.exists(self.path) or self.server.poll() is not None, "the fault layer is mounted")
        check_equal(self.server.poll(), None, "the fault layer runs")

    def tell(self, *words, **keys):
        """Says one line; returns the answer's figures.  `from` is written from_."""
        line = " ".join([str(w) for w in words] + [f"{k.rstrip('_')}={v}" for k, v in keys.items()])
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.control)
            s.sendall(line.encode() + b"\n")
            answer = s.makefile().read().split()
        check_equal(answer[:1], ["ok"], f"{line}: {' '.join(answer)}")
        return dict(zip(["reads", "writes", "flushes", "bad", "hung"], map(int, answer[1:])))

    def bad(self):
        """How many requests were spoilt so far."""
        return self.tell("count")["bad"]

    def heal(self):
        """Whatever was wrong of it is over.  What it lacks, it lacks."""
        for word in ["clear", "release", "back"]:
            self.tell(word)
        self.tell("shrink", 0)


class Mount:
    """A mount whose daemon stays in the foreground, so that its messages can be read.  They are shown too."""

    def __init__(self, scene, members, *options, name="mnt", cipher=CIPHERS[0]):
        self.scene, self.root, self.lines = scene, scene.mountpoint(name), []
        self.daemon = subprocess.Popen(["raid5cryptfs", "-f", *scene.key_options(cipher), *options, *members, self.root],
                                       stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, errors="replace")
        threading.Thread(target=self.listen, daemon=True).start()
        wait_for(lambda: os.path.ismount(self.root) or self.daemon.poll() is not None, "it is mounted", 60)
        check(self.daemon.poll() is None, f"it is mounted: {self.log()}")

    def listen(self):
        for line in self.daemon.stderr:
            if len(self.lines) < LINES_SHOWN:
                print("   ", line, end="")
            self.lines.append(line)

    def log(self):
        return "".join(self.lines)

    def status(self):
        return self.scene.status(self.root, code=None)

    def member(self, index):
        return next(m for m in self.status()["members"] if m["index"] == index)

    def wait_log(self, text, seconds=30):
        wait_for(lambda: text in self.log(), f"the log says {text!r}; it says: {self.log()}", seconds)

    def wait_healthy(self, seconds=90):
        wait_for(lambda: self.status()["state"] == "healthy", f"all members are in sync: {self.status()}", seconds)

    def umount(self):
        unmount(self.root)
        check(self.daemon.wait(60) is not None, "the daemon ended")


class Load:
    """fio: writes at random with an fsync now and then, and verifies what it wrote, past the kernel's cache.  Runs until its blocks
    are written or it finds a fault."""

    def __init__(self, root, size_mib=6, seconds=3, name="load"):
        self.folder = root
        blocks = size_mib << 20 >> 12
        self.name, self.layout = name, ["fio", f"--name={name}", f"--directory={root}", f"--size={size_mib}M", "--bs=4k", "--rw=randwrite",
                                        "--ioengine=psync", "--direct=1", "--fallocate=none", "--verify=crc32c", "--verify_fatal=1",
                                        "--allrandrepeat=1", "--randseed=7"]
        self.process = subprocess.Popen([*self.layout, "--fsync=24", "--verify_backlog=64", f"--rate_iops={blocks // seconds}"],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=os.path.dirname(root))

    def end(self):
        out, _ = self.process.communicate(timeout=120)
        check_equal(self.process.returncode, 0, f"fio found no error:\n{out}")

    def verify(self):
        """All that was written, again."""
        run(*self.layout, "--verify_only=1", cwd=os.path.dirname(self.folder))


class Changes:
    """A user who makes, changes, renames and deletes small files all the time, and knows what must be there."""

    def __init__(self, root, seed=1):
        self.root, self.rng, self.files, self.error, self.count = root, random.Random(seed), {}, None, 0
        os.makedirs(root, exist_ok=True)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.go, daemon=True)
        self.thread.start()

    def step(self):
        name = f"f{self.rng.randrange(60)}"
        path = os.path.join(self.root, name)
        if name in self.files and self.rng.random() < 0.3:
            os.unlink(path)
            del self.files[name]
        elif name in self.files and self.rng.random() < 0.3:
            other = f"f{self.rng.randrange(60)}"
            os.rename(path, os.path.join(self.root, other))
            self.files[other] = self.files.pop(name)
        else:
            data = self.rng.randbytes(self.rng.choice([10, 3000, 20000, 100000]))
            with open(path, "wb") as f:
                f.write(data)
                if self.rng.random() < 0.3:
                    os.fsync(f.fileno())
            self.files[name] = hashlib.sha256(data).hexdigest()
        self.count += 1

    def go(self):
        try:
            while not self.stopping.wait(0.005):
                self.step()
        except OSError as e:
            self.error = e

    def end(self):
        self.stopping.set()
        self.thread.join(120)
        check(not self.thread.is_alive(), "changes go on")
        check(self.error is None, f"no error for users: {self.error}")
        check(self.count > 20, f"{self.count} changes were made")

    def verify(self):
        check_equal(sorted(os.listdir(self.root)), sorted(self.files), "the names")
        for name, digest in self.files.items():
            with open(os.path.join(self.root, name), "rb") as f:
                check_equal(hashlib.file_digest(f, "sha256").hexdigest(), digest, f"content of {name}")


def failing(scene, count=1, members=4, size=SIZE, loops=False, cipher=CIPHERS[0]):
    """An array, not mounted: its members, and those `count` of them that can be told to fail, which are the last ones."""
    images = scene.images(members, size)
    bad = [Faulty(scene, image) for image in images[members - count:]]
    paths = images[:members - count] + [scene.loop(f.path) if loops else f.path for f in bad]
    scene.mkfs(paths, cipher=cipher)
    return paths, bad


def without(paths, index):
    return [p for i, p in enumerate(paths) if i != index]


def drop_caches():
    """Pages of the kernel only; the daemon's memory goes with the mount."""
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("1")


def fsck_clean(scene, paths, code=0):
    return run("fsck.raid5cryptfs", "-n", "--data", "--key-file", scene.key(), *paths, code=code)


# ---- Scenes ----

DROPPED = "is out of the array"


class Scenery:
    """A mounted array whose last member can be told to fail, with a tree that stays as it is, and users at work."""

    def __init__(self, scene, *options, loops=False):
        self.scene, self.options = scene, options
        self.paths, [self.bad] = failing(scene, loops=loops)
        self.mount()
        os.mkdir(self.m.root + "/tree")
        make_tree(self.m.root + "/tree", files=40, big=1)
        self.tree = describe_tree(self.m.root + "/tree")
        syncfs(self.m.root)
        self.load, self.changes = Load(self.m.root), Changes(self.m.root + "/changes")
        time.sleep(0.5)

    def mount(self, paths=None):
        self.m = Mount(self.scene, paths or self.paths, *self.options)

    def end_load(self):
        self.load.end()
        self.changes.end()

    def verify(self):
        drop_caches()
        self.load.verify()
        self.changes.verify()
        compare_trees(self.tree, describe_tree(self.m.root + "/tree"), "the tree")

    def verify_without_another(self):
        self.mount(without(self.paths, 0))
        self.verify()
        self.m.umount()


def dropped(scene, break_it, loops=False, back=False, by_reads=False):
    """The last member fails under load: nobody sees an error, it is out, the user is told, it is caught up when it is back, and then another
    one may be missing.  `back`: it is well again, and comes back, while mounted; else at the next mount.  `by_reads`: it takes many of
    them."""
    s = Scenery(scene, "-o", "timeout=2,commit=1", loops=loops)
    member = s.paths[-1]
    stays_out = not back
    break_it(s.bad)
    if by_reads:
        s.end_load()
        s.verify()
    s.m.wait_log(f"{member} {DROPPED}")
    if stays_out:
        status = s.m.status()
        check_equal([status["state"], status["read_only"]], ["degraded", False], f"the state: {status}")
    if not by_reads:
        s.end_load()
    s.verify()
    if stays_out:
        check_equal(s.m.status()["map"], "[UUU_]", "it is out")
    if back:
        s.bad.heal()
        s.m.wait_log(f"{member} is in sync", 60)
    s.m.umount()
    s.bad.heal()
    if not back:
        check(scene.status(*s.paths, code=DEGRADED)["map"] == "[UUU_]", "it is out of date")
        s.mount()
        s.verify()
        s.m.wait_healthy()
        s.m.umount()
    fsck_clean(scene, s.paths)
    s.verify_without_another()


def mended(scene, paths):
    """What nobody read is found by fsck alone: nothing that is not to be had from the other members."""
    found = fsck_clean(scene, paths, code=None)
    for line in found.out.splitlines():
        check(not line.startswith("found: ") or "Parity of band" in line or "made from parity" in line, f"nothing is lost: {found.out}")
    run("fsck.raid5cryptfs", "-y", "--data", "--key-file", scene.key(), *paths, code=1 if found.code else 0)
    fsck_clean(scene, paths)


def kept(scene, misbehave, spoilt):
    """Under load the last member misbehaves, so that at least `spoilt` requests are.  Users see nothing of it, and it stays in the array.
    Then, behaving again, it is mounted: all verifies, and does so again with another one missing.  Returns the status after the
    verification, and what was logged."""
    s = Scenery(scene, "-o", "timeout=20,commit=1")
    misbehave(s.bad)
    s.end_load()
    s.verify()
    check_equal(s.m.status()["state"], "healthy", "nobody was dropped")
    s.m.umount()
    check(s.bad.bad() >= spoilt, f"{s.bad.bad()} requests were spoilt")
    s.bad.heal()
    s.mount()
    s.verify()
    s.m.wait_healthy()
    status, log = s.m.status(), s.m.log()
    s.m.umount()
    mended(scene, s.paths)
    s.verify_without_another()
    return status, log
