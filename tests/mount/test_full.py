"""Full filesystems: they say so, lose nothing, and can be emptied."""
import errno

from lib import *


def full(scene):
    """Fill up, delete, fill again: no space is lost, and unlink works on a full filesystem."""
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
        for name in os.listdir(m):
            os.unlink(m + name)
        run("sync", "-f", m, code=None)  # tells of the write-back that failed for want of space
        fd = os.open(m, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        check_equal(os.listdir(m), [], "empty again")
    check(amounts[4][1] >= amounts[0][1] * 0.9, f"no space is lost: {amounts}")
    scene.umount()


if __name__ == "__main__":
    main(full)
