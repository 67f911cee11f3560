"""Each wrong input has its own message and exit code, and changes nothing."""
from lib import *


def content(members):
    return [hashlib.file_digest(open(m, "rb"), "sha256").hexdigest() for m in members]


def unchanged(members, act):
    before = content(members)
    act()
    check_equal(content(members), before, "members are unchanged")


def made(scene, count=3, **kwargs):
    members = scene.images(count)
    scene.mkfs(members, "--name", "test", **kwargs)
    return members


def keys(scene):
    members = made(scene)
    mnt = scene.mountpoint()
    other, empty, damaged = scene.path("other"), scene.path("empty"), scene.path("damaged")
    run("raid5cryptfs-key", "generate", other)
    open(empty, "w").close()
    with open(scene.key()) as f:
        text = f.read()
    with open(damaged, "w") as f:
        digit = "0" if text[30] != "0" else "1"
        f.write(text[:30] + digit + text[31:])

    def mount(key, code, says):
        unchanged(members, lambda: run("raid5cryptfs", "-o", f"key-file={key}", *members, mnt, code=code, says=says))

    mount(other, KEY, "key")
    mount(scene.path("absent"), KEYFILE, scene.path("absent"))
    mount(empty, KEYFILE, "empty")
    mount(damaged, KEYFILE, "damaged")
    mount(scene.dir, KEYFILE, "directory")
    run("raid5cryptfs", *members, mnt, code=USAGE, says="terminal", start_new_session=True)
    # Standard input works as a key file.
    with open(scene.key()) as f:
        run("raid5cryptfs", "-o", "key-file=-", *members, mnt, stdin=f)
    scene.mounts.append(mnt)
    scene.umount()


def damaged_slots(scene):
    """Key slots overwritten in every label copy of every member, so that only their checksums can tell."""
    members = made(scene)
    with open(members[0], "rb") as f:
        image = f.read()
    places = []
    at = image.find(b"made by mkfs on")
    while at >= 0:
        places.append(at)
        at = image.find(b"made by mkfs on", at + 1)
    check_equal(len(places), 3, "the slot lies in three label copies")
    for member in members:
        for place in places:
            with open(member, "r+b") as f:
                f.seek(place)
                f.write(b"X")
    # The label's own checksum no longer holds either: nothing but damaged labels.
    result = run("raid5cryptfs", *scene.key_options(CIPHERS[0]), *members, scene.mountpoint(), code=None)
    check(result.code in (SLOT, NOT_MEMBER, DAMAGED), f"{result.code}: {result.err}")
    check("damaged" in result.err, result.err)


def members_wrong(scene):
    a, b = made(scene), made(scene)
    mnt = scene.mountpoint()
    options = scene.key_options(CIPHERS[0])

    def mount(members, code, says):
        unchanged(a + b, lambda: run("raid5cryptfs", *options, *members, mnt, code=code, says=says))

    mount([a[0], a[1], b[2]], MIXED, [a[0], b[2]])
    mount([a[0], a[1], a[1]], TWICE, a[1])
    os.symlink(a[1], scene.path("alias"))
    mount([a[0], a[1], scene.path("alias")], TWICE, [a[1], scene.path("alias")])
    shutil.copyfile(a[1], scene.path("copy"))
    mount([a[0], a[1], scene.path("copy")], TWICE, scene.path("copy"))
    mount([a[0]], TOO_FEW, "member")
    mount(scene.images(3), NOT_MEMBER, "disk")
    random_image = scene.image()
    with open(random_image, "r+b") as f:
        f.write(random.Random(1).randbytes(SIZE))
    mount([random_image], NOT_MEMBER, random_image)
    mount([scene.path("nowhere1"), scene.path("nowhere2"), scene.path("nowhere3")], SYSTEM, "nowhere1")
    mount([scene.dir, a[0], a[1]], USAGE, "directory")
    run("raid5cryptfs", *options, "array:nowhere", mnt, code=NOT_FOUND, says="array:nowhere")


def short_members(scene):
    """Truncated: one is done without, two are too many."""
    members = made(scene, 4)
    options = scene.key_options(CIPHERS[0])
    mnt = scene.mountpoint()
    for member in members[:2]:
        os.truncate(member, 1 << 20)
    result = run("raid5cryptfs", *options, *members, mnt, code=None)
    check(result.code in (TOO_FEW, DAMAGED), f"{result.code}: {result.err}")


