"""sync(2) makes what was written durable.

It waits for every filesystem of the machine, which is why no other test asks for it: where one of them cannot answer, be it not ours, it
never comes back."""
from test_umount import *

SYNC_SECONDS = 60


def sync_all():
    """Does it come back?"""
    process = subprocess.Popen(["sync"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return process.wait(SYNC_SECONDS) == 0
    except subprocess.TimeoutExpired:
        process.kill()                   # it may be beyond that
        return False


def synced_is_durable(scene):
    if not sync_all():
        raise Skip(f"sync(2) does not come back within {SYNC_SECONDS} s, with nothing of ours mounted")
    durable_after(scene, lambda: check(sync_all(), "sync(2) comes back"))


if __name__ == "__main__":
    main(synced_is_durable)
