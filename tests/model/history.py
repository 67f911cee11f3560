"""What an action leaves of a modelled array, and what must hold then.

An action is a tuple that says all about it, cuts included, so a history is a list of actions and can be played again.  A cut ends
the mount.  What a phase writes (promise, configuration slots, root) can be on any subset of the members when the power fails; rows
that were not flushed are garbage on all members then, which is the worst that can be: nobody decides anything by them.

Faults (a member absent, failing, silently older) are kept within what is promised (doc/guarantees.md): as long as the
configuration of the last root that counted can do without all members at fault.  Then each of these is a Violation:

  - a mount is refused, or a member is called out of date or dropped without being at fault;
  - the chosen root does not descend from the last one that counted, or a logged record is lost;
  - two columns of a live row are missing or wrong;
  - a unit is wrong, and the member is believed to have it (its gap, or the jobs' position, does not cover the row);
  - a step leaves an array that can do without less than before;
  - with all members there and no more faults, it does not become whole (actions.settle).
"""
import rules
from members import *
from rules import on


def takers(mount):
    return [m for m in sorted(mount.present) if mount.states[m][0] in (IN, FILLING)]


# ---- What must hold ----

def wrong_columns(w, root, address):
    ret = []
    for c, (m, g) in enumerate(root.config.columns[band_of(address)]):
        if unit_at(w.disks[m], g, address) != right(root, address, c):
            ret.append(c)
    return ret


def check_rows(w):
    """Every live row can be read, and nobody is believed to have what it has not."""
    mount, root = w.mount, w.mount.root
    for a in addresses():
        if root.live[a] is None:
            continue
        columns = root.config.columns[band_of(a)]
        wrong = wrong_columns(w, root, a)
        if len(set(wrong) | {c for c, (m, _) in enumerate(columns) if m not in mount.present}) > 1:
            raise Violation(f"row {a} is lost: wrong on {[columns[c][0] for c in wrong]}, present are {sorted(mount.present)}")
        for c in wrong:
            m = columns[c][0]
            state, gap = mount.states[m]
            if m in mount.present and not covers(gap, root.live[a][0], a):
                raise Violation(f"member {m} is believed to have row {a} (written {root.live[a][0]}), and has not: "
                                f"its gap is {show_gap(gap)}")
        for band, c, m, g in root.config.jobs:
            if m in mount.present and mount.states[m][0] in (IN, FILLING) and band == band_of(a) and a < mount.job \
                    and unit_at(w.disks[m], g, a) != right(root, a, c):
                raise Violation(f"the jobs have passed row {a}, and its target {m} has it not")


def show_gap(gap):
    if gap is None:
        return None
    return f"({gap[0]}, {'open' if gap[1] == OPEN else gap[1]}] from " + ("the end" if gap[2] == END else f"address {gap[2]}")


# ---- Faults ----

def may_lose(w, members):
    """... under the configuration of each root that may be the next one to be chosen."""
    lost = w.lost | frozenset(members)
    return enough(w.acked.config, lost) and all(enough(d.root.config, lost) for d in w.disks if d.root in w.good)


def fatal(config, lost):
    """Members without which the array could not be."""
    return [m for m in range(len(config.roles)) if not enough(config, lost | {m})]


def forget_faults(w):
    """After a mount: a member that misses nothing is no longer at fault."""
    lost = w.lost
    for m in lost:
        if m != w.rolled and w.disks[m].root == w.acked and all(d.root.states[m][0] == IN for d in w.disks if d.root in w.good):
            lost = lost - {m}
    good = frozenset(r for r in w.good if r == w.acked or any(d.root == r for d in w.disks) or (w.snapshot and w.snapshot[1].root == r))
    return w._replace(lost=lost, good=good, mount=None)


def acknowledge(w, root, commit):
    """The root counts: nothing older may be chosen any more."""
    lost = w.lost
    for m in w.lost:
        if root.states[m] == (IN, None) and w.disks[m].root == root and (commit or m != w.rolled):
            lost = lost - {m}
    lost = frozenset(m for m in lost if root.config.roles[m] != UNUSED)
    log = w.acked_log if w.acked_log == root.log else None
    return w._replace(acked=root, good=frozenset([root]), lost=lost, rolled=w.rolled if w.rolled in lost else None, acked_log=log)


def spend(w, **what):
    return w._replace(budget=w.budget._replace(**{k: getattr(w.budget, k) - v for k, v in what.items()}))


# ---- Writing to all ----

def write_root(w, root, members):
    disks = list(w.disks)
    for m in members:
        disks[m] = disks[m]._replace(root=root)
    return w._replace(disks=tuple(disks), good=w.good | {root})


