"""Programs that are told of events: what they are given, what they must not get, which are refused, and that they disturb nobody."""
from alert_lib import *

MESSAGES = {"test": "nothing is wrong", "degraded-at-mount": "works without it", "healed": "from parity",
            "unreadable": "parity cannot rebuild"}


def signals(call):
    """Blocked and ignored ones, but for the two that the C library has for itself."""
    return [int(call["blocked"], 16), int(call["ignored"], 16) & ~(3 << 31)]


def test_option(scene):
    """raid5cryptfs --test-alert -o alert=: what is called, what it gets, and the exit code."""
    recorder = Recorder(scene.dir)
    os.environ["SECRET_OF_THE_CALLER"] = "x"
    os.set_inheritable(leak := os.open(scene.dir, os.O_RDONLY), True)
    result = run("raid5cryptfs", "--test-alert", "-o", f"alert={recorder.path}", pass_fds=[leak])
    check(f"{recorder.path} ended with exit code 0" in result.out, result.out)
    [call] = recorder.of("test")
    check_equal(call["arguments"], ["test", "test", ""], "the arguments")
    names = {"PATH", *(f"RAID5CRYPTFS_{n}" for n in ["EVENT", "ARRAY", "UUID", "MOUNTPOINT", "MEMBER", "MESSAGE", "COUNT"])}
    ours = {n for n in call["environment"] if n not in ["PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"]}   # these are the shell's and Python's
    check_equal(ours, names, "the environment")
    check("/usr/bin" in call["environment"]["PATH"], "PATH")
    check(MESSAGES["test"] in variable(call, "MESSAGE"), f"the message: {call}")
    check_equal([set(call["fds"]), call["fds"]["0"]], [{"0", "1", "2"}, "/dev/null"], "the descriptors")
    check_equal(signals(call), [0, 0], "signals blocked and ignored")
    check_equal([call["cwd"], call["leader"]], ["/", True], "folder and session")


def test_option_failures(scene):
    talks = make_program(scene.path("talks"), "#!/bin/sh\necho hello; echo 'on error\x1b' >&2; exit 3\n")
    result = run("raid5cryptfs", "--test-alert", "-o", f"alert={talks}", code=SYSTEM)
    for text in ["hello\n", "on error?\n", f"{talks} ended with exit code 3"]:
        check(text in result.out, result.out)
    dies = make_program(scene.path("dies"), "#!/bin/sh\nkill -9 $$\n")
    check("was ended by signal 9" in run("raid5cryptfs", "--test-alert", "-o", f"alert={dies}", code=SYSTEM).out, "a signal")
    lost = make_program(scene.path("lost"), "#!/no/such/interpreter\n")
    check("interpreter" in run("raid5cryptfs", "--test-alert", "-o", f"alert={lost}", code=SYSTEM).out, "no interpreter")
    chatters = make_program(scene.path("chatters"), "#!/bin/sh\ni=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i + 1)); done\n")
    out = run("raid5cryptfs", "--test-alert", "-o", f"alert={chatters}").out
    check(len(out.splitlines()) < 30 and "left out" in out, out)
    leaves = make_program(scene.path("leaves"), "#!/bin/sh\nsleep 5 &\necho left\n")
    begin = time.monotonic()
    check("left\n" in run("raid5cryptfs", "--test-alert", "-o", f"alert={leaves}", timeout=20).out, "what it said")
    check(time.monotonic() - begin < 4, "a child left behind is not waited for")
    run("raid5cryptfs", "--test-alert", "-o", f"alert={leaves}", scene.path("mnt"), code=USAGE, says="--test-alert")
    if not hooks_there():
        run("raid5cryptfs", "--test-alert", code=NOT_FOUND, says=["no alert program", "alert.d"])


def hooks_folder():
    """Where this build looks; its own message tells."""
    message = run("raid5cryptfs", "--test-alert", code=None, **nobody()).err
    check("there is no alert program" in message, message)
    return message.split("(those in ")[1].split(" are for")[0]


def nobody():
    """To run as a user for whom there are no hooks."""
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"} if os.geteuid() == 0 else {}


def hooks_there():
    folder = hooks_folder()
    return os.path.isdir(folder) and os.listdir(folder)


@contextlib.contextmanager
def hooks(*programs):
    """Puts them into the folder of hooks, and takes away what was made, also when the test is stopped (SIGTERM is an exception in main)."""
    folder, made, links = hooks_folder(), [], []
    part = folder
    while not os.path.isdir(part):
        made.append(part)
        part = os.path.dirname(part)
    try:
        for part in reversed(made):
            os.mkdir(part, 0o755)
        for name, target in programs:
            path = os.path.join(folder, name)
            os.symlink(target, path)
            links.append(path)
        yield folder
    finally:
        for path in links:
            os.unlink(path)
        for part in made:
            with contextlib.suppress(OSError):
                os.rmdir(part)


