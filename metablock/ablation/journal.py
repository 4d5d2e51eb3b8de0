"""The journal of a study: one SQLite file with every run. It survives the death of the processes that write it.

A run's identity (:mod:`metablock.ablation.identity`) is all that decides its numbers. So a study that is started again, or
edited, finds the runs that are done. Several processes may work on one journal, also for different plans: a run is claimed in a
transaction, and a run whose owner has died can be claimed again. Each journal object works for one plan: the one that was entered
last when it was opened, or that it entered itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from .identity import Identity
from .owners import gone, on_this_machine, owner
from .results import Epoch, Run
from .store import FILE, Store, damaged

BEAT = 5.0  # seconds between two signs of life of an owner
SILENT = 60.0  # seconds without one, as an observer sees it, after which an owner on another machine counts as gone

# Called several times a second while runs are going on, with the runs and with how many there are of each status.
Watch = Callable[[list[Run], dict[str, int]], None]


@dataclass(frozen=True)
class Planned:
    """A run of a plan.

    Attributes:
        identity: everything that decides its numbers.
        cell: name of its cell.
        spec: text of the resolved spec.
    """

    identity: Identity
    cell: str
    spec: str


@dataclass(frozen=True)
class Job:
    """A run to do.

    Attributes:
        id: the hash of its identity.
        cell: name of its cell.
        seed: of the training.
        spec: text of the resolved spec.
        identity: what has to be trained, with what.
    """

    id: str
    cell: str
    seed: int
    spec: str
    identity: Identity


class Journal(Store):
    """The journal in a folder; it is created if there is none. Every method is one transaction.

    Every method raises MetablockError: DamagedError if the file is no journal, or has damage; StorageError if the disk is full or
    cannot be written, and then the journal stays as it was.

    Args:
        folder: of the study.
        plan: key of the plan to work for; by default the one that was entered last.
        checked: whether the whole file is looked at for damage first.

    Attributes:
        folder: of the study.
        path: of the SQLite file in it.
        plan: key of the plan; empty before there is one.

    >>> import tempfile
    >>> identity = Identity("hash of the spec", {}, {}, {}, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     journal = Journal(Path(folder))
    ...     _ = journal.set_plan({}, [Planned(identity, "base", "name: mini")])
    ...     job = journal.claim(owner())
    ...     journal.record(job.id, Epoch(1, train_loss=2.3, val_loss=2.1, val_top1=31.0, lr=1e-3, seconds=4.0))
    ...     journal.finish(job.id, owner(), metric=31.0)
    ...     [run] = journal.runs()
    ...     journal.close()
    >>> run.status, run.metric, len(run.epochs)
    ('done', 31.0, 1)
    """

    def __init__(self, folder: Path, *, plan: str | None = None, checked: bool = True) -> None:
        super().__init__(folder, checked=checked)
        self.plan = plan if plan is not None else self.current()
        self.heard: dict[str, tuple[str, float, float]] = {}  # of owners elsewhere: name, beat, when it was first seen

    # The study

    def current(self) -> str:
        """The key of the plan that was entered last; empty before there is one."""
        rows = self.rows("SELECT value FROM about WHERE key = 'plan'")
        return str(rows[0][0]) if rows else ""

    def about(self) -> dict[str, Any]:
        """All that :meth:`set_about` wrote: what holds for every plan of the folder."""
        rows = self.rows("SELECT key, value FROM about WHERE key NOT IN ('version', 'plan')")
        return {key: self._read(value) for key, value in rows}

    def set_about(self, values: Mapping[str, Any]) -> None:
        """Writes values that JSON can hold; those under other keys stay."""
        with self.change() as do:
            do.executemany(
                "INSERT OR REPLACE INTO about VALUES (?, ?)", [(key, json.dumps(value)) for key, value in values.items()]
            )

    def default(self, key: str, value: Any) -> Any:
        """The value of :meth:`about` under a key; if there is none yet, this one, which is stored."""
        with self.change() as do:
            do.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (key, json.dumps(value)))
            return json.loads(do.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()[0])

    def add_latency(self, device: str, network: str, milliseconds: float) -> None:
        """Stores the latency of a network on a device, beside those that other processes store."""
        with self.change() as do:
            row = do.execute("SELECT value FROM about WHERE key = 'latencies'").fetchone()
            known = json.loads(row[0]) if row else {}
            known.setdefault(device, {})[network] = milliseconds
            do.execute("INSERT OR REPLACE INTO about VALUES ('latencies', ?)", (json.dumps(known),))

    def add_proposals(self, proposals: Sequence[Mapping[str, str]]) -> None:
        """Stores the networks that a search proposes, beside those that other processes store: a level's name by factor."""
        with self.change() as do:
            row = do.execute("SELECT value FROM about WHERE key = 'proposals'").fetchone()
            known = json.loads(row[0]) if row else []
            known += [dict(one) for one in proposals if dict(one) not in known]
            do.execute("INSERT OR REPLACE INTO about VALUES ('proposals', ?)", (json.dumps(known),))

    def study(self) -> dict[str, Any]:
        """What :meth:`set_plan` wrote of this plan: the study, its cells, recipe and data (``metablock.ablation.record``)."""
        rows = self.rows("SELECT about FROM plans WHERE key = ?", (self.plan,))
        about = self._read(rows[0][0]) if rows else {}
        if not isinstance(about, dict):
            raise damaged(self.path)
        return about

    def _read(self, text: str) -> Any:
        """What a text of the journal says. Raises DamagedError where it is not what a journal writes."""
        try:
            return json.loads(text)
        except (TypeError, ValueError):
            raise damaged(self.path) from None

    def cells(self, key: str) -> list[dict[str, Any]] | None:
        """The cells of a plan of this folder that were planned under a key (:func:`metablock.ablation.record.cells_key`)."""
        rows = self.rows("SELECT about FROM plans WHERE cells = ? ORDER BY entered DESC LIMIT 1", (key,))
        try:
            return list(self._read(rows[0][0])["cells"]["cells"]) if rows else None
        except (KeyError, TypeError):
            raise damaged(self.path) from None

    def set_plan(self, about: Mapping[str, Any], runs: Sequence[Planned], key: str = "") -> str:
        """Enters a plan, for which this object works from now on. Other plans and their runs stay in the file.

        Args:
            about: values that JSON can hold. ``about["cells"]["key"]``, if it is there, is what :meth:`cells` looks for.
            runs: in the order in which they are to be done.
            key: of the plan; a plan of this key goes, its runs stay. By default it is the same for the same cells and runs.

        Returns:
            The key of the plan.
        """
        listed = [(one.identity.id, one) for one in runs]
        key = key or sha256(json.dumps([(identity, one.cell) for identity, one in listed]).encode()).hexdigest()[:32]
        cells = str(about.get("cells", {}).get("key", ""))
        with self.change() as do:
            do.execute("DELETE FROM planned WHERE plan = ?", (key,))
            do.execute("DELETE FROM plans WHERE key = ?", (key,))
            do.execute("INSERT INTO plans VALUES (?, ?, ?, ?)", (key, time.time(), cells, json.dumps(about)))
            do.executemany(
                "INSERT OR IGNORE INTO planned VALUES (?, ?, ?, ?, ?)",
                [(key, identity, one.cell, one.identity.seed, place) for place, (identity, one) in enumerate(listed)],
            )
            do.executemany("INSERT OR IGNORE INTO specs VALUES (?, ?)", [(one.identity.spec, one.spec) for one in runs])
            do.executemany(
                "INSERT INTO runs (id, identity) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET identity = excluded.identity",
                [(identity, one.identity.to_json()) for identity, one in listed],
            )
            do.execute("INSERT OR REPLACE INTO about VALUES ('plan', ?)", (key,))
        self.plan = key
        return key

    # Runs to do

    def claim(self, who: str, conditions: Mapping[str, Any] | None = None) -> Job | None:
        """Gives the plan's next free run to an owner; None if no run is free.

        Runs whose owners have died come first, then pending ones in the order of the plan.

        Args:
            who: the owner, see :func:`owner`.
            conditions: of its machine (:func:`metablock.ablation.machine.conditions`).
        """
        where = dict(conditions or {})
        with self.change() as do:
            rows = do.execute(
                "SELECT id, cell, identity, status, owner, beat, attempts FROM planned JOIN runs USING (id) WHERE plan = ? "
                "AND status IN ('pending', 'running') AND identity != '' ORDER BY status = 'pending', place",
                (self.plan,),
            ).fetchall()
            for name, cell, text, status, other, beat, attempts in rows:
                if status == "running" and not gone(other, beat):
                    continue
                try:
                    identity = Identity.from_json(text)
                    (spec,) = do.execute("SELECT spec FROM specs WHERE hash = ?", (identity.spec,)).fetchone()
                except (TypeError, ValueError):  # no identity, or no spec of this hash
                    raise damaged(self.path) from None
                do.execute(
                    "UPDATE runs SET status = 'running', owner = ?, beat = ?, device = ?, attempts = attempts + 1, "
                    "started = COALESCE(started, ?), reason = '' WHERE id = ?",
                    (who, time.time(), where.get("device", ""), time.time(), name),
                )
                values = (name, attempts + 1, who, time.time(), json.dumps(where))
                do.execute("INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?)", values)
                return Job(name, cell, identity.seed, spec, identity)
        return None

    def set_conditions(self, identity: str, who: str, conditions: Mapping[str, Any]) -> None:
        """Writes down under what conditions an owner does a run, where it learns so only after the claim."""
        with self.change() as do:
            do.execute(
                "UPDATE attempts SET conditions = ? WHERE id = ? AND owner = ? "
                "AND attempt = (SELECT MAX(attempt) FROM attempts AS other WHERE other.id = attempts.id)",
                (json.dumps(dict(conditions)), identity, who),
            )
            do.execute("UPDATE runs SET device = ? WHERE id = ? AND owner = ?", (conditions.get("device", ""), identity, who))

    def beat(self, identity: str, who: str) -> bool:
        """Writes down a sign of life of the owner. False if the run belongs to another owner by now."""
        with self.change() as do:
            return do.execute("UPDATE runs SET beat = ? WHERE id = ? AND owner = ?", (time.time(), identity, who)).rowcount == 1

    def record(self, identity: str, epoch: Epoch) -> None:
        """Writes down a finished epoch, unless the run is done. It replaces that of an earlier attempt."""
        values = (identity, epoch.epoch, epoch.train_loss, epoch.val_loss, epoch.val_top1, epoch.lr, epoch.seconds)
        with self.change() as do:
            do.execute(
                "INSERT OR REPLACE INTO epochs SELECT ?, ?, ?, ?, ?, ?, ? "
                "WHERE NOT EXISTS (SELECT 1 FROM runs WHERE id = ? AND status = 'done')",
                (*values, identity),
            )

    def finish(self, identity: str, who: str, metric: float) -> None:
        """Marks a run as done, if it still belongs to this owner; ``metric`` is its last top-1, per cent."""
        with self.change() as do:
            do.execute(
                "UPDATE runs SET status = 'done', metric = ?, finished = ?, reason = '' WHERE id = ? AND owner = ?",
                (metric, time.time(), identity, who),
            )
        self.flush()

    def fail(self, identity: str, who: str, reason: str) -> None:
        """Marks a run as failed, if it still belongs to this owner."""
        with self.change() as do:
            do.execute(
                "UPDATE runs SET status = 'failed', reason = ?, finished = ? WHERE id = ? AND owner = ? AND status = 'running'",
                (reason, time.time(), identity, who),
            )

    def set_probe(self, identity: str, value: str) -> None:
        """Stores what was measured in a run's trained network (:func:`metablock.ablation.probe.measured`), or why nothing was."""
        with self.change() as do:
            do.execute("INSERT OR REPLACE INTO probes VALUES (?, ?)", (identity, value))

    def probes(self) -> dict[str, str]:
        """What :meth:`set_probe` stored, by cell; of several seeds that of the first."""
        query = "SELECT cell, value FROM planned JOIN probes USING (id) WHERE plan = ? ORDER BY place DESC"
        return dict(self.rows(query, (self.plan,)))

    def release(self, who: str) -> list[str]:
        """Makes an owner's unfinished runs free again. Returns their identities."""
        with self.change() as do:
            rows = do.execute("SELECT id FROM runs WHERE status = 'running' AND owner = ?", (who,)).fetchall()
            do.execute("UPDATE runs SET status = 'pending', owner = '' WHERE status = 'running' AND owner = ?", (who,))
        return [identity for (identity,) in rows]

    def owned_by(self, pid: int) -> list[tuple[str, str]]:
        """Identity and owner of the unfinished runs of a process on this machine."""
        rows = self.rows("SELECT id, owner FROM runs WHERE status = 'running'")
        return [(identity, who) for identity, who in rows if on_this_machine(who, pid)]

    def abandoned(self) -> int:
        """Number of the plan's unfinished runs whose owners have died."""
        return sum(gone(who, beat) for _, who, beat in self._running())

    def free_silent(self, now: float | None = None) -> int:
        """Frees the plan's runs of owners on other machines whose signs of life have not changed for a minute.

        Only this process's own clock counts. So the method has to be called again and again, on the same object.

        Args:
            now: seconds on a clock that never goes back; by default the system's.

        Returns:
            The number of runs that are free now.
        """
        now = time.monotonic() if now is None else now
        freed, running = 0, self._running()
        for identity, who, beat in running:
            name, seen, since = self.heard.get(identity, ("", 0.0, now))
            if (name, seen) != (who, beat):
                self.heard[identity] = (who, beat, now)
            elif not on_this_machine(who) and now - since > SILENT:
                with self.change() as do:
                    free = "UPDATE runs SET status = 'pending', owner = '' WHERE id = ? AND owner = ? AND beat = ?"
                    freed += do.execute(f"{free} AND status = 'running'", (identity, who, beat)).rowcount
        self.heard = {identity: self.heard[identity] for identity, _, _ in running}
        return freed

    def _running(self) -> list[tuple[str, str, float]]:
        query = "SELECT id, owner, beat FROM planned JOIN runs USING (id) WHERE plan = ? AND status = 'running'"
        return [(str(identity), str(who), float(beat)) for identity, who, beat in self.rows(query, (self.plan,))]

    def retry_failed(self) -> int:
        """Makes the plan's failed runs pending; they go on from their last checkpoints. Returns their number."""
        with self.change() as do:
            return do.execute(
                "UPDATE runs SET status = 'pending', reason = '' "
                "WHERE status = 'failed' AND id IN (SELECT id FROM planned WHERE plan = ?)",
                (self.plan,),
            ).rowcount

    # Results

    def counts(self) -> dict[str, int]:
        """Number of the plan's runs by status: ``pending``, ``running``, ``done``, ``failed``."""
        query = "SELECT status, COUNT(*) FROM planned JOIN runs USING (id) WHERE plan = ? GROUP BY status"
        return {**dict.fromkeys(("pending", "running", "done", "failed"), 0), **dict(self.rows(query, (self.plan,)))}

    def runs(self) -> list[Run]:
        """The plan's runs with their epochs, in the order of the plan."""
        epochs: dict[str, list[Epoch]] = {}
        query = "SELECT epochs.* FROM epochs JOIN planned USING (id) WHERE plan = ? ORDER BY id, epoch"
        for identity, *values in self.rows(query, (self.plan,)):
            epochs.setdefault(identity, []).append(Epoch(*values))
        attempts: dict[str, list[dict[str, Any]]] = {}
        query = "SELECT attempts.id, conditions FROM attempts JOIN planned USING (id) WHERE plan = ? ORDER BY attempt"
        for identity, text in self.rows(query, (self.plan,)):
            attempts.setdefault(identity, []).append(self._read(text))
        rows = self.rows(
            "SELECT id, cell, seed, status, metric, reason, device FROM planned JOIN runs USING (id) "
            "WHERE plan = ? ORDER BY place",
            (self.plan,),
        )
        result = []
        for identity, cell, seed, status, metric, reason, device in rows:
            finished = tuple(epochs.get(identity, ()))
            seconds = sum(epoch.seconds for epoch in finished)
            conditions = tuple(attempts.get(identity, ()))
            result.append(Run(cell, seed, status, metric, reason, finished, seconds, device, conditions))
        return result

    def identities(self, planned: bool) -> list[Identity | None]:
        """The identities of the plan's runs; or of all others that have at least one epoch, None where none was stored."""
        inside = "id IN (SELECT id FROM planned WHERE plan = ?)"
        others = f"NOT {inside} AND (status = 'done' OR id IN (SELECT id FROM epochs))"
        rows = self.rows(f"SELECT identity FROM runs WHERE {inside if planned else others} ORDER BY rowid", (self.plan,))
        try:
            return [Identity.from_json(text) if text else None for (text,) in rows]
        except (TypeError, ValueError):
            raise damaged(self.path) from None

    def checkpoint(self, identity: str) -> Path:
        """The file from which an interrupted run goes on."""
        return self.folder / "checkpoints" / f"{identity}.pt"


__all__ = ["BEAT", "FILE", "SILENT", "Job", "Journal", "Planned", "Watch", "gone", "owner"]
