"""The terms of the replication protocol, its storage and its clients."""

from __future__ import annotations

from typing import Final

from docs.terms.term import Term, term

CONTRACT: Final = "yak_core.contract"

TERMS: Final[tuple[Term, ...]] = (
    term(
        "ack",
        "A follower's message that names the end up to which its log equals the leader's log. "
        "With `flush=batch`, these records are flushed.",
        f"{CONTRACT}.messages.ReplicateAck",
        kafka="the offset of the follower's next fetch",
    ),
    term(
        "acks",
        "The producer's setting for when a write is confirmed: -1 (all) after the commit, 1 after "
        "the leader's append, 0 at once.",
        "yak_core.config.ProducerConfig",
    ),
    term(
        "append",
        "Write a batch at the end of the log. An append is durable after a flush.",
        f"{CONTRACT}.effects.AppendLog",
    ),
    term(
        "batch",
        "A group of records of one producer, in Kafka's format v2. It is appended, replicated and "
        "truncated as a whole.",
        "yak_core.batch.Batch",
        kafka="record batch",
    ),
    term(
        "broker",
        "A node that holds a replica of the log and answers clients.",
        "yak_core.broker.roles.Broker",
    ),
    term(
        "broker epoch",
        "A number that identifies one registration of a broker. Acks of an older broker epoch do "
        "not count.",
        "yak_core.ids.BrokerEpoch",
    ),
    term(
        "campaign",
        "Propose oneself as the new leader to the metadata store. A broker may campaign when there "
        "is no leader, or when the leader's lease has expired.",
        "yak_core.broker.election",
        kafka="none; the controller elects",
    ),
    term(
        "clean start",
        "A start after which the log is known to hold every record that the broker acknowledged. "
        "The broker keeps its place in ISR and ELR.",
        "yak_core.rules.RestartFacts",
        kafka="clean shutdown",
    ),
    term(
        "commit",
        "A record is committed when every member of the maximal ISR has acknowledged it. It then "
        "survives each failure that the protocol covers.",
        "yak_core.rules.advance_high_watermark",
    ),
    term(
        "confirm",
        "Answer a producer that its records are written. With `acks=all` this follows the commit.",
        "yak_core.rules.confirm",
        kafka="acknowledge",
    ),
    term(
        "consumer",
        "A client that reads committed records in the order of their offsets.",
        "yak_core.clients.consumer.Consumer",
        "yak_net.client.consumer",
    ),
    term(
        "elect",
        "Make a broker the leader of a new leader epoch, by one change of the partition state.",
        "yak_core.metadata.transitions.elect",
    ),
    term(
        "ELR",
        "Eligible leader replicas: brokers outside the ISR that hold all committed records, and so "
        "may be elected.",
        "yak_core.metadata.partition_state.PartitionState",
    ),
    term(
        "epoch",
        "Leader epoch: a number that grows with each change of the leader. Each record carries the "
        "epoch of the leader that appended it.",
        "yak_core.ids.Epoch",
        kafka="leader epoch",
    ),
    term(
        "epoch index",
        "The start offset of each leader epoch in a log. It shows where two logs differ.",
        "yak_core.log.epochs.EpochIndex",
        kafka="leader epoch cache",
    ),
    term(
        "fence",
        "Reject messages of a stale epoch, so that an old leader or an old process changes "
        "nothing.",
        f"{CONTRACT}.notes.FencedPeer",
    ),
    term(
        "fetch",
        "A consumer's request for records from an offset on.",
        f"{CONTRACT}.messages.FetchRequest",
    ),
    term(
        "flush",
        "Make all earlier appends and truncations of a log durable, with fsync.",
        f"{CONTRACT}.effects.FlushLog",
    ),
    term(
        "flush checkpoint",
        "The log end of the last completed flush, kept in a file. Recovery uses it to distinguish "
        "a torn tail from lost records.",
        "yak_net.storage.checkpoints",
        kafka="recovery point",
    ),
    term(
        "follower",
        "A broker that appends what the leader sends, in the leader's order.",
        "yak_core.broker.follower.Follower",
    ),
    term(
        "halted",
        "The phase of a broker that ended itself, because continuing could break a guarantee.",
        "yak_core.broker.phases.Phase",
        kafka="none",
    ),
    term(
        "high watermark (HW)",
        "The end of the records that a replica knows to be committed. Consumers read only below "
        "the leader's high watermark.",
        "yak_core.rules.advance_high_watermark",
    ),
    term(
        "idempotent producer",
        "A producer whose retries are recognised by the broker, so that each record is in the log "
        "once and in order.",
        "yak_core.clients.producer.Producer",
        "yak_core.log.producers.ProducerTable",
    ),
    term(
        "in flight",
        "Sent, and not yet answered. Settings limit the number and the bytes of what is in flight.",
        "yak_core.broker.progress.Progress",
    ),
    term(
        "incarnation",
        "One start of a node. The code uses this word where a broker has no broker epoch yet.",
        f"{CONTRACT}.events.Started",
    ),
    term(
        "ISR",
        "In-sync replicas: the leader and the followers that are caught up. Only the partition "
        "state changes the ISR.",
        "yak_core.metadata.partition_state.PartitionState",
    ),
    term(
        "lag",
        "How long a follower was not caught up. A follower with too much lag leaves the ISR.",
        "yak_core.broker.progress.Progress",
    ),
    term(
        "leader",
        "The one broker of an epoch that accepts records of producers and replicates them.",
        "yak_core.broker.leader.Leader",
    ),
    term(
        "lease",
        "The time for which a leader is safe from a campaign after a lease renewal. Each observer "
        "measures it on its own clock.",
        "yak_core.broker.lease_watch.LeaseWatch",
        kafka="broker session",
    ),
    term(
        "lease renewal",
        "A broker's periodic call that increments its renewal counter in the metadata store.",
        "yak_core.metadata.store_calls.RenewLease",
        kafka="broker heartbeat",
    ),
    term(
        "log end offset (LEO)",
        "The offset after the last record of a replica's log.",
        "yak_core.broker.replica_log.Log",
    ),
    term(
        "log generation",
        "A number that grows with every truncation and change of role. Completions of an older "
        "generation are dropped.",
        "yak_core.ids.LogGeneration",
        kafka="none",
    ),
    term(
        "maximal ISR",
        "The members of the committed ISR and of the proposed ISR together. The high watermark "
        "waits for all of them.",
        "yak_core.broker.leader.Leader",
    ),
    term(
        "metadata store",
        "The service that keeps the partition state and the leases: Redis, an embedded one, or a "
        "model of it.",
        "yak_core.metadata.store_calls",
        kafka="KRaft controller quorum",
    ),
    term(
        "min ISR",
        "The size of the ISR below which writes with `acks=all` are rejected.",
        "yak_core.config.BrokerConfig",
        kafka="`min.insync.replicas`",
    ),
    term(
        "offset",
        "The position of a record in the log, from 0.",
        "yak_core.ids.Offset",
    ),
    term(
        "outcome",
        "What is known about the records of a request: *written*, *not written* or *unknown*. "
        "After *unknown*, the records may be in the log or not.",
        "yak_core.errors.Outcome",
        kafka="none; implied by the error code",
    ),
    term(
        "partition",
        "The one replicated log of a cluster. As a fault: a network in which groups of nodes "
        "cannot reach each other.",
        "yak_core.metadata.partition_state.PartitionState",
        "yak_sim.world.faults",
    ),
    term(
        "partition epoch",
        "The version of the partition state; it grows by one with every change.",
        "yak_core.metadata.partition_state.PartitionState",
    ),
    term(
        "partition state",
        "What the cluster must agree on: leader, leader epoch, ISR, ELR and registered broker "
        "epochs. The metadata store replaces it by compare-and-set.",
        "yak_core.metadata.partition_state.PartitionState",
        kafka="`PartitionRegistration`",
    ),
    term(
        "phase",
        "The stage of a broker's start and stop, from `recovering` to `stopped` or `halted`.",
        "yak_core.broker.phases.Phase",
        kafka="broker state",
    ),
    term(
        "probe",
        "An empty message with which a leader finds the offset from which a follower's log equals "
        "its own.",
        "yak_core.broker.progress.ProgressState",
        kafka="none; the follower fetches",
    ),
    term(
        "producer",
        "A client that sends records in batches.",
        "yak_core.clients.producer.Producer",
        "yak_net.client.producer",
    ),
    term(
        "producer epoch",
        "A number of an idempotent producer. It grows when the producer starts its sequences anew "
        "after a lost batch, and fences batches of the older epoch.",
        "yak_core.batch.Batch",
    ),
    term(
        "progress",
        "The leader's knowledge of one follower: acknowledged end, next offset, messages in "
        "flight.",
        "yak_core.broker.progress.Progress",
        kafka="remote replica state",
    ),
    term(
        "proposal",
        "A change of the partition state that a broker has sent to the metadata store. Each broker "
        "has at most one.",
        "yak_core.metadata.store_calls.ProposalKind",
        kafka="`AlterPartition` request",
    ),
    term(
        "record",
        "One message of a producer: key, value, headers and timestamp, at one offset.",
        "yak_core.batch.records.Record",
    ),
    term(
        "registration",
        "The change of the partition state by which a start of a broker gets its broker epoch. "
        "Before it, the broker takes no part.",
        "yak_core.metadata.transitions.register",
        kafka="`BrokerRegistration` request",
    ),
    term(
        "replica",
        "A broker's copy of the log. The replicas are fixed when the partition state is created.",
        "yak_core.broker.replica_log.Log",
    ),
    term(
        "replicate",
        "Send batches from the leader to the followers. The message also checks that both logs are "
        "equal before the first batch.",
        f"{CONTRACT}.messages.Replicate",
        kafka="fetch by the follower",
    ),
    term(
        "role",
        "Leader or follower.",
        "yak_core.broker.phases.Role",
    ),
    term(
        "segment",
        "The file of a replica's log. YAK has one segment.",
        "yak_net.storage.log",
    ),
    term(
        "sequence",
        "The number of a record within a producer epoch. Brokers use it to recognise retries and "
        "gaps.",
        "yak_core.rules.SequenceCheck",
        kafka="sequence number",
    ),
    term(
        "stamp",
        "Partition epoch and attempt id: it identifies one write of the partition state.",
        "yak_core.ids.Stamp",
        kafka="none",
    ),
    term(
        "storage session",
        "A text that two starts of a broker share only if nothing was lost between them. It also "
        "covers records that were written and not flushed.",
        "yak_core.contract.events.Recovered",
        kafka="none",
    ),
    term(
        "truncate",
        "Remove the end of a log, down to where it equals the leader's log.",
        f"{CONTRACT}.effects.TruncateLog",
        "yak_core.rules.truncation_point",
    ),
    term(
        "unclean start",
        "A start after which acknowledged records may be missing. The broker leaves ISR and ELR "
        "until it has caught up.",
        "yak_core.rules.RestartFacts",
        kafka="unclean shutdown",
    ),
)
"""In alphabetical order."""