def write_config(w, config, members, torn=False):
    disks = list(w.disks)
    for m in members:
        disks[m] = disks[m]._replace(configs=put(disks[m].configs, config.version % 2, None if torn else config))
    return w._replace(disks=tuple(disks))


def write_promise(w, term, members, torn=False):
    disks = list(w.disks)
    for m in members:
        p = disks[m].promises
        slot = 0 if p[0] <= p[1] or not on("promise_slots") else 1
        disks[m] = disks[m]._replace(promises=put(p, slot, 0 if torn else term))
    return w._replace(disks=tuple(disks))


def write_unit(w, m, granule, address, content):
    return w._replace(disks=put(w.disks, m, put_unit(w.disks[m], granule, address, content)))


# ---- A mount, up to its opening root ----

def mount(w, absent, how, fails):
    present = frozenset(range(len(w.disks))) - frozenset(absent)
    chosen, states, job, refused = rules.choose(w.disks, present)
    promised = may_lose(w, absent)
    absent = frozenset(m for m in absent if chosen.config.roles[m] != UNUSED)
    if refused and not promised:
        return spend(w, mounts=1)
    if chosen not in w.good:
        raise Violation(f"what was acknowledged is lost: chose generation {chosen.generation} of term {chosen.term}, acknowledged was "
                        f"{w.acked.generation} of term {w.acked.term}")
    if refused:
        raise Violation(f"refused: {refused}; but only {sorted(w.lost | absent)} are at fault")
    stale = [m for m in present & needed(chosen.config) if states[m][0] == OUT and m not in w.lost]
    if stale and promised:
        raise Violation(f"members {stale} are called out of date, and are not at fault")
    found = any(w.disks[m].log == chosen.log for m in present)
    if w.acked_log == chosen.log and not found:
        raise Violation("an acknowledged log record is lost")
    w = spend(w, mounts=1)._replace(mounts=w.mounts + 1)
    me = w.mounts
    known = [m for m in present if chosen.config.roles[m] != UNUSED]
    term = 1 + max([max(w.disks[m].promises) for m in known] + [w.disks[m].root.term for m in known if w.disks[m].root])
    before = w
    w = w._replace(lost=w.lost | absent, mount=Mount(me, term, present, chosen, states, job, (), found, 0))
    check_rows(w)
    if how[0] == "early":
        config = chosen.config._replace(version=chosen.config.version + 1)
        return forget_faults(write_config(before, config, [m for m in present if states[m][0] == IN]))
    if on("promise"):
        if how[0] in ("promise", "torn promise"):
            return forget_faults(write_promise(before, term, how[1], how[0] == "torn promise"))
        w = write_promise(w, term, known)
    if not on("opening"):
        return w
    if fails is not None:
        w = fail(w, fails[0], chosen.generation)
        states, job = w.mount.states, w.mount.job
    working = takers(w.mount)
    root = Root(term, me, chosen.generation + 1, chosen.tree, chosen.before, chosen.config, states, job, chosen.live,
                chosen.log if found else (me, 0))
    if how[0] == "opening":
        return forget_faults(write_root(w, root, how[1]))
    w = write_root(w, root, working)
    w = acknowledge(w, root, False)
    return w._replace(mount=w.mount._replace(root=root))


def fail(w, m, flushed):
    """The member is dropped; `flushed`: the last generation whose rows were flushed on it."""
    mount = w.mount
    if not rules.can_drop(mount.root.config, mount.states, m):
        if not may_lose(w, [m]):             # one too many, and not promised: read-only from here on
            return forget_faults(w)
        raise Violation(f"member {m} fails, and the array stops, though it need not")
    states = rules.put_out(mount.states, m, flushed)
    job = 0 if m in rules.watched_targets(mount.root.config) and on("job_zero_out") else mount.job
    late = tuple(x for x in mount.late if x[0] != m)
    return spend(w, faults=1)._replace(lost=w.lost | {m}, mount=mount._replace(states=states, job=job, late=late))


# ---- A commit, with or without a step of the configuration ----

def rows_of(root, rows, content):
    """What lives after a commit, and the row that it writes."""
    live, written = root.live, None
    if rows[0] == "write":
        written = rows[1]
        live = put(live, written, content)
        if rows[2] is not None:
            live = put(live, rows[2], None)
    elif rows[0] == "free":
        live = put(live, rows[1], None)
    return live, written


def write_row(w, working, address, configs, content):
    """Both homes of a column, if it has two.  In the commit that begins a job it has not: that row is copied later."""
    band = band_of(address)
    homes = {(c, m, g) for c, (m, g) in enumerate(configs[0].columns[band])}
    if on("job_both_homes"):
        homes |= {(c, m, g) for b, c, m, g in configs[0].jobs[:None if on("job_both_any") else 1] if b == band}
    homes |= {(c, m, g) for c, (m, g) in enumerate(configs[-1].columns[band])}
    for c, m, g in sorted(homes):
        if m in working:
            w = write_unit(w, m, g, address, content and content + (band, c))
    return w


