"""What the daemon says in the system's log, read in a mount namespace that has a /dev of its own, so that /dev/log is this test's and nobody
else's."""
import ctypes
import re
import stat

from faulty import *

LOG_DAEMON, LOG_WARNING = 3 << 3, 4
LOOPS = 64
CLONE_NEWNS = 0x00020000
libc = ctypes.CDLL(None, use_errno=True)


def enter_own_dev(scene):
    """For the rest of this process and what it starts."""
    check_equal(libc.unshare(CLONE_NEWNS), 0, f"a mount namespace: {os.strerror(ctypes.get_errno())}")
    run("mount", "--make-rprivate", "/")
    own = scene.mountpoint("dev")
    run("mount", "-t", "tmpfs", "tmpfs", own)
    for name in ["null", "zero", "full", "random", "urandom", "fuse", "loop-control"]:
        st = os.stat("/dev/" + name)
        os.mknod(os.path.join(own, name), st.st_mode, st.st_rdev)
        os.chmod(os.path.join(own, name), stat.S_IMODE(st.st_mode))
    for i in range(LOOPS):
        os.mknod(f"{own}/loop{i}", stat.S_IFBLK | 0o600, os.makedev(7, i))
    run("mount", "--move", own, "/dev")


class SystemLog:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("/dev/log")
        self.lines = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            self.lines.append(self.socket.recv(65536).decode())

    def line(self, text):
        """The line that has this text: its facility and priority, and all of it."""
        wait_for(lambda: any(text in line for line in self.lines), f"the system's log has {text!r}: {self.lines}")
        line = next(line for line in self.lines if text in line)
        number, rest = re.match(r"<(\d+)>(.*)", line, re.DOTALL).groups()
        return int(number), rest


def syslog(scene):
    """A daemon in the background says in the system's log what befalls its members."""
    enter_own_dev(scene)
    log = SystemLog()
    paths, [bad] = failing(scene)
    scene.mount(paths, "-o", "timeout=2,commit=1")
    [daemon] = scene.daemons()
    write(scene.path("mnt/file"), b"x" * 100000)
    bad.tell("gone")
    write(scene.path("mnt/file2"), b"x" * 100000)
    syncfs(scene.path("mnt"))
    number, line = log.line("is out of the array")
    check_equal(number & ~7, LOG_DAEMON, f"the facility: {line}")
    check(number & 7 <= LOG_WARNING, f"the priority is {number & 7}: {line}")
    check(f"raid5cryptfs[{daemon}]: {paths[-1]} is out" in line, f"who, and which: {line}")
    check("Check or replace it." in line, f"what to do: {line}")
    bad.heal()
    scene.umount()


if __name__ == "__main__":
    need_root()
    main(syslog)
