"""Scenarios: the decorator that defines one, and the function that runs one to a verdict.

A scenario is a generator function that takes a :class:`World` and drives it: it adds clients,
injects faults and checks expectations. The decorator only describes the function. It registers
nothing; :mod:`yak_sim.run.catalog` finds scenarios by file name.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from yak_core.config import BrokerConfig, ConsumerConfig, ProducerConfig
from yak_core.invariants import InvariantViolated
from yak_core.rules import Rules
from yak_sim.physics.choices import Choices
from yak_sim.physics.topology import Topology
from yak_sim.run.mistakes import NeverStarted, check_calls, place_of
from yak_sim.run.verdict import RunResult, Valid, Violation, violation_of
from yak_sim.world.expect import ExpectationFailed
from yak_sim.world.loop import ForgottenYield, LimitReached, Limits, Script, StopRun
from yak_sim.world.narrative import OnLine
from yak_sim.world.observers import WorldObserver
from yak_sim.world.world import World

Setting = int | str | bool
"""The type of a value of ``--set name=value``."""


class SettingError(ValueError):
    """A setting has an unknown name or an invalid value."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario: its name, its description and the function that runs it.

    ``settings`` are the settings of the world. ``parameters`` are the keyword arguments of the
    function, with their defaults.
    """

    name: str
    text: str
    seed: int
    settings: Mapping[str, Setting]
    parameters: Mapping[str, Setting]
    function: Callable[..., Any]
    topology: Topology | None = None
    world_limits: Mapping[str, int] = field(default_factory=dict)


_WORLD_SETTINGS: Final[Mapping[str, type]] = {
    "brokers": int,
    "flush": str,
    "min_isr": int,
    "store": str,
    "peer_lost": bool,
}


def scenario(
    *,
    seed: int = 7,
    topology: Topology | None = None,
    limits: Mapping[str, int] | None = None,
    **settings: Setting,
) -> Callable[[Callable[..., Any]], Scenario]:
    """Return a decorator that makes a Scenario of a generator function.

    The name and the docstring of the function become the name and the description. ``settings``:
    ``brokers``, ``flush``, ``min_isr``, ``store``, ``peer_lost``. ``limits``: fields of
    BrokerConfig and ClientConfig. Keyword-only arguments of the function are parameters that a run
    can set. Raise SettingError for an unknown setting.
    """
    for name in settings:
        if name not in _WORLD_SETTINGS:
            known = ", ".join(_WORLD_SETTINGS)
            raise SettingError(f"unknown world setting {name!r}; expected one of {known}")

    def decorate(function: Callable[..., Any]) -> Scenario:
        signature = inspect.signature(function)
        parameters = {
            name: parameter.default
            for name, parameter in signature.parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        return Scenario(
            function.__name__,
            inspect.getdoc(function) or "",
            seed,
            settings,
            parameters,
            function,
            topology,
            dict(limits or {}),
        )

    return decorate


def run_scenario(
    scenario: Scenario,
    seed: int | None = None,
    settings: Mapping[str, Setting] | None = None,
    *,
    observers: Iterable[WorldObserver] | None = None,
    rules: Rules | None = None,
    values: Iterable[bytes] | None = None,
    on_line: OnLine | None = None,
    limits: Limits | None = None,
    choices: Choices | None = None,
) -> RunResult:
    """Run a scenario and return its result. Raise SettingError for an invalid setting.

    An exception of the scenario, a violation or a limit ends the run and is part of the result. The
    result has the trace and the history up to that point. ``observers`` replace the default
    observer, the protocol invariants.
    """
    seed = scenario.seed if seed is None else seed
    world_settings, broker, client, parameters = _split_settings(scenario, settings or {})
    world = World(
        seed=seed,
        rules=rules,
        limits=broker,
        client_limits=client,
        topology=scenario.topology,
        choices=choices,
        observers=observers,
        on_line=on_line,
        values=None if values is None else tuple(values),
        scenario=scenario.name,
        run_limits=limits,
        **world_settings,
    )
    began = time.process_time()
    error: BaseException | None = None
    try:
        world.loop.run(_script(scenario, world, parameters))
    except (Exception, SystemExit) as raised:  # every exception is part of the result
        error = raised
    cpu_s = time.process_time() - began
    result = _result(scenario, seed, world, error, cpu_s)
    return replace(result, settings=given_settings(scenario, settings or {}))


def given_settings(
    scenario: Scenario, overrides: Mapping[str, Setting]
) -> dict[str, Setting]:
    """Return the settings of a run that differ from those of the scenario, converted.

    Raise SettingError for an unknown name or an invalid value.
    """
    usual = _flat(_split_settings(scenario, {}))
    used = _flat(_split_settings(scenario, overrides))
    return {name: value for name, value in sorted(used.items()) if usual.get(name) != value}


def _flat(settings: Iterable[Mapping[str, Setting]]) -> dict[str, Setting]:
    return {name: value for part in settings for name, value in part.items()}


def _script(scenario: Scenario, world: World, parameters: Mapping[str, Setting]) -> Script:
    """Return the scenario as a generator, also if its function contains no ``yield``."""
    check_calls(scenario.function)
    generator = scenario.function(world, **parameters)
    if inspect.isgenerator(generator):
        yield from generator


def _result(
    scenario: Scenario, seed: int, world: World, error: BaseException | None, cpu_s: float
) -> RunResult:
    violations: tuple[Violation, ...] = ()
    valid: Valid = True
    reason = ""
    place = "" if error is None else place_of(error, scenario.function)
    at = f" at {place}" if place else ""
    if isinstance(error, LimitReached):
        valid, reason = "unknown", str(error)
    elif isinstance(error, StopRun | InvariantViolated):
        violation = violation_of(error.cause if isinstance(error, StopRun) else error, world)
        violations, valid = (violation,), False
        reason = (
            f"{violation['invariant']} violated{_by_node(violation)}: "
            f"expected {violation['expected']}, found: {violation['happened']}"
        )
    elif isinstance(error, ExpectationFailed):
        valid, reason = False, f"{error}{at and f' ({place})'}"
    elif isinstance(error, ForgottenYield | NeverStarted):
        valid, reason = False, str(error)
    elif error is not None:
        valid, reason = False, f"the scenario raised {type(error).__name__}{at}: {error}"
    forgotten = world.loop.forgotten()
    if reason and forgotten and not isinstance(error, ForgottenYield):
        reason = f"{reason}; also, {forgotten[0]}"
    return RunResult(
        scenario=scenario.name,
        seed=seed,
        valid=valid,
        reason=reason,
        violations=violations,
        goals={situation.value: count for situation, count in world.situations.counts.items()},
        expectations=world.expectations,
        figures=_figures(world),
        trace=world.trace,
        history=world.history,
        faults=world.trace.faults,
        narrative=tuple(world.narrative.lines),
        world=world,
        cpu_s=cpu_s,
        error=error,
    )


def _by_node(violation: Violation) -> str:
    return f" by {violation['node']}" if violation["node"] else ""


def _figures(world: World) -> dict[str, int]:
    sent, lost, delivered = world.engine.network.counts()
    return {
        "simulated_us": world.now_us,
        "steps": len(world.trace) + world.trace.dropped,
        "messages_sent": sent,
        "messages_lost": lost,
        "messages_delivered": delivered,
        "records_sent": sum(producer.sent_count for producer in world.producers),
        "records_acked": sum(producer.acked_count for producer in world.producers),
        "records_read": sum(len(consumer.reads) for consumer in world.consumers),
        "store_calls": world.engine.store.executed,
        **world.scenario_figures,
    }


def _split_settings(
    scenario: Scenario, overrides: Mapping[str, Setting]
) -> tuple[dict[str, Any], dict[str, int], dict[str, int], dict[str, Setting]]:
    """Return the settings as four dicts: world, broker limits, client limits, parameters."""
    world: dict[str, Any] = dict(scenario.settings)
    brokers: dict[str, int] = {}
    clients: dict[str, int] = {}
    parameters = dict(scenario.parameters)
    for name, value in {**scenario.world_limits, **overrides}.items():
        if name in parameters:
            parameters[name] = _converted(type(parameters[name]), name, value)
        elif name in _WORLD_SETTINGS:
            world[name] = _converted(_WORLD_SETTINGS[name], name, value)
        elif name in _BROKER_LIMITS:
            brokers[name] = _converted(int, name, value)
        elif name in _CLIENT_LIMITS:
            clients[name] = _converted(int, name, value)
        else:
            known = sorted([*parameters, *_WORLD_SETTINGS, *_BROKER_LIMITS, *_CLIENT_LIMITS])
            raise SettingError(
                f"unknown setting {name!r} of {scenario.name}; expected one of {', '.join(known)}"
            )
    return world, brokers, clients, parameters


def _integer_fields(config: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(config) if f.type in ("int", "Micros", int))


_BROKER_LIMITS: Final = tuple(n for n in _integer_fields(BrokerConfig) if n != "min_isr")
_CLIENT_LIMITS: Final = tuple(
    n
    for n in dict.fromkeys((*_integer_fields(ProducerConfig), *_integer_fields(ConsumerConfig)))
    if n not in ("acks", "start_offset", "in_flight_max", *_BROKER_LIMITS)
)


def _converted(kind: type, name: str, value: Setting) -> Any:
    """Return the value as the wanted type; parse text as from the command line."""
    if kind is bool:
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise SettingError(f"{name} must be true or false, got {value!r}")
    if kind is int:
        try:
            return int(value)
        except ValueError:
            raise SettingError(f"{name} must be an integer, got {value!r}") from None
    if kind is str:
        return str(value)
    if isinstance(value, kind):
        return value
    raise SettingError(f"{name} must be of type {kind.__name__}, got {value!r}")
