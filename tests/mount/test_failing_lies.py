"""A member that lies: gives other bits than it was given, drops or misplaces what it acknowledged.  What is wrong is found by tags and
healed from parity, and no lie ever becomes parity: that would overwrite the only right copy of what the member should give."""
from faulty import *


def bits_flip_on_read(scene):
    kept(scene, lambda bad: bad.tell("flip", "read", from_=4 << 20, every=3), 5)


def lost_writes(scene):
    """It acknowledges and drops data of rows from a moment on."""
    status, _ = kept(scene, lambda bad: bad.tell("lose", "write", from_=8 << 20, every=3), 8)
    check(status["members"][3]["healed"] > 0, f"what was lost was found and healed: {status}")


def all_writes_lost(scene):
    """From a moment on nothing that it acknowledges is written, roots included: it is as an older copy of itself."""
    _, log = kept(scene, lambda bad: bad.tell("lose", "write"), 8)
    check("is out of date" in log, f"it is told: {log}")


def misplaced_writes(scene):
    status, _ = kept(scene, lambda bad: bad.tell("misplace", "write", from_=8 << 20, to=48 << 20, every=2, by=4 << 20), 8)
    check(status["members"][3]["healed"] > 0, f"what was damaged was found and healed: {status}")


if __name__ == "__main__":
    need_root()
    main(bits_flip_on_read, lost_writes, all_writes_lost, misplaced_writes)
