"""The forms that mount(8) uses, and array: in place of members."""
from lib import *


@contextlib.contextmanager
def installed():
    """mount.fuse searches the system's folders only: a link there for the time of the test, unless it is installed."""
    link = "/usr/local/bin/raid5cryptfs"
    if not os.path.exists("/sbin/mount.fuse"):
        raise Skip("no mount.fuse")
    made = not os.path.lexists(link)
    if made:
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.symlink(os.path.realpath(shutil.which("raid5cryptfs")), link)
    try:
        yield
    finally:
        if made:
            os.unlink(link)


def mount_and_check(scene, command, **kwargs):
    root = scene.path("mnt")
    run(*command, **kwargs)
    scene.mounts.append(root)
    check(os.path.ismount(root), "it is mounted")
    with open("/proc/self/mounts") as f:
        lines = [line.split() for line in f if line.split()[1] == root]
    check_equal([line[2] for line in lines], ["fuseblk.raid5cryptfs"], "the type")
    with open(os.path.join(root, "file"), "a") as f:
        f.write("x")
    scene.umount()
    return lines[0]


def source_of_images(scene):
    need_root()
    members = scene.images(3)
    os.rename(members[2], scene.path("with:colon"))
    members[2] = scene.path("with:colon")
    scene.mkfs(members, "--name", "fstab")
    root = scene.mountpoint()
    source = ":".join(m.replace(":", "\\:") for m in members)
    options = f"key-file={scene.key()},noatime,nosuid,_netdev,nofail,x-systemd.automount"
    mount_and_check(scene, ["raid5cryptfs", source, root, "-o", options])
    with installed():
        mount_and_check(scene, ["mount", "-t", "fuse.raid5cryptfs", "-o", options, source, root])
        from_fstab(scene, source, root, options)


def from_fstab(scene, source, root, options):
    fstab = scene.path("fstab")
    with open(fstab, "w") as f:
        f.write(f"{source}\t{root}\tfuse.raid5cryptfs\t{options}\t0\t0\n")
    mount_and_check(scene, ["mount", "-T", fstab, root])


def by_name(scene):
    need_root()
    images = scene.images(3)
    loops = [scene.loop(i) for i in images]
    name = f"by-name-{os.getpid()}"
    scene.mkfs(loops, "--name", name)
    root = scene.mountpoint()
    uuid = scene.status(*loops)["uuid"]
    options = f"key-file={scene.key()}"
    line = mount_and_check(scene, ["raid5cryptfs", "-o", options, f"array:{name}", root])
    check_equal(line[0], f"array:{name}", "the source in /proc/mounts")
    mount_and_check(scene, ["raid5cryptfs", "-o", options, f"array:{uuid}", root])
    with installed():
        mount_and_check(scene, ["mount", "-t", "fuse.raid5cryptfs", "-o", options, f"array:{name}", root])
    found = json.loads(run("raid5cryptfs-status", "--json", code=None).out)["arrays"]
    check(name in [a["name"] for a in found], f"status without arguments finds it: {found}")
    run("raid5cryptfs", "-o", options, f"array:{name}", loops[0], root, code=USAGE, says="stands for all members")


if __name__ == "__main__":
    main(source_of_images, by_name)
