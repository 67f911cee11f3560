"""What the figures come to: medians, ratios, targets, as tables (Markdown) and JSON.

A ratio says how many times better raid5cryptfs is than the peer: of rates ours / theirs, of costs theirs / ours."""
import json
import statistics

from peers import OURS
from primitives import TITLES
from work import MEASURES

# Aims: measure, the peer to compare with, the least ratio.
RATIO_TARGETS = [
    ("stream.write.1m.1", "btrfs", 0.8),
    ("stream.write.1m.1", "gocryptfs", 4.0),
    ("stream.write.1m.1", "passthrough_ll", 0.6),
    ("stream.read.1m.1", "gocryptfs", 1.0),
    ("stream.read.1m.1", "passthrough_ll", 0.65),
    ("random_read.4", "gocryptfs", 1.0),
    ("random_read.4", "passthrough_ll", 0.4),
    ("random_write", "btrfs", 2.0),
    ("random_write", "gocryptfs", 4.0),
    ("fsync.1", "btrfs", 3.0),
    ("fsync.16", "btrfs", 3.0),
    ("files.create", "passthrough_ll", 1.2),
    ("files.create", "gocryptfs", 3.0),
    ("files.rename", "passthrough_ll", 1.0),
    ("files.unlink", "passthrough_ll", 1.0),
    ("files.stat_listed", "passthrough_ll", 5.0),
    ("files.list_attributes", "passthrough_ll", 5.0),
]
DEGRADED_TARGET = ("stream.read.1m.1", f"{OURS}:degraded", 0.85)
AMPLIFICATION_TARGET = ("amplification.write.1m.1", 1.36)
CPU_TARGET = 1.25
RESIDENT_TARGET_MIB = 256


def format_figure(value):
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


