"""Agent and server joined in memory: through drops, repeats and reconnects, records arrive exactly once, in order."""

from collections import deque

from fakes import ServerEnd
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.protocol import Ack, Silence, Welcome, encode
from agent.uplink import Uplink

WINDOW = 4


class Wire(RuleBasedStateMachine):
    """A spool (a dict), an uplink, a network that keeps order until it breaks, and the server's session."""

    def __init__(self) -> None:
        super().__init__()
        self.spool: dict[int, bytes] = {}
        self.next_seq = 1
        self.uplink = Uplink(WINDOW, 10_000)
        self.server = ServerEnd()
        self.connected = False
        self.up: deque[bytes] = deque()
        self.down: deque[int] = deque()

    @rule(n=st.integers(1, 5))
    def captured(self, n: int) -> None:
        for _ in range(n):
            self.spool[self.next_seq] = encode(
                Silence(seq=self.next_seq, first_sample=self.next_seq - 1, n_samples=1, captured_at=0)
            )
            self.next_seq += 1

    @precondition(lambda self: not self.connected)
    @rule()
    def connects(self) -> None:
        self.connected = True
        welcome = Welcome(protocol=1, have_seq=self.server.session.have_seq, codec="opus", server="x")
        self.uplink.welcomed(welcome.have_seq, min(self.spool, default=self.next_seq), self.next_seq)
        self.forget(welcome.have_seq)

    @precondition(lambda self: self.connected)
    @rule()
    def breaks(self) -> None:
        """What was on the way, in either direction, is gone."""
        self.connected = False
        self.up.clear()
        self.down.clear()

    @precondition(lambda self: self.connected)
    @rule()
    def sends_what_fits(self) -> None:
        while self.uplink.room and (wire := self.spool.get(self.uplink.sent_through + 1)):
            self.uplink.sent(self.uplink.sent_through + 1, len(wire))
            self.up.append(wire)
        assert self.uplink.in_flight <= WINDOW

    @precondition(lambda self: self.up)
    @rule(n=st.integers(1, 4), twice=st.booleans(), acknowledges=st.booleans())
    def arrives(self, n: int, twice: bool, acknowledges: bool) -> None:
        """Some frames reach the server, perhaps the last of them twice; it may acknowledge now or with the next."""
        for _ in range(min(n, len(self.up))):
            wire = self.up.popleft()
            for _ in range(1 + twice):
                answer = self.server.receive(wire)
                assert isinstance(answer, Ack)
        if acknowledges:
            self.down.append(answer.seq)

    @precondition(lambda self: self.down)
    @rule(again=st.booleans())
    def hears_back(self, again: bool) -> None:
        seq = self.down.popleft()
        self.forget(self.uplink.acknowledged(seq))
        if again:
            self.forget(self.uplink.acknowledged(seq))

    @precondition(lambda self: not self.connected)
    @rule()
    def restarts(self) -> None:
        """A new process knows only what the spool knows."""
        self.uplink = Uplink(WINDOW, 10_000)

    def forget(self, through: int) -> None:
        self.spool = {seq: wire for seq, wire in self.spool.items() if seq > through}

    @invariant()
    def each_record_arrived_once_and_in_order(self) -> None:
        arrived = [record.seq for record, _ in self.server.records]
        assert arrived == list(range(1, len(arrived) + 1))

    @invariant()
    def whatever_the_server_lacks_is_in_the_spool(self) -> None:
        assert set(range(self.server.session.have_seq + 1, self.next_seq)) <= set(self.spool)

    def teardown(self) -> None:
        """Given an undisturbed connection, everything arrives."""
        if self.connected:
            self.breaks()
        self.connects()
        while self.spool:
            self.sends_what_fits()
            self.arrives(WINDOW, False, True)
            self.hears_back(False)
        assert len(self.server.records) == self.next_seq - 1


Wire.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWire = Wire.TestCase
