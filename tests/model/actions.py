"""All that can happen next in a world, and whether it can become whole from there."""
import itertools

import rules
from history import apply, copy_source, may_lose, takers, wrong_columns
from members import *
from rules import on

# What is enumerated beyond the usual: "promises": every cut in a promise; "slots": every cut in configuration slots; "pairs": cuts
# after which neither one nor all but one of the members were written; "reckless": more members are absent
# or fail than it is promised to survive: then a mount may be refused, but nothing that was acknowledged be lost for good; "leave": who
# loses his vote is no member any more, as in the product.
detail = set()


def subsets(members):
    """Those on which something was written when the power failed: neither none nor all."""
    m = sorted(members)
    for k in range(1, len(m)):
        if k in (1, len(m) - 1) or "pairs" in detail:
            yield from itertools.combinations(m, k)


def may_rebuild(w, m):
    config = w.acked.config
    others = [(x, d.root) for x, d in enumerate(w.disks) if x != m and config.roles[x] != UNUSED]
    if not may_lose(w, [m]) or w.rolled not in (None, m) or not (holds_columns(config, m) or m in targets(config)):
        return False
    newest = max((r for _, r in others if r), key=lambda r: (r.term, r.generation))
    if on("rebuild_level") and any(r != newest for _, r in others):
        return False
    if on("rebuild_gap") and any(newest.states[x] != (IN, None) for x, _ in others):
        return False
    return not on("rebuild_job") or m not in targets(newest.config)


def absences(w):
    n = range(len(w.disks))
    for k in (0, 1, 2):
        for absent in itertools.combinations(n, k):
            if (may_lose(w, absent) or "reckless" in detail) and all(w.acked.config.roles[m] != UNUSED for m in absent):
                yield absent


def mount_actions(w):
    n = len(w.disks)
    for absent in absences(w):
        present = [m for m in range(n) if m not in absent]
        yield "mount", absent, ("all",), None
        known = [m for m in present if w.acked.config.roles[m] != UNUSED]
        if on("promise"):
            yield "mount", absent, ("promise", tuple(known)), None
            yield "mount", absent, ("torn promise", tuple(known)), None
            for s in subsets(known) if "promises" in detail else ():
                yield "mount", absent, ("promise", s), None
                yield "mount", absent, ("torn promise", s), None
        if not on("config_hold"):
            yield "mount", absent, ("early",), None
        if not on("opening"):
            continue
        try:
            working = [m for m in present if rules.choose(w.disks, frozenset(present))[1][m][0] == IN]
        except Violation:
            continue
        for s in subsets(working):
            yield "mount", absent, ("opening", s), None
        if w.budget.faults > 0:
            for m in working:
                if may_lose(w, absent + (m,)):
                    yield "mount", absent, ("all",), (m, False)


def row_options(live):
    free, used = [a for a in addresses() if live[a] is None], [a for a in addresses() if live[a]]
    yield ("none",)
    for a in free:
        yield "write", a, None
    if free:
        for a in used:
            yield "write", free[0], a
    elif len(used) > 1:
        for a in used:
            yield "free", a


def lists(w):
    """All lists of jobs that may begin: at most one for each band."""
    m, config = w.mount, w.mount.root.config
    free = [x for x in range(len(config.roles)) if m.states[x][0] == IN and free_granule(config, x) is not None]
    jobs = [[()] + [((b, c, x),) for c in range(len(config.columns[b])) for x in free if column_of(config, b, x) is None]
            for b in range(len(config.columns))]
    for choice in itertools.product(*jobs) if not config.jobs else ():
        if any(choice):
            yield "job", sum(choice, ())


def leaving():
    return ("remove", "oust") if "leave" in detail else ("unvote", "exchange")


def may_step(w):
    return w.budget.steps > 0 and (not on("rebuild_step") or all(w.disks[x].whole for x in takers(w.mount)))


def steps(w):
    m, config = w.mount, w.mount.root.config
    if not may_step(w):
        return
    n = range(len(config.roles))
    candidates = [("spare", x) for x in n if x in m.present] + [("cancel",), ("finish",)]
    candidates += lists(w)
    candidates += [("vote", x) for x in n] + [(leaving()[0], x) for x in n]
    candidates += [(leaving()[1], x, y) for x in n for y in n]
    for step in candidates:
        if rules.next_config(m.root, m.states, m.job, step):
            yield step


def commit_actions(w):
    m = w.mount
    working = takers(m)
    failing = [x for x in working if may_lose(w, [x])] if w.budget.faults > 0 else ()
    for step in itertools.chain([None], steps(w)):
        left = step[1:2] if step and step[0] in ("remove", "oust") else ()
        for rows in row_options(m.root.live):
            if step and (rows[0] == "free" or (step[0] == "job" and len(step[1]) > 1 and rows[2:] != (None,) and rows != ("none",))):
                continue                     # enough, and too many otherwise
            yield "commit", rows, step, ("all",), None
            if rows[0] == "write":
                yield "commit", rows, step, ("rows",), None
                if not on("rows_before_root"):
                    yield "commit", rows, step, ("rows late",), None
            for s in subsets([x for x in working if x not in left]):
                yield "commit", rows, step, ("root", s), None
            if step and rows[0] == "none":
                yield "commit", rows, step, ("slots", tuple(working)), None
                for s in subsets(working) if "slots" in detail else ():
                    yield "commit", rows, step, ("slots", s), None
                yield "commit", rows, step, ("torn slots", tuple(working)), None
                if not on("config_first"):
                    yield "commit", rows, step, ("root without slots",), None
            for x in failing:
                if x in left:                # nothing is written to it any more
                    continue
                yield "commit", rows, step, ("all",), (x, False)
                yield "commit", rows, step, ("all",), (x, True)