def folder_of_hooks(scene):
    """In the order of their names, and only programs; also by a mount without the option."""
    need_root()
    if hooks_there():
        print("left out: there are hooks on this machine")
        return
    one, two = Recorder(scene.dir, "one"), Recorder(scene.dir, "two")
    fails = make_program(scene.path("fails"), "#!/bin/sh\nexit 9\n")
    plain = make_program(scene.path("plain"), "#!/bin/sh\n", 0o644)
    unsafe = make_program(scene.path("unsafe"), "#!/bin/sh\n", 0o777)
    members = scene.images(3)
    scene.mkfs(members, "--name", "hooked")
    with hooks(("20-one", one.path), ("10-two", two.path), (".hidden", fails), ("backup~", fails), ("plain", plain),
               ("folder", scene.mountpoint("folder"))):
        out = run("raid5cryptfs", "--test-alert").out
        check_equal([line.split()[0] for line in out.splitlines()], [two.path, one.path], "the order")
        out = run("raid5cryptfs", "--test-alert", "-o", f"alert={fails}", code=SYSTEM).out
        check_equal([line.split()[0] for line in out.splitlines()], [fails, two.path, one.path], "the option's is one more")
        scene.mount(members[1:])
        mnt = scene.path("mnt")
        for recorder in [one, two]:
            wait_for(lambda r=recorder: r.of("degraded-at-mount", mnt), "both are told")
            check_equal(recorder.of("degraded-at-mount", mnt)[0]["arguments"], ["degraded-at-mount", "hooked", ""], "the arguments")
        scene.umount()
    with hooks(("unsafe", unsafe), ("one", one.path)):
        result = run("raid5cryptfs", "--test-alert", code=SYSTEM, says=["unsafe", "chmod go-w"])
        check("unsafe" not in result.out and one.path in result.out, "the others run")


def refused(scene):
    """What a mount refuses, before anything is touched."""
    members = scene.images(3)
    scene.mkfs(members)
    mnt = scene.mountpoint()
    good = make_program(scene.path("good"), "#!/bin/sh\n")

    def refuse(value, code, says):
        run("raid5cryptfs", *scene.key_options(CIPHERS[0]), "-o", f"alert={value}", *members, mnt, code=code, says=says)
        check(not os.path.ismount(mnt), "not mounted")

    refuse("relative/path", USAGE, "from / on")
    refuse("", USAGE, "alert=")
    refuse(scene.path("nowhere"), SYSTEM, ["nowhere", "No such file"])
    refuse(scene.dir, SYSTEM, "no file")
    refuse("/dev/null", SYSTEM, "no file")
    refuse(make_program(scene.path("plain"), "#!/bin/sh\n", 0o644), SYSTEM, "not executable: chmod +x")
    need_root()
    for mode in [0o775, 0o757]:
        refuse(make_program(scene.path("open"), "#!/bin/sh\n", mode), SYSTEM, ["by others than root", "chmod go-w"])
    foreign = make_program(scene.path("foreign"), "#!/bin/sh\n")
    os.chown(foreign, pwd.getpwnam("nobody").pw_uid, 0)
    refuse(foreign, SYSTEM, "must belong to root")
    folder = scene.mountpoint("theirs")
    inside = make_program(os.path.join(folder, "inside"), "#!/bin/sh\n")
    os.chmod(folder, 0o777)
    refuse(inside, SYSTEM, [folder + " can be written by others"])
    os.symlink(inside, scene.path("link"))
    refuse(scene.path("link"), SYSTEM, [folder + " can be written by others"])
    os.chmod(folder, 0o1777)
    run("raid5cryptfs", "--test-alert", "-o", f"alert={inside}")
    os.chmod(folder, 0o755)
    os.chown(folder, pwd.getpwnam("nobody").pw_uid, 0)
    refuse(inside, SYSTEM, [folder + " belongs to user"])
    # A link that is another user's, or lies where another user can change it, lets that user choose the program.
    os.symlink("/bin/true", os.path.join(folder, "link"))
    refuse(os.path.join(folder, "link"), SYSTEM, [folder + " belongs to user"])
    os.symlink(os.path.join(folder, "link"), scene.path("chain"))
    refuse(scene.path("chain"), SYSTEM, [folder + " belongs to user"])
    os.symlink("/bin/true", scene.path("theirs-too"))
    os.chown(scene.path("theirs-too"), pwd.getpwnam("nobody").pw_uid, 0, follow_symlinks=False)
    refuse(scene.path("theirs-too"), SYSTEM, [scene.path("theirs-too") + " belongs to user"])
    os.mkdir(scene.path("bin"))
    os.symlink("/bin/true", os.path.join(scene.dir, "bin", "true"))
    os.symlink("bin/.././bin/true", scene.path("relative"))
    run("raid5cryptfs", "--test-alert", "-o", f"alert={scene.path('relative')}")
    # A mount that fails has told its user, and calls nobody.
    recorder = Recorder(scene.dir)
    run("raid5cryptfs", *scene.key_options(CIPHERS[0]), "-o", f"alert={recorder.path}", members[0], mnt, code=TOO_FEW)
    run("raid5cryptfs", "-o", f"key-file={good}", "-o", f"alert={recorder.path}", *members[1:], mnt, code=None)
    check_equal(recorder.calls(), [], "nobody was called")


