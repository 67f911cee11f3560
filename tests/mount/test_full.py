"""Full filesystems: they say so, lose nothing, and can be emptied."""
import errno

from lib import *


def full(scene):
    """Fill up, delete, fill again: no space is lost, and rename and unlink work on a full filesystem."""
    members = scene.images(3, 24 << 20)
    scene.mkfs(members)
    scene.mount(members)
    m = scene.path("mnt") + "/"
    amounts = []
    for size in [1 << 20, 1 << 20, 3000, 3000, 1 << 20]:
        count = total = 0
        try:
            while True:
                with open(m + f"f{count}", "wb") as f:
                    f.write(os.urandom(size))
                    f.flush()
                    if size > 10000:
                        os.fsync(f.fileno())
                count += 1
                total += size
        except OSError as e:
            check_equal(e.errno, errno.ENOSPC, "the only error")
        check(total > 20 << 20 if size > 10000 else count > 100, f"it takes {total} bytes")
        amounts.append((size, total))
        os.rename(m + "f0", m + "renamed")
        os.rename(m + "f1", m + "renamed")
        for name in os.listdir(m):
            os.unlink(m + name)
        run("sync", "-f", m, code=None)  # tells of the write-back that failed for want of space
        fd = os.open(m, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        check_equal(os.listdir(m), [], "empty again")
    check(amounts[4][1] >= amounts[0][1] * 0.9, f"no space is lost: {amounts}")
    scene.umount()


def reserved(scene):
    """What fallocate(2) has reserved can be written, whatever else filled the filesystem."""
    members = scene.images(3, 24 << 20)
    scene.mkfs(members)
    scene.mount(members)
    m = scene.path("mnt") + "/"
    data = os.urandom(4 << 20)
    with open(m + "reserved", "w+b", buffering=0) as f:
        os.posix_fallocate(f.fileno(), 0, 4 << 20)
        for size in [1 << 20, 65536, 4096, 1000, 0]:
            count = 0
            try:
                while True:
                    with open(m + f"{size}-{count}", "wb", buffering=0) as other:
                        other.write(os.urandom(size))
                        os.fsync(other.fileno())
                    count += 1
            except OSError as e:
                check_equal(e.errno, errno.ENOSPC, "the only error")
        for at in range(0, 2 << 20, 10000):      # blocks in which a part was written before, too
            os.pwrite(f.fileno(), data[at:at + 10000], at)
            os.fsync(f.fileno())
        os.pwrite(f.fileno(), data[2 << 20:], 2 << 20)
        os.fsync(f.fileno())
    check_equal(read(m + "reserved"), data, "it is there")
    scene.umount()
    scene.mount(members)
    check_equal(read(m + "reserved"), data, "it is there after a remount")
    scene.umount()


if __name__ == "__main__":
    main(full, reserved)