def caught_up(mount):
    """A gap has closed, and no root that counts says so yet."""
    return any(now[0] == IN and named[0] in (FILLING, OUT) for now, named in zip(mount.states, mount.root.states))


def member_actions(w):
    m, config = w.mount, w.mount.root.config
    for x in range(len(w.disks)):
        state, gap = m.states[x]
        if state == NONE:
            continue
        if x not in m.present:
            yield "plug", x
        elif state == OUT:
            yield "return", x
        elif w.budget.faults > 0 and (may_lose(w, [x]) or ("reckless" in detail and not caught_up(m))):
            yield "fail", x
        if x in m.present and gap and state in (IN, FILLING):
            bands = [b for b in range(len(config.columns)) if column_of(config, b, x) is not None]
            others = {y for b in bands for y, _ in config.columns[b]} - {x}
            if gap[2] < END and all(m.states[y][0] == IN or (state == FILLING and m.states[y][0] == FILLING) for y in others):
                yield "fill", x
            if gap[2] == END or not on("fill_all"):
                yield "close", x


def background_actions(w):
    yield from member_actions(w)
    if w.mount.root.config.jobs and w.mount.job < END and copy_source(w):
        yield ("copy",)
    if w.mount.late:
        yield ("flush",)


def mounted_actions(w):
    m = w.mount
    if m.commits < w.budget.commits:
        yield from commit_actions(w)
    yield from background_actions(w)
    if w.budget.logs > 0 and not m.replay and w.acked_log != m.root.log:
        mirrors = [x for x in takers(m) if m.states[x][0] == IN and (x in voters(m.root.config) or not on("log_voters"))]
        for pair in itertools.combinations(mirrors, 2):
            yield "log", pair, None
            for x in pair:
                yield "log", pair, x
    yield ("cut",)


def actions(w):
    if w.mount:
        yield from mounted_actions(w)
    else:
        if w.budget.mounts > 0:
            yield from mount_actions(w)
        if w.budget.rebuilds > 0:
            for m in range(len(w.disks)):
                if may_rebuild(w, m):
                    yield "rebuild", m
    if w.budget.snapshots > 0:
        for m in range(len(w.disks)):
            if w.acked.config.roles[m] != UNUSED:
                yield "snapshot", m
    if w.snapshot and w.budget.faults > 0:
        m = w.snapshot[0]
        away = not w.mount or m not in w.mount.present or w.mount.states[m][0] == OUT
        if away and w.disks[m] != w.snapshot[1] and w.rolled in (None, m) and may_lose(w, [m]):
            yield "older", m


# ---- Does it become whole? ----

def next_of_recovery(w):
    """What an array does by itself, and its owner to the end, when no more faults come."""
    if not w.mount:
        return "mount", (), ("all",), None
    todo = [a for a in background_actions(w) if a[0] in ("return", "fill", "close", "copy", "flush")]
    if todo:
        return todo[0]
    m, n = w.mount, range(len(w.disks))
    for step in [("finish",)] + [("vote", x) for x in n] + [(leaving()[0], x) for x in n]:
        if may_step(w) and rules.next_config(m.root, m.states, m.job, step):
            return "commit", ("none",), step, ("all",), None
    if m.states != m.root.states or m.job != m.root.job or w.lost or not m.commits:
        return "commit", ("none",), None, ("all",), None
    return None


def settle(w):
    """From any world, with all members there: everything is whole again, and the array can do without any one member."""
    trace = []
    if w.mount:
        w = apply(w, ("cut",))
    w = w._replace(budget=Budget(9, 99, 0, 9, 0, 0, 0), snapshot=None)
    try:
        while len(trace) < 80:
            action = next_of_recovery(w)
            if action is None:
                break
            trace.append(action)
            w = apply(w, action)
        else:
            raise Violation("it does not come to an end")
        root = w.mount.root
        if root.config.jobs or w.lost or any(s not in ((IN, None), (NONE, None)) for s in root.states):
            raise Violation(f"it does not become whole: {root.states}, at fault {sorted(w.lost)}")
        for a in addresses():
            if root.live[a] and wrong_columns(w, root, a):
                raise Violation(f"row {a} is not whole, and nobody knows it")
        w = apply(w, ("cut",))
        for m in range(len(w.disks)):
            if root.config.roles[m] != UNUSED:
                apply(w, ("mount", (m,), ("all",), None))
    except Violation as e:
        e.trace = trace
        raise
