"""What /metrics tells: counts, depths and durations. No words, no names of people."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LATENCY_S = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 4.0, 8.0, 30.0)


class Metrics:
    """One registry for each server, so that tests can run several in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.records = Counter("fieldnote_records", "Records stored", ["type"], registry=self.registry)
        self.duplicates = Counter("fieldnote_duplicates", "Records dropped as already held", registry=self.registry)
        self.received_bytes = Counter("fieldnote_received_bytes", "Bytes from devices", registry=self.registry)
        self.outcomes = Counter("fieldnote_outcomes", "Utterances by outcome", ["outcome"], registry=self.registry)
        self.shed = Counter("fieldnote_shed", "Work that gave way", ["kind"], registry=self.registry)
        self.failures = Counter(
            "fieldnote_job_failures", "Attempts at jobs that failed", ["kind"], registry=self.registry
        )
        self.protocol_errors = Counter(
            "fieldnote_protocol_errors", "Connections ended for nonsense", registry=self.registry
        )
        self.devices = Gauge("fieldnote_devices", "Devices connected", registry=self.registry)
        self.viewers = Gauge("fieldnote_viewers", "Pages and programs following events", registry=self.registry)
        self.waiting = Gauge("fieldnote_jobs_waiting", "Jobs waiting", ["kind"], registry=self.registry)
        self.note_s = Histogram(
            "fieldnote_note_seconds",
            "From an utterance's end reaching the server to its note",
            registry=self.registry,
            buckets=_LATENCY_S,
        )
        self.read_s = Histogram(
            "fieldnote_read_seconds",
            "Reading the text of one frame",
            registry=self.registry,
            buckets=_LATENCY_S,
        )
