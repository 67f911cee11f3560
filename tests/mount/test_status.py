"""raid5cryptfs-status: what it says of each state, its exit code, JSON as documented, the search, and --watch."""
import errno
import pty
import re
import select
import struct

from faulty import *

# ---- JSON ----

TYPES = {"string": str, "integer": int, "boolean": bool, "array of objects": list, "array of strings": list, "array of integers": list,
         "object": dict, "null": type(None)}
SECTIONS = {"arrays": "Arrays", "members": "Members", "others": "Others", "gap": "Gaps", "scrub": "Scrub", "job": "Job", "stalled": "Stalled",
            "last": "Last scrub", "by_member": "Scrub by member"}


def documented():
    """{section: {key: types}} by the tables of doc/status-json.md."""
    sections, section = {}, None
    for line in read(os.path.join(os.environ["R5_SOURCE"], "doc", "status-json.md")).decode().splitlines():
        if line.startswith("## "):
            section = sections.setdefault(line[3:], {})
        elif (cells := re.match(r"\| `(\w+)` \| ([^|]*(?:\\\|[^|]*)*) \|", line)):
            section[cells[1]] = [TYPES[t] for t in cells[2].split("\\|")]
    return sections


def check_json(value, section="The object"):
    keys = documented()[section]
    check_equal(sorted(value), sorted(keys), f"the keys of {section}")
    for key, item in value.items():
        check(type(item) in keys[key], f"{section}: {key} is {item!r}")
        if key in SECTIONS:
            for one in item if isinstance(item, list) else [item] if item else []:
                check_json(one, SECTIONS[key])
        elif isinstance(item, list):
            check(all(isinstance(one, int if key == "targets" else str) for one in item), f"{section}: {key} is {item!r}")


def status(*arguments, code=0, **kwargs):
    """The checked object, and the text for people, which has the same exit code."""
    result = run("raid5cryptfs-status", "--json", *arguments, code=code, **kwargs)
    check_equal(result.out.count("\n"), 1, "one line")
    value = json.loads(result.out)
    check_json(value)
    return value, run("raid5cryptfs-status", *arguments, code=code, **kwargs).out


def states(scene):
    """Healthy, degraded, failed; mounted or not: each with its exit code, its map, and what lacks."""
    check(len(documented()) == 10 and all(documented().values()), "there are tables")
    members = scene.images(4)
    scene.mkfs(members, "--name", 'a "name" \\ of üs')
    uuids = [m["uuid"] for m in status(*members)[0]["arrays"][0]["members"]]

    def one(*arguments, code, state, letters, says):
        value, text = status(*arguments, code=code)
        [array] = value["arrays"]
        check_equal([array["state"], array["map"], array["name"]], [state, f"[{letters}]", 'a "name" \\ of üs'], "state, map and name")
        check_equal([m["index"] for m in array["members"]], [0, 1, 2, 3], "the indexes")
        check_equal([m["uuid"] for m in array["members"]], uuids, "the UUIDs")
        for word in [f"[{letters}] {state}\n", *says]:
            check(word in text, f"{word!r} in {text}")
        return array

    one(*members, code=0, state="healthy", letters="UUUU", says=["mounted        no; complete\n"])
    array = one(*without(members, 1), code=DEGRADED, state="degraded", letters="U_UU",
                says=["no; can be mounted without member 2 (missing)", "(not there)", uuids[1]])
    check_equal([array["mountable"], array["members"][1]["path"], array["members"][1]["size_bytes"]], [True, None, SIZE], "the missing one")
    array = one(members[0], members[3], code=FAILED, state="failed", letters="U__U", says=["no; incomplete", "2 (missing), 3 (missing)"])
    check_equal([array["mountable"], array["capacity_bytes"]], [False, None], "it cannot be mounted")
    scene.mount(without(members, 1))
    root = scene.path("mnt")
    array = one(root, code=DEGRADED, state="degraded", letters="U_UU", says=[f"mounted        {root}\n", "space"])
    check_equal([array["mountpoint"], array["mountable"], array["read_only"]], [root, None, False], "mounted")
    make_tree(root, files=20, big=0)
    scene.umount()
    array = one(*members, code=DEGRADED, state="degraded", letters="U_UU", says=["member 2 (out of date)", f"member 2    _  {members[1]}"])
    check_equal([array["members"][1]["present"], array["members"][1]["gap"]["to"]], [True, None], "its gap")
    array = one(*without(members, 3), code=FAILED, state="failed", letters="U_U_", says=["2 (out of date), 4 (missing)"])
    array = one("--key-file", scene.key(), *members, code=DEGRADED, state="degraded", letters="U_UU", says=["space"])
    check(array["free_bytes"] > 0, "space")
    scene.mount(members)
    wait_for(lambda: run("raid5cryptfs-status", root, code=None).code == 0, "it is caught up", 60)
    one(root, code=0, state="healthy", letters="UUUU", says=[])
    scene.umount()
    scene.mount(members, "-o", "ro")
    check(one(root, code=0, state="healthy", letters="UUUU", says=["(read-only)"])["read_only"], "a wish is no failure")
    scene.umount()


