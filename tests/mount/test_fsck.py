"""fsck.raid5cryptfs on image files: clean ones, wrong input, damage of each kind, older roots, questions and signals."""
import fcntl
import pty
import re
import select
import termios

from fsck_lib import *


def clean(scene):
    for cipher in ["xchacha20-poly1305", "none"]:
        members, tree = made(scene, cipher)
        names = [p for p in tree if not p.endswith("/.")]
        folders = sum(tree[p][0].startswith("d") for p in names)
        others = len({tuple(map(str, tree[p])) if len(tree[p]) > 6 else p for p in names if not tree[p][0].startswith("d")})
        for options in [[], ["-n"], ["-p"], ["-a", "-f"], ["-y"], ["-n", "--data", "-v"], ["-y", "--data"]]:
            result = fsck(scene, members, *options, cipher=cipher, out="home: clean, ", not_out=["found:", "lost:"])
            directories, files = re.search(r"(\d+) directories, (\d+) files", result.out).groups()
            check_equal(int(directories), folders, "directories")
            check(0 < int(files) <= others, f"files: {files} of {others}")
        scene.mount(members, cipher=cipher)
        compare_trees(tree, describe_tree(scene.path("mnt")), "after all these checks")
        scene.umount()


def wrong_input(scene):
    members, other = scene.images(3, 16 << 20), scene.images(3, 16 << 20)
    scene.mkfs(members, "--name", "home")
    scene.mkfs(other, "--name", "other")
    key = ["--key-file", scene.key()]
    noise, wrong, none = scene.image(16 << 20), scene.path("wrong"), scene.path("none")
    with open(noise, "wb") as f:
        f.write(random.Random(1).randbytes(16 << 20))
    run("raid5cryptfs-key", "generate", wrong)
    a, b, c = members

    def refused(code, says, *arguments):
        before = hashes([*members, *other, noise])
        for mode in ["-n", "-p", "-y"]:
            check_equal(run("fsck.raid5cryptfs", mode, *arguments, code=code, says=says).out, "", "nothing on standard output")
        check_equal(hashes([*members, *other, noise]), before, "nothing was changed")

    refused(FSCK_USAGE, "members: none given; see fsck.raid5cryptfs --help", *key)
    refused(FSCK_USAGE, f"{scene.dir}: is a directory; a member is a partition, a disk or an image file", *key, scene.dir)
    refused(FSCK_USAGE, f"{a}: is the same as {a}; give each member once", *key, a, a, b)
    refused(FSCK_USAGE, "These are members of different arrays: ", *key, a, b, other[0])
    refused(ERROR, ["Too few members", ": missing are member 2 (UUID "], *key, a)
    refused(ERROR, f"{noise} carries no usable label of a raid5cryptfs array (none was ever written there, or all three copies "
            "are overwritten).", *key, noise)
    refused(ERROR, f"{none}: no such device or file", *key, none)
    refused(ERROR, "key", "--key-file", wrong, *members)
    refused(ERROR, f"the key file {none} does not exist", "--key-file", none, *members)
    refused(FSCK_USAGE, "the command line is wrong", "--nonsense", *members)
    refused(FSCK_USAGE, "-C 7x: is no number that it takes", "-C7x", *members)
    # Nobody has that number, and a member could get it.
    refused(FSCK_USAGE, "-C 3: no such descriptor is open", *key, "-C3", *members)
    run("fsck.raid5cryptfs", "-n", *members, code=FSCK_USAGE, says="there is no terminal to ask on", start_new_session=True)
    for options, says in [(["-n", "-y"], "only one of -n, -p and -y can be given"), (["--root", "0"], "--root 0: is no generation"),
                          (["--root", "x"], "--root x: is no number"), (["--root", "9"], "--root 9: the newest root has generation 1"),
                          (["-p", "--root", "1"], "--root: is never done by -p"), (["-y", "--list-roots"], "--list-roots: only lists")]:
        fsck(scene, members, *options, code=FSCK_USAGE, says=says)
    # A bad one beside good ones: the array can do without it, and it is told.
    fsck(scene, [a, b, noise], "-n", code=LEFT, out=[f"note: {noise} carries no usable label, and is left out.",
                                                     f"found: {noise}: cannot be used as a member."])
    fsck(scene, [a, b], "-n", out=["note: member 3 (UUID ", "home: clean, "])


