"""An ordinary user mounts image files through fusermount3.  /dev/fuse gets Debian's mode for the time of the test."""
from lib import *


def ordinary_user(scene):
    with as_nobody(scene) as (who, home, _):
        mounts(scene, who, home)


def mounts(scene, who, home):
    def do(*command, **kwargs):
        return run(*command, **who, **kwargs)

    members = [os.path.join(home, f"d{i}") for i in range(3)]
    for member in members:
        do("truncate", "-s", "64M", member)
    do("raid5cryptfs-key", "generate", "key")
    do("mkfs.raid5cryptfs", "--key-file", "key", *members)
    mnt = os.path.join(home, "mnt")
    do("mkdir", mnt)
    do("raid5cryptfs", "-o", "key-file=key", *members, mnt)
    scene.mounts.append(mnt)
    check_equal(do("stat", "-c", "%u", mnt).out.strip(), str(who["user"]), "the root belongs to who made it")
    do("sh", "-c", "echo hello >mnt/file")
    check_equal(do("cat", "mnt/file").out, "hello\n", "content")
    do("raid5cryptfs-status", mnt)
    run("raid5cryptfs-status", mnt, code=None)
    do("fusermount3", "-u", mnt)
    scene.mounts.remove(mnt)
    scene.wait_no_daemon()
    do("raid5cryptfs", "-o", "key-file=key", *members, mnt)
    scene.mounts.append(mnt)
    check_equal(do("cat", "mnt/file").out, "hello\n", "content after a remount")
    do("sh", "-c", "echo more >>mnt/file")
    for pid in scene.daemons():
        os.kill(pid, signal.SIGTERM)
    scene.wait_no_daemon()
    wait_for(lambda: mnt not in [line.split()[1] for line in open("/proc/self/mounts")], "SIGTERM unmounts")
    scene.mounts.remove(mnt)
    do("raid5cryptfs", "-o", "key-file=key", *members, mnt)
    scene.mounts.append(mnt)
    check_equal(do("cat", "mnt/file").out, "hello\nmore\n", "content after SIGTERM")
    do("fusermount3", "-u", mnt)
    scene.mounts.remove(mnt)


if __name__ == "__main__":
    main(ordinary_user)