def wrong(scene):
    members = scene.images(3)
    scene.mkfs(members)
    for arguments, says in [(["--watch=0"], "--watch=0"), (["--watch=x"], "--watch=x"), (["--watch", "--wait", members[0]], "--wait"),
                            (["--watch", "--key-file", scene.key(), *members], "--key-file"), (["--mounted", members[0]], "--mounted"),
                            (["--nonsense"], "--help")]:
        run("raid5cryptfs-status", *arguments, code=USAGE, says=says)
    run("raid5cryptfs-status", "--watch", scene.mountpoint("empty"), code=NOT_FOUND, says="no raid5cryptfs array")
    run("raid5cryptfs-status", "--watch", scene.path("nowhere"), code=SYSTEM, says="nowhere")


# ---- The search ----

def found(value, uuid):
    return [a for a in value["arrays"] if a["uuid"] == uuid]


def everything(*options):
    """With no argument. Other arrays may be on this machine, so the exit code is only compared with what is shown."""
    result = run("raid5cryptfs-status", "--json", *options, code=None)
    value = json.loads(result.out) if result.out else {"version": 1, "arrays": [], "unreadable": [], "damaged": []}
    check_json(value)
    text = run("raid5cryptfs-status", *options, code=None)
    return value, text.out, text.err


def mounted(scene):
    """Members of an array that is mounted: the mount tells, of all members, and of a device that is none of its own."""
    members = scene.images(3)
    scene.mkfs(members)
    scene.mount(members[:2])
    write(scene.path("mnt/x"), b"x")
    syncfs(scene.path("mnt"))
    for given in [members[:1], members[1:], members]:
        entry = scene.status(*given, code=DEGRADED)
        check_equal((entry["mountpoint"], entry["map"], entry["transport"]), (scene.path("mnt"), "[UU_]", TRANSPORT or "device"), "the mount")
        check_equal([other["path"] for other in entry["others"]], [m for m in given if m == members[2]], "what the mount does not have")
    check_equal(scene.status(*members, code=DEGRADED, options=["--key-file", scene.key()])["mountpoint"], scene.path("mnt"), "with a key")
    scene.umount()
    check_equal(scene.status(*members, code=DEGRADED)["mountpoint"], None, "unmounted; the third is out of date")


