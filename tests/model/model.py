#!/usr/bin/env python3
"""Searches all that can happen to an array for a loss: members that fail, return, are replaced, and power cuts at any moment.

members.py has the state, rules.py what the product decides, actions.py what can happen, history.py what it leaves and what must
hold.  It goes further than test_choose, which runs the product's own choose_root through all histories of three mounts: here gaps
stay open over mounts, close by positions, and open again; columns move to other members and their old granules are used again;
spares, new members and the exchange of voters are steps of the configuration; a member is made again without a key; promises, roots
and configuration slots are torn.  Members fail in any phase, are absent, or silently older.

Each scope begins at some place on the way of such a change, is searched breadth first up to a number of states, and then by random
histories, each of which ends in making the array whole (actions.settle).  A history with a violation is made as short as can be, and
shown.  Then each rule is taken away in turn, and a violation must be found, or else the model proves nothing of the rule.

  model.py                              all that, in less than a minute
  model.py --seconds 3600               go on, with new seeds
  model.py --bands 2                    two bands of one row in place of one of two, where a scope has no other;  --columns 4: wider ones
  model.py --scope job --states 300000  one scope, further
  model.py --without job_zero_level     shows what a rule is for

What it found against the design as it stood, and how the rules were changed (doc/membership.md has them all):

  - job_zero_level: the target of a job is silently older by one generation, yet in sync; the job's position says that it has rows
    which it lost.  When the job ends they are wrong, in no gap, and one more loss takes them.  So: position 0 if it is not level.
  - job_xor_clean: a unit in a gap was made from the others while one of those had the row in a gap too.  So: the job waits.
  - voter_add_sync, voter_exchange_out: "the new voter comes in one step, the old one goes in a later one" leaves, while the old one is
    dead, an array of N+1 voters one of which is missing: the loss of the new one in between refuses the mount, though it was not
    needed before.  So: a dead voter is exchanged in one step, and one is added only while all are in sync.  To exchange one that
    works in one step would let two halves of the members go separate ways.
  - job_finish_others: moving a column off a member that works, while another is out, makes a third one such that its loss is too
    much; the one that is out may also be one that has columns and no vote yet.  So: the job waits before its last step.
  - job_finish_band: jobs of a list have several sources.  One that is out and keeps a column in another band of the list makes the new
    holder there one more that must not be lost.  So: per band, all that have a column after the step are settled.  And no others:
    two dead, the old voter and a replacement with its columns, would keep the list that replaces them from ending for ever.
  - job_copy_any: the position passed a band without live rows while its target was out; what was written there later, and is below
    the position, was never copied.  So: it moves on only while all targets take writes.
  - voter_target: a voter that had lost its columns to others was the target of the next list, and was removed while that ran: the jobs
    led to nobody, and never ended.  So: first no job leads to it.
  - drop_bands: a member that has columns and no vote was dropped with another of the band missing, and the commit counted.
  - log_voters: a log record had a spare as one of its mirrors, which is no loss to lose, and so one loss took it.
  - rebuild_log: a member made again without a key has no log records, so the array is whole only after the next commit.
  - rebuild_step: that commit took a step too, and the member failed in it: at fault before and after, and one more member needed.

Limits: at most two bands of two rows, no growing by new bands, no key changes; a ring holds one root; rows are written only by the
commit that makes them live; the promise of the design is at most one member at fault, so beyond it ("reckless") only what was
acknowledged is watched.  Known and left out there: a member fails when another has caught up and no root says so yet, and the power
fails in the next root, which is on one member only: it has both out, and the array is refused, though all are there.
"""
import argparse
import os
import random
import sys
import time

import actions
import history
import members
import rules
from members import Budget, Violation, first_world, key


def budget(**what):
    return Budget(**{**dict(mounts=3, commits=2, faults=2, steps=0, snapshots=0, logs=0, rebuilds=0), **what})


class Scope:
    """A part of all histories: what an array begins with, what it goes through before, and what may then happen."""

    def __init__(self, name, spares, unused, prefix, limits, detail=(), layout=None, rows=None):
        self.layout = layout or (tuple(range(members.COLUMNS)),) * members.BANDS
        self.rows = rows or members.shape.rows
        self.name, self.spares, self.unused, self.prefix, self.limits, self.detail = name, spares, unused, prefix, limits, set(detail)

    def start(self):
        actions.detail = self.detail
        many = budget(mounts=9, commits=99, faults=9, steps=9)
        members.shape.bands, members.shape.rows = len(self.layout), self.rows
        w = first_world(self.layout, self.spares, self.unused, many)
        for action in self.prefix:
            w = history.apply(w, action)
        if w.mount:
            w = w._replace(mount=w.mount._replace(commits=0))
        return w._replace(budget=budget(**self.limits))


