"""raid5cryptfs-rebuild on an array that is not mounted: the members are given instead of the mount point."""
import hashlib
import re
import signal

from rebuild_lib import *


def offline(scene, command, members, *arguments, code=0, **kwargs):
    options = [a for a in arguments if a.startswith("-")]
    others = [a for a in arguments if not a.startswith("-")]
    return rebuild(command, *options, "--key-file", scene.key(), ":".join(members), *others, code=code, **kwargs)


def made(scene, count=4, big=6):
    """An array that is not mounted: its members, and what is on it."""
    members, m, _ = prepared(scene, count, big)
    before = describe_tree(m.root)
    m.umount()
    return members, before


def digest(path):
    return hashlib.sha256(read(path)).hexdigest()


def add(scene):
    """The disk that died is not there; a mount of it was not made since."""
    members, before = made(scene)
    new = scene.image(SIZE + (5 << 20))
    result = offline(scene, "add", without(members, 1), new)
    check("as member 5, the place of member 2" in result.out and "Member 5 has taken the place of member 2" in result.out, result.out)
    check("member 2" in result.err and "is absent" in result.err, result.err)
    members[1] = new
    m = Mount(scene, members, *OPTIONS)
    check_equal([m.status()["map"], m.status()["state"]], ["[UUUU]", "healthy"], "the array is whole")
    m.umount()
    whole_without_each(scene, members, before)


def replace(scene):
    """No faster than it may be: some 8 MiB of each member are in use."""
    members, before = made(scene)
    new = scene.image()
    begin = time.monotonic()
    result = offline(scene, "replace", members, "--speed=4M", members[2], new)
    check(time.monotonic() - begin > 1.5, "it takes its time")
    check("which goes on serving until then" in result.out and "Member 5 has taken the place of member 3" in result.out, result.out)
    members[2] = new
    whole_without_each(scene, members, before)


def readd(scene):
    members, before = made(scene)
    m = Mount(scene, without(members, 0), *OPTIONS)
    write(m.root + "/while-it-was-away", random.Random(3).randbytes(5 << 20))
    before = describe_tree(m.root)
    m.umount()
    result = offline(scene, "readd", without(members, 0), members[0])
    check(re.search(r"Member 1 is in sync; [\d.]+ MiB of it were written anew", result.out), result.out)
    whole_without_each(scene, members, before)


def spare_and_remove(scene):
    members, before = made(scene, big=2)
    spare = scene.image()
    check("is a spare now, as member 5" in offline(scene, "spare", members, spare).out, "it is told")
    result = offline(scene, "remove", members + [spare], "4")
    check("its data goes to member 5" in result.out and "is out of the array for good; its label was wiped" in result.out, result.out)
    whole_without_each(scene, members[:3] + [spare], before)


def begun(scene, members, new):
    """A replace that takes a long time, and has begun."""
    process = subprocess.Popen(["raid5cryptfs-rebuild", "replace", "-k", scene.key(), "--speed", "64K", ":".join(members), "1", new],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    check("takes, as member 5, the place of member 1" in line, line)
    return process


def interrupted(scene):
    """It ends at once, and is cancelled, begun again, killed, and goes on at the next mount."""
    members, before = made(scene)
    new = scene.image()
    process = begun(scene, members, new)
    offline(scene, "spare", members, scene.image(), code=BUSY, says="in use by raid5cryptfs-re")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    check_equal(process.returncode, SYSTEM, f"the exit code: {err}")
    check("the replace goes on when the array is mounted, with the new disk among its members" in err, err)
    fsck_clean(scene, members + [new])
    result = offline(scene, "remove", members + [new], "--cancel", "1")
    check("the data of member 1 stays where it is" in result.out, result.out)
    process = begun(scene, members + [new], new)
    process.kill()
    process.communicate(timeout=30)
    m = Mount(scene, members + [new], "-o", "commit=1")
    wait_replaced(m, members[0], new)
    m.umount()
    whole_without_each(scene, [new] + members[1:], before)


def refused(scene):
    members, before = made(scene, count=3, big=1)
    new, small = scene.image(), scene.image(8 << 20)
    digests = [digest(path) for path in [*members, new, small]]
    source = ":".join(members)
    rebuild("fail", source, "1", code=USAGE, says=["is no mount point", "mount without it"])
    rebuild("add", "-k", scene.key(), scene.path("nowhere"), new, code=NOT_FOUND, says="nowhere")
    rebuild("add", "-k", scene.key(), scene.dir, new, code=USAGE, says="--key-file: a mounted array is unlocked already")
    rebuild("replace", "-k", scene.path("none"), source, "1", new, code=None, says="none")
    rebuild("remove", "-c", "-w", source, "1", code=USAGE, says="--cancel goes with no other option")
    rebuild("add", source, new, code=None, says="passphrase")
    other = scene.path("other-key")
    run("raid5cryptfs-key", "generate", other)
    rebuild("replace", "-k", other, source, "1", new, code=KEY, says="key")
    offline(scene, "add", members[:1], new, code=TOO_FEW)
    offline(scene, "add", members + members[:1], new, code=TWICE)
    offline(scene, "add", members, new, code=USAGE, says="missing")
    offline(scene, "readd", members, members[2], code=BUSY, says="is member 3, and at work")
    offline(scene, "replace", members, "7", new, code=USAGE, says="no such member")
    offline(scene, "replace", members, "1", small, code=TOO_SMALL)
    offline(scene, "remove", members, "1", code=TOO_FEW)
    check_equal(digests[3:], [digest(path) for path in [new, small]], "the new disks are as they were")
    m = Mount(scene, members, *OPTIONS)
    offline(scene, "replace", members, "1", new, code=BUSY, says=["mounted on", m.root])
    check_equal(paths(m), sorted(members), "the members are those of before")
    m.umount()
    whole_without_each(scene, members, before)


def without_encryption(scene):
    members = scene.images(3)
    scene.mkfs(members, cipher="none")
    source, new = ":".join(members), scene.image()
    offline(scene, "replace", members, "1", new, code=None, says="key")
    result = rebuild("replace", source, "1", new)
    check("Member 4 has taken the place of member 1" in result.out, result.out)
    run("fsck.raid5cryptfs", "-n", "--data", new, *members[1:])


if __name__ == "__main__":
    main(add, replace, readd, spare_and_remove, interrupted, refused, without_encryption)
