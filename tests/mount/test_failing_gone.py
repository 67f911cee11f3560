"""One member of a real mount goes away or stops answering under load (`dropped` in faulty.py says what is expected)."""
from faulty import *


def vanishes(scene):
    dropped(scene, lambda bad: bad.tell("gone"))


def vanishes_below_a_loop_device(scene):
    dropped(scene, lambda bad: bad.tell("gone"), loops=True)


def shrinks(scene):
    dropped(scene, lambda bad: bad.tell("shrink", 1 << 20))


def hangs(scene):
    dropped(scene, lambda bad: bad.tell("hang", "all"))


def hangs_and_comes_back(scene):
    """What it is asked for while it hangs lands later."""
    dropped(scene, lambda bad: bad.tell("hang", "write"), back=True)


if __name__ == "__main__":
    need_root()
    main(vanishes, vanishes_below_a_loop_device, shrinks, hangs, hangs_and_comes_back)