def mount_points(scene):
    members = made(scene)
    options = scene.key_options(CIPHERS[0])
    full = scene.mountpoint("full")
    open(os.path.join(full, "file"), "w").close()
    unchanged(members, lambda: run("raid5cryptfs", *options, *members, scene.path("no"), code=MOUNTPOINT, says="does not exist"))
    unchanged(members, lambda: run("raid5cryptfs", *options, *members, members[0], code=MOUNTPOINT, says="not a directory"))
    unchanged(members, lambda: run("raid5cryptfs", *options, *members, full, code=MOUNTPOINT, says="not empty"))
    scene.mount(members)
    run("raid5cryptfs", *options, *members, scene.path("mnt"), code=MOUNTPOINT, says="mounted there already")
    run("raid5cryptfs", *options, *members, scene.mountpoint("second"), code=BUSY, says="in use")
    check_equal(os.listdir(scene.path("second")), [], "nothing was mounted")
    scene.umount()
    scene.mount(members, "-o", "nonempty", name="full")
    scene.umount("full")


def options_wrong(scene):
    members = made(scene)
    mnt = scene.mountpoint()
    for option, says in [("nonsense", "nonsense"), ("cache=tiny", "cache=tiny"), ("commit=0", "commit=0"), ("cipher=rot13", "cipher=none"),
                         ("key-file=", "path is missing"), ("engine=steam", "auto, sodium or openssl"),
                         ("engine=uring", "io="), ("io=steam", "auto, uring or threads"),
                         ("transport=steam", "device or uring"), ("transport=", "device or uring")]:
        unchanged(members, lambda o=option, s=says: run("raid5cryptfs", "-o", o, *members, mnt, code=USAGE, says=s))
    run("raid5cryptfs", code=USAGE, says="usage")
    run("raid5cryptfs", "--nonsense", code=USAGE, says="--help")


def cipher_none(scene):
    members = made(scene, cipher="none")
    mnt = scene.mountpoint()
    run("raid5cryptfs", *members, mnt, code=None, says="cipher=none", start_new_session=True)
    # A key that was given must not be answered by an array without encryption.
    result = run("raid5cryptfs", "-o", f"key-file={scene.key()}", *members, mnt, code=None)
    check(result.code != 0 and "none" in result.err, result.err)
    encrypted = made(scene)
    result = run("raid5cryptfs", "-o", "cipher=none", *encrypted, mnt, code=None, start_new_session=True)
    check(result.code != 0, "cipher=none does not open an encrypted array")


def mkfs_wrong(scene):
    key = ["--key-file", scene.key()]
    members = scene.images(3)

    def mkfs(arguments, code, says):
        unchanged(members, lambda: run("mkfs.raid5cryptfs", *key, *arguments, code=code, says=says))

    mkfs(members[:2], TOO_FEW, "at least 3")
    mkfs([], USAGE, "none given")
    mkfs([members[0], members[1], members[0]], TWICE, members[0])
    os.link(members[0], scene.path("hard"))
    mkfs([*members, scene.path("hard")], TWICE, scene.path("hard"))
    os.symlink(members[0], scene.path("soft"))
    mkfs([*members, scene.path("soft")], TWICE, scene.path("soft"))
    mkfs([*members, scene.image(1 << 20)], TOO_SMALL, "has 1.0 MiB; a member needs at least 8.0 MiB")
    mkfs([*members, scene.image((8 << 20) - 4096)], TOO_SMALL, "has 8384512 bytes; a member needs at least 8388608 bytes")
    mkfs([*members, scene.path("no")], SYSTEM, "no such")
    mkfs([*members, scene.dir], USAGE, "directory")
    mkfs(["--cipher", "rot13", *members], USAGE, "rot13")
    mkfs(["--name", "", *members], USAGE, "name")
    mkfs(["--name", "x" * 64, *members], USAGE, "64 bytes")
    mkfs(["--name", "a\nb", *members], USAGE, "control")
    mkfs(["--name", b"\xff\xfe".decode("utf-8", "surrogateescape"), *members], USAGE, "UTF-8")
    mkfs([*(["-x"]), *members], USAGE, "--help")
    unchanged(members, lambda: run("mkfs.raid5cryptfs", *members, code=USAGE, says="terminal", start_new_session=True))
    unchanged(members, lambda: run("mkfs.raid5cryptfs", "--key-file", scene.path("no"), *members, code=KEYFILE))
    foreign = scene.image()
    run("mkfs.ext4", "-q", foreign)
    before = content([foreign])
    mkfs([*members, foreign], SIGNATURE, ["ext4", "--force"])
    check_equal(content([foreign]), before, "the foreign filesystem is unchanged")
    scene.mkfs([*members, foreign], "--force")
    run("mkfs.raid5cryptfs", *key, *members, code=SIGNATURE, says="is a member of the raid5cryptfs array")
    scene.mount([*members, foreign])
    run("mkfs.raid5cryptfs", *key, "--force", *members, code=BUSY, says="in use")
    scene.umount()