def in_use(scene):
    members = scene.images(3, 16 << 20)
    scene.mkfs(members)
    for options in [[], ["-o", "ro"]]:
        scene.mount(members, *options)
        for mode in ["-n", "-p", "-y", "--list-roots"]:
            run("fsck.raid5cryptfs", mode, "--key-file", scene.key(), *members, code=ERROR,
                says=f"{members[0]}: its array is mounted on {scene.path('mnt')}; unmount that first")
        scene.umount()
    with open(members[1]) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for mode in ["-n", "-y"]:
            fsck(scene, members, mode, code=ERROR,
                 says=[f"{members[1]}: in use by ", f"(process {os.getpid()}); unmount the array, or wait"])
    fsck(scene, members, "-n", out="clean")


def repaired(scene, members, found, cipher=CIPHERS[0], options=()):
    """Found without writing, mended by -y, and then gone."""
    lines = [f"found: {line}" for line in found]
    fsck(scene, members, "-n", *options, code=LEFT, out=lines, not_out="repaired:", cipher=cipher)
    fsck(scene, members, *options, code=LEFT, out=[*lines, "Nothing was changed, since there is no terminal to ask on."], cipher=cipher)
    fsck(scene, members, "-y", *options, code=CORRECTED, out=lines, cipher=cipher, changes=True)
    fsck(scene, members, "-n", *options, out="home: clean, ", not_out="found:", cipher=cipher)


def damaged_structures(scene):
    members, tree = made(scene)
    a, b, c = members
    at = Layout(a)
    flip(a, at.labels[0] + 5000)
    write_at(b, at.labels[1], bytes(LABEL_BYTES))
    write_at(c, at.labels[2], read_at(a, at.labels[1], LABEL_BYTES))
    flip(c, at.config + at.config_bytes + 300)
    repaired(scene, members, [f"{a}: copy 1 of its label is damaged.", f"{b}: copy 2 of its label is not there (overwritten).",
                              f"{c}: copy 3 of its label is of another member.",
                              f"{c}: its slot of configuration 1 does not hold the one that the newest root names."])
    # -p does the same without a question.
    flip(b, at.config + at.config_bytes + 300)
    fsck(scene, members, "-p", code=CORRECTED, out=f"repaired: {b}: its configuration slot was made again.", changes=True)
    # Torn promises and roots are no errors.
    flip(a, at.promise + 60)
    flip(b, at.root(2) + 3000)
    fsck(scene, members, "-n", out=[f"note: {a}: promise slot 1 holds nothing that verifies", "home: clean, ",
                                    f"note: {b}: 1 of the slots of its root ring holds nothing that verifies"])
    scene.mount(members)
    compare_trees(tree, describe_tree(scene.path("mnt")), "after the repairs")
    check_equal(scene.status(scene.path("mnt"))["state"], "healthy", "state")
    scene.umount()


def destroyed_start(scene):
    """All that lies before a member's data is overwritten: one label copy is left, which leads to all the rest."""
    members, tree = made(scene, size=64 << 20)
    a = members[0]
    write_at(a, 0, random.Random(3).randbytes(Layout(a).data))
    fsck(scene, members, "-n", code=LEFT, out=[f"found: {a}: copy 1 of its label is not there (overwritten).",
                                               f"found: {a}: its slot of configuration 1 ",
                                               f"note: {a}: its root ring is empty: it counts as out of date"])
    fsck(scene, members, "-y", code=CORRECTED, out=[f"repaired: {a}: copy 2 of its label was made again."], changes=True)
    fsck(scene, members, "-n", out="clean")
    scene.mount(members)
    compare_trees(tree, describe_tree(scene.path("mnt")), "after the repair")
    wait_for(lambda: scene.status(scene.path("mnt"), code=None)["state"] == "healthy", "it is caught up")
    scene.umount()
    fsck(scene, members, "-n", "--data", out="clean", not_out="root ring is empty")
    # Then it can stand in for another one.
    scene.mount(members[:2])
    compare_trees(tree, describe_tree(scene.path("mnt")), "without the third")
    scene.umount()


def damaged_data(scene):
    members, content = data_array(scene)
    place = {n: (m, places_of(m, n)) for n in [100, 500] for m in members if places_of(m, n) >= 0}
    check_equal(len(place), 2, "both blocks are found in the images")
    for member, offset in place.values():
        write_at(member, offset, bytes(BLOCK))
    # What only data has is not looked at without --data.
    fsck(scene, members, "-n", out="clean", cipher="none")
    result = fsck(scene, members, "-n", "--data", code=LEFT, out="found: ", not_out="lost:", cipher="none")
    check("folder/victim" in result.out or "inode" in result.out or "row" in result.out, result.out)
    fsck(scene, members, "-y", "--data", code=CORRECTED, out="repaired: ", not_out="lost:", cipher="none", changes=True)
    fsck(scene, members, "-n", "--data", out="clean", cipher="none")
    for number, (member, offset) in place.items():
        check_equal(read_at(member, offset, BLOCK), content[number * BLOCK:(number + 1) * BLOCK], f"block {number} on {member}")


