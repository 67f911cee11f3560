"""An alert program that hangs.  It is given a minute, so this takes longer than the other tests."""
from alert_lib import *


def alive(pid_file):
    with open(pid_file) as f:
        pid = int(f.read())
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def hanging(scene):
    """A program that hangs is killed with its children, and meanwhile nobody waits for it: no user, no unmount."""
    members = scene.images(3)
    scene.mkfs(members)
    child = scene.path("child")
    hangs = make_program(scene.path("hangs"), f"#!/bin/sh\ntrap '' TERM HUP INT\nsleep 500 &\n"
                         f"echo $! >{child}.new; mv {child}.new {child}\n"
                         "echo I hang\nwait\n")
    m = Mount(scene, members[1:], "-o", f"alert={hangs}")
    wait_for(lambda: os.path.exists(child), "it runs")
    begin = time.monotonic()
    make_tree(m.root, files=30, big=1)
    run("sync", "-f", m.root)
    check_equal(m.status()["state"], "degraded", "the daemon answers")
    check(time.monotonic() - begin < 30, "nobody waited for it")
    m.wait_log(f"alert program {hangs} says: I hang", 70)
    m.wait_log("did not end in time", 70)
    wait_for(lambda: not alive(child), "its child was killed")
    os.unlink(child)
    m.umount()
    m = Mount(scene, members[1:], "-o", f"alert={hangs}")
    wait_for(lambda: os.path.exists(child), "it runs again")
    begin = time.monotonic()
    unmount(m.root)
    check(time.monotonic() - begin < 15, "the unmount did not wait for it")
    run("raid5cryptfs-status", "--wait=10", *members[1:], code=DEGRADED)
    check_equal(m.daemon.wait(60), 0, "the daemon ended")
    check(not alive(child), "its child was killed")
    check("did not end in time" in m.log(), m.log())


if __name__ == "__main__":
    need_root()
    main(hanging)
