"""fsck.raid5cryptfs where parity cannot help: data and nodes that are lost, what it says of them, and what can still be done."""
import re

from fsck_lib import *


def lost_data(scene):
    """The same place on two members: one row of RAID5 cannot give that back."""
    members, content = data_array(scene)
    member, offset = next((m, places_of(m, 300)) for m in members if places_of(m, 300) >= 0)
    other = next(m for m in members if m != member)
    for m in [member, other]:
        write_at(m, offset, bytes(BLOCK))
    lost = "/folder/victim"
    result = fsck(scene, members, "-n", "--data", code=LEFT, out="lost: ", cipher="none")
    check(lost in result.out, f"names the file: {result.out}")
    check("bystander" not in result.out, result.out)
    fsck(scene, members, "-p", "--data", code=LEFT, out="Not repaired: something is lost by it.", cipher="none")
    result = fsck(scene, members, "-y", "--data", code=None, out="lost: ", cipher="none", changes=True)
    check(result.code & LEFT and lost in result.out, f"{result.code}: {result.out}")
    parity = r"^note: Parity of band \d+, row \d+ stays as it is: not all data of that row can be read\.$"
    check(re.search(parity, result.out, re.M), result.out)
    check("written anew" not in result.out and "absent" not in result.out, result.out)
    fsck(scene, members, "-n", "--data", code=LEFT, out=["lost: ", "found: Parity of band "], cipher="none")
    scene.mount(members, cipher="none")
    with open(scene.path("mnt/bystander"), "rb") as f:
        check_equal(f.read(), b"untouched" * 1000, "the other file")
    with open(scene.path("mnt/folder/victim"), "rb") as f:
        f.seek(310 * BLOCK)
        check_equal(f.read(BLOCK), content[310 * BLOCK:311 * BLOCK], "the rest of the file")
        f.seek(300 * BLOCK)
        try:
            check(f.read(BLOCK) == b"", "never wrong data")
        except OSError as e:
            check_equal(e.errno, 5, "EIO")
    scene.umount()


def lost_without_a_member(scene):
    """One block damaged and another member absent: it says which member may have what is lost, and with it nothing is lost."""
    members, content = data_array(scene)
    member, offset = next((m, places_of(m, 300)) for m in members if places_of(m, 300) >= 0)
    write_at(member, offset, bytes(BLOCK))
    gone = next(m for m in members if m != member)
    number = members.index(gone) + 1
    there = [m for m in members if m != gone]
    absent = rf"^note: home: member {number} \(UUID [0-9a-f-]{{36}}\) is absent, and may have what is lost\. Connect it, and run " \
        r"fsck\.raid5cryptfs again"
    result = fsck(scene, there, "-n", "--data", code=LEFT, out="lost: ", cipher="none")
    check(re.search(absent + r" with all members, before anything is repaired without it\.$", result.out, re.M), result.out)
    # Where nothing is lost it does not say so.
    fsck(scene, there, "-n", out="clean", not_out="may have what is lost", cipher="none")
    result = fsck(scene, there, "-y", "--data", code=None, out="lost: ", cipher="none", changes=True)
    after = r"; what this repair took out is then only in an older state \(see --list-roots\)\.$"
    check(re.search(absent + after, result.out, re.M), result.out)
    check(result.code & LEFT, result.out)
    # Data that could not be read was left as it was: the member brings it back.
    result = fsck(scene, members, "-y", "--data", code=None, not_out=["lost:", "may have what is lost"], cipher="none", changes=True)
    check(not result.code & LEFT, result.out)
    scene.mount(members, cipher="none")
    with open(scene.path("mnt/folder/victim"), "rb") as f:
        check(f.read() == content, "all of the file")
    scene.umount()


