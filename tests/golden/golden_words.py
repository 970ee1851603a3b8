"""The commands of the golden language, and the class that runs them.

Every command is one function of the stage and its arguments; README.md describes the language.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.golden import golden_lines
from tests.golden import golden_moves as moves
from tests.golden import golden_starts as starts
from tests.golden.golden_args import Args
from tests.golden.golden_script import Command, ScriptError
from tests.golden.golden_stage import Stage
from yak_core.manual.backend import ManualError
from yak_core.rules import Rules


def status(stage: Stage, args: Args) -> None:
    """``status [n1 n2]``: one line for each broker."""
    for node in args.rest() or [node for node in stage.world.nodes if node.startswith("n")]:
        stage.say(stage.status(node))
    args.finish()


def log(stage: Stage, args: Args) -> None:
    """``log [n1 n2]``: each broker's batches from its log start on, as value/epoch."""
    for node in args.rest() or [node for node in stage.world.nodes if node.startswith("n")]:
        stage.say(stage.log(node))
    args.finish()


def epochs(stage: Stage, args: Args) -> None:
    """``epochs [n1 n2]``: each broker's epoch index, as epoch@start."""
    for node in args.rest() or [node for node in stage.world.nodes if node.startswith("n")]:
        stage.say(stage.epochs(node))
    args.finish()


def record(stage: Stage, args: Args) -> None:
    """``record``: the partition state in the metadata store."""
    args.finish()
    value = stage.world.store.state
    stage.say("store nothing" if value is None else f"store {golden_lines.record(value)}")


def wire(stage: Stage, args: Args) -> None:
    """``wire``: the messages in flight, oldest first."""
    args.finish()
    for flight in stage.world.transit.flights.values():
        stage.say(stage.flight(flight))


def show(stage: Stage, args: Args) -> None:
    """``show all|less``: print timers, lease renewals and empty steps as well, or not."""
    word = args.next("all or less")
    args.finish()
    stage.show_all = word == "all"


Word = Callable[[Stage, Args], None]

WORDS: Final[dict[str, Word]] = {
    "cluster": starts.cluster,
    "start": starts.start,
    "crash": starts.crash,
    "kill": starts.kill,
    "stop": starts.stop,
    "damage": starts.damage,
    "wipe": starts.wipe,
    "produce": starts.produce,
    "fetch": starts.fetch,
    "offsets": starts.offsets,
    "client": starts.client,
    "send": starts.send,
    "poll": starts.poll,
    "seek": starts.seek,
    "deliver": moves.deliver,
    "drop": moves.drop,
    "refuse": moves.refuse,
    "capture": moves.capture,
    "redeliver": moves.redeliver,
    "duplicate": moves.duplicate,
    "hold": moves.hold,
    "release": moves.release,
    "disconnect": moves.disconnect,
    "heal": moves.heal,
    "fire": moves.fire,
    "stall": moves.stall,
    "run": moves.run,
    "elect": moves.elect,
    "settle": moves.settle_all,
    "disk": moves.disk,
    "store": moves.store,
    "register": moves.register,
    "rollback": moves.rollback,
    "status": status,
    "log": log,
    "epochs": epochs,
    "record": record,
    "wire": wire,
    "show": show,
}


class Play:
    """Runs the commands of one script on a fresh stage under the given rules."""

    def __init__(self, rules: Rules) -> None:
        self.stage = Stage(rules)

    def execute(self, command: Command) -> list[str]:
        """Run one command; return its lines. Raises ScriptError for an impossible command."""
        word = WORDS.get(command.words[0])
        if word is None:
            known = ", ".join(WORDS)
            raise ScriptError(command.line, f"no word {command.words[0]!r}; there are {known}")
        broken = self._broken()
        try:
            word(self.stage, Args(command))
        except ManualError as error:
            raise ScriptError(command.line, str(error)) from error
        except ScriptError:
            raise
        except Exception as error:
            # An exception of a node is part of the output; one of this runner is raised.
            if self._broken() == broken:
                raise
            self.stage.raised.append(error)
            self.stage.say(f"a step raised {type(error).__name__}: {error}")
        return self.stage.take_lines()

    def _broken(self) -> list[str]:
        places = self.stage.world.nodes.items()
        return [node for node, place in places if place.reason.startswith("step raised")]