def degraded_at_mount(scene):
    """Who is missing, and who is out of date, in the foreground and in the background."""
    members = scene.images(4)
    recorder = Recorder(scene.dir)
    scene.mkfs(members, "--name", "arräy")
    uuid = scene.status(*members)["uuid"]
    missing = scene.status(*members)["members"][2]["uuid"]
    scene.mount(without(members, 2), "-o", f"alert={recorder.path}")
    call = recorder.wait("degraded-at-mount")
    check_equal(call["arguments"], ["degraded-at-mount", "arräy", ""], "the arguments: there is no path")
    check_equal([variable(call, n) for n in ["EVENT", "ARRAY", "UUID", "MOUNTPOINT", "MEMBER", "COUNT"]],
                ["degraded-at-mount", "arräy", uuid, scene.path("mnt"), "", "1"], "the environment")
    check(missing in variable(call, "MESSAGE") and MESSAGES["degraded-at-mount"] in variable(call, "MESSAGE"), f"the message: {call}")
    check_equal(set(call["fds"]), {"0", "1", "2"}, "no descriptor of the daemon")
    check_equal(signals(call), [0, 0], "signals blocked and ignored")
    make_tree(scene.path("mnt"), files=20, big=0)
    scene.umount()
    m = Mount(scene, members, "-o", f"alert={recorder.path}")
    call = recorder.wait("in-sync")
    check_equal(call["arguments"], ["in-sync", "arräy", members[2]], "the arguments")
    check_equal([c["arguments"] for c in recorder.calls()[1:3]], [["degraded-at-mount", "arräy", members[2]],
                                                                  ["returned", "arräy", members[2]]], "what came before")
    m.umount()
    check_equal(len(recorder.calls()), 4, "nothing else was told")


def spoil(image, offset):
    with open(image, "r+b") as f:
        f.seek(offset + 5000)
        byte = f.read(1)[0]
        f.seek(offset + 5000)
        f.write(bytes([byte ^ 1]))


def corruption(scene):
    """A flood of healed units is two calls: the first at once, the others when their time has come, which is at the end at the latest."""
    members = scene.images(3)
    recorder = Recorder(scene.dir)
    scene.mkfs(members, cipher="none")
    scene.mount(members, cipher="none")
    blob = random.Random(1).randbytes(4 << 20)
    write(scene.path("mnt/file"), blob)
    scene.umount()
    units = {blob[i:i + 16384] for i in range(0, len(blob), 16384)}
    rows = {}
    for member, image in enumerate(members):
        data = read(image)
        for offset in range(0, len(data), 16384):
            if data[offset:offset + 16384] in units:
                rows.setdefault(offset, []).append(member)
    whole = sorted(offset for offset, of in rows.items() if of == [0, 1])
    check(len(whole) > 20, f"{len(whole)} rows with data on two members and parity on the third")
    for offset in whole[:20]:
        spoil(members[1], offset)
    for offset in whole[20:23]:
        spoil(members[0], offset)
        spoil(members[1], offset)
    m = Mount(scene, members, "-o", f"alert={recorder.path}", cipher="none")
    with open(m.root + "/file", "rb", buffering=0) as f:
        for offset in range(0, len(blob), 16384):
            with contextlib.suppress(OSError):
                check_equal(os.pread(f.fileno(), 16384, offset), blob[offset:offset + 16384], "never wrong")
    first = recorder.wait("healed")
    check_equal(first["arguments"][2], members[1], "the member")
    check(MESSAGES["healed"] in variable(first, "MESSAGE"), f"the message: {first}")
    check(MESSAGES["unreadable"] in variable(recorder.wait("unreadable"), "MESSAGE"), "the message of the unreadable")
    time.sleep(1)
    check_equal(len(recorder.of("healed")), 1, "the others are held back")
    m.umount()
    check_equal(len(recorder.of("healed")), 2, f"the others are told at the end: {recorder.calls()}")
    count = sum(int(variable(c, "COUNT")) for c in recorder.of("healed"))
    check(count == m.log().count("healed "), f"{count} in all, by the log {m.log().count('healed ')}")
    check(count >= 20, f"{count} were healed")


