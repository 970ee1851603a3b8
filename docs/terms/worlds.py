"""The terms of nodes and their worlds, of simulated runs and of the tests."""

from __future__ import annotations

from typing import Final

from docs.terms.term import Term, term

CONTRACT: Final = "yak_core.contract"

TERMS: Final[tuple[Term, ...]] = (
    term(
        "backend",
        "The part of a world that carries out effects, with one method for each kind of effect.",
        f"{CONTRACT}.node.Backend",
        kafka="none",
    ),
    term(
        "claim",
        "Of a registration: the stamp that it is going to write, saved on the disk before it is "
        "sent. Of a run: a sentence that the scenario checks, such as *Order is kept*.",
        "yak_core.broker.startup",
        "yak_sim.world.expect.Expect",
        kafka="none",
    ),
    term(
        "crash",
        "The end of a node without a stop. What was not flushed may be lost.",
        "yak_sim.world.faults",
    ),
    term(
        "digest",
        "A hash of all steps and faults of a trace. Equal runs have equal digests.",
        "yak_core.trace.reader.digest_of",
        kafka="none",
    ),
    term(
        "effect",
        "A value that a node returns from a step for its world to carry out, such as `Send` or "
        "`AppendLog`.",
        f"{CONTRACT}.effects.Effect",
        kafka="none",
    ),
    term(
        "event",
        "A value that describes what happened to a node, such as `Received` or `TimerFired`. It is "
        "the input of a step.",
        f"{CONTRACT}.events.Event",
        kafka="none",
    ),
    term(
        "fault",
        "A failure that a scenario or a plan injects, such as a crash, a partition or a slow link.",
        "yak_core.trace.recorder.Fault",
        "yak_sim.world.faults",
        kafka="none",
    ),
    term(
        "fork",
        "A copy of a node, or of a whole manual world, that shares no mutable state.",
        "yak_core.fork",
        kafka="none",
    ),
    term(
        "golden conversation",
        "A test file with events and the effects that they must cause, for one behaviour of the "
        "protocol.",
        "tests.golden.golden_script",
        kafka="none",
    ),
    term(
        "host",
        "The object that runs one node in any world: it queues events, steps the node, and hands "
        "the effects to the backend.",
        f"{CONTRACT}.host.Host",
        kafka="none",
    ),
    term(
        "invariant",
        "A sentence about the whole cluster that is true after every step, checked with access to "
        "the state of all brokers.",
        "yak_core.invariants.Invariants",
        kafka="none",
    ),
    term(
        "mutant",
        "A variant of the rules with one wrong decision. Tests show that an invariant or a golden "
        "conversation detects it.",
        "tests.mutants.MUTANTS",
        kafka="none",
    ),
    term(
        "node",
        "A broker, producer or consumer as a state machine: `step`, `snapshot`, `fork`.",
        f"{CONTRACT}.node.Node",
    ),
    term(
        "note",
        "A value that a node publishes about a decision, for traces, plots and tests. It changes "
        "nothing.",
        f"{CONTRACT}.notes.Note",
        kafka="none",
    ),
    term(
        "rule",
        "A decision of the protocol, R0 to R17, as a pure function that a test can replace.",
        "yak_core.rules.Rules",
        kafka="none",
    ),
    term(
        "run",
        "One execution of a scenario, determined by the seed and the settings.",
        "yak_sim.run.verdict.RunResult",
        kafka="none",
    ),
    term(
        "run folder",
        "The folder with the trace, history, verdict and plots of one run.",
        "yak_sim.run.run_folder",
        kafka="none",
    ),
    term(
        "scenario",
        "A script that drives a simulated cluster, injects faults and checks claims.",
        "yak_sim.run.scenario.Scenario",
        kafka="none",
    ),
    term(
        "snapshot",
        "The state of a node as named values, for tests, notebooks and debugging.",
        f"{CONTRACT}.node.Snapshot",
        kafka="none in this sense",
    ),
    term(
        "step",
        "The handling of one event by a node. A step has no side effects but the returned effects.",
        "yak_core.trace.recorder.Step",
        kafka="none",
    ),
    term(
        "swarm",
        "Random runs in which each seed also selects the fault classes that occur.",
        "yak_sim.search.swarm.run_swarm",
        kafka="none",
    ),
    term(
        "trace",
        "All steps and faults of a run, in order. A trace can be replayed.",
        "yak_core.trace.recorder.Trace",
        kafka="none",
    ),
    term(
        "verdict",
        "The result of a run: valid, not valid or unknown, with violations, goals and claims.",
        "yak_sim.run.verdict",
        kafka="none",
    ),
    term(
        "walk",
        "A random sequence of moves through the manual world, drawn by Hypothesis.",
        "tests.property.walks",
        kafka="none",
    ),
    term(
        "world",
        "Everything around the nodes: network, disks, clocks and metadata store. It is manual, "
        "simulated or real.",
        "yak_core.manual.world",
        "yak_sim.world.world.World",
        kafka="none",
    ),
)
"""In alphabetical order."""
