"""One member of a real mount fails under load (`dropped` in faulty.py says what is expected)."""
import fcntl
import mmap

from faulty import *


def expect_errno(number, call, *arguments):
    try:
        call(*arguments)
    except OSError as e:
        check_equal(e.errno, number, "errno")
    else:
        raise AssertionError(f"{call} worked")


def fault_layer(scene):
    """What the layer is told, it does: else none of the tests tests anything."""
    bad = Faulty(scene, scene.image(1 << 20))
    buf = mmap.mmap(-1, 65536)
    fd = os.open(bad.path, os.O_RDWR | os.O_DIRECT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    expect_errno(11, fcntl.flock, os.open(bad.path, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(letter, offset=0):
        buf[:] = letter * len(buf)
        return os.pwrite(fd, buf, offset)

    def read(offset=0, length=2):
        count = os.preadv(fd, [buf], offset)
        return buf[:min(length, count)]

    check_equal(write(b"a"), 65536, "a write")
    bad.tell("snapshot")
    bad.tell("fail", "read", error=61, from_=4096, every=2, count=1)
    check_equal(read(), b"aa", "a read that is not the second")
    expect_errno(61, read)
    check_equal(read(), b"aa", "a read after those that were to fail")
    check_equal(read(), b"aa", "another")
    for op, call in {"write": lambda: write(b"x"), "flush": lambda: os.fsync(fd)}.items():
        bad.tell("fail", op, count=1)
        expect_errno(5, call)
        call()
    write(b"a")
    bad.tell("short", "read", count=1)
    check_equal(os.preadv(fd, [buf], 0), 32768, "a short read")
    bad.tell("flip", "read", from_=1, to=2, count=1)
    check_equal(read(length=3), b"aqa", "one byte has another bit")
    bad.tell("lose", "write", count=1)
    write(b"b")
    check_equal(read(), b"aa", "the write was lost")
    bad.tell("misplace", "write", by=65536, count=1)
    write(b"c")
    check_equal([read(), read(65536)], [b"aa", b"cc"], "the write went elsewhere")
    bad.tell("restore")
    check_equal([read(), read(65536)], [b"aa", b"\0\0"], "it went back")
    bad.tell("shrink", 65536)
    check_equal([read(65536), os.stat(bad.path).st_size], [b"", 65536], "it is smaller")
    expect_errno(28, write, b"x", 65536)
    bad.tell("gone")
    expect_errno(6, read)
    expect_errno(6, os.open, bad.path, os.O_RDONLY)
    bad.heal()
    bad.tell("delay", "flush", ms=200)
    begin = time.monotonic()
    os.fsync(fd)
    check(time.monotonic() - begin >= 0.2, "it was delayed")
    bad.tell("hang", "all")
    thread = threading.Thread(target=write, args=(b"d",))
    thread.start()
    wait_for(lambda: bad.tell("count")["hung"] == 1, "the write hangs")
    check_equal(bad.tell("release")["hung"], 0, "it was released")
    thread.join(10)
    check_equal(read(), b"dd", "the write that hung landed")
    os.close(fd)


def writes_fail(scene):
    dropped(scene, lambda bad: bad.tell("fail", "write"))


def flushes_fail(scene):
    dropped(scene, lambda bad: bad.tell("fail", "flush"))


def reads_fail(scene):
    dropped(scene, lambda bad: bad.tell("fail", "read"), by_reads=True)


def fails_for_a_while(scene):
    """One flush: it comes back while mounted."""
    dropped(scene, lambda bad: bad.tell("fail", "flush", count=1), back=True)


if __name__ == "__main__":
    need_root()
    main(fault_layer, writes_fail, flushes_fail, reads_fail, fails_for_a_while)
