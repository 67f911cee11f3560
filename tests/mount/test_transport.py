"""How requests come from the kernel: transport=uring where it is offered, and without it; what is particular about it (lib.py's R5_TRANSPORT
runs any other test over it)."""
import errno
import resource
import threading

from lib import *

URING = ("-o", "transport=uring")
SEEKERS = 24                             # more than the threads of one processor's queue
SEEKS_AT_ONCE = 3000                     # more than these threads have entries
BLOCK = 65536


def transport_of(scene, *options):
    lines = map(str.split, run("raid5cryptfs-status", scene.path("mnt")).out.splitlines())
    told = scene.status(scene.path("mnt"))["transport"]
    check_equal([words[1] for words in lines if words[0] == "transport"], [told], "for people as for programs")
    return told


def chosen(scene):
    members = scene.images(3)
    scene.mkfs(members)
    check_equal(scene.status(*members)["transport"], None, "none while it is not mounted")
    data = os.urandom(3_000_000)
    with uring_offered():
        scene.mount(members, *URING)
        check_equal(transport_of(scene), "uring", "what was asked for")
        write(scene.path("mnt/a"), data)
        scene.umount()
        scene.mount(members)
        check_equal(transport_of(scene), "device", "only if it is asked for")
        check(read(scene.path("mnt/a")) == data, "what came one way goes the other")
        scene.umount()
    with uring_offered(False):
        result = scene.mount(members, *URING)
        check("enable_uring" in result.err, f"it is said why not, and what to do: {result.err}")
        check_equal(transport_of(scene), "device", "it is mounted nevertheless")
        check(read(scene.path("mnt/a")) == data, "and works")
        scene.umount()
    scene.mount(members, "-o", "transport=steam", code=USAGE)


def on_processor(number, act):
    """A thread that stays there; the processor is the queue that its requests go to."""
    def run_there():
        os.sched_setaffinity(0, {number})
        act()
    return threading.Thread(target=run_there)


