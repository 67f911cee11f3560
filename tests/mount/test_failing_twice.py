"""More than one member of a real mount fails: what can be had is served, the rest is an error and never wrong, and nothing that was
committed is damaged."""
import re

from faulty import *

UNIT = 16384
OPTIONS = ["-o", "timeout=2,commit=1"]
READ_ONLY = "the array is read-only from now on"


def second_failure(scene, first, second):
    """One member is out, then another one fails: read-only.  Afterwards, with all but the first one, nothing committed is damaged."""
    paths, bad = failing(scene, count=2)
    m = Mount(scene, paths, *OPTIONS)
    os.mkdir(m.root + "/tree")
    make_tree(m.root + "/tree", files=60, big=1)
    before = describe_tree(m.root + "/tree")
    load = Load(m.root, seconds=1)
    load.end()
    syncfs(m.root)
    first(bad[0])
    open(m.root + "/after the first", "w").close()
    m.wait_log(f"{paths[2]} is out of the array")
    with open(m.root + "/degraded", "wb") as f:
        f.write(b"degraded" * 5000)
        os.fsync(f.fileno())
    second(bad[1])
    refused = None
    for i in range(200):
        try:
            with open(m.root + f"/lost{i}", "wb") as f:
                f.write(b"x" * 10000)
                os.fsync(f.fileno())
        except OSError as e:
            refused = e
            break
    check(refused, "an fsync tells of the second failure")
    m.wait_log(READ_ONLY)
    check(f"{paths[3]}: " in m.log(), f"the second member is named: {m.log()}")
    result = run("raid5cryptfs-status", m.root, code=FAILED)
    check(" failed\n" in result.out and "(read-only)" in result.out, f"status tells: {result.out}")
    status = m.status()
    check_equal([status["state"], status["read_only"], status["map"]], ["failed", True, "[UU_U]"], f"status as JSON: {status}")
    try:
        os.mkdir(m.root + "/no")
    except OSError as e:
        check(e.errno in [5, 30], f"a change is refused: {e}")
    else:
        raise AssertionError("a change was accepted")
    return paths, bad, m, load, before


def remount(scene, paths, bad, m, load, before):
    m.umount()
    for faulty in bad:
        faulty.heal()
    def verify():
        drop_caches()
        load.verify()
        compare_trees(before, describe_tree(m.root + "/tree"), "the tree")
        with open(m.root + "/degraded", "rb") as f:
            check_equal(f.read(), b"degraded" * 5000, "what was synced with one member out")
    m = Mount(scene, without(paths, 2), *OPTIONS)
    verify()
    m.umount()
    fsck_clean(scene, without(paths, 2))
    m = Mount(scene, paths, *OPTIONS)
    verify()
    m.wait_healthy()
    m.umount()
    fsck_clean(scene, paths)


def second_write_fails(scene):
    paths, bad, m, load, before = second_failure(scene, lambda b: b.tell("gone"), lambda b: b.tell("fail", "write"))
    drop_caches()
    compare_trees(before, describe_tree(m.root + "/tree"), "the second one can still be read: the tree")
    remount(scene, paths, bad, m, load, before)


def second_hangs(scene):
    paths, bad, m, load, before = second_failure(scene, lambda b: b.tell("fail", "write"), lambda b: b.tell("hang", "write,flush"))
    drop_caches()
    compare_trees(before, describe_tree(m.root + "/tree"), "the tree")
    remount(scene, paths, bad, m, load, before)


def read_each(root, tree):
    """How many files were read right, and how many gave EIO; nothing else may come."""
    right = failed = 0
    for path, entry in tree.items():
        if not entry[0].startswith("-"):
            continue
        try:
            with open(os.path.join(root, path), "rb") as f:
                check_equal(hashlib.file_digest(f, "sha256").hexdigest(), entry[5], path)
            right += 1
        except OSError as e:
            check_equal(e.errno, 5, f"{path}: {e}")
            failed += 1
    return right, failed


def second_is_gone(scene):
    """Nothing of two members can be had: EIO where it was theirs, never wrong data."""
    paths, bad, m, load, before = second_failure(scene, lambda b: b.tell("gone"), lambda b: b.tell("gone"))
    drop_caches()
    right, failed = read_each(m.root + "/tree", before)
    check(failed > 0 and right + failed > 60, f"{right} right, {failed} EIO")
    m.wait_log("cannot be read and parity cannot rebuild")
    remount(scene, paths, bad, m, load, before)


