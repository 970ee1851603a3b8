"""Options that people know from kcat, Kafka's tools and rpk, and that a command does not have.

Each has a reason or an alternative, which the command prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from yak_net.client.cli_types import ABSENT, NO_GROUPS

_MEASURE: Final = "measure with yak bench"
_VALUES: Final = "each line of the input is sent as it is"

PRODUCE: Final[Mapping[str, str]] = {
    **ABSENT,
    "-C": "read records with yak consume",
    "-D": "each line is a record; convert the input, such as with tr",
    "-c": "all lines of the input are sent; send the first N with head -n N, or make N records "
    "with --count N",
    "-e": "the end of the input ends the command",
    "-f": "each line is a record; use --key-separator for keys and -H for headers",
    "-J": "the input is not JSON; send JSON over HTTP with POST /v1/records",
    "-o": "records are appended at the end of the log",
    "-n": "all lines of the input are sent; send the first N with head -n N, or make N records "
    "with --count N",
    "-g": NO_GROUPS,
    "--allow-auto-topic-creation": "there is one log; there are no topics to create",
    "--format": "each line is a record; use --key-separator for keys and -H for headers",
    "--group": NO_GROUPS,
    "--line-reader": "each line is a record; use --key-separator for keys and -H for headers",
    "--max-block-ms": "a full buffer waits for the brokers; limit a record with --timeout",
    "--max-memory-bytes": "use -X buffer.memory=BYTES",
    "--max-partition-memory-bytes": "use --batch-size",
    "--message-create-time": "the time of sending is used; HTTP has timestamp_ms",
    "--message-send-max-retries": "retries end at --timeout",
    "--metadata-expiry-ms": "the producer follows the leader by itself",
    "--payload-file": "use --file",
    "--print-metrics": _MEASURE,
    "--producer-props": "use -X NAME=VALUE",
    "--producer.config": ABSENT["--config"],
    "--repeating-keys": _VALUES,
    "--retry-backoff-ms": "use -X retry.backoff.ms=MS",
    "--socket-buffer-size": "the system sets the size of the buffers",
}

CONSUME: Final[Mapping[str, str]] = {
    **ABSENT,
    "-g": NO_GROUPS,
    "-H": "filter the output of --json",
    "-k": "filter the output of --json",
    "-m": "send records with yak produce",
    "-O": "print offsets with --format '%o %s\\n'",
    "-P": "send records with yak produce",
    "-r": "there is one log; there are no topics to select",
    "-v": "print all fields with --json",
    "-z": "YAK does not compress records",
    "--balancer": NO_GROUPS,
    "--consumer.config": ABSENT["--config"],
    "--enable-autocommit": NO_GROUPS,
    "--enable-systest-events": "print one JSON object per record with --json",
    "--fetch-max-bytes": "use -X fetch.max.bytes=BYTES",
    "--fetch-max-wait": "use -X fetch.max.wait.ms=MS",
    "--formatter": "use --format, --json or --property print.key=true",
    "--formatter-config": "use --format, --json or --property print.key=true",
    "--group": NO_GROUPS,
    "--group-id": NO_GROUPS,
    "--include": "there is one log; there are no topics to select",
    "--key-deserializer": "keys are bytes; --json prints other than UTF-8 as base64",
    "--meta-only": "use --format '%o %T %K %S\\n'",
    "--pretty-print": "format the output of --json, such as with jq",
    "--print-control-records": "YAK has no transactions",
    "--rack": "only the leader answers fetches",
    "--regex": "there is one log; there are no topics to select",
    "--reset-policy": "use --offset",
    "--session-timeout": NO_GROUPS,
    "--value-deserializer": "values are bytes; --json prints other than UTF-8 as base64",
    "--verbose": "print all fields with --json",
    "--whitelist": "there is one log; there are no topics to select",
}