def seeks(scene):
    """SEEK_DATA and SEEK_HOLE of files with changed pages are answered later, and make the kernel write: all entries of a queue with them
    must not be all that it has."""
    need_root()
    members = scene.images(3)
    scene.mkfs(members)
    failures = []

    def seek(name, rounds):
        try:
            with open(name, "wb+", buffering=0) as f:
                for number in range(rounds):
                    f.seek((2 * number + 1) * BLOCK)
                    f.write(b"x" * BLOCK)
                    for start in range(0, 2 * number + 2, 2):
                        check_equal(os.lseek(f.fileno(), start * BLOCK, os.SEEK_DATA), (start + 1) * BLOCK, f"{name}: data after {start}")
                        check_equal(os.lseek(f.fileno(), start * BLOCK, os.SEEK_HOLE), start * BLOCK, f"{name}: hole at {start}")
        except Exception as e:
            failures.append(e)

    with uring_offered():
        scene.mount(members, *URING)
        for processor in sorted(os.sched_getaffinity(0))[:2]:
            threads = [on_processor(processor, lambda i=i: seek(scene.path(f"mnt/f{processor}-{i}"), 6)) for i in range(SEEKERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(120)
                check(not thread.is_alive(), "every seek is answered")
        check_equal(failures, [], "and rightly")
        scene.umount()


SEEK_AT_ONCE = """
import os, sys, threading
folder, count = sys.argv[1], int(sys.argv[2])
together = threading.Barrier(count)
def seek(number):
    fd = os.open(f"{folder}/{number}", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"x", 65536)
    together.wait()
    if os.lseek(fd, 0, os.SEEK_DATA) not in (0, 65536):
        os._exit(1)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
threading.stack_size(65536)
threads = [threading.Thread(target=seek, args=(number,)) for number in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def very_many_seeks(scene):
    """However many wait on one processor, each is answered, if need be as if there were no holes."""
    need_root()
    members = scene.images(3)
    scene.mkfs(members)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < 2 * SEEKS_AT_ONCE:
        raise Skip(f"not more than {hard} open files")
    with uring_offered():
        scene.mount(members, *URING)
        seekers = subprocess.Popen([sys.executable, "-c", SEEK_AT_ONCE, scene.path("mnt"), str(SEEKS_AT_ONCE)],
                                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (2 * SEEKS_AT_ONCE, hard)))
        try:
            check_equal(seekers.wait(60), 0, "each is answered, and rightly")
        except subprocess.TimeoutExpired as e:
            run("umount", "-f", scene.path("mnt"), code=None)        # which ends what still waits
            seekers.kill()
            seekers.wait()
            raise AssertionError("seeks are not answered") from e
        scene.umount()


def seeks_without_privilege(scene):
    """Where the kernel's pages cannot be asked for in a way that dies with the daemon (fs/fuse/fuse_pages.c), all is data."""
    need_root()
    members = scene.images(3)
    scene.mkfs(members)
    for transport, hole in [("device", BLOCK), ("uring", 3 * BLOCK)]:
        with uring_offered():
            run("setpriv", "--bounding-set", "-dac_read_search", "raid5cryptfs", *scene.key_options(CIPHERS[0]), "-o", f"transport={transport}",
                *members, scene.mountpoint())
            scene.mounts.append(scene.path("mnt"))
            check_equal(transport_of(scene), transport, "what was asked for")
            with open(scene.path("mnt/f"), "wb+", buffering=0) as f:
                for number in [0, 2]:
                    f.seek(number * BLOCK)
                    f.write(b"x" * BLOCK)
                for _ in range(2):
                    check_equal(os.lseek(f.fileno(), 0, os.SEEK_DATA), 0, f"{transport}: data")
                    check_equal(os.lseek(f.fileno(), 0, os.SEEK_HOLE), hole, f"{transport}: a hole")
                    check_equal(os.lseek(f.fileno(), 2 * BLOCK, os.SEEK_DATA), 2 * BLOCK, f"{transport}: what was written last")
            scene.umount()


def large_and_small(scene):
    """Streams and small requests by turns, on one processor and on all, against what was written."""
    members = scene.images(4)
    scene.mkfs(members)
    contents = {f"f{i}": os.urandom(size) for i, size in enumerate([1, 4096, 5000, 1 << 20, (1 << 20) + 1, 9_000_000, 20_000_000])}
    failures = []

    def work(number):
        try:
            for name, data in contents.items():
                path = scene.path(f"mnt/{number}-{name}")
                write(path, data)
                run("sync", path)
                os.posix_fadvise(fd := os.open(path, os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)
                check(read(path) == data, f"{path}: what was written")
                os.rename(path, path + "-")
                check_equal(os.stat(path + "-").st_size, len(data), "its size")
        except Exception as e:
            failures.append(e)

    with uring_offered():
        scene.mount(members, *URING)
        threads = [on_processor(min(os.sched_getaffinity(0)), lambda: work("one"))] + [threading.Thread(target=work, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check_equal(failures, [], "no worker failed")
        scene.umount()
        scene.mount(members[1:])
        for who in ["one", 0, 1, 2]:
            for name, data in contents.items():
                check(read(scene.path(f"mnt/{who}-{name}-")) == data, f"{who}-{name} without a member, by the other transport")
        scene.umount()


def aborted(scene):
    """The kernel can end a connection at any time; then the daemon writes back and ends."""
    need_root()
    members = scene.images(3)
    scene.mkfs(members)
    control = scene.mountpoint("fusectl")
    run("mount", "-t", "fusectl", "none", control)
    scene.mounts.append(control)
    with uring_offered():
        scene.mount(members, *URING)
        fd = os.open(scene.path("mnt/synced"), os.O_CREAT | os.O_RDWR)
        os.write(fd, b"before")
        os.fsync(fd)
        device = os.stat(scene.path("mnt")).st_dev
        write(f"{control}/{os.major(device) << 20 | os.minor(device)}/abort", b"1")
        try:
            os.write(fd, b"after")
            os.fsync(fd)
            check(False, "an aborted connection serves nobody")
        except OSError as e:
            check(e.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO), f"{e}")
        with contextlib.suppress(OSError):       # of the write that was not to be
            os.close(fd)
        scene.wait_no_daemon()
        run("umount", "-l", scene.path("mnt"), code=None)
        scene.mounts.remove(scene.path("mnt"))
    scene.mount(members)
    check(read(scene.path("mnt/synced")).startswith(b"before"), "what was synced is there")
    scene.umount()
    run("umount", control)
    scene.mounts.remove(control)


if __name__ == "__main__":
    main(chosen, seeks, very_many_seeks, seeks_without_privilege, large_and_small, aborted)