def commit(w, rows, step, how, fails):
    m = w.mount
    root, config, job = m.root, m.root.config, m.job
    states, working = m.states, takers(m)
    generation = root.generation + 1
    if step:
        config, job = rules.next_config(root, states, job, step)
        if step[0] == "spare":
            states = put(states, step[1], (IN, None))
            working.append(step[1])
        w = spend(w, steps=1)
        if how[0] in ("slots", "torn slots"):
            return forget_faults(write_config(w, config, how[1], how[0] == "torn slots"))
        if on("config_first"):
            w = write_config(w, config, working)
        for x in rules.removed(root.config, config):
            states = put(states, x, (NONE, None))
        working = [x for x in working if states[x][0] != NONE]
        if step[0] == "finish" and not on("job_holds_old"):
            for band, column, _, _ in root.config.jobs:
                old, granule = root.config.columns[band][column]
                for a in addresses():
                    if band_of(a) == band:
                        w = write_unit(w, old, granule, a, GARBAGE)
    live, written = rows_of(root, rows, (generation, m.id))
    if written is not None:
        w = write_row(w, working, written, (root.config, config), GARBAGE)
        if how[0] == "rows":
            return forget_faults(w)
        if how[0] != "rows late":
            w = write_row(w, working, written, (root.config, config), (generation, m.id))
    elif how[0] == "rows":
        return forget_faults(w)
    new = Root(m.term, m.id, generation, generation, root.tree, config, states, job, live, (m.id, generation))
    if how[0] == "root":
        return forget_faults(write_root(w, new, how[1]))
    durable = frozenset(working) - ({fails[0]} if fails else set())
    w = write_root(w, new, durable | ({fails[0]} if fails and fails[1] else set()))
    if how[0] == "rows late":
        return forget_faults(acknowledge(w, new, True))
    if not on("config_first") and step:
        if how[0] == "root without slots":
            return forget_faults(acknowledge(w, new, True))
        w = write_config(w, config, working)
    w = w._replace(mount=m._replace(states=states, job=job))
    if fails:
        if step and (not rules.can_drop(config, states, fails[0]) or not rules.counts(root.config, config, durable)):
            return forget_faults(spend(w, faults=1)._replace(lost=w.lost | {fails[0]}))
    w = acknowledge(w, new, True)
    w = w._replace(disks=tuple(d._replace(whole=True) if x in durable else d for x, d in enumerate(w.disks)))
    if len(fatal(config, w.lost)) > len(fatal(root.config, w.lost)):
        raise Violation(f"with {sorted(w.lost)} at fault, this step makes more members such that one more loss would be too many")
    if fails:
        w = fail(w._replace(mount=w.mount._replace(root=root._replace(config=config))), fails[0], generation)
    return w._replace(mount=w.mount._replace(root=new, replay=False, commits=m.commits + 1))


# ---- Catching up, and column jobs ----

def others_right(w, address, column):
    return not [c for c in wrong_columns(w, w.mount.root, address) if c != column]


def fill(w, m):
    """The next row in the member's gap is made from the others, and the position moves on."""
    mount, root = w.mount, w.mount.root
    frm, to, position = mount.states[m][1]
    todo = [a for a in addresses() if root.live[a] and covers((frm, to, position), root.live[a][0], a)
            and column_of(root.config, band_of(a), m) is not None]
    if todo:
        a = todo[0]
        columns = root.config.columns[band_of(a)]
        own = column_of(root.config, band_of(a), m)
        wrong = wrong_columns(w, root, a)
        if mount.states[m][0] == FILLING:
            wrong = [own] if others_right(w, a, own) else []
        if len(wrong) == 1 and columns[wrong[0]][0] in mount.present:
            x, g = columns[wrong[0]]
            w = write_later(w, on("position_flush"), (x, g, a, right(root, a, wrong[0])))
    position = todo[0] + 1 if len(todo) > 1 else END
    return w._replace(mount=w.mount._replace(states=put(mount.states, m, (mount.states[m][0], (frm, to, position)))))


def write_later(w, flushed, what):
    if flushed:
        return write_unit(w, *what)
    return w._replace(mount=w.mount._replace(late=w.mount.late + (what,)))