N = members.COLUMNS                     # the index of the spare, or new, member
OK = ("all",), None


def commit(*rows, step=None):
    return ("commit", rows or ("none",), step) + OK


MOUNT = ("mount", ()) + OK
WRITE = commit("write", 1, None)
FAIL = [MOUNT, ("fail", 0), commit()]
BACK = [("return", 0), ("fill", 0), ("close", 0), commit()]
JOB = [commit(step=("job", ((0, 0, N),)))]
MOVE = [commit(step=("job", tuple((b, 0, N) for b in range(members.BANDS)))), ("copy",), commit(step=("finish",))]
# Two bands, of which the first member has a column in the first only, and the last one in the second only.
SHIFTED = (tuple(range(N)), tuple(range(1, N + 1)))
S = N + 1                               # the index of the first spare beside them
REPLACE = [commit(step=("job", ((0, 1, S), (1, 0, S))))]        # member 1, onto one member
REMOVE = [commit(step=("job", ((0, 1, N), (1, 0, 0))))]         # member 1, onto free granules of two voters
BALANCE = [commit(step=("job", ((0, 1, S), (1, 1, S + 1))))]    # a column of member 1 and one of member 2, onto two members
SPREAD = [commit(step=("job", ((0, 1, S), (1, 0, 0))))]         # member 1, onto a new member and free granules of a voter
SEVERAL = [commit(step=("job", ((0, 1, S), (1, 0, S + 1))))]    # member 1, onto two new members
SECOND = commit("write", 1, None)       # a row in the second band, if bands have one row
SCOPES = {s.name: s for s in [
    Scope("choice", 0, 0, [], dict(mounts=4, faults=1, snapshots=1, logs=1), ["promises"]),
    Scope("gaps", 0, 0, FAIL, dict(mounts=2, commits=3, faults=2, snapshots=1)),
    Scope("filling", 0, 0, FAIL + [WRITE, ("return", 0), commit()], dict(mounts=2, commits=3, faults=2, snapshots=1)),
    Scope("job", 1, 0, [MOUNT] + JOB, dict(mounts=2, faults=1, steps=1, snapshots=1)),
    Scope("degraded", 1, 0, FAIL + JOB, dict(mounts=2, faults=1, steps=1)),
    Scope("voters", 1, 0, [MOUNT] + MOVE, dict(mounts=2, faults=1, steps=2)),
    Scope("reckless", 1, 0, [MOUNT] + MOVE, dict(mounts=4, faults=2, steps=2), ["reckless"],
          (tuple(range(N - 1)),) * members.BANDS),
    Scope("exchange", 1, 0, FAIL + MOVE, dict(mounts=2, faults=1, steps=2)),
    Scope("reuse", 1, 0, FAIL + MOVE + [commit(step=("exchange", 0, N))] + BACK, dict(mounts=2, faults=1, steps=2, snapshots=1)),
    Scope("new", 0, 1, [MOUNT], dict(mounts=2, faults=1, steps=2), ["slots"]),
    Scope("rebuild", 1, 0, [MOUNT], dict(mounts=4, faults=2, steps=1, logs=1, rebuilds=2)),
    Scope("replace", 1, 0, [MOUNT, SECOND] + REPLACE, dict(mounts=2, faults=1, steps=2, snapshots=1), (), SHIFTED, 1),
    Scope("remove", 0, 0, [MOUNT, SECOND] + REMOVE, dict(mounts=2, faults=1, steps=2, snapshots=1), (), SHIFTED, 1),
    Scope("balance", 2, 0, [MOUNT, SECOND] + BALANCE, dict(mounts=2, faults=1, steps=1, snapshots=1), (), SHIFTED, 1),
    Scope("gone", 1, 0, [MOUNT, ("fail", 1), SECOND] + REPLACE, dict(mounts=2, faults=1, steps=3), (), SHIFTED, 1),
    # The product's: who loses his vote is no member any more.
    Scope("leave", 1, 0, [MOUNT, SECOND] + SPREAD, dict(mounts=2, faults=1, steps=3, snapshots=1), ["leave"], SHIFTED, 1),
    Scope("leave gone", 0, 0, [MOUNT, ("fail", 1), SECOND] + REMOVE, dict(mounts=2, faults=1, steps=2), ["leave"], SHIFTED, 1),
    Scope("spread", 2, 0, [MOUNT, ("fail", 1), SECOND] + SEVERAL, dict(mounts=2, faults=1, steps=3), ["leave"], SHIFTED, 1),
    Scope("spread part", 1, 0, [MOUNT, ("fail", 1), SECOND] + SPREAD, dict(mounts=2, faults=1, steps=3), ["leave"], SHIFTED, 1),
    Scope("spread end", 2, 0, [MOUNT, ("fail", 1), SECOND] + SEVERAL + [("copy",), ("copy",), commit(step=("finish",))],
          dict(mounts=3, faults=1, steps=2), ["leave"], SHIFTED, 1),
    Scope("lists", 1, 0, [MOUNT, commit("write", 2, None)], dict(mounts=3, commits=4, faults=2, steps=3, snapshots=1, rebuilds=1), (),
          SHIFTED, 2),
    Scope("all", 1, 0, [], dict(mounts=6, commits=6, faults=5, steps=5, snapshots=2, logs=2, rebuilds=1), ["promises", "slots", "pairs"]),
]}