def space_low(scene):
    """Told once at each limit, and again only after there was more."""
    members = scene.images(3)
    recorder = Recorder(scene.dir)
    scene.mkfs(members)
    m = Mount(scene, members, "-o", f"alert={recorder.path}")

    def free():
        space = os.statvfs(m.root)
        return space.f_bfree * 100 / space.f_blocks

    def fill(percent, name):
        """By small steps only when it is near."""
        with open(f"{m.root}/{name}", "wb") as f:
            with contextlib.suppress(OSError):
                while (now := free()) > percent:
                    f.write(random.randbytes(4 << 20 if now > 20 else 128 << 10))
                    f.flush()
                    os.fsync(f.fileno())

    fill(4, "most")
    call = recorder.wait("space-low")
    check_equal(call["arguments"][2], "", "no member")
    check("less than 5 %" in variable(call, "MESSAGE"), f"the message: {call}")
    m.wait_log("Little space is free")
    fill(0.5, "rest")
    check("less than 1 %" in variable(recorder.wait("space-low", 2), "MESSAGE"), f"the message: {recorder.calls()}")
    os.unlink(m.root + "/most")
    wait_for(lambda: free() > 10, "there is space")
    time.sleep(11)
    fill(4, "most")
    recorder.wait("space-low", 3)
    time.sleep(11)
    check_equal(len(recorder.of("space-low")), 3, "it is not told again and again")
    m.umount()


def failures_are_logged(scene):
    members = scene.images(3)
    scene.mkfs(members)
    fails = make_program(scene.path("fails"), "#!/bin/sh\necho no mail server >&2\nexit 75\n")
    m = Mount(scene, members[1:], "-o", f"alert={fails}")
    m.wait_log(f'alert program {fails}, called because of "degraded-at-mount", ended with exit code 75')
    check(f"alert program {fails} says: no mail server" in m.log(), m.log())
    m.umount()
    # It becomes unsafe after the mount.
    need_root()
    changes = make_program(scene.path("changes"), '#!/bin/sh\necho called\nchmod 777 "$0"\n')
    m = Mount(scene, members[1:])
    make_tree(m.root, files=20, big=0)
    m.umount()
    m = Mount(scene, members, "-o", f"alert={changes}")
    m.wait_log(f"{changes} can be written by others than root, who runs it")
    m.umount()
    check_equal(m.log().count("says: called"), 1, m.log())


def ordinary_user(scene):
    """A user's own program, which need not be root's; hooks of the machine are not called."""
    with as_nobody(scene) as (who, home, _):
        def do(*command, **kwargs):
            return run(*command, **who, **kwargs)

        members = [os.path.join(home, f"d{i}") for i in range(3)]
        recorder = Recorder(home)
        for member in members:
            do("truncate", "-s", "64M", member)
        for path in [recorder.path, recorder.path + ".py"]:
            os.chown(path, who["user"], who["group"])
        do("raid5cryptfs-key", "generate", "key")
        do("mkfs.raid5cryptfs", "--key-file", "key", *members)
        do("raid5cryptfs", "--test-alert", code=NOT_FOUND, says="for mounts by root")
        do("raid5cryptfs", "--test-alert", "-o", f"alert={recorder.path}")
        mnt = os.path.join(home, "mnt")
        do("mkdir", mnt)
        do("raid5cryptfs", "-o", f"key-file=key,alert={recorder.path}", *members[1:], mnt)
        scene.mounts.append(mnt)
        call = recorder.wait("degraded-at-mount")
        check_equal(call["arguments"][0], "degraded-at-mount", "the event")
        check_equal(set(call["fds"]), {"0", "1", "2"}, "the descriptors")
        do("fusermount3", "-u", mnt)
        scene.mounts.remove(mnt)
        scene.wait_no_daemon()
        # What only root may run is refused at the mount.
        secret = make_program(scene.path("secret"), "#!/bin/sh\n", 0o700)
        do("raid5cryptfs", "-o", f"key-file=key,alert={secret}", *members, mnt, code=SYSTEM, says="not executable")


if __name__ == "__main__":
    main(test_option, test_option_failures, refused, degraded_at_mount, corruption, failures_are_logged, folder_of_hooks, ordinary_user,
         space_low)
