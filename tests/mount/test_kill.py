"""A daemon that is killed at any moment: what was synced is there at the next mount, whole, and SQLite finds its rows."""
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


if __name__ == "__main__":
    main(killed)