AWAY = [MOUNT, ("snapshot", 0), ("fail", 2), commit()] + JOB + [("return", 2), ("fill", 2), ("close", 2), commit(), ("cut",), ("older", 0),
        MOUNT, ("return", 0), ("fill", 0), ("close", 0), commit(), ("cut",)]
ROLLED = [MOUNT, ("snapshot", 0), WRITE, ("cut",), ("older", 0)]

# Where the lack of each rule is looked for: a scope, and how the histories begin (then they go on at random).
MUTANTS = {
    "promise": ("choice", [("mount", (), ("opening", (2,)), None), ("mount", (2,)) + OK]),
    "promise_slots": ("choice", [("mount", (), ("opening", (2,)), None), ("mount", (2,), ("torn promise", (0, 1)), None)]),
    "opening": ("choice", []),
    "rows_before_root": ("choice", []),
    "own_tree": ("filling", []),
    "unverified": ("choice", ROLLED),
    "unverified_own": ("filling", [("snapshot", 0)]),
    "unverified_config": ("job", [("snapshot", N), ("copy",), commit(step=("finish",))]),
    "unverified_kept": ("choice", ROLLED + [MOUNT]),
    "return_own": ("choice", []),
    "return_config": ("job", [("snapshot", N)]),
    "from_kept": ("gaps", []),
    "position_zero": ("gaps", []),
    "position_mount": ("filling", []),
    "position_flush": ("filling", []),
    "fill_all": ("filling", []),
    "job_both_homes": ("job", []),
    "job_both_any": ("balance", []),
    "job_copy_any": ("balance", []),
    "job_flush": ("job", []),
    "job_flush_any": ("balance", []),
    "job_finish_all": ("job", []),
    "job_finish_sync": ("job", [("fail", N), commit(), ("return", N)]),
    "job_finish_any": ("balance", [("fail", S + 1), commit(), ("return", S + 1)]),
    "job_finish_others": ("job", []),
    "job_finish_band": ("balance", []),
    "job_xor": ("job", []),
    "job_xor_clean": ("new", []),
    "job_zero_out": ("job", []),
    "job_zero_level": ("job", [("snapshot", N)]),
    "job_zero_any": ("balance", [("snapshot", S + 1)]),
    "job_holds_old": ("job", []),
    "config_first": ("job", []),
    "config_hold": ("voters", [commit(step=("vote", N))[:3] + (("root", (0,)), None), ("mount", (), ("early",), None)]),
    "config_return": ("all", AWAY),
    "voter_complete": ("job", []),
    "voter_add_sync": ("exchange", []),
    "voter_exchange_out": ("reckless", [commit(step=("exchange", 2, N))[:3] + (("root", (0,)), None), ("mount", (1, 2)) + OK]),
    "voter_columns": ("voters", []),
    "voter_target": ("leave", []),
    "drop_bands": ("reckless", [("fail", N)]),
    "step_counts": ("voters", []),
    "log_voters": ("rebuild", []),
    "rebuild_level": ("rebuild", []),
    "rebuild_gap": ("rebuild", []),
    "rebuild_job": ("rebuild", JOB + [("copy",), commit(), ("cut",), ("rebuild", N)]),
    "rebuild_configs": ("rebuild", [("cut",)] + [a for m in (0, 1) for a in (("rebuild", m), MOUNT, commit(), ("cut",))]),
    "rebuild_step": ("lists", REPLACE + [("cut",), ("rebuild", 0), MOUNT, ("copy",), ("copy",),
                                         commit(step=("finish",))[:4] + ((0, False),)]),
    "rebuild_log": ("rebuild", []),
}
# Rules of which the model shows no need within what it promises to find.
NOT_NEEDED = {
    "own_tree": "the unverified gap of such a member, which begins where its own root ends, covers what it misses",
    "step_counts": "one member that fails in the step leaves as many as are asked for; it is against two at once",
    "rebuild_level": "with no other member at fault, those that lag have the rows too; it is against a second fault",
    "rebuild_gap": "likewise: such a gap is one of a member that lacks nothing, or the member is a second one at fault",
    "voter_columns": "bands are asked for beside voters wherever voters are, so a member with columns need not vote",
}


