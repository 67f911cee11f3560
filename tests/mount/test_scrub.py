"""raid5cryptfs-scrub on a real mount."""
import errno
import re

from alert_lib import *
from faulty import *

FOUND, LOST = 32, 33
SLOW = "1M"                          # some seconds: it has not ended before the next command comes


def scrub(*arguments, code=0, **kwargs):
    return run("raid5cryptfs-scrub", *arguments, code=code, **kwargs)


def spoil(member, start, stop, step=1 << 18, length=20000):
    """Garbage at places of a member that is in use."""
    with open(member, "r+b", buffering=0) as f:
        for at in range(start, stop, step):
            f.seek(at)
            f.write(b"\xa5" * length)
        os.fsync(f.fileno())


def prepared(scene, *options, commit=1):
    members = scene.images(4)
    scene.mkfs(members)
    m = Mount(scene, members, "-o", ",".join([f"commit={commit}", *options]))
    make_tree(m.root, files=100, big=40)
    syncfs(m.root)
    return members, m


def clean(scene):
    recorder = Recorder(scene.dir)
    members, m = prepared(scene, f"alert={recorder.path}")
    result = scrub("status", m.root)
    check("none" in result.out, f"none yet: {result.out}")
    result = scrub("start", "--wait", m.root)
    check("finished" in result.out and " 0 of them damaged" in result.out, f"it found nothing: {result.out}")
    wait_for(lambda: "scrub finished" in m.log(), "it is logged")
    check("0 of them were damaged" in variable(recorder.wait("scrub-finished"), "MESSAGE"), "and told")
    check(not recorder.of("scrub-errors"), "of no errors")
    scrub("status", m.root)
    m.umount()


def found_on(scrub):
    """Units by index of the member, and what is no member's."""
    return {m["index"]: m["units"] for m in scrub["by_member"]}, scrub["unclear"]


def names_only(text, number, units):
    """Is this the one member that the text says was damaged?"""
    check_equal(re.findall(r"member (\S+): (\d+) units", text), [(str(number), str(units))], f"the member that is named: {text}")


def one_member(scene):
    """What is wrong on one member is healed, also where nobody reads it; and that member is named, and no other."""
    recorder = Recorder(scene.dir)
    members, m = prepared(scene, f"alert={recorder.path}")
    before = describe_tree(m.root)
    spoil(members[1], 8 << 20, 16 << 20)
    result = scrub("start", "-w", m.root, code=FOUND)
    check("lost" not in result.out, f"nothing is lost: {result.out}")
    units, unclear = found_on(state(m))
    check(list(units) == [1] and units[1] + unclear == state(m)["damaged"], f"it was the second one: {state(m)}")
    check_equal(state(m)["last"]["by_member"][0]["uuid"], m.member(1)["uuid"], "by its UUID")
    check_equal(found_on(state(m)["last"]), (units, unclear), "the last one")
    for text in [result.out, scrub("status", m.root, code=FOUND).out, run("raid5cryptfs-status", m.root).out]:
        names_only(text, 2, units[1])
    wait_for(lambda: "scrub finished" in m.log(), "it is logged")
    names_only([line for line in m.log().splitlines() if "scrub finished" in line][0], 2, units[1])
    check(m.member(1)["healed"] > 0, f"it is counted: {m.status()}")
    names_only(variable(recorder.wait("scrub-errors"), "MESSAGE"), 2, units[1])
    recorder.wait("healed")
    wait_for(lambda: scrub("start", "-w", m.root, code=None).code == 0, "another finds nothing", 60)
    check_equal(found_on(state(m)), ({}, 0), "on no member")
    m.umount()
    fsck_clean(scene, members)
    for gone in [0, 1]:
        scene.mount(without(members, gone), "-o", "ro")
        compare_trees(before, describe_tree(m.root), f"without member {gone}")
        scene.umount()