class OtherVersion:
    """A mount of this type that does not know what it is asked, by hand: include/uapi/linux/fuse.h."""
    GETATTR, INIT, OPENDIR, RELEASEDIR, IOCTL = 3, 26, 27, 29, 39

    def __init__(self, path):
        self.fd = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0"
        check_equal(LIBC.mount(b"other", path.encode(), b"fuse.raid5cryptfs", 0, options.encode()), 0, "mount(2)")
        threading.Thread(target=self.serve, daemon=True).start()

    def answer(self, opcode):
        if opcode == self.INIT:
            return 0, struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, 0)
        if opcode == self.GETATTR:
            return 0, struct.pack("<QII", 0, 0, 0) + struct.pack("<6Q10I", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
        if opcode == self.OPENDIR:
            return 0, bytes(16)
        return (0 if opcode == self.RELEASEDIR else -errno.ENOTTY if opcode == self.IOCTL else -errno.ENOSYS), b""

    def serve(self):
        with contextlib.suppress(OSError):       # the unmount
            while True:
                _, opcode, unique = struct.unpack_from("<IIQ", os.read(self.fd, 1 << 17))
                error, body = self.answer(opcode)
                os.write(self.fd, struct.pack("<IiQ", 16 + len(body), error, unique) + body)


def other_version(scene):
    """After an upgrade below a mount the tools say what is the matter, and not that nothing is mounted."""
    need_root()
    path = scene.mountpoint()
    OtherVersion(path)
    says = [f"{path}: mounted by another version of raid5cryptfs; use the tools of that version, or unmount it"]
    run("raid5cryptfs-status", path, code=VERSION, says=says)
    run("raid5cryptfs-status", "--mounted", code=None, says=says)
    run("raid5cryptfs-rebuild", "fail", path, "1", code=VERSION, says=says)
    run("raid5cryptfs-scrub", "status", path, code=VERSION, says=says)
    run("umount", path)
    run("raid5cryptfs-status", path, code=NOT_FOUND, says=f"{path}: no raid5cryptfs array is mounted here")


def search(scene):
    """Arrays on loop devices: complete, degraded, incomplete, mounted; and devices that do not belong."""
    need_root()
    arrays = {}
    for name in ["complete", "degraded", "incomplete", "mounted"]:
        loops = [scene.loop(image) for image in scene.images(3, 24 << 20)]
        scene.mkfs(loops, "--name", f"search-{name}")
        arrays[name] = (loops, scene.status(*loops)["uuid"])
    images = {loop: os.path.realpath(os.path.join("/sys/class/block", os.path.basename(loop), "loop/backing_file")) for loops, _ in
              arrays.values() for loop in loops}
    images = {loop: read(path).decode().strip() for loop, path in images.items()}

    def detach(loop):
        run("losetup", "-d", loop)
        scene.loops.remove(loop)

    gone = [scene.status(*arrays[n][0])["members"] for n in ["degraded", "incomplete"]]
    detach(arrays["degraded"][0][1])
    detach(arrays["incomplete"][0][0])
    detach(arrays["incomplete"][0][2])
    scene.mount(without(arrays["mounted"][0], 2))
    root = scene.path("mnt")
    value, text, _ = everything()
    expected = {"complete": ("healthy", "[UUU]"), "degraded": ("degraded", "[U_U]"), "incomplete": ("failed", "[_U_]"),
                "mounted": ("degraded", "[UU_]")}
    for name, (loops, uuid) in arrays.items():
        [array] = found(value, uuid)
        check_equal((array["state"], array["map"], array["name"]), (*expected[name], f"search-{name}"), "state, map, name")
        check(f"Array search-{name} {expected[name][1]} {expected[name][0]}\n" in text, text)
        check_equal(array["mountpoint"], root if name == "mounted" else None, "the mount point")
        for member in array["members"]:
            if member["path"]:
                loop = loops[member["index"]]
                check_equal([member["path"], member["backing_file"]], [loop, images[loop]], "the member")
    [array] = found(value, arrays["degraded"][1])
    check_equal([array["members"][1][k] for k in ["uuid", "path", "size_bytes"]], [gone[0][1]["uuid"], None, 24 << 20], "the missing one")
    check(all(gone[1][i]["uuid"] in text for i in [0, 2]), f"those of the incomplete one are named: {text}")
    [array] = found(value, arrays["mounted"][1])
    check_equal([[o["path"], o["index"]] for o in array["others"]], [[arrays["mounted"][0][2], 2]], "one that the mount does not have")
    check("is member 3, which the mounted array does without" in text, text)
    value, _, _ = everything("--mounted")
    check_equal([len(found(value, uuid)) for _, uuid in arrays.values()], [0, 0, 0, 1], "with --mounted")
    scene.umount()
    # Members of no array that can be told, and copies.
    damaged = scene.loop(scene.image(24 << 20))
    run("dd", f"if={arrays['complete'][0][0]}", f"of={damaged}", "bs=1M", "status=none", "conv=fsync")
    run("losetup", "-d", arrays["complete"][0][0])
    scene.loops.remove(arrays["complete"][0][0])
    [array] = found(everything()[0], arrays["complete"][1])
    check_equal([array["state"], array["members"][0]["path"]], ["healthy", damaged], "a copy in the place of the original is the member")
    with open(damaged, "r+b") as f:
        data = f.read()
        at = data.find(b"search-complete")
        while at >= 0:
            f.seek(at)
            f.write(b"X")
            at = data.find(b"search-complete", at + 1)
    value, text, err = everything()
    check(damaged in value["damaged"] and damaged in err and "no copy is whole" in err, err)
    check_equal([found(value, arrays["complete"][1])[0]["map"]], ["[_UU]"], "it is missing")


def twice(scene):
    """The same member on two devices is told, and others are shown."""
    need_root()
    images = scene.images(3, 24 << 20)
    loops = [scene.loop(i) for i in images]
    scene.mkfs(loops, "--name", "search-twice")
    shutil.copyfile(images[0], scene.path("copy"))
    copy = scene.loop(scene.path("copy"))
    good = [scene.loop(i) for i in scene.images(3, 24 << 20)]
    scene.mkfs(good, "--name", "search-good")
    result = run("raid5cryptfs-status", code=None)
    check(result.code != 0 and loops[0] in result.err and copy in result.err, result.err)
    check("Array search-good [UUU] healthy" in result.out, result.out)


def partitions(scene):
    """A partition that ends where its disk ends: the label at the end can be read on both, and the partition is the member."""
    need_root()
    loops = [scene.loop(i) for i in scene.images(2, 24 << 20)]
    disk = scene.image((24 << 20) + (1 << 20))
    done = subprocess.run(["losetup", "-f", "-P", "--show", disk], stdout=subprocess.PIPE, text=True)
    whole = done.stdout.strip()
    check(whole, "a loop device")
    scene.loops.append(whole)
    part, made = whole + "p1", False
    sysfs = f"/sys/class/block/{os.path.basename(part)}"
    try:
        run("addpart", whole, 1, 2048, 24 << 11)     # from 1 MiB to the end, as a partition table would have it
        if not os.path.exists(part):
            major, minor = map(int, read(sysfs + "/dev").split(b":"))
            os.mknod(part, 0o600 | stat.S_IFBLK, os.makedev(major, minor))
            made = True
        scene.mkfs([*loops, part], "--name", "search-partition")
        [array] = [a for a in everything()[0]["arrays"] if a["name"] == "search-partition"]
        check_equal([array["map"], array["members"][2]["path"]], ["[UUU]", part], "the partition")
        # The same search serves array:NAME.
        root = scene.mountpoint()
        run("raid5cryptfs", *scene.key_options(CIPHERS[0]), "array:search-partition", root)
        scene.mounts.append(root)
        scene.umount()
    finally:
        subprocess.run(["delpart", whole, "1"], stderr=subprocess.DEVNULL)
        if made:
            os.unlink(part)


def ordinary_user(scene):
    """Sees what it may; devices that it may not read are named in one line; another user's mount is told of."""
    with as_nobody(scene) as (who, home, _):
        images = scene.images(3, 24 << 20)
        loops = [scene.loop(i) for i in images]
        scene.mkfs(loops, "--name", "search-user")
        modes = {loop: stat.S_IMODE(os.stat(loop).st_mode) for loop in loops}
        try:
            for loop in loops:
                os.chmod(loop, 0o600)
            result = run("raid5cryptfs-status", code=None, **who)
            [line] = [l for l in result.err.splitlines() if "lack of permission" in l]
            check("run it as root" in line, result.err)
            # Beside other tests there may be more devices than one line names.
            left_out = int(re.search(r" and (\d+) more: ", line + " and 0 more: ")[1])
            check(sum(loop not in line for loop in loops) <= left_out, result.err)
            check("search-user" not in result.out, result.out)
            for loop in loops[:2]:
                os.chmod(loop, 0o604)
            result = run("raid5cryptfs-status", "--json", code=None, **who)
            check(result.code in [DEGRADED, FAILED], f"the exit code (there may be other arrays): {result.code}")
            value = json.loads(result.out)
            check_json(value)
            [array] = [a for a in value["arrays"] if a["name"] == "search-user"]
            check_equal([array["map"], loops[2] in value["unreadable"], loops[0] in value["unreadable"]], ["[UU_]", True, False],
                        f"what it may read: {result.out}")
            os.chmod(loops[2], 0o604)
            value = json.loads(run("raid5cryptfs-status", "--json", code=None, **who).out)
            check_equal([a["state"] for a in value["arrays"] if a["name"] == "search-user"], ["healthy"], "all of them")
        finally:
            for loop, mode in modes.items():
                os.chmod(loop, mode)
        # Its own mount it may see; root's it may not, and this makes the others no less healthy.
        members = [os.path.join(home, f"d{i}") for i in range(3)]
        for member in members:
            run("truncate", "-s", "24M", member, **who)
        run("raid5cryptfs-key", "generate", "key", **who)
        run("mkfs.raid5cryptfs", "--key-file", "key", "--name", "mine", *members, **who)
        scene.mount(loops)
        run("raid5cryptfs-status", "--mounted", code=SYSTEM, says=[scene.path("mnt"), "only who mounted it", "as root"], **who)
        mnt = os.path.join(home, "mnt")
        run("mkdir", mnt, **who)
        run("raid5cryptfs", "-o", "key-file=key", *members, mnt, **who)
        scene.mounts.append(mnt)
        result = run("raid5cryptfs-status", "--mounted", code=None, says="only who mounted it", **who)
        check("Array mine [UUU] healthy" in result.out, result.out)
        run("fusermount3", "-u", mnt, **who)
        scene.mounts.remove(mnt)


# ---- --watch ----

class Watcher:
    def __init__(self, *arguments, **kwargs):
        self.process = subprocess.Popen(["raid5cryptfs-status", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
        self.text = ""

    def wait(self, condition, what, seconds=30):
        end = time.monotonic() + seconds
        while not condition(self.text):
            check(time.monotonic() < end, f"{what}: {self.text}")
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                data = os.read(self.process.stdout.fileno(), 65536)
                check(data, f"{what}; it ended: {self.text}")
                self.text += data.decode()

    def end(self):
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, self.text + out.decode(), err.decode()


def watch(scene):
    members = scene.images(3)
    scene.mkfs(members, "--name", "watched")
    scene.mount(members)
    root = scene.path("mnt")
    # It ends with the unmount, with the exit code of what it showed last.
    watcher = Watcher("--watch=1", root)
    watcher.wait(lambda text: text.count("Array watched [UUU] healthy") >= 2, "two rounds")
    scene.umount()
    code, out, err = watcher.end()
    check_equal(code, 0, f"healthy: {err}")
    check(f"{root}: was unmounted" in err and "\033" not in out, f"{out} {err}")
    scene.mount(members[1:])
    watcher = Watcher("--json", "--watch", "1", root)
    watcher.wait(lambda text: text.count("\n") >= 2, "two rounds")
    scene.umount()
    code, out, _ = watcher.end()
    check_equal(code, DEGRADED, "degraded")
    for line in out.splitlines():
        check_json(json.loads(line))
    # Ctrl-C and SIGTERM keep the exit code too.
    for number in [signal.SIGINT, signal.SIGTERM]:
        for arguments, expected in [(members, 0), (members[1:], DEGRADED), (members[2:], FAILED)]:
            watcher = Watcher("--watch=1", *arguments)
            watcher.wait(lambda text: "generation" in text, "a round")
            time.sleep(0.2)
            watcher.process.send_signal(number)
            check_equal(watcher.end()[0], expected, "the exit code")
    # A daemon that was killed is an error.
    scene.mount(members)
    watcher = Watcher("--watch=1", root)
    watcher.wait(lambda text: "generation" in text, "a round")
    for pid in scene.daemons():
        os.kill(pid, signal.SIGKILL)
    code, _, err = watcher.end()
    check_equal(code, NOT_FOUND, f"the daemon is gone: {err}")
    unmount(root)
    scene.mounts.remove(root)


def watch_change(scene):
    """What changes is seen."""
    need_root()
    paths, [bad] = failing(scene)
    m = Mount(scene, paths, "-o", "timeout=2,commit=1")
    watcher = Watcher("--watch=1", m.root)
    watcher.wait(lambda text: "[UUUU] healthy" in text, "healthy")
    bad.tell("gone")
    write(m.root + "/file", b"x" * 100000)
    watcher.wait(lambda text: "[UUU_] degraded" in text and "write errors" in text, "degraded, with the errors of the member")
    watcher.process.send_signal(signal.SIGINT)
    check_equal(watcher.end()[0], DEGRADED, "the exit code")
    m.umount()


def watch_terminal(scene):
    """On a terminal each round goes over the one before."""
    members = scene.images(3)
    scene.mkfs(members, "--name", "watched")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("raid5cryptfs-status", ["raid5cryptfs-status", "--watch=1", *members])
    text, end = "", time.monotonic() + 20
    while text.count("Array watched") < 3 and time.monotonic() < end:
        if select.select([terminal], [], [], 0.5)[0]:
            text += os.read(terminal, 65536).decode()
    os.write(terminal, b"\x03")
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    check_equal(code, 0, "the exit code after Ctrl-C")
    check(text.count("\033[H") >= 3 and text.count("\033[J") >= 2 and "Ctrl-C ends" in text, repr(text))
    lines = text.split("\033[J")[1].split("\n")
    check(all("\033[K" in line for line in lines[:-1]), repr(lines))


if __name__ == "__main__":
    main(states, wrong, mounted, other_version, search, twice, partitions, ordinary_user, watch, watch_change, watch_terminal)