def mkfs_devices(scene):
    need_root()
    images = scene.images(3)
    loops = [scene.loop(i) for i in images]
    run("mkfs.raid5cryptfs", "--key-file", scene.key(), *loops, images[0], code=TWICE, says=images[0])
    run("mkfs.ext4", "-q", loops[0])
    mnt = scene.mountpoint("ext4")
    run("mount", loops[0], mnt)
    scene.mounts.append(mnt)
    run("mkfs.raid5cryptfs", "--key-file", scene.key(), "--force", *loops, code=BUSY, says=loops[0])


def long_paths(scene):
    """A path that the status could not show, nor fsck know again, is refused before anything is written; a link to it will do."""
    folder = scene.path(os.path.join("x" * 200, "y" * 200))
    os.makedirs(folder)
    members = [shutil.move(image, folder) for image in scene.images(3)]
    unchanged(members, lambda: run("mkfs.raid5cryptfs", "--key-file", scene.key(), *members, code=USAGE, says=["too long", "symbolic link"]))
    os.symlink(folder, scene.path("short"))
    links = [os.path.join(scene.path("short"), os.path.basename(m)) for m in members]
    scene.mkfs(links)
    for program in [["raid5cryptfs-status"], ["raid5cryptfs", *scene.key_options(CIPHERS[0])]]:
        run(*program, *members, *([scene.mountpoint()] if program[0] == "raid5cryptfs" else []), code=USAGE, says="too long")
    run("fsck.raid5cryptfs", "-n", "--key-file", scene.key(), *members, code=16, says="too long")
    run("fsck.raid5cryptfs", "-n", "--key-file", scene.key(), *links)


def loop_and_file(scene):
    """A loop device and the file that it stands for are one disk: whoever writes the one keeps others from the other."""
    need_root()
    images = scene.images(3)
    loops = [scene.loop(i) for i in images]
    scene.mkfs(loops)
    options = scene.key_options(CIPHERS[0])
    for used, other in [(loops, images), (images, loops)]:
        scene.mount(used)
        mnt = scene.mountpoint("second")
        run("raid5cryptfs", *options, *other, mnt, code=BUSY, says=[other[0], "in use"])
        run("mkfs.raid5cryptfs", "--force", "--key-file", scene.key(), *other, code=BUSY, says=[other[0], "in use"])
        run("raid5cryptfs-rebuild", "erase", "--force", other[1], code=BUSY, says=[other[1], "in use"])
        write(os.path.join(scene.path("mnt"), "file"), b"x")
        scene.umount()
    scene.mount(images)
    scene.umount()


def on_itself(scene):
    """A file on the array is no disk for it: to be written it would wait for itself."""
    need_root()
    members = made(scene)
    scene.mount(members)
    mnt = scene.path("mnt")
    inside = os.path.join(mnt, "inside")
    with open(inside, "wb") as f:
        f.truncate(SIZE)
    loop = scene.loop(inside)
    for command in [["spare"], ["add"], ["replace", "1"], ["readd"]]:
        for disk in [inside, loop]:
            run("raid5cryptfs-rebuild", command[0], mnt, *command[1:], disk, code=USAGE, says=[disk, "lies on the array itself"],
                timeout=60)
    run("losetup", "-d", loop)
    scene.loops.remove(loop)
    scene.umount()


def mounted_read_only(scene):
    """A mount that only reads, perhaps to save what can be read, holds no lock; its members are not overwritten all the same."""
    members, new = made(scene), scene.image()
    other = made(scene, 3)
    scene.mount(members, "-o", "ro")
    scene.mount(other, name="other")

    def refused(*command):
        unchanged(members, lambda: run(*command, code=BUSY, says=[members[0], "mounted read-only on " + scene.path("mnt")]))

    refused("mkfs.raid5cryptfs", "--force", "--key-file", scene.key(), members[0], new, scene.image())
    refused("raid5cryptfs-rebuild", "erase", "--force", members[0])
    refused("raid5cryptfs-rebuild", "spare", "--force", scene.path("other"), members[0])
    unmount(scene.path("other"))
    scene.mounts.remove(scene.path("other"))
    scene.umount()
    run("raid5cryptfs-rebuild", "erase", "--force", members[0])


def status_wrong(scene):
    run("raid5cryptfs-status", scene.mountpoint("empty"), code=NOT_FOUND, says="no raid5cryptfs array")
    run("raid5cryptfs-status", scene.image(), code=NOT_MEMBER)
    run("raid5cryptfs-status", "--nonsense", code=USAGE)
    run("raid5cryptfs-key", "nonsense", code=USAGE)
    key = scene.key()
    run("raid5cryptfs-key", "generate", key, code=KEYFILE, says=key)


if __name__ == "__main__":
    main(keys, damaged_slots, members_wrong, short_members, mount_points, options_wrong, cipher_none, mkfs_wrong, mkfs_devices,
         long_paths, loop_and_file, on_itself, mounted_read_only,
         status_wrong)
