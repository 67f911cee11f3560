"""What sync, syncfs and umount promise: when they return, all is durable, and after umount the members are free.

Without a commit of its own (commit=3600) a daemon that is killed leaves only what was committed because somebody asked."""
import contextlib
import fcntl
import mmap
import platform

from lib import *

LAZY = ("-o", "commit=3600")


def mount_lines(root):
    with open("/proc/self/mountinfo") as f:
        return [fields for fields in map(str.split, f) if fields[4] == root]


def mount_line(root):
    fields = mount_lines(root)[-1]
    dash = fields.index("-")
    return {"dev": fields[2], "type": fields[dash + 1], "source": fields[dash + 2]}


class Loop:
    """The private loop device of a mount."""

    def __init__(self, root):
        device = os.stat(root).st_dev
        check_equal(os.major(device), 7, f"{root} is on a loop device")
        self.folder = f"/sys/block/loop{os.minor(device)}"
        self.sequence = self.number()
        check("raid5cryptfs" in self.backing(), f"the file behind it is the daemon's: {self.backing()}")

    def number(self):
        with open(self.folder + "/diskseq") as f:
            return f.read()

    def backing(self):
        with contextlib.suppress(FileNotFoundError), open(self.folder + "/loop/backing_file") as f:
            return f.read()
        return ""

    def gone(self):
        return not self.backing() or self.number() != self.sequence


def check_free(members):
    """At once, with nothing that waits."""
    for member in members:
        block = stat.S_ISBLK(os.stat(member).st_mode)
        fd = os.open(member, os.O_RDWR | (os.O_EXCL if block else 0))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(fd)