def rows_of(images, blob):
    """{offset on the members: {member: unit of the blob}}: in a new array the columns of a row lie at the same place of all.  Without a
    cipher, data lies there as it is."""
    units = {blob[i * UNIT:(i + 1) * UNIT]: i for i in range(len(blob) // UNIT)}
    rows = {}
    for member, image in enumerate(images):
        with open(image, "rb") as f:
            for offset, data in enumerate(iter(lambda: f.read(UNIT), b"")):
                if data in units:
                    rows.setdefault(offset * UNIT, {})[member] = units[data]
    return rows


def read_units(path, blob):
    """The units of the file that give EIO. All others must be right."""
    wrong = set()
    with open(path, "rb", buffering=0) as f:
        for i in range(len(blob) // UNIT):
            try:
                check(os.pread(f.fileno(), UNIT, i * UNIT) == blob[i * UNIT:(i + 1) * UNIT], f"unit {i} is right")
            except OSError as e:
                check_equal(e.errno, 5, f"unit {i}: {e}")
                wrong.add(i)
    return wrong


def units_flipped(scene):
    """Bits flip, below a mount: in one unit of a row it is healed, in two of a row exactly these are lost."""
    paths, bad = failing(scene, count=2, cipher="none")
    m = Mount(scene, paths, *OPTIONS, cipher="none")
    blob = random.Random(1).randbytes(8 << 20)
    with open(m.root + "/file", "wb") as f:
        f.write(blob)
    syncfs(m.root)
    rows = rows_of(paths[:2] + [f.image for f in bad], blob)
    both = [(offset, row) for offset, row in sorted(rows.items()) if 2 in row and 3 in row]
    check(len(both) > 20, f"{len(both)} rows have data of both members")
    lost, healed = set(), 0
    for number, (offset, row) in enumerate(both[:20]):
        two = number % 4 == 0
        for faulty in bad if two else [bad[number % 2]]:
            with open(faulty.image, "r+b") as f:
                f.seek(offset + 5000)
                byte = f.read(1)[0]
                f.seek(offset + 5000)
                f.write(bytes([byte ^ 1]))
        lost |= {row[2], row[3]} if two else set()
        healed += not two
    m.umount()
    m = Mount(scene, paths, *OPTIONS, cipher="none")
    check_equal(read_units(m.root + "/file", blob), lost, "the units that cannot be read")
    status = m.status()
    check_equal(sum(member["healed"] for member in status["members"]) >= healed, True, f"the others were healed: {status}")
    check_equal(status["state"], "healthy", "nobody was dropped")
    text = r'"/file": 16384 bytes at offset (\d+) cannot be read and parity cannot rebuild them'
    named = lambda: {int(at) // UNIT for at in re.findall(text, m.log())}
    wait_for(lambda: named() == lost, f"the log names the file and what of it is lost: {lost}")
    m.umount()
    m = Mount(scene, paths, *OPTIONS, cipher="none")
    check_equal(read_units(m.root + "/file", blob), lost, "the units that cannot be read, again")
    check_equal(sum(member["healed"] for member in m.status()["members"]), 0, "what was healed stayed so")
    m.umount()


def diverged(scene):
    """Members were cloned, and both halves written to: refused, and those of each side are named."""
    paths, _ = failing(scene, count=1, members=4)
    m = Mount(scene, paths, *OPTIONS)
    make_tree(m.root, files=40, big=0)
    m.umount()
    clones = [scene.path(f"clone{i}") for i in range(4)]
    for path, clone in zip(paths, clones):
        shutil.copyfile(path, clone)
    for members, text in [(paths, "one"), (clones, "other")]:
        m = Mount(scene, members, *OPTIONS)
        with open(m.root + "/which", "w") as f:
            f.write(text)
        m.umount()
    mixed = paths[:2] + clones[2:]
    images = {p: open(p, "rb").read() for p in mixed}
    result = scene.mount(mixed, code=DIVERGED)
    for side in [mixed[:2], mixed[2:]]:
        check(", ".join(side) in result.err, f"{side} are named: {result.err}")
    scene.mount(mixed, "-o", "ro", code=DIVERGED)
    for path, data in images.items():
        check(open(path, "rb").read() == data, f"{path} is as it was")
    for members, text in [(paths, "one"), (clones, "other")]:
        m = Mount(scene, members, *OPTIONS)
        check_equal(open(m.root + "/which").read(), text, "each side by itself works")
        m.umount()


if __name__ == "__main__":
    need_root()
    main(second_write_fails, second_hangs, second_is_gone, units_flipped, diverged)