def without_the_log(scene):
    """Records of the intent log are damaged on both of its members: a mount shows what was committed, read-only, and its status says that
    it has failed, until the log's rest is given up."""
    members = scene.images(4)
    scene.mkfs(members)
    scene.mount(members, "-o", "commit=3600")
    write(scene.path("mnt/committed"), b"committed")
    syncfs(scene.path("mnt"))
    before = [read(m) for m in members]
    for number in range(5):
        with open(scene.path(f"mnt/logged-{number}"), "wb") as f:
            f.write(os.urandom(5000))
            f.flush()
            os.fsync(f.fileno())
    records = [[i for i in range(0, len(old), BLOCK) if old[i:i + BLOCK] != new[i:i + BLOCK]]
               for old, new in zip(before, map(read, members))]
    mirrors = [m for m, places in zip(members, records) if places]
    check_equal((len(mirrors), max(map(len, records)) > 10), (2, True), f"the log alone was written, on two members: {records}")
    [daemon] = scene.daemons()
    os.kill(daemon, signal.SIGKILL)
    scene.wait_no_daemon()
    unmount(scene.path("mnt"))
    for m, places in zip(members, records):
        if places:
            flip(m, places[len(places) // 2])        # with genuine records behind it, which tell that some are missing
    scene.mount(members, says="The intent log cannot be read to its end")
    status = scene.status(scene.path("mnt"), code=FAILED)
    check_equal((status["state"], status["read_only"], status["map"]), ("failed", True, "[UUUU]"), "the state")
    check("The intent log cannot be read to its end" in status["why_read_only"], f"the reason: {status}")
    check("read-only      The intent log" in run("raid5cryptfs-status", scene.path("mnt"), code=FAILED).out, "it is told people too")
    check_equal(read(scene.path("mnt/committed")), b"committed", "what was committed is there")
    scene.umount()
    fsck(scene, members, "-n", code=LEFT, out="log")
    fsck(scene, members, "-y", code=None, changes=True)
    scene.mount(members)
    check_equal(scene.status(scene.path("mnt"))["state"], "healthy", "the state")
    check_equal(read(scene.path("mnt/committed")), b"committed", "what was committed is still there")
    check_equal([os.path.exists(scene.path(f"mnt/logged-{number}")) for number in (0, 4)], [True, False], "what was logged before the damage")
    scene.umount()


def without_root_node(scene):
    """The file tree's root node is lost, on two members: only an older state can be had, and the messages say how."""
    members = scene.images(3, 32 << 20)
    scene.mkfs(members, "--name", "home", cipher="none")
    for name in ["first", "second"]:
        scene.mount(members, cipher="none")
        with open(scene.path("mnt/" + name), "wb") as f:
            f.write(f"the {name} one lies inside the tree".encode())
        scene.umount()
    images = [read_at(m, 0, os.path.getsize(m)) for m in members]
    place = lambda i, at: at // BLOCK * BLOCK
    hit = None
    for i, image in enumerate(images):
        at = image.find(b"the second one lies inside")
        while at >= 0 and not hit:
            # The same block of two members: nothing is left to make it from.
            for k in [i, (i + 1) % 3]:
                write_at(members[k], place(k, at), bytes(BLOCK))
            if run("fsck.raid5cryptfs", "-n", *members, code=None).code & LEFT:
                hit = at
                break
            for member, image_before in zip(members, images):
                write_at(member, 0, image_before)
            at = image.find(b"the second one lies inside", at + 1)
        if hit:
            break
    check(hit, "the root node is found in the images")
    says = ["the root node of the file tree of array \"home\" cannot be read",
            "fsck.raid5cryptfs --list-roots lists those that there are, and fsck.raid5cryptfs --root GEN goes back to one"]
    for options in [["-n"], ["-p"], ["-y"], []]:
        fsck(scene, members, *options, code=LEFT, says=says, cipher="none")
    for options in [[], ["-o", "ro"], ["-o", "ro,salvage"]]:
        scene.mount(members, *options, cipher="none", code=DAMAGED, says=says)
    # What it says works.
    roots = roots_of(scene, members, cipher="none")
    newest = max(roots)
    check(roots[newest].endswith("damaged, the newest"), str(roots))
    old = max(g for g, line in roots.items() if line.endswith("opens"))
    fsck(scene, members, "-y", "--root", old, code=CORRECTED, out=f"home: back at generation {old}", cipher="none", changes=True)
    scene.mount(members, cipher="none")
    with open(scene.path("mnt/first"), "rb") as f:
        check_equal(f.read(), b"the first one lies inside the tree", "what the older state has")
    scene.umount()


if __name__ == "__main__":
    main(lost_data, lost_without_a_member, without_the_log, without_root_node)
