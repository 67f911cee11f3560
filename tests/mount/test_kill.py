"""A daemon that is killed at any moment: what was synced is there at the next mount, whole, and SQLite finds its rows."""
import contextlib
import mmap
import sqlite3
import threading

from lib import *

ROUNDS = 8


def write_until_killed(m, rng, synced, rows):
    """Replaces files by rename and adds rows, each synced before it counts; returns the number of rows that count."""
    database = sqlite3.connect(m + "db")
    try:
        database.execute("pragma synchronous=EXTRA")     # FULL does not sync the folder after the journal is deleted
        database.execute("create table if not exists t(x)")
        database.commit()
        while True:
            name, data = f"file{rng.randrange(50)}", rng.randbytes(rng.randrange(1, 300_000))
            synced.pop(name, None)
            with open(m + "new", "wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            os.rename(m + "new", m + name)
            folder = os.open(m, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            synced[name] = hashlib.sha256(data).hexdigest()
            database.execute("insert into t values(?)", (name,))
            database.commit()
            os.statvfs(m)            # SQLite calls a commit done when it cannot open the journal's folder to sync it
            rows += 1
    except (OSError, sqlite3.Error):
        return rows
    finally:
        with contextlib.suppress(sqlite3.Error):
            database.close()


def verify(m, synced, rows):
    for name, digest in synced.items():
        with open(m + name, "rb") as f:
            check_equal(hashlib.sha256(f.read()).hexdigest(), digest, name)
    if rows > 0:
        database = sqlite3.connect(m + "db")
        check_equal(database.execute("pragma integrity_check").fetchone()[0], "ok", "the database")
        check(database.execute("select count(*) from t").fetchone()[0] >= rows, f"{rows} rows were committed")
        database.close()


def killed(scene):
    members = scene.images(3, 200 << 20)
    scene.mkfs(members)
    rng = random.Random(1)
    synced, rows = {}, 0
    m = scene.path("mnt") + "/"
    for _ in range(ROUNDS):
        scene.mount(members)
        verify(m, synced, rows)
        daemon = scene.daemons()[0]
        threading.Timer(rng.uniform(0.3, 1.5), os.kill, (daemon, signal.SIGKILL)).start()
        rows = write_until_killed(m, rng, synced, rows)
        run("umount", "-l", scene.path("mnt"))
        scene.mounts.remove(scene.path("mnt"))
        scene.wait_no_daemon()
    scene.mount(members[1:])
    verify(m, synced, rows)
    check(rows > 0 and synced, "something was synced")
    scene.umount()


def times_of_synced_writes(scene):
    """A write with O_SYNC takes the file's times along, also one with O_DIRECT, whose times the kernel keeps; a plain one need not."""
    members = scene.images(3, 96 << 20)
    scene.mkfs(members)
    scene.mount(members, "-o", "commit=3600")
    names = {"direct": os.O_DIRECT | os.O_SYNC, "cached": os.O_SYNC, "plain": os.O_DIRECT}
    buf, files, times = mmap.mmap(-1, 4096), {}, {}
    for name in names:
        files[name] = os.open(scene.path("mnt/" + name), os.O_CREAT | os.O_RDWR)
        os.pwritev(files[name], [buf], 0)
        os.fsync(files[name])
        os.close(files[name])
    time.sleep(0.05)                     # the kernel's clock ticks
    for name, flags in names.items():
        files[name] = os.open(scene.path("mnt/" + name), os.O_RDWR | flags)
        os.pwritev(files[name], [buf], 0)
        times[name] = os.fstat(files[name]).st_mtime_ns
    os.kill(scene.daemons()[0], signal.SIGKILL)
    scene.wait_no_daemon()
    for fd in files.values():
        with contextlib.suppress(OSError):
            os.close(fd)
    run("umount", "-l", scene.path("mnt"))
    scene.mounts.remove(scene.path("mnt"))
    scene.mount(members)
    after = {name: os.stat(scene.path("mnt/" + name)).st_mtime_ns for name in names}
    check_equal((after["direct"], after["cached"]), (times["direct"], times["cached"]), "times that were synced")
    check(after["plain"] < times["plain"], "the kill came before the kernel sent what was not synced")
    scene.umount()


if __name__ == "__main__":
    main(killed, times_of_synced_writes)
