"""Members fail while mounted: alert programs are told which, and when it is over."""
from alert_lib import *

OPTIONS = "timeout=2,commit=1"


def failed_and_back(scene):
    recorder = Recorder(scene.dir)
    paths, [bad] = failing(scene)
    m = Mount(scene, paths, "-o", f"{OPTIONS},alert={recorder.path}")
    changes = Changes(m.root + "/changes")
    time.sleep(0.5)
    bad.tell("fail", "write", count=1)
    call = recorder.wait("failed")
    check_equal(call["arguments"][2], paths[-1], "the member")
    check("one more loss would be too many" in variable(call, "MESSAGE"), f"the message: {call}")
    check_equal(set(call["fds"]), {"0", "1", "2"}, "no member is open in it")
    bad.heal()
    for event in ["returned", "in-sync"]:
        check_equal(recorder.wait(event, seconds=90)["arguments"][2], paths[-1], "the member")
    changes.end()
    m.umount()
    check_equal([c["arguments"][0] for c in recorder.calls()][:3], ["failed", "returned", "in-sync"], "the order")


def read_only(scene):
    """A second member fails; status and the alert say so."""
    recorder = Recorder(scene.dir)
    paths, bad = failing(scene, count=2)
    m = Mount(scene, paths, "-o", f"{OPTIONS},alert={recorder.path}")
    write(m.root + "/file", b"x" * 100000)
    syncfs(m.root)
    bad[0].tell("gone")
    write(m.root + "/file2", b"x" * 100000)
    check_equal(recorder.wait("failed")["arguments"][2], paths[2], "the first member")
    bad[1].tell("fail", "write")
    with contextlib.suppress(OSError):
        write(m.root + "/file3", b"x" * 100000)
    check("read-only" in variable(recorder.wait("read-only"), "MESSAGE"), "the message")
    check(any(c["arguments"][2] == paths[3] for c in recorder.of("read-only")), f"the second member: {recorder.calls()}")
    check_equal([run("raid5cryptfs-status", m.root, code=FAILED).code, m.status()["state"]], [FAILED, "failed"], "the state")
    m.umount()


def slow_program(scene):
    """A member that fails while a program hangs is dropped as fast as ever, and users go on."""
    hangs = make_program(scene.path("hangs"), "#!/bin/sh\nexec sleep 500\n")
    paths, [bad] = failing(scene)
    m = Mount(scene, paths, "-o", f"{OPTIONS},alert={hangs}")
    changes = Changes(m.root + "/changes")
    bad.tell("fail", "flush", count=1)
    m.wait_log("is out of the array", 20)
    bad.heal()
    m.wait_log("is in sync", 60)
    changes.end()
    begin = time.monotonic()
    unmount(m.root)
    check(time.monotonic() - begin < 15, "the unmount did not wait")
    m.daemon.wait(60)
    m.wait_log("events were not told to alert programs")


if __name__ == "__main__":
    need_root()
    main(failed_and_back, read_only, slow_program)