def damaged_node(scene):
    """A tree node that is damaged on one member is read from parity, which -n tells, and -y heals."""
    members = scene.images(3, 32 << 20)
    scene.mkfs(members, "--name", "home", cipher="none")
    scene.mount(members, cipher="none")
    with open(scene.path("mnt/small"), "wb") as f:
        f.write(b"lies inside the tree")
    scene.umount()
    hits = 0
    for member in members:
        image = read_at(member, 0, os.path.getsize(member))
        at = image.find(b"lies inside the tree")
        while at >= 0:                   # older copies of the node are there as well, where damage is none
            flip(member, at)
            at = image.find(b"lies inside the tree", at + 1)
        result = fsck(scene, members, "-n", code=None, cipher="none")
        if result.code:
            hits += 1
            check_equal(result.code, LEFT, result.out)
            check(re.search(r"^found: \d+ bytes of member \d are damaged, and were made from parity", result.out, re.M), result.out)
            fsck(scene, members, "-y", code=CORRECTED, out="repaired: ", not_out="lost:", cipher="none", changes=True)
            fsck(scene, members, "-n", "--data", out="clean", cipher="none")
        else:
            write_at(member, 0, image)
    check_equal(hits, 1, "members with the node itself")


def older_root(scene):
    members, tree = made(scene)
    old = max(roots_of(scene, members))
    before = [read_at(m, 0, os.path.getsize(m)) for m in members]
    scene.mount(members)
    with open(scene.path("mnt/newer"), "wb") as f:
        f.write(b"newer" * 10000)
    scene.umount()
    at = Layout(members[0])
    listed = roots_of(scene, members)
    new = max(listed)
    check(new > old, f"{new} > {old}")
    check(listed[new].endswith("opens, the newest") and listed[old].endswith("opens") and " 1,2,3 " in listed[old], str(listed))
    # Everything that was written after the old root, but for the root records, goes on all members.
    for m, image in zip(members, before):
        now = read_at(m, 0, len(image))
        for offset in range(at.data, at.labels[2], BLOCK):
            if now[offset:offset + BLOCK] != image[offset:offset + BLOCK]:
                write_at(m, offset, bytes(BLOCK))
    fsck(scene, members, "-n", code=LEFT)
    check(roots_of(scene, members)[new].endswith("damaged, the newest"), "the newest is shown as damaged")
    fsck(scene, members, "--root", 9999, code=FSCK_USAGE, says="--root 9999: the newest root has generation")
    result = fsck(scene, members, "--root", old)
    for text in [f"Generation {old} is whole.", f"up to generation {new}", "Nothing was changed.  With -y it is done without asking."]:
        check(text in result.out, f"{text}: {result.out}")
    fsck(scene, members, "-n", "--root", old, out="Nothing was changed.")
    result = fsck(scene, members, "-y", "--root", old, code=CORRECTED, changes=True)
    check(f"home: back at generation {old}, as generation " in result.out, result.out)
    fsck(scene, members, "-n", "--data", out="clean")
    scene.mount(members)
    compare_trees(tree, describe_tree(scene.path("mnt")), "back at the older root")
    scene.umount()
    # A root whose rows are gone is refused.
    fsck(scene, members, "-y", "--root", new, code=LEFT,
         says=f"--root {new}: what it leads to is not all there any more; nothing was changed.")