def unreadable(root):
    """Inodes of the files that give EIO."""
    found = set()
    for folder, _, files in os.walk(root):
        for path in [os.path.join(folder, name) for name in files]:
            if not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            try:
                read(path)
            except OSError as e:
                check_equal(e.errno, errno.EIO, path)
                found.add(os.lstat(path).st_ino)
    return found


UNIT = 1 << 14


def runs(numbers):
    """The runs of successive numbers among them, as [first, behind the last]."""
    found = []
    for number in sorted(numbers):
        if not found or found[-1][1] != number:
            found.append([number, number])
        found[-1][1] += 1
    return found


def written_units(before, member):
    """The units of a member that differ from what it was."""
    now = read(member)
    return {at // UNIT for at in range(0, len(now), UNIT) if now[at:at + UNIT] != before[at:at + UNIT]}


def two_members(scene):
    """What even parity cannot give back is told with the name of the file.  Only data is spoilt, of two files: they are written in one
    commit, as one stream or a few, and the middle of a long one holds no tree nodes, without which more could not be read than what is
    named."""
    members, m = prepared(scene, commit=300)
    before = [read(member) for member in members[:2]]
    files = [m.root + "/lost-1", m.root + "/lost-2"]
    for path in files:
        write(path, random.Random(os.path.basename(path)).randbytes(4 << 20))
    syncfs(m.root)
    streams = [run for run in runs(written_units(before[0], members[0]) & written_units(before[1], members[1])) if run[1] - run[0] > 20]
    check(sum(last - first for first, last in streams) > 100, f"both files are streams: {streams}")
    for first, last in streams:
        quarter = (last - first) // 4
        for member in members[:2]:
            spoil(member, (first + quarter) * UNIT, (last - quarter) * UNIT, step=UNIT, length=UNIT)
    result = scrub("start", "-w", m.root, code=LOST)
    check("lost" in result.out, f"it is told: {result.out}")
    wait_for(lambda: "cannot rebuild them" in m.log(), "it is logged")
    named = {int(number) for number in re.findall(r'Inode (\d+), "/lost-[12]": .* parity cannot rebuild them', m.log())}
    check_equal(named, {os.stat(path).st_ino for path in files}, "the files named are those that were spoilt")
    m.umount()
    m = Mount(scene, members, "-o", "ro")            # the kernel has nothing in its cache now
    check_equal(named, unreadable(m.root), "the files named are those that cannot be read")
    m.umount()


def under_load(scene):
    members, m = prepared(scene)
    load = Load(m.root)
    scrub("start", "--speed", SLOW, m.root)
    scrub("pause", m.root)
    check("paused" in scrub("status", m.root).out, "it is paused")
    scrub("start", m.root, code=USAGE, says="paused")
    scrub("resume", "--speed", "1G", "--wait", m.root)
    load.end()
    load.verify()
    m.umount()
    fsck_clean(scene, members)


def speed(scene):
    """No faster than it may be: some 10 MiB of each member are in use."""
    members, m = prepared(scene)
    begin = time.monotonic()
    scrub("start", "--wait", "--speed", "4M", m.root)
    check(time.monotonic() - begin > 1.5, "it takes its time")
    scrub("start", "--speed", "1K", m.root, code=USAGE, says="64K")
    scrub("stop", "--speed", "1M", m.root, code=USAGE)
    # What is refused changes nothing: with its limit the scrub would take minutes.
    run("raid5cryptfs-rebuild", "add", "--speed", "64K", m.root, scene.image(), code=USAGE, says="No member is missing")
    scrub("start", "--wait", m.root, timeout=40)
    m.umount()


def state(m):
    return m.status()["scrub"]


def midway(m, speed="3M"):
    """A scrub that has some way behind it, which a commit has kept, and some before it."""
    scrub("start", "--speed", speed, m.root)
    wait_for(lambda: 0 < state(m)["done_bytes"] < state(m)["total_bytes"], "it is under way")
    time.sleep(2.5)                      # a commit each second
    return state(m)


def killed(m):
    m.daemon.kill()
    m.daemon.wait(60)
    run("umount", "-l", m.root)


def to_the_end(m):
    wait_for(lambda: state(m)["state"] == "finished", f"it ends: {state(m)}", 90)
    return state(m)


def lasts(scene):
    """Over an unmount, a read-only mount and a kill it goes on where it was, as fast as it may be, and no row counts twice."""
    members, m = prepared(scene)
    scrub("start", "--wait", m.root)
    rows = state(m)["rows"]
    for leave in [Mount.umount, killed]:
        before = midway(m)
        check(before["rows"] < rows - 100, f"it is not near its end: {before} of {rows}")
        leave(m)
        m = Mount(scene, members, "-o", "ro")
        shown = state(m)
        check(shown["state"] == "running" and shown["waits"], f"it is shown: {shown}")
        check(leave is killed or shown["rows"] >= before["rows"], f"nothing is lost by an unmount: {before}, {shown}")
        check(0 < shown["done_bytes"] < shown["total_bytes"] and shown["rows"] > 0, f"it is kept: {before}, {shown}")
        check("does not get on" in scrub("status", m.root).out, "it waits")
        time.sleep(1)
        check_equal(state(m), shown, "a read-only mount does not go on")
        m.umount()
        m = Mount(scene, members, "-o", "commit=1")
        check_equal([state(m)["state"], state(m)["speed_bytes"]], ["running", 3 << 20], "it goes on")
        check(shown["rows"] <= state(m)["rows"] < rows, "where it was")
        ended = to_the_end(m)
        check(abs(ended["rows"] - rows) < 100, f"each row counts once: {ended}, {rows}")
        check_equal(ended["last"]["rows"], ended["rows"], "it is the last one")
    m.umount()
    m = Mount(scene, members)
    check("finished" in scrub("status", m.root).out, "what it found is still known")
    check("  scrub          finished 20" in run("raid5cryptfs-status", m.root).out, "with the time")
    m.umount()
    fsck_clean(scene, members)


def paused(scene):
    """It stays so, and no timer begins another."""
    members, m = prepared(scene)
    midway(m)
    check("A scrub is running already" in scrub("start", "--if-none", m.root).out, "it is left alone")
    scrub("start", m.root, code=USAGE, says="running already")
    scrub("pause", m.root)
    wait_for(lambda: state(m)["state"] == "paused", "it is paused")
    time.sleep(1.5)                      # the step under way
    before = state(m)
    killed(m)
    m = Mount(scene, members, "-o", "commit=1")
    shown = state(m)
    check(shown["state"] == "paused" and not shown["waits"] and 0 < shown["rows"] <= before["rows"], f"{shown}, {before}")
    time.sleep(2)
    check_equal(state(m), shown, "it does not go on")
    check("paused already" in scrub("start", "--if-none", "--wait", m.root).out, "it is left so")
    scrub("start", m.root, code=USAGE, says="paused")
    scrub("status", "--if-none", m.root, code=USAGE, says="--if-none")
    scrub("resume", m.root)
    to_the_end(m)
    scrub("start", "--speed", SLOW, m.root)
    scrub("stop", m.root)
    result = scrub("status", m.root)
    check("scrub: stopped" in result.out and "the last one that went through" in result.out, result.out)
    m.umount()


def refused(scene):
    members, m = prepared(scene)
    for command in ["pause", "resume", "stop"]:
        scrub(command, m.root, code=USAGE, says="No scrub is running")
    scrub("start", scene.path("nowhere"), code=NOT_FOUND)
    scrub("start", "/", code=NOT_FOUND)
    scrub("start", code=USAGE)
    scrub("begin", m.root, code=USAGE, says="no command")
    scrub("stop", "-w", m.root, code=USAGE)
    m.umount()
    m = Mount(scene, members, "-o", "ro")
    scrub("start", m.root, code=SYSTEM, says="read-only")
    m.umount()


if __name__ == "__main__":
    need_root()
    main(clean, one_member, two_members, under_load, speed, lasts, paused, refused)
