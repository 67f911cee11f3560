"""A daemon that is killed again and again under load: what was synced is there, and programs that rely on it find their data whole.

    test_kill_many.py [--rounds N] [--seed S]

Each round mounts, checks what the rounds before left, and loads the mount with three programs until the daemon is killed:
SQLite (each row in a transaction of its own, with the log or with the journal), git (each commit with core.fsync=all), and
fio (O_SYNC writes, whose completed ones fio verifies from the state that it saved just before it kills).  Sometimes a member
is left out of the next mount."""
import sqlite3
import threading

import lib
from lib import *

MEMBERS = 3
SIZE_BYTES = 400 << 20
FIO_BYTES = 24 << 20
GIT = ["git", "-c", "core.fsync=all", "-c", "core.fsyncMethod=fsync", "-c", "user.name=test", "-c", "user.email=test@localhost",
       "-c", "gc.auto=0", "-c", "commit.gpgSign=false", "-c", "safe.directory=*"]


class Database:
    """Rows are numbered, so that one which is missing is found."""

    def __init__(self, path, journal, synchronous):
        self.path, self.journal, self.synchronous, self.rows = path, journal, synchronous, 0

    def open(self):
        connection = sqlite3.connect(self.path, timeout=60)
        connection.execute(f"pragma journal_mode={self.journal}")
        connection.execute(f"pragma synchronous={self.synchronous}")
        return connection

    def load(self, rng):
        connection = None
        try:
            connection = self.open()
            connection.execute("create table if not exists t(n integer primary key, x)")
            connection.commit()
            while True:
                # A transaction whose commit failed may be there all the same.
                connection.execute("insert or replace into t values(?, ?)", (self.rows + 1, rng.randbytes(rng.randrange(1, 3000))))
                connection.commit()
                # SQLite calls a commit done when it cannot open the journal's folder to sync it.
                os.statvfs(os.path.dirname(self.path))
                self.rows += 1
        except (OSError, sqlite3.Error):
            pass
        finally:
            if connection:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()

    def verify(self):
        if not self.rows:
            return
        connection = self.open()
        check_equal(connection.execute("pragma integrity_check").fetchone()[0], "ok", self.path)
        count, last = connection.execute("select count(*), max(n) from t").fetchone()
        check(count == last and last in [self.rows, self.rows + 1], f"{self.path}: {self.rows} rows were committed, {count} are there")
        connection.close()