# ---- Showing a history ----

def show_rows(rows):
    if rows[0] == "write":
        return f"row {rows[1]} is written" + (f", row {rows[2]} freed" if rows[2] is not None else "")
    return "nothing is written" if rows[0] == "none" else f"row {rows[1]} is freed"


def show_how(how, fails):
    text = {"all": "", "rows": " CUT in the rows", "rows late": " CUT after the root: rows not flushed",
            "root without slots": " CUT after the root", "early": " CUT: next configuration slot on all"}.get(how[0])
    if text is None:
        text = f" CUT: {how[0]} on {', '.join(map(str, how[1]))} only"
    if fails:
        text += f"; member {fails[0]} fails" + (", its root written" if fails[1] else "")
    return text


def show_step(step):
    if step[0] == "job":
        return "jobs: " + ", ".join(f"column {c} of band {b} to member {m}" for b, c, m in step[1])
    return " ".join(map(str, step))


def show(action):
    kind, rest = action[0], action[1:]
    if kind == "mount":
        return "MOUNT" + (f" without {', '.join(map(str, rest[0]))}" if rest[0] else "") + show_how(*rest[1:])
    if kind == "commit":
        step = f", step {show_step(rest[1])}" if rest[1] else ""
        return f"  commit: {show_rows(rest[0])}{step}.{show_how(*rest[2:])}"
    if kind in ("snapshot", "older", "rebuild"):
        return {"snapshot": "  (member {} is as it will be again)", "older": "SILENTLY OLDER: member {}",
                "rebuild": "KEYLESS REBUILD of member {}"}[kind].format(*rest)
    return "  " + " ".join(str(x) for x in action)


def report(e, trace):
    print("VIOLATION:", e)
    for action in trace:
        print("   ", show(action))


# ---- Playing again, and making a history shorter ----

def play(scope, trace, settled):
    """The violation that the history ends in, or None, also if it cannot happen."""
    w = scope.start()
    for action in trace:
        if action not in set(actions.actions(w)):
            return None
        try:
            w = history.apply(w, action)
        except Violation as e:
            return e
    if settled:
        try:
            actions.settle(w)
        except Violation as e:
            return e
    return None


