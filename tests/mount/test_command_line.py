"""Help, version, output of every program; a passphrase typed on a terminal."""
import pty
import resource

from lib import *


def help_and_version(scene):
    for program in ["raid5cryptfs", "mkfs.raid5cryptfs", "fsck.raid5cryptfs", "raid5cryptfs-status", "raid5cryptfs-key",
                    "umount.fuse.raid5cryptfs"]:
        check("Usage" in run(program, "--help").out, f"{program} --help")
        check(run(program, "--version").out.startswith(program + " "), f"{program} --version")
        page = os.path.join(os.environ["R5_SOURCE"], "man", program + ".8")
        check(os.path.exists(page), page)


def with_terminal(command, answers):
    """Runs on a terminal of its own and types each answer when a line ends in ": "."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(command[0], [str(c) for c in command])
    text, sent = "", 0
    while True:
        try:
            data = os.read(terminal, 1000)
        except OSError:
            break
        if not data:
            break
        text += data.decode()
        if text.endswith(": ") and sent < len(answers):
            os.write(terminal, (answers[sent] + "\n").encode())
            sent += 1
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


def passphrase(scene):
    members = scene.images(3)
    secret = "a long passphrase of words"
    code, text = with_terminal(["mkfs.raid5cryptfs", *members], [secret, "another"])
    check_equal(code, USAGE, f"two different ones: {text}")
    code, text = with_terminal(["mkfs.raid5cryptfs", *members], [""])
    check_equal(code, USAGE, f"an empty one: {text}")
    code, text = with_terminal(["mkfs.raid5cryptfs", *members], ["short\0 and much more", "short\0"])
    check_equal(code, USAGE, f"one with a NUL, which would end it: {text}")
    check("Ctrl-@" in text, text)
    code, text = with_terminal(["mkfs.raid5cryptfs", *members], [secret, secret])
    check_equal(code, 0, text)
    check("bits to guess" in text, f"its strength is told: {text}")
    check(secret not in text, "nothing is echoed")
    mnt = scene.mountpoint()
    code, text = with_terminal(["raid5cryptfs", *members, mnt], ["wrong"])
    check_equal(code, KEY, f"a wrong one: {text}")
    code, text = with_terminal(["raid5cryptfs", *members, mnt], [secret])
    check_equal(code, 0, text)
    scene.mounts.append(mnt)
    check(os.path.ismount(mnt), "it is mounted")
    slots = run("raid5cryptfs-key", "list", *members).out
    check("passphrase" in slots and "Argon2id" in slots, slots)
    scene.umount()


def foreground(scene):
    members = scene.images(3)
    scene.mkfs(members)
    mnt = scene.mountpoint()
    daemon = subprocess.Popen(["raid5cryptfs", "-f", *scene.key_options(CIPHERS[0]), *members, mnt], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: os.path.ismount(mnt), "it mounts")
    scene.mounts.append(mnt)
    with open(os.path.join(mnt, "file"), "w") as f:
        f.write("x")
    daemon.send_signal(signal.SIGINT)
    err = daemon.communicate(timeout=60)[1]
    check_equal(daemon.returncode, 0, err)
    check(not os.path.ismount(mnt), "it is unmounted")
    scene.mounts.remove(mnt)


def max_read(scene):
    members = scene.images(3)
    scene.mkfs(members)
    for value in ["", "abc", "-5", "0", "4095", "1x", "4G"]:
        run("raid5cryptfs", "-o", f"max_read={value}", *scene.key_options(CIPHERS[0]), *members, scene.mountpoint(), code=USAGE,
            says=f"option max_read={value}: not a size from 4K on, as in max_read=128K")
    for value, shown in [("131072", 131072), ("64K", 65536), ("4096,max_read=1M", 1 << 20)]:
        scene.mount(members, "-o", f"max_read={value}")
        with open("/proc/self/mountinfo") as mounts:
            check(f"max_read={shown}," in mounts.read(), f"{value} holds")
        write(scene.path("mnt/file"), b"x" * 300000)
        scene.umount()
        scene.mount(members, "-o", f"max_read={value}")
        check_equal(len(read(scene.path("mnt/file"))), 300000, "what is read")
        scene.umount()


def odd_paths(scene):
    """What mkfs says how to mount can be given to a shell."""
    folder = scene.path("it's a $HOME, with \\ in it")
    os.mkdir(folder)
    members = scene.images(3)
    for number, path in enumerate(members):
        os.rename(path, os.path.join(folder, f"member {number}"))
    members = [os.path.join(folder, f"member {number}") for number in range(3)]
    key = os.path.join(folder, "the key,\t1")
    run("raid5cryptfs-key", "generate", key)
    out = run("mkfs.raid5cryptfs", "--key-file", key, *members).out
    check("\t" not in out, f"nothing that a terminal would heed: {out!r}")
    command = out.splitlines()[-1].strip()
    mnt = scene.mountpoint()
    run("bash", "-c", command.replace("MOUNTPOINT", f"'{mnt}'"))
    scene.mounts.append(mnt)
    check(os.path.ismount(mnt), command)
    scene.umount()
    plain = scene.images(3)
    key = scene.path("key")
    run("raid5cryptfs-key", "generate", key)
    out = run("mkfs.raid5cryptfs", "--key-file", key, *plain).out
    check_equal(out.splitlines()[-1].strip(), f"raid5cryptfs -o key-file={key} {' '.join(plain)} MOUNTPOINT", "without quotes")


def full_output(scene):
    """What could not be printed is not passed over in silence."""
    members = scene.images(3)
    scene.mkfs(members)
    for command, code in [(["raid5cryptfs-status", *members], SYSTEM), (["raid5cryptfs-status", *members[:2]], DEGRADED),
                          (["raid5cryptfs-key", "list", *members], SYSTEM), (["fsck.raid5cryptfs", "-n", "--key-file", scene.key(), *members], 8),
                          (["mkfs.raid5cryptfs", "--force", "--key-file", scene.key(), *members], SYSTEM)]:
        with open("/dev/full", "w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
        check_equal(done.returncode, code, f"{command}: {done.stderr}")
        check("standard output: No space left on device" in done.stderr, f"{command}: {done.stderr}")


def key_never_comes(scene):
    """Who has no key to give after all can end the program, and the members are free then."""
    need_root()                          # to look at the descriptors of programs that hold secrets
    members = scene.images(3)
    scene.mkfs(members)
    fifo = scene.path("fifo")
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR)
    mnt, joined = scene.mountpoint(), ":".join(members)
    for number in [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]:
        for command, code in [(["raid5cryptfs", "-o", f"key-file={fifo}", *members, mnt], -number),
                              (["raid5cryptfs", "-f", "-o", f"key-file={fifo}", *members, mnt], -number),
                              (["mkfs.raid5cryptfs", "--force", "--key-file", fifo, *members], -number),
                              (["fsck.raid5cryptfs", "-y", "--key-file", fifo, *members], 32),
                              (["raid5cryptfs-rebuild", "spare", "--key-file", fifo, joined, scene.image()], USAGE)]:
            if number == signal.SIGHUP and code > 0:
                code = -number
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                       start_new_session=True)

            def waits():
                """One of its processes is reading the pipe."""
                return any(os.path.exists(f"/proc/{pid}/fd") and fifo in [os.path.realpath(e.path) for e in os.scandir(f"/proc/{pid}/fd")]
                           for pid in scene.processes(command[0]))
            wait_for(waits, f"{command[0]} waits for the key")
            if number == signal.SIGTERM:
                process.terminate()              # the one that is seen, and not the one behind it
            else:
                os.killpg(process.pid, number)
            err = process.communicate(timeout=10)[1]
            check_equal(process.returncode, code, f"{command} after signal {number}: {err}")
            wait_for(lambda: not scene.processes(command[0]), f"nothing is left of {command[0]}", 5)
    os.close(writer)
    scene.mount(members)
    scene.umount()


def closed_standard(scene):
    """A program that is started without standard input, output or error writes no message onto a member, and takes none for input."""
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else scene.dir        # there, what has any length can be written with O_DIRECT too
    with tempfile.TemporaryDirectory(prefix="raid5cryptfs-test-", dir=folder) as place:
        members = [os.path.join(place, f"disk{i}") for i in range(3)]
        for member in members:
            with open(member, "wb") as f:
                f.truncate(SIZE)
        scene.mkfs(members)
        mnt = scene.mountpoint()
        for fds in ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"]:
            # One member is missing, so there is something to tell.
            run("sh", "-c", f'exec "$@" {fds}', "sh", "raid5cryptfs", *scene.key_options(CIPHERS[0]), members[0], members[1],
                os.path.join(place, "absent"), mnt)
            scene.mounts.append(mnt)
            write(os.path.join(mnt, "file"), fds.encode())
            syncfs(mnt)
            check_equal(scene.status(mnt, code=DEGRADED)["map"], "[UU_]", fds)
            scene.umount()
            for member in members:
                with open(member, "rb") as f:
                    check(b"warning" not in f.read(4096), f"{fds}: a message lies on {member}")
        run("sh", "-c", 'exec "$@" 0<&-', "sh", "raid5cryptfs", "-o", "key-file=-", *members, mnt, code=KEYFILE, says="empty")


def limits(scene):
    """Limits of the shell that mounts are not those of the filesystem, and nothing is lost by them."""
    members = scene.images(3)
    scene.mkfs(members)
    mnt = scene.mountpoint()
    command = ["raid5cryptfs", *scene.key_options(CIPHERS[0]), "-o", "commit=3600", *members, mnt]

    def with_limit(which, soft, hard, code=0):
        result = run(*command, code=code, preexec_fn=lambda: resource.setrlimit(which, (soft, hard)))
        if result.code:
            check(not os.path.ismount(mnt), f"{result.code} means that nothing is mounted")
            return
        scene.mounts.append(mnt)
        text = f"{which} {soft} {hard}".encode()
        write(os.path.join(mnt, "file"), text)
        scene.umount()
        scene.mount(members)
        check_equal(read(os.path.join(mnt, "file")), text, "what was written before the unmount")
        check_equal(scene.status(mnt)["state"], "healthy", text.decode())
        scene.umount()

    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    with_limit(resource.RLIMIT_FSIZE, 1 << 20, hard)
    with_limit(resource.RLIMIT_NOFILE, 12, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    # So few that there may be none left in the end; or too few to mount.
    for count in range(10, 20):
        with_limit(resource.RLIMIT_NOFILE, count, count, code=None)


def status(scene):
    members = scene.images(3)
    scene.mkfs(members, "--name", "statüs")
    text = run("raid5cryptfs-status", *members).out
    for word in ["statüs", "[UUU]", "healthy", CIPHERS[0], *members]:
        check(word in text, f"{word} in {text}")
    one = scene.status(*members)
    check_equal(one["capacity_bytes"], None, "no space without a key")
    one = scene.status(*members, options=["--key-file", scene.key()])
    check(one["capacity_bytes"] > 0, f"space with the key: {one}")
    check_equal(one["mountpoint"], None, "not mounted")
    one = scene.status(*members[:2], code=DEGRADED)
    check_equal([one["map"], one["state"]], ["[UU_]", "degraded"], "a member missing")
    scene.mount(members)
    one = scene.status(scene.path("mnt"))
    check_equal(one["mountpoint"], scene.path("mnt"), "mounted")
    scene.umount()


if __name__ == "__main__":
    main(help_and_version, passphrase, foreground, max_read, odd_paths, closed_standard, limits, status, full_output, key_never_comes)