class Results:
    def __init__(self):
        self.figures = {}                # measure → peer → one figure for each round
        self.notes = []
        self.taking_part = []            # peers
        self.left_out = {}               # peer → why
        self.failures = []               # (piece, peer, what)
        self.primitives = {}

    def add(self, peer, figures):
        for name, value in figures.items():
            self.figures.setdefault(name, {}).setdefault(peer, []).append(value)

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)

    def median(self, measure, peer=OURS):
        values = self.figures.get(measure, {}).get(peer)
        return statistics.median(values) if values else None

    def ratio(self, measure, peer):
        ours, theirs = self.median(measure), self.median(measure, peer)
        if not ours or not theirs:
            return None
        return ours / theirs if MEASURES[measure].higher_is_better else theirs / ours

    def measures(self):
        return [name for name in MEASURES if name in self.figures]

    # ---- Targets ----

    def budget(self, direction):
        """Processor seconds for a GB of a stream, and what its parts cost when each is measured alone; None where one was not."""
        p = self.primitives
        name = f"{direction}.1m.1"
        whole = self.median(f"cpu.{name}")
        passthrough, below = self.median(f"cpu.{name}", "passthrough_ll"), self.median(f"cpu.{name}", "below")
        if None in (whole, passthrough, below) or not p:
            return None
        if direction == "write":
            members = self.median(f"amplification.{name}") or 4 / 3
            parts = {"sealing": 1 / p["seal_gb_s"], "xor": 1 / p["xor_gb_s"], "members": members * p["member_write_cpu_s_gb"]}
        else:
            parts = {"opening": 1 / p["open_gb_s"], "members": p["member_read_cpu_s_gb"]}
        parts["fuse"] = max(0.0, passthrough - below)
        return {"whole": whole, "parts": parts, "ratio": whole / sum(parts.values())}

    def targets(self):
        """(what, figure as text, aim as text, reached), and None for what was not measured."""
        rows = []

        def at_least(what, value, aim):
            shown, reached = ("–", None) if value is None else (f"{value:.2f} ×", value >= aim)
            rows.append((what, shown, f"≥ {aim} ×", reached))

        def at_most(what, value, form, aim, unit=""):
            shown, reached = ("–", None) if value is None else (form.format(value) + unit, value <= aim)
            rows.append((what, shown, f"≤ {aim}{unit}", reached))

        for measure, peer, aim in RATIO_TARGETS:
            at_least(f"{MEASURES[measure].title}, to {peer}", self.ratio(measure, peer), aim)
        measure, peer, aim = DEGRADED_TARGET
        ratio = self.ratio(measure, peer)
        at_least(f"{MEASURES[measure].title}, degraded to healthy", 1 / ratio if ratio else None, aim)
        measure, aim = AMPLIFICATION_TARGET
        at_most(MEASURES[measure].title, self.median(measure), "{:.3f}", aim)
        for direction in ["write", "read"]:
            ratio = (self.budget(direction) or {}).get("ratio")
            at_most(f"processors for a stream ({direction}), to the sum of the parts alone", ratio, "{:.2f}", CPU_TARGET, " ×")
        resident = [max(peers[OURS]) for name, peers in self.figures.items() if name.startswith("resident.") and OURS in peers]
        at_most("the daemon's memory", max(resident, default=None), "{:.0f}", RESIDENT_TARGET_MIB, " MiB")
        return rows

    # ---- Forms ----

    def table(self, peers, machine):
        lines = [f"{machine['cpu']}, {machine['processors']} processors, Linux {machine['kernel']}; {machine['images']}; commit "
                 f"{machine['commit']}, build type {machine['build_type']}; medians, rounds: {machine['rounds']}. "
                 f"In brackets: how many times better {OURS} is.", ""]
        names = [OURS] + [n for n in peers if n != OURS and any(n in p for p in self.figures.values())]
        lines += ["| | unit | " + " | ".join(names) + " |", "| --- | --- |" + " ---: |" * len(names)]
        for name in self.measures():
            cells = [self.cell(name, peer) for peer in names]
            lines.append(f"| {MEASURES[name].title} | {MEASURES[name].unit} | " + " | ".join(cells) + " |")
        if self.primitives:
            lines += ["", "| primitive | |", "| --- | ---: |"]
            lines += [f"| {TITLES[name]} | {format_figure(value)} |" for name, value in self.primitives.items()]
        for direction in ["write", "read"]:
            budget = self.budget(direction)
            if budget:
                parts = " + ".join(f"{name} {seconds:.3f}" for name, seconds in budget["parts"].items())
                lines += ["", f"Processors for a stream ({direction}): {budget['whole']:.3f} s/GB; its parts alone: {parts} = "
                          f"{sum(budget['parts'].values()):.3f} s/GB; {budget['ratio']:.2f} times."]
        lines += ["", "| target | measured | aim | |", "| --- | ---: | ---: | --- |"]
        for what, value, aim, reached in self.targets():
            lines.append(f"| {what} | {value} | {aim} | {'not measured' if reached is None else 'PASS' if reached else 'below'} |")
        lines += [""] + [f"- Left out: {peer}: {why}" for peer, why in self.left_out.items()]
        lines += [f"- Failed: {piece}, {peer}: {what}" for piece, peer, what in self.failures]
        lines += [f"- {note}" for note in self.notes]
        return "\n".join(lines).rstrip() + "\n"

    def cell(self, measure, peer):
        ratio = self.ratio(measure, peer) if MEASURES[measure].in_plot and peer not in (OURS, "below") else None
        return format_figure(self.median(measure, peer)) + (f" ({ratio:.2f})" if ratio else "")

    def json_measure(self, name):
        measure, figures = MEASURES[name], self.figures[name]
        return {"title": measure.title, "unit": measure.unit, "higher_is_better": measure.higher_is_better, "figures": figures,
                "medians": {peer: statistics.median(values) for peer, values in figures.items()},
                "ratios": {peer: self.ratio(name, peer) for peer in figures if peer != OURS}}

    def json(self, machine, commands):
        return json.dumps({
            "machine": machine,
            "peers": {peer.name: {"about": peer.about, "version": peer.version()} for peer in self.taking_part},
            "left_out": self.left_out,
            "failures": [{"work": piece, "peer": peer, "what": what} for piece, peer, what in self.failures],
            "notes": self.notes,
            "measures": {name: self.json_measure(name) for name in self.measures()},
            "primitives": self.primitives,
            "budget": {direction: self.budget(direction) for direction in ["write", "read"]},
            "targets": [dict(zip(["what", "measured", "aim", "reached"], row)) for row in self.targets()],
            "commands": commands,
        }, indent=1, ensure_ascii=False)

    def plot_rows(self, peers):
        """(title, [(peer, ratio)]) of what belongs into the plot, and the peers in it."""
        names = [n for n in peers if n not in (OURS, "below") and any(n in p for p in self.figures.values())]
        rows = [(MEASURES[m].title, [(peer, self.ratio(m, peer)) for peer in names]) for m in self.measures() if MEASURES[m].in_plot]
        rows = [(title, [(peer, ratio) for peer, ratio in bars if ratio]) for title, bars in rows]
        return [(title, bars) for title, bars in rows if bars], names