def shorten(scope, trace, settled):
    size = max(1, len(trace) // 2)
    while size:
        at = 0
        while at < len(trace):
            shorter = trace[:at] + trace[at + size:]
            if play(scope, shorter, settled):
                trace = shorter
            else:
                at += size
        size //= 2
    return trace


def found(scope, trace, settled):
    trace = shorten(scope, list(trace), settled)
    e = play(scope, trace, settled)
    return e, scope.prefix + trace + getattr(e, "trace", [])


# ---- Searching ----

def every(scope, states):
    """Breadth first, each world once.  Returns (states, all of them?, violation, history)."""
    try:
        w = scope.start()
    except Violation as e:
        return 0, True, e, scope.prefix
    front, seen, raw = [(w, None)], {key(w)}, set()
    while front:
        after = []
        for w, trace in front:
            for action in actions.actions(w):
                if len(seen) >= states:
                    return len(seen), False, None, None
                try:
                    x = history.apply(w, action)
                    h = hash(x)
                    if h in raw:
                        continue
                    raw.add(h)
                    k = key(x)
                    if k in seen:
                        continue
                    seen.add(k)
                    if not x.mount and len(seen) % 16 == 0:
                        actions.settle(x)
                except Violation as e:
                    return (len(seen), False) + found(scope, unwind((action, trace)), hasattr(e, "trace"))
                after.append((x, (action, trace)))
        front = after
    return len(seen), True, None, None


def unwind(trace):
    ret = []
    while trace:
        ret.append(trace[0])
        trace = trace[1]
    return ret[::-1]


def weight(a):
    kind = a[0]
    if kind == "mount":
        return ("mount", 1 if a[1] else 3) if a[2] == ("all",) and not a[3] else ("mount cut", 1)
    if kind == "commit":
        if a[4]:
            return "commit fails", 1
        if a[3] != ("all",):
            return ("step cut", 2) if a[2] else ("commit cut", 2)
        return ("step " + a[2][0], 1 if a[2][0] == "cancel" else 5) if a[2] else ("commit", 4)
    return kind, {"cut": 1, "fail": 1, "snapshot": 1, "plug": 3, "log": 1, "rebuild": 2, "older": 4}.get(kind, 8)


def step_of_walk(rnd, w):
    kinds = {}
    for a in actions.actions(w):
        k, x = weight(a)
        kinds.setdefault(k, (x, []))[1].append(a)
    if not kinds:
        return None
    names = sorted(kinds)
    kind = rnd.choices(names, [kinds[k][0] for k in names])[0]
    return rnd.choice(kinds[kind][1])


def walk(scope, limit, seed, begin=(), length=60):
    """So many random actions, in histories of at most `length`.  Returns (actions, violation, history)."""
    rnd, count = random.Random(seed), 0
    while count < limit:
        trace = []
        try:
            w = scope.start()
            for n in range(length):
                action = begin[n] if n < len(begin) else step_of_walk(rnd, w)
                if action is None:
                    break
                trace.append(action)
                w = history.apply(w, action)
                count += 1
            actions.settle(w)
        except Violation as e:
            return (count,) + found(scope, trace, hasattr(e, "trace"))
    return count, None, None


# ---- What is run ----

def mutant(rule, limit, seed, verbose):
    """Is the lack of the rule noticed?"""
    name, begin = MUTANTS[rule]
    if rule in NOT_NEEDED and not verbose:
        limit //= 20
    rules.off = {rule}
    try:
        n, e, trace = walk(SCOPES[name], limit, seed, begin)
    finally:
        rules.off = set()
    print(f"without {rule} ({rules.RULES[rule]}): " + (f"{e}; found in {name} after {n} actions, history of {len(trace)}" if e else
          f"nothing found in {name}, {n} actions"), flush=True)
    if e and verbose:
        report(e, trace)
    if (e is None) != (rule in NOT_NEEDED):
        print("UNEXPECTED:", NOT_NEEDED.get(rule, "a model that does not notice this proves nothing of it"))
        return False
    return True


def search(names, states, limit, seed):
    for name in names:
        n, whole, e, trace = every(SCOPES[name], states)
        count = 0
        if not e:
            count, e, trace = walk(SCOPES[name], limit, seed)
        print(f"{name}: {n} states{' (all)' if whole else ''}, {count} random actions" + ("" if e else ", nothing found"), flush=True)
        if e:
            report(e, trace)
            return False
    return True


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=float, help="go on with new seeds for so long, searching only")
    p.add_argument("--scope", action="append", choices=sorted(SCOPES))
    p.add_argument("--states", type=int, default=1500, help="of each scope, breadth first")
    p.add_argument("--actions", type=int, default=4000, help="of each scope, in random histories")
    p.add_argument("--mounts", type=int, help="how many a history may have")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--bands", type=int, default=members.BANDS, choices=(1, 2))
    p.add_argument("--columns", type=int, default=members.COLUMNS, choices=(3, 4, 5))
    p.add_argument("--without", action="append", default=[], choices=sorted(rules.RULES), metavar="RULE", help="show what it is for")
    p.add_argument("--mutants", action="store_true", help="only try the model: without each rule")
    p.add_argument("--mutant-actions", type=int, default=30000)
    a = p.parse_args()
    if (a.bands, a.columns) != (members.BANDS, members.COLUMNS):
        os.environ.update(R5_MODEL_BANDS=str(a.bands), R5_MODEL_COLUMNS=str(a.columns))
        os.execv(sys.executable, [sys.executable] + sys.argv)
    for s in SCOPES.values():
        s.limits["mounts"] = a.mounts or s.limits["mounts"]
    names = a.scope or list(SCOPES)
    if a.without:
        return 0 if all([mutant(rule, a.mutant_actions, a.seed, True) for rule in a.without]) else 1
    if a.mutants:
        return 0 if all([mutant(rule, a.mutant_actions, a.seed, False) for rule in MUTANTS]) else 1
    end = time.monotonic() + (a.seconds or 0)
    seed, good = a.seed, search(names, a.states, a.actions, a.seed)
    if a.seconds is None and not a.scope:
        return 0 if all([mutant(rule, a.mutant_actions, a.seed, False) for rule in MUTANTS]) and good else 1
    while good and time.monotonic() < end:
        seed += 1
        print(f"seed {seed}:")
        good = search(names, 0, a.actions, seed)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
