"""raid5cryptfs-rebuild keyless: the missing member is made again, without a key; and each wrong input has its own message."""
import fcntl

from lib import *


def content(paths):
    return [hashlib.file_digest(open(p, "rb"), "sha256").hexdigest() for p in paths]


def without(members, gone):
    return [m for i, m in enumerate(members) if i != gone]


def rebuild(target, members, *options, stderr=None, **kwargs):
    if stderr is not None:
        return subprocess.run(["raid5cryptfs-rebuild", "keyless", *options, target, *members], stdout=subprocess.DEVNULL, stderr=stderr,
                              check=True)
    return run("raid5cryptfs-rebuild", "keyless", *options, target, *members, **kwargs)


def healthy(scene, root):
    wait_for(lambda: run("raid5cryptfs-status", root, code=None).code == 0, "the array is healthy", 60)


def lost_and_made_again(scene):
    """With each cipher, and with members of different sizes; afterwards any one other member may be lost."""
    for cipher, gone in [(c, i) for i, c in enumerate(CIPHERS) if has_cipher(c)]:
        members = [scene.image(SIZE + i * (5 << 20)) for i in range(4)]
        scene.mkfs(members, cipher=cipher)
        scene.mount(members, cipher=cipher)
        root = scene.path("mnt")
        make_tree(root, seed=gone)
        before = describe_tree(root)
        scene.umount()
        with open(members[gone], "rb") as f:
            old = f.read()
        os.unlink(members[gone])
        target = scene.image(SIZE + gone * (5 << 20))
        others = content(without(members, gone))
        result = rebuild(target, without(members, gone))
        for text in ["mounted once", "two disks are the same member", f"member {gone + 1} "]:
            check(text in result.out, f"{text!r}: {result.out}")
        check_equal(content(without(members, gone)), others, "the others are only read")
        with open(target, "rb") as f:
            new = f.read()
        # Byte for byte as it was from the data area on, but for the last label's MAC and checksum; before it, no more differs than old
        # roots, log records and MACs.
        data_offset = 1 << 23
        differ = [i for i in range(data_offset, len(old), 4096) if old[i:i + 4096] != new[i:i + 4096]]
        last_label = (len(old) // 16384 - 1) * 16384
        check(all(i >= last_label for i in differ), f"{cipher}: blocks differ: {differ[:10]}")
        check(differ, "the label has no MAC")
        members[gone] = target
        scene.mount(members, cipher=cipher)
        compare_trees(before, describe_tree(root), f"{cipher}: with the new member")
        healthy(scene, root)
        scene.umount()
        for absent in without(range(4), gone):
            scene.mount(without(members, absent), "-o", "ro", cipher=cipher)
            compare_trees(before, describe_tree(root), f"{cipher}: with the new member, without member {absent}")
            scene.umount()
        key = [] if cipher == "none" else ["--key-file", scene.key()]
        run("fsck.raid5cryptfs", "-n", "--data", *key, *members)


def after_degraded_use(scene):
    """On loop devices: the array went on without the member, and its old disk is the target in the end."""
    need_root()
    images = scene.images(3)
    members = [scene.loop(i) for i in images]
    scene.mkfs(members, "--name", "loops")
    scene.mount(members)
    root = scene.path("mnt")
    make_tree(root, seed=1, files=100)
    scene.umount()
    scene.mount(members[:2])
    os.mkdir(os.path.join(root, "second"))
    make_tree(os.path.join(root, "second"), seed=2, files=100)
    before = describe_tree(root)
    scene.umount()
    target = scene.loop(scene.image(SIZE + 12345 * 4096))
    result = rebuild(target, members[:2])
    check("caught up" in result.out, result.out)
    scene.mount([*members[:2], target])
    healthy(scene, root)
    compare_trees(before, describe_tree(root), "after it was caught up")
    scene.umount()
    scene.mount([members[1], target])
    compare_trees(before, describe_tree(root), "without the first member")
    with open(os.path.join(root, "third"), "wb") as f:
        f.write(b"more")
    before = describe_tree(root)
    scene.umount()
    # The replaced one is still there, and both together are refused; then it takes the place of the first that is gone now.
    scene.mount([*members, target], code=TWICE, says=[members[2], target, "copy of the other"])
    rebuild(members[2], [members[1], target], code=SIGNATURE, says="another member of this array")
    subprocess.run(["dd", "if=/dev/zero", f"of={members[2]}", "bs=1M", "count=2", "conv=notrunc"], stderr=subprocess.DEVNULL, check=True)
    rebuild(members[2], [members[1], target], code=SIGNATURE, says="another member")
    with open(members[2], "r+b") as f:
        f.seek(-16384, os.SEEK_END)
        f.write(bytes(16384))
    rebuild(members[2], [members[1], target])
    scene.mount([members[2], members[1], target])
    healthy(scene, root)
    compare_trees(before, describe_tree(root), "with the first made again")
    scene.umount()
    scene.mount([members[2], members[1]])
    compare_trees(before, describe_tree(root), "without the one that was made first")
    scene.umount()


def log_is_kept(scene):
    """The power fails (the daemon is killed) behind an fsync, and takes a member with it."""
    members = scene.images(3)
    scene.mkfs(members)
    for gone in range(3):
        scene.mount(members, "-o", "commit=3600")
        root = scene.path("mnt")
        healthy(scene, root)     # the last round's mount was without a member
        for i in range(5):
            with open(os.path.join(root, f"synced-{gone}-{i}"), "wb") as f:
                f.write(b"%d" % i * 5000)
                f.flush()
                os.fsync(f.fileno())
        for pid in scene.daemons():
            os.kill(pid, signal.SIGKILL)
        scene.umount()
        target = scene.image()
        rebuild(target, without(members, gone))
        members[gone] = target
        scene.mount(members)
        healthy(scene, root)
        for before in range(gone + 1):
            for i in range(5):
                check_equal(read(os.path.join(root, f"synced-{before}-{i}")), b"%d" % i * 5000, "what was synced")
        for pid in scene.daemons():
            os.kill(pid, signal.SIGKILL)
        scene.umount()
        scene.mount(without(members, (gone + 1) % 3))
        check_equal(len(os.listdir(root)), 5 * (gone + 1), "files without another member")
        scene.umount()


def wrong_input(scene):
    members, other = scene.images(4), scene.images(3)
    scene.mkfs(members, "--name", "first")
    scene.mkfs(other, "--name", "second")
    target, three = scene.image(), members[:3]
    small, absent = scene.image(SIZE - 4096), scene.path("absent")
    everything = members + other + [target, small]
    before = content(everything)

    def refuse(target, members, code, says, *options):
        rebuild(target, members, *options, code=code, says=says)
        check_equal(content(everything), before, "nothing was written")

    refuse(small, three, TOO_SMALL, "too small")
    refuse(small, three, TOO_SMALL, "too small", "--force")
    refuse(target, [*three, three[0]], TWICE, "same as")
    refuse(three[1], three, TWICE, "same as")
    link = scene.path("link")
    os.symlink(three[1], link)
    refuse(link, three, TWICE, "same as", "--force")
    refuse(other[0], three, SIGNATURE, "another raid5cryptfs array, \"second\"", "--force")
    refuse(target, [*three[:2], other[0]], MIXED, ["first", "second"])
    refuse(target, members[:2], TOO_FEW, "2 members are missing")
    refuse(target, [*members[:2], absent], TOO_FEW, [absent, "2 members are missing"])
    refuse(target, members, USAGE, "No member is missing")
    refuse(target, [*three, small], NOT_MEMBER, small)
    refuse(members[3], three, SIGNATURE, "the missing member itself")
    refuse(absent, three, SYSTEM, absent)
    refuse(scene.dir, three, USAGE, "directory")
    refuse("/dev/zero", three, USAGE, "neither a block device nor a file")
    run("raid5cryptfs-rebuild", "keyless", code=USAGE, says="target")
    run("raid5cryptfs-rebuild", "keyless", target, code=USAGE, says="target")
    run("raid5cryptfs-rebuild", "keyless", "--gaps", target, *three, code=USAGE)
    run("raid5cryptfs-rebuild", "keyles", target, *three, code=USAGE, says="keyles")
    run("raid5cryptfs-rebuild", code=USAGE, says="command")
    check("keyless" in run("raid5cryptfs-rebuild", "--help").out, "--help")
    check("TARGET" in run("raid5cryptfs-rebuild", "keyless", "--help").out, "keyless --help")
    result = rebuild(target, three, "-n")
    check("would be made again" in result.out and "Nothing was written" in result.out, result.out)
    check_equal(content(everything), before, "-n writes nothing")
    # Its own old disk is made again, if that is wanted.
    rebuild(members[3], three, "--force")
    scene.mount(members)
    healthy(scene, scene.path("mnt"))
    scene.umount()


def in_use(scene):
    members = scene.images(3)
    scene.mkfs(members)
    target = scene.image()
    for options in [(), ("-o", "ro")]:
        scene.mount(members, *options)
        rebuild(target, members[:2], code=BUSY)
        scene.umount()
    scene.mount(members[:2])
    rebuild(target, members[:2], code=BUSY, says=["mounted on", scene.path("mnt")])
    scene.umount()
    # A tool that reads, and somebody at work on the target.
    for path in [members[0], target]:
        with open(path, "rb") as f:
            fcntl.flock(f, fcntl.LOCK_SH)
            rebuild(target, members[:2], code=BUSY, says=path)
    check_equal(read(target), bytes(SIZE), "nothing was written")


def in_use_by_file(scene):
    """Of a loop device the file is locked as well."""
    need_root()
    members = scene.images(3)
    scene.mkfs(members)
    loops = [scene.loop(m) for m in members[:2]]
    target = scene.image()
    with open(members[1], "rb") as f:
        fcntl.flock(f, fcntl.LOCK_SH)
        rebuild(target, loops, code=BUSY, says=loops[1])
        fcntl.flock(f, fcntl.LOCK_EX)
        run("fsck.raid5cryptfs", "-n", "--key-file", scene.key(), *loops, code=8, says=loops[1])
    check_equal(read(target), bytes(SIZE), "nothing was written")
    rebuild(target, loops)
    scene.mount([*loops, target])
    healthy(scene, scene.path("mnt"))
    scene.umount()


def out_of_date(scene):
    """One that was away must be caught up first; then it can be done."""
    members = scene.images(4)
    scene.mkfs(members)
    root = scene.mountpoint()
    scene.mount(members[1:])
    make_tree(root, files=50)
    before = describe_tree(root)
    scene.umount()
    target = scene.image()
    rebuild(target, members[:3], code=TOO_FEW, says=[members[0], "not up to date"])
    scene.mount(members)
    healthy(scene, root)
    scene.umount()
    rebuild(target, members[:3])
    scene.mount([*members[:3], target])
    healthy(scene, root)
    compare_trees(before, describe_tree(root), "with the new member")
    scene.umount()


def foreign_signature(scene):
    need_root()
    members = scene.images(3)
    scene.mkfs(members)
    if not shutil.which("mkfs.ext4"):
        raise Skip("no mkfs.ext4")
    image = scene.image(SIZE + (16 << 20))
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    target = scene.loop(image)
    rebuild(target, members[:2], code=SIGNATURE, says="ext4")
    os.mkdir(scene.path("ext4"))
    if subprocess.run(["mount", target, scene.path("ext4")], stderr=subprocess.DEVNULL).returncode == 0:
        rebuild(target, members[:2], "--force", code=BUSY, says="mounted")
        subprocess.run(["umount", scene.path("ext4")], check=True)
    rebuild(target, members[:2], "--force")
    check_equal(subprocess.run(["blkid", "-p", "-o", "value", "-s", "TYPE", target], stdout=subprocess.PIPE).stdout, b"", "ext4 is gone")
    scene.mount([*members[:2], target])
    healthy(scene, scene.path("mnt"))
    scene.umount()


def stopped(scene):
    """Ctrl-C in the middle: the target is no member, and the next try needs no --force."""
    members = scene.images(3, 700 << 20)
    scene.mkfs(members)
    target = scene.image(700 << 20)
    with subprocess.Popen(["raid5cryptfs-rebuild", "keyless", target, *members[:2]], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as p:
        check("is made again" in p.stdout.readline(), "it began")
        p.send_signal(signal.SIGINT)
        out, err = p.communicate()
    check_equal(p.returncode, SYSTEM, f"the exit code of a stopped rebuild: {out}{err}")
    check("Stopped" in err and "no member" in err, err)
    scene.mount([*members[:2], target], says=[target, "label"])
    scene.umount()
    master, slave = os.openpty()
    rebuild(target, members[:2], stderr=slave)
    os.close(slave)
    bar = os.read(master, 1 << 16).decode()
    os.close(master)
    check("rebuild" in bar and " 0 %" in bar, f"a bar: {bar}")
    scene.mount([*members[:2], target])
    healthy(scene, scene.path("mnt"))
    scene.umount()


if __name__ == "__main__":
    main(lost_and_made_again, after_degraded_use, log_is_kept, wrong_input, in_use, in_use_by_file, out_of_date, foreign_signature, stopped)