def copy_source(w):
    """How the unit at the jobs' position can be had: where it goes and its content, and the position after it; None if it must wait."""
    mount, root = w.mount, w.mount.root
    jobs = {b: (c, target, g) for b, c, target, g in root.config.jobs}
    todo = [a for a in addresses() if band_of(a) in jobs and a >= mount.job and root.live[a]]
    working = takers(mount)
    if on("job_copy_any") and not all(m in working for m in targets(root.config)):
        return None
    if not todo:
        return None, None, END
    a = todo[0]
    after = a + 1 if len(todo) > 1 else END
    band = band_of(a)
    c, target, g = jobs[band]
    if target not in working:
        return None
    home = (target, g, a)
    m, old = root.config.columns[band][c]
    state, gap = mount.states[m]
    covered = covers(gap, root.live[a][0], a) and on("job_xor")
    if m in mount.present and (state in (IN, FILLING) or not on("job_xor")) and not covered:
        return home, unit_at(w.disks[m], old, a), after
    others = [x for i, (x, _) in enumerate(root.config.columns[band]) if i != c]
    if any(x not in mount.present or mount.states[x][0] == OUT for x in others):
        return None
    if on("job_xor_clean") and any(covers(mount.states[x][1], root.live[a][0], a) for x in others):
        return None
    return home, right(root, a, c) if others_right(w, a, c) else GARBAGE, after


def copy(w):
    home, content, after = copy_source(w)
    if home:
        flushed = on("job_flush") and (on("job_flush_any") or home[0] == targets(w.mount.root.config)[0])
        w = write_later(w, flushed, home + (content,))
    return w._replace(mount=w.mount._replace(job=after))


def rebuild(w, m):
    """The missing member is made again as itself, without a key, from all others."""
    source = [d for x, d in enumerate(w.disks) if x != m and w.acked.config.roles[x] != UNUSED and d.root]
    source = max(source, key=lambda d: (d.root.term, d.root.generation))
    root = source.root
    disk = Disk(root, source.promises, source.configs, (GARBAGE,) * len(source.units), None, False)
    if not on("rebuild_configs"):
        disk = disk._replace(promises=(0, 0), configs=(None, None))
    for a in addresses():
        c = column_of(root.config, band_of(a), m)
        if c is not None and root.live[a] and not [x for x in wrong_columns(w, root, a) if x != c]:
            disk = put_unit(disk, root.config.columns[band_of(a)][c][1], a, right(root, a, c))
    w = spend(w, rebuilds=1)._replace(disks=put(w.disks, m, disk), lost=w.lost | {m}, rolled=m if on("rebuild_log") else None)
    return forget_faults(w)


# ---- One action ----

def apply(w, action):
    kind, rest = action[0], action[1:]
    if kind == "mount":
        w = mount(w, *rest)
    elif kind == "commit":
        w = commit(w, *rest)
    elif kind == "fail":
        w = fail(w, rest[0], w.mount.root.generation)
    elif kind == "plug":
        m = rest[0]
        states = rules.plug(w.mount.root, w.mount.states, w.disks[m].root, m)
        w = w._replace(mount=w.mount._replace(present=w.mount.present | {m}, states=states))
    elif kind == "return":
        m = rest[0]
        if on("config_return"):
            w = write_config(w, w.mount.root.config, [m])
        w = w._replace(mount=w.mount._replace(states=rules.take_back(w.mount.root, w.mount.states, m)))
    elif kind == "fill":
        w = fill(w, rest[0])
    elif kind == "close":
        w = w._replace(mount=w.mount._replace(states=put(w.mount.states, rest[0], (IN, None))))
    elif kind == "copy":
        w = copy(w)
    elif kind == "flush":
        for x in w.mount.late:
            w = write_unit(w, *x)
        w = w._replace(mount=w.mount._replace(late=()))
    elif kind == "log":
        w = log(w, *rest)
    elif kind == "cut":
        return forget_faults(w)
    elif kind == "snapshot":
        w = spend(w, snapshots=1)._replace(snapshot=(rest[0], w.disks[rest[0]]))
    elif kind == "older":
        m, disk = w.snapshot
        w = spend(w, faults=1)._replace(disks=put(w.disks, m, disk), lost=w.lost | {m}, rolled=m, snapshot=None)
        if w.mount:
            w = w._replace(mount=w.mount._replace(present=w.mount.present - {m}))
    elif kind == "rebuild":
        return rebuild(w, rest[0])
    else:
        raise ValueError(kind)
    if w.mount and not w.mount.late:
        check_rows(w)
    return w


def log(w, pair, cut):
    disks = list(w.disks)
    for m in pair if cut is None else (cut,):
        disks[m] = disks[m]._replace(log=w.mount.root.log)
    w = spend(w, logs=1)._replace(disks=tuple(disks))
    return w._replace(acked_log=w.mount.root.log) if cut is None else forget_faults(w)