class Repository:
    def __init__(self, path):
        self.path, self.commits = path, []

    def git(self, *command):
        return subprocess.run([*GIT, "-C", self.path, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=120)

    def load(self, rng):
        with contextlib.suppress(OSError):
            for folder, _, names in os.walk(self.path):
                for name in names:
                    if name.endswith(".lock"):       # left by a git that was stopped, as git itself says
                        os.unlink(os.path.join(folder, name))
            while True:
                with open(os.path.join(self.path, f"file{rng.randrange(20)}"), "wb") as f:
                    f.write(rng.randbytes(rng.randrange(1, 20000)))
                if self.git("add", "-A").returncode or self.git("commit", "-q", "-m", "more").returncode:
                    return
                done = self.git("rev-parse", "HEAD")
                if done.returncode:
                    return
                self.commits.append(done.stdout.strip())

    def verify(self):
        for commit in self.commits[-40:]:
            check_equal(self.git("cat-file", "-e", commit + "^{tree}").returncode, 0, f"commit {commit}")
        done = self.git("fsck", "--full", "--no-dangling")
        # The ref is renamed into place and git does not sync its folder: it may be the one before, never a broken one.
        check(done.returncode == 0, f"git fsck: {done.stdout} {done.stderr}")
        if len(self.commits) > 1:
            head = self.git("rev-parse", "HEAD").stdout.strip()
            check(head in self.commits or self.git("merge-base", "--is-ancestor", self.commits[-1], head).returncode == 0, f"HEAD is {head}")


class Fio:
    def __init__(self, scene, folder, number, seed):
        self.cwd = scene.path("fio")
        os.makedirs(self.cwd, exist_ok=True)
        self.file = os.path.join(folder, f"fio{number}")
        self.name, self.seed = f"job{number}", seed

    def options(self):
        return ["fio", f"--name={self.name}", f"--filename={self.file}", f"--size={FIO_BYTES}", "--bs=4k", "--rw=randwrite", "--ioengine=psync",
                "--sync=1", "--fallocate=none", "--verify=crc32c", f"--randseed={self.seed}", "--allrandrepeat=1"]

    def load(self, daemon):
        """Kills the daemon about a second after it has begun."""
        with open(self.file, "wb") as f:
            f.truncate(FIO_BYTES)
            os.fsync(f.fileno())
        subprocess.run([*self.options(), "--do_verify=0", "--trigger-timeout=1", f"--trigger=kill -9 {daemon}"], cwd=self.cwd,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=120)

    def verify(self):
        """Returns the number of blocks that were verified."""
        state = os.path.join(self.cwd, f"local-{self.name}-0-verify.state")
        if not os.path.exists(state):
            return 0
        done = run(*self.options(), "--verify_state_load=1", "--verify_only=1", "--output-format=json", cwd=self.cwd)
        os.unlink(state)
        os.unlink(self.file)
        job = json.loads(done.out[done.out.index("{"):])["jobs"][0]
        check_equal(job["error"], 0, "fio's verification")
        return job["read"]["total_ios"]


def play_round(scene, rng, databases, repository, number):
    m = scene.path("mnt")
    daemon = scene.daemons()[0]
    fio = Fio(scene, m, number, rng.randrange(1 << 30))
    threads = [threading.Thread(target=d.load, args=(random.Random(rng.random()),)) for d in databases]
    threads.append(threading.Thread(target=repository.load, args=(random.Random(rng.random()),)))
    for thread in threads:
        thread.start()
    time.sleep(rng.uniform(0, 0.7))
    fio.load(daemon)
    with contextlib.suppress(ProcessLookupError):
        os.kill(daemon, signal.SIGKILL)
    for thread in threads:
        thread.join()
    run("umount", "-l", m)
    scene.mounts.remove(m)
    scene.wait_no_daemon()
    return fio


def killed_many_times(scene, rounds, seed):
    need_root()
    members = [scene.loop(image) for image in scene.images(MEMBERS, SIZE_BYTES)]
    scene.mkfs(members)
    rng = random.Random(seed)
    m = scene.mountpoint()
    databases = [Database(os.path.join(m, "wal.db"), "wal", "full"), Database(os.path.join(m, "journal.db"), "delete", "extra")]
    repository = Repository(os.path.join(m, "repository"))
    fio, blocks, left_out = None, 0, 0
    for number in range(rounds + 1):
        given = list(members)
        if number > 0 and all_in_sync and rng.randrange(4) == 0:
            given.pop(rng.randrange(MEMBERS))
            left_out += 1
        scene.mount(given)
        if number == 0:
            run(*GIT, "init", "-q", "-b", "main", repository.path)
            run("sync", "-f", m)
        for database in databases:
            database.verify()
        repository.verify()
        blocks += fio.verify() if fio else 0
        if number == rounds:
            break
        if len(given) == MEMBERS:
            wait_for(lambda: run("raid5cryptfs-status", m, code=None).code == 0, "members catch up", 120)
        all_in_sync = len(given) == MEMBERS
        fio = play_round(scene, rng, databases, repository, number)
    scene.umount()
    rows = sum(d.rows for d in databases)
    print(f"{rounds} kills, {left_out} times a member left out; verified: {rows} rows, {len(repository.commits)} commits, {blocks} blocks")
    check(rows > rounds and repository.commits and blocks > rounds, "there was a load")


if __name__ == "__main__":
    import argparse
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    lib.SCENE_SECONDS = max(lib.SCENE_SECONDS, 100 + 20 * arguments.rounds)

    def kill_many(scene):
        killed_many_times(scene, arguments.rounds, arguments.seed)

    main(kill_many)