def is_locked(member):
    fd = os.open(member, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def umount_now(scene, name="mnt"):
    unmount(scene.path(name))
    scene.mounts.remove(scene.path(name))


def kill_and_detach(scene):
    for pid in scene.daemons():
        os.kill(pid, signal.SIGKILL)
    scene.wait_no_daemon()
    run("umount", "-l", scene.path("mnt"))
    scene.mounts.remove(scene.path("mnt"))


def durable_after(scene, *syncs):
    """After each of these ways to sync, is what was written before durable, and nothing else?"""
    need_root()
    release = tuple(int(n) for n in platform.release().split("-")[0].split(".")[:2])
    if release < (6, 18):
        raise Skip("this kernel does not hand syncfs on")
    members = scene.images(3)
    scene.mkfs(members)
    m = scene.mountpoint() + "/"
    for sync in syncs:
        scene.mount(members, *LAZY)
        data = os.urandom(300_000)
        write(m + "synced", data)
        os.makedirs(m + "folder/in it", exist_ok=True)
        sync()
        write(m + "after", b"x")
        loop = Loop(m)
        kill_and_detach(scene)
        wait_for(loop.gone, "the loop device goes with the mount of a killed daemon")
        scene.mount(members)
        check(read(m + "synced") == data, "what was synced is there")
        check(os.path.isdir(m + "folder/in it"), "folders too")
        check(not os.path.exists(m + "after"), "and nothing but that was committed: the test tests something")
        umount_now(scene)


def synced_is_durable(scene):
    m = scene.path("mnt/")
    durable_after(scene, lambda: syncfs(m), lambda: syncfs(m + "synced"), lambda: run("sync", "-f", m + "synced"))


def umount_releases(scene):
    need_root()
    images = scene.images(3, 200 << 20)
    scene.mkfs(images)
    loops = [scene.loop(i) for i in images]
    m = scene.mountpoint() + "/"
    contents = {}
    for number, size in enumerate([0, 10, 5_000_000, 40_000_000]):
        members = loops if number % 2 else images
        scene.mount(members, *LAZY)
        for name, data in contents.items():
            check(read(m + name) == data, f"{name} after an unmount")
        contents[f"file{number}"] = os.urandom(size)
        write(m + f"file{number}", contents[f"file{number}"])
        loop = Loop(m)
        check(is_locked(members[0]), "a mounted member is locked")
        umount_now(scene)
        check_free(members)
        check(loop.gone(), "the loop device is gone when umount returns")
    scene.wait_no_daemon()
    scene.mount(images[1:])
    for name, data in contents.items():
        check(read(m + name) == data, f"{name} without one member")
    scene.umount()


def dirty_pages(scene):
    need_root()
    members = scene.images(3)
    scene.mkfs(members)
    m = scene.mountpoint() + "/"
    scene.mount(members, *LAZY)
    write(m + "mapped", b"-" * 1_000_000)
    with open(m + "mapped", "r+b") as f:
        pages = mmap.mmap(f.fileno(), 0)
        pages[::4096] = b"+" * len(range(0, 1_000_000, 4096))
        pages.close()
    umount_now(scene)
    check_free(members)
    scene.mount(members, *LAZY)
    data = read(m + "mapped")
    check(data[::4096] == b"+" * 245 and data.count(b"-") == 1_000_000 - 245, "pages that were mapped")
    loop = Loop(m)
    with open(m + "open", "wb", buffering=0) as f:
        f.write(b"before ")
        run("umount", m, code=32, says="busy")
        run("umount", "-l", m)
        scene.mounts.remove(scene.path("mnt"))
        check(is_locked(members[0]), "the daemon goes on while a file is open")
        f.write(b"after")
    scene.wait_no_daemon()
    check_free(members)
    wait_for(loop.gone, "the loop device is gone")
    scene.mount(members)
    check_equal(read(m + "open"), b"before after", "a file that was open at umount -l")
    umount_now(scene)


def two_arrays(scene):
    need_root()
    sets = [scene.images(3), scene.images(3)]
    names = [f"one-{os.getpid()}", f"two-{os.getpid()}"]
    for members, name in zip(sets, names):
        scene.mkfs(members, "--name", name)
        scene.mount(members, *LAZY, name=name)
        line = mount_line(scene.path(name))
        check_equal((line["type"], line["source"]), ("fuseblk.raid5cryptfs", f"array:{name}"), "as /proc shows it")
        limits = {}
        for limit in ["read_ahead_kb", "strict_limit", "max_bytes"]:
            with contextlib.suppress(FileNotFoundError), open(f"/sys/class/bdi/{line['dev']}-fuseblk/{limit}") as f:
                limits[limit] = int(f.read())
        check_equal(limits["read_ahead_kb"], 4096, "the read-ahead that the daemon sets")
        check_equal(limits.get("strict_limit", 1), 1, "the limit of dirty pages holds")
        check(64 << 20 < limits.get("max_bytes", 128 << 20) < 256 << 20, f"and is what the daemon sets: {limits}")
        check_equal(scene.status(scene.path(name))["name"], name, "status by the mount point")
    found = [a["mountpoint"] for a in json.loads(run("raid5cryptfs-status", "--json", code=None).out)["arrays"]]
    check(all(scene.path(name) in found for name in names), f"status finds both: {found}")
    loops = [Loop(scene.path(name)) for name in names]
    check(loops[0].folder != loops[1].folder, "each has a device of its own")
    for name in names:
        write(scene.path(name) + "/file", name.encode())
    umount_now(scene, names[0])
    check_free(sets[0])
    check(is_locked(sets[1][0]) and not loops[1].gone(), "the other one stays")
    check_equal(read(scene.path(names[1]) + "/file"), names[1].encode(), "and works")
    umount_now(scene, names[1])
    check_free(sets[1])
    check(all(loop.gone() for loop in loops), "no device is left")
    check(not [f for f in os.listdir("/run") if f.startswith("raid5cryptfs.")], "no folder is left")


def sources(scene):
    """A source that cannot be a name is shown as the array's."""
    need_root()
    members = scene.images(3)
    scene.mkfs(members, "--name", "a/b c")
    uuid = scene.status(*members)["uuid"]
    root = scene.mountpoint()
    for source in [":".join(members), f"array:{uuid}"]:
        if source.startswith("array:"):
            for member in members:
                scene.loop(member)
        run("raid5cryptfs", "-o", f"key-file={scene.key()}", source, root)
        scene.mounts.append(root)
        check_equal(mount_line(root)["source"], f"array:{uuid}", f"the source of {source}")
        umount_now(scene)


def ended_by_signal(scene):
    need_root()
    members = scene.images(3)
    scene.mkfs(members)
    m = scene.mountpoint() + "/"
    for is_open in [False, True]:
        scene.mount(members, *LAZY)
        loop = Loop(m)
        fd = os.open(m + f"file{is_open}", os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"written")
        if not is_open:
            os.close(fd)
        os.kill(scene.daemons()[0], signal.SIGTERM)
        scene.wait_no_daemon()
        if is_open:
            with contextlib.suppress(OSError):           # it was cut off
                os.close(fd)
        check_free(members)
        check(not mount_lines(m.rstrip("/")), "SIGTERM unmounts")
        scene.mounts.remove(scene.path("mnt"))
        wait_for(loop.gone, "the loop device is gone")
    scene.mount(members)
    for name in ["fileFalse", "fileTrue"]:
        check_equal(read(m + name), b"written", name)
    umount_now(scene)


def ended_wherever_mounted(scene):
    """SIGTERM ends a mount that is not, or not only, where it was made; and what else is mounted there stays."""
    need_root()
    members = scene.images(3)
    scene.mkfs(members)
    m = scene.mountpoint("folder/mnt")

    def end(how, root):
        fd = os.open(f"{root}/{how}", os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"written")
        os.kill(scene.daemons()[0], signal.SIGTERM)
        scene.wait_no_daemon(30)
        with contextlib.suppress(OSError):               # it was cut off
            os.close(fd)
        check_free(members)
        scene.mounts.remove(m)

    scene.mount(members, *LAZY, name="folder/mnt")
    bound = scene.mountpoint("bound")
    run("mount", "--bind", m, bound)
    end("bound", bound)
    check(not mount_lines(m) and not mount_lines(bound), "both are unmounted")

    scene.mount(members, *LAZY, name="folder/mnt")
    os.rename(scene.path("folder"), scene.path("moved"))
    end("moved", scene.path("moved/mnt"))
    check(not mount_lines(scene.path("moved/mnt")), "it is unmounted where it is now")
    os.rename(scene.path("moved"), scene.path("folder"))

    for below in [False, True]:
        if below:
            run("mount", "-t", "tmpfs", "tmpfs", m)
            write(m + "/other", b"x")
        scene.mount(members, *LAZY, "-o", "nonempty", name="folder/mnt")
        fd = os.open(m, os.O_RDONLY)
        if not below:
            run("mount", "-t", "tmpfs", "tmpfs", m)
            write(m + "/other", b"x")
        end("over", f"/proc/self/fd/{fd}")
        os.close(fd)
        check_equal(read(m + "/other"), b"x", "what else is mounted there")
        run("umount", m)
        run("umount", m, code=None)

    scene.mount(members, name="folder/mnt")
    for name in ["bound", "moved"]:
        check_equal(read(f"{m}/{name}"), b"written", name)
    umount_now(scene, "folder/mnt")


SEEKER = """
import itertools, os, sys
with open(sys.argv[1], "wb+", buffering=0) as f:
    print("begins", flush=True)
    for number in itertools.count():
        os.pwrite(f.fileno(), b"x" * 4096, number % 1000 * 8192)
        os.lseek(f.fileno(), 0, os.SEEK_DATA)
"""


@contextlib.contextmanager
def seeking(scene, count):
    """Programs that write and seek in files of their own, until the mount or the block ends."""
    seekers = [subprocess.Popen([sys.executable, "-c", SEEKER, scene.path(f"mnt/{i}")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
               for i in range(count)]
    try:
        for seeker in seekers:
            seeker.stdout.readline()
        yield
    finally:
        for seeker in seekers:
            seeker.kill()
            seeker.communicate()


def ended_while_seeking(scene):
    """A seek in a file with changed pages waits for the kernel to write them, and so for the threads that end."""
    need_root()
    members = scene.images(3)
    scene.mkfs(members)
    for number in range(5):
        scene.mount(members)
        with seeking(scene, 6):
            time.sleep(0.1 * number)
            os.kill(scene.daemons()[0], signal.SIGTERM)
            scene.wait_no_daemon(30)
        scene.mounts.remove(scene.path("mnt"))
        check_free(members)


def killed_while_seeking(scene):
    """The wait for the kernel's pages must not keep the connection open beyond the daemon's death: nothing could end it then."""
    need_root()
    members = scene.images(3)
    scene.mkfs(members)
    for number in range(8):
        scene.mount(members)
        daemon = scene.daemons()[0]
        with seeking(scene, 6):
            time.sleep(0.1 * number)
            os.kill(daemon, signal.SIGKILL)
            try:
                wait_for(lambda pid=daemon: not os.path.exists(f"/proc/{pid}"), "the daemon ends when it is killed", 30)
            finally:
                run("umount", "-f", scene.path("mnt"), code=None)        # which ends what still waits
        if mount_lines(scene.path("mnt")):
            unmount(scene.path("mnt"))
        scene.mounts.remove(scene.path("mnt"))
        check_free(members)


def failed(scene):
    """Two members that can take no more writes: the array goes read-only, says that it has failed, and can be unmounted."""
    need_root()
    members = [scene.image()]
    for i in range(2):
        full = scene.mountpoint(f"full{i}")
        run("mount", "-t", "tmpfs", "-o", "size=16M", "tmpfs", full)
        members.append(full + "/member")
        run("truncate", "-s", str(SIZE), members[-1])
    scene.mkfs(members)
    m = scene.mountpoint() + "/"
    scene.mount(members, *LAZY)
    write(m + "synced", b"x")
    syncfs(m)
    scene.status(m)
    for i, code in [(0, DEGRADED), (1, FAILED)]:
        with contextlib.suppress(OSError), open(scene.path(f"full{i}/filler"), "wb", buffering=0) as f:
            while True:
                f.write(bytes(1 << 20))
        if code == DEGRADED:
            write(m + "more", os.urandom(2_000_000))
            syncfs(m)
        else:
            with contextlib.suppress(OSError):
                write(m + "even more", os.urandom(2_000_000))
            run("sync", "-f", m, code=1, says="error syncing")
        status = scene.status(m, code=code)
        check_equal(status["state"], {DEGRADED: "degraded", FAILED: "failed"}[code], "the state")
        check_equal(status["read_only"], code == FAILED, "read-only")
        check(code == DEGRADED and status["why_read_only"] is None or "No space left on device" in (status["why_read_only"] or ""),
              f"the reason, if it is: {status['why_read_only']}")
    check_equal(read(m + "synced"), b"x", "what can be read")
    umount_now(scene)
    check_free(members)


def without_loop_devices(scene):
    """As in a container: a plain mount, and the log says what that means."""
    need_root()
    members = scene.images(3)
    scene.mkfs(members)
    root = scene.mountpoint()
    command = f"raid5cryptfs -f -o key-file={scene.key()} {' '.join(members)} {root}"
    out = run("unshare", "-m", "--propagation", "private", "sh", "-c", f"""set -e
mount --bind /dev/null /dev/loop-control
{command} &
for i in $(seq 100); do grep -q ' {root} ' /proc/self/mounts && break; sleep 0.1; done
grep ' {root} ' /proc/self/mounts
echo data >{root}/file
umount {root}
raid5cryptfs-status --wait {' '.join(members)} >/dev/null
wait""", says="plain FUSE mount").out
    check(" fuse.raid5cryptfs " in out, f"the type: {out}")
    check_free(members)
    scene.mount(members, "-o", "auto_unmount")
    check_equal(read(root + "/file"), b"data\n", "what was written there")
    check_equal(mount_line(root)["type"], "fuseblk.raid5cryptfs", "with auto_unmount")
    write(root + "/more", b"data")
    umount_now(scene)
    check_free(members)


# ---- An ordinary user ----

HELPERS = ["/sbin/umount.fuse.raid5cryptfs", "/usr/sbin/umount.fuse.raid5cryptfs"]


@contextlib.contextmanager
def helper_installed(tools):
    """umount(8) searches /sbin only: a link there for the time of the test, unless it is installed."""
    made = not any(map(os.path.lexists, HELPERS))
    if made:
        os.symlink(os.path.join(tools, "umount.fuse.raid5cryptfs"), HELPERS[0])
    try:
        yield
    finally:
        if made:
            os.unlink(HELPERS[0])


def ordinary_user(scene):
    with as_nobody(scene) as (who, home, tools):
        waits_for_release(scene, who, home, tools)


def waits_for_release(scene, who, home, tools):
    members = [os.path.join(home, f"d{i}") for i in range(3)]
    mnt = os.path.join(home, "mnt")
    run("truncate", "-s", "64M", *members, **who)
    run("mkdir", mnt, **who)
    run("raid5cryptfs-key", "generate", "key", **who)
    run("mkfs.raid5cryptfs", "--key-file", "key", *members, **who)

    def mount():
        run("raid5cryptfs", "-o", "key-file=key,commit=3600", *members, mnt, **who)
        scene.mounts.append(mnt)
        check_equal(mount_line(mnt)["type"], "fuse.raid5cryptfs", "a plain mount")
        run("sh", "-c", "head -c 3000000 /dev/urandom >mnt/file", **who)

    def stopped():
        pid = scene.daemons()[0]
        os.kill(pid, signal.SIGSTOP)
        return pid

    # fusermount3 -u returns while the daemon cannot have done a thing; status waits.
    mount()
    pid = stopped()
    run("fusermount3", "-u", mnt, **who)
    scene.mounts.remove(mnt)
    check(is_locked(members[0]), "the members are not released yet")
    run("raid5cryptfs-status", "--wait=0", *members, code=BUSY, says="still in use", **who)
    start = time.monotonic()
    run("raid5cryptfs-status", "--wait=1", *members, code=BUSY, says="after 1 seconds", **who)
    check(time.monotonic() - start > 0.9, "it has waited for a second")
    waiting = subprocess.Popen(["raid5cryptfs-status", "--wait", *members], stdout=subprocess.DEVNULL, **who)
    time.sleep(0.5)
    check(waiting.poll() is None, "it waits on")
    os.kill(pid, signal.SIGCONT)
    check_equal(waiting.wait(60), 0, "status has waited")
    check_free(members)

    # The helper waits.  Its fusermount3 stops the daemon first.
    wrapper = os.path.join(tools, "fusermount3")
    mount()
    write(wrapper, f"#!/bin/sh\nkill -STOP {scene.daemons()[0]}\nexec {shutil.which('fusermount3')} \"$@\"\n".encode())
    os.chmod(wrapper, 0o755)
    pid = scene.daemons()[0]
    waiting = subprocess.Popen(["umount.fuse.raid5cryptfs", mnt], **who)
    wait_for(lambda: not mount_lines(mnt), "the helper unmounts")
    scene.mounts.remove(mnt)
    time.sleep(0.5)
    check(waiting.poll() is None and is_locked(members[0]), "the helper waits while the daemon is stopped")
    os.kill(pid, signal.SIGCONT)
    check_equal(waiting.wait(60), 0, "the helper has waited")
    check_free(members)
    os.unlink(wrapper)

    with helper_installed(tools):
        mount()
        unmount(mnt, **who)
        scene.mounts.remove(mnt)
        check_free(members)

    # What cannot be unmounted, and a daemon that is gone.
    mount()
    holder = subprocess.Popen(["sh", "-c", "exec 3<mnt/file; echo; exec sleep 1000"], stdout=subprocess.PIPE, **who)
    holder.stdout.readline()
    run("umount.fuse.raid5cryptfs", mnt, code=SYSTEM, says="not unmounted", **who)
    check(mount_lines(mnt), "an open file keeps it")
    holder.kill()
    holder.communicate()
    os.kill(scene.daemons()[0], signal.SIGKILL)
    scene.wait_no_daemon()
    run("umount.fuse.raid5cryptfs", mnt, says="no waiting", **who)
    scene.mounts.remove(mnt)
    check_free(members)
    # Members that were moved away meanwhile.
    mount()
    for member in members:
        os.rename(member, member + ".moved")
    run("umount.fuse.raid5cryptfs", mnt, says="no waiting", **who)
    scene.mounts.remove(mnt)
    check(not mount_lines(mnt), "it is unmounted")
    scene.wait_no_daemon()
    for member in members:
        os.rename(member + ".moved", member)
    run("umount.fuse.raid5cryptfs", code=USAGE, says="mount point", **who)
    run("raid5cryptfs-status", "--wait", code=USAGE, says="name the members", **who)
    run("raid5cryptfs-status", "--wait=x", *members, code=USAGE, says="number of seconds", **who)


if __name__ == "__main__":
    main(synced_is_durable, umount_releases, dirty_pages, two_arrays, sources, ended_by_signal, ended_wherever_mounted, ended_while_seeking,
         killed_while_seeking, failed, without_loop_devices, ordinary_user)
