"""An idle mount writes nothing to its members; one that is only read or looked at, neither."""
from lib import *


def content(members):
    return [hashlib.file_digest(open(m, "rb"), "sha256").hexdigest() for m in members]


def idle(scene):
    members = scene.images(3)
    scene.mkfs(members)
    before = content(members)
    scene.mount(members, "-o", "commit=1")
    root = scene.path("mnt")
    time.sleep(3)
    scene.status(root)
    check_equal(content(members), before, "a mount that nobody uses writes nothing")
    scene.umount()
    check_equal(content(members), before, "nor does its unmount")

    scene.mount(members, "-o", "commit=1")
    make_tree(root, files=50, big=1)
    run("sync", "-f", root)
    fd = os.open(root, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    written = content(members)
    check(written != before, "a used one does")

    def settled():
        nonlocal written
        last, written = written, content(members)
        if last == written:
            return True
        time.sleep(2)
        return False

    wait_for(settled, "it comes to rest", 60)
    last = [os.stat(m).st_mtime_ns for m in members]
    time.sleep(5)
    check_equal(content(members), written, "at rest it writes nothing")
    check_equal([os.stat(m).st_mtime_ns for m in members], last, "not even the same bytes")
    scene.umount()


def read_only(scene):
    members = scene.images(3)
    scene.mkfs(members)
    scene.mount(members)
    root = scene.path("mnt")
    make_tree(root, files=50, big=1)
    for pid in scene.daemons():
        os.kill(pid, signal.SIGKILL)
    scene.wait_no_daemon()
    unmount(root)
    scene.mounts.remove(root)
    before = content(members)
    for member in members:
        os.chmod(member, 0o400)
    scene.mount(members, "-o", "ro")
    describe_tree(root)
    scene.umount()
    scene.mount(members[1:], "-o", "ro")
    describe_tree(root)
    scene.umount()
    check_equal(content(members), before, "a read-only mount writes nothing, also degraded and after a crash")


if __name__ == "__main__":
    main(idle, read_only)