def on_terminal(scene, members, answer, code):
    """With a terminal it asks once."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("fsck.raid5cryptfs", ["fsck.raid5cryptfs", "--key-file", scene.key(), *members])
    text = ""
    while True:
        try:
            text += os.read(terminal, 1000).decode()
        except OSError:
            break
        if text.endswith("Repair? (y/n) ") and answer:
            os.write(terminal, answer)
            answer = None
    os.close(terminal)
    check_equal(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), code, text)
    check("Repair? (y/n) " in text, text)
    return text


def questions(scene):
    members, _ = made(scene)
    at = Layout(members[0])
    flip(members[0], at.labels[0] + 5000)
    before = hashes(members)
    on_terminal(scene, members, b"n\n", LEFT)
    on_terminal(scene, members, b"\n", LEFT)
    on_terminal(scene, members, b"\x04", LEFT)
    on_terminal(scene, members, b"\x03", LEFT | CANCELLED)
    check_equal(hashes(members), before, "no answer but yes changes anything")
    text = on_terminal(scene, members, b"y\n", CORRECTED)
    check("[====" in text, "a progress bar")
    fsck(scene, members, "-n", out="clean")


def outlived(*command):
    """Runs it on a terminal that outlives it: with the end of the first program on a terminal, what was not read yet can be lost.  Its process,
    the terminal, and what waits for its exit code."""
    results, told = os.pipe()
    first, terminal = pty.fork()
    if first == 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)     # that of the terminal, which is for both
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execvp(command[0], command)
        os.write(told, b"%10d" % pid)
        os.write(told, b"%10d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        signal.pause()                   # until the terminal is closed
    os.close(told)

    def ended():
        code = int(os.read(results, 10))
        os.close(results)
        return code
    return int(os.read(results, 10)), terminal, ended


def at_the_passphrase(scene):
    """A signal at the question for the passphrase: the terminal is as it was, and the exit code is that of fsck(8)."""
    members, _ = made(scene)
    before = hashes(members)

    def stopped(how, mode):
        pid, terminal, ended = outlived("fsck.raid5cryptfs", mode, *members)
        text = ""
        while not text.endswith("Passphrase for home: "):
            text += os.read(terminal, 1000).decode()
        check(not termios.tcgetattr(terminal)[3] & termios.ECHO, "no echo while it asks")
        how(pid, terminal)
        code = ended()
        while select.select([terminal], [], [], 0.2)[0]:
            text += os.read(terminal, 1000).decode()
        echo = termios.tcgetattr(terminal)[3] & termios.ECHO
        os.close(terminal)
        check_equal(code, CANCELLED, text)
        check(echo, "the echo is back")
        check("fsck.raid5cryptfs: stopped at the question for the passphrase; nothing was changed" in text, text)
        check("directories" not in text and "clean" not in text, text)

    for mode in ["-n", "-p", "-y", "--list-roots", "--root=1"]:
        stopped(lambda pid, terminal: os.write(terminal, b"half of\x03"), mode)
        stopped(lambda pid, terminal: os.kill(pid, signal.SIGINT), mode)
        stopped(lambda pid, terminal: os.kill(pid, signal.SIGTERM), mode)
    check_equal(hashes(members), before, "nothing was changed")


def progress_lines(scene):
    members, _ = made(scene)
    reader, writer = os.pipe()
    fsck(scene, members, "-n", "-C", writer, pass_fds=[writer])
    fsck(scene, members, "-n", f"-C{writer}", pass_fds=[writer])
    os.close(writer)
    with os.fdopen(reader) as f:
        lines = f.read().splitlines()
    check(len(lines) >= 4, str(lines))
    for line in lines:
        check(re.fullmatch(rf"[1-5] \d+ \d+ {re.escape(members[0])}", line), line)
    check("bar" not in fsck(scene, members, "-n", "-C", out="clean").out, "no descriptor given")


def signals(scene):
    """Its progress lines go to a pipe that nobody reads, so that it can be caught in the middle."""
    members, _ = made(scene)
    flip(members[0], Layout(members[0]).labels[0] + 5000)
    before = hashes(members)
    for number in [signal.SIGINT, signal.SIGTERM]:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        for size in [BLOCK, 1]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(writer, b"x" * size)
        os.set_blocking(writer, True)
        process = subprocess.Popen(["fsck.raid5cryptfs", "-y", "-C", str(writer), "--key-file", scene.key(), *members],
                                   pass_fds=[writer], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for(lambda: open(f"/proc/{process.pid}/wchan").read().startswith(("pipe", "anon_pipe")) or process.poll() is not None,
                 "it waits for the pipe")
        process.send_signal(number)
        out = process.communicate(timeout=30)[0]
        os.close(reader)
        os.close(writer)
        check_equal(process.returncode, CANCELLED, f"signal {number}")
        check_equal(out, b"home: stopped before the end; what was not looked at may be wrong too.\n", "no word of clean")
        check_equal(hashes(members), before, "stopped before the first repair")
    fsck(scene, members, "-y", code=CORRECTED, changes=True)


if __name__ == "__main__":
    main(clean, wrong_input, in_use, damaged_structures, destroyed_start, damaged_data, damaged_node, older_root,
         questions, at_the_passphrase, progress_lines, signals)
