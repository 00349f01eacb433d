"""Two agents that are subscribed to one another, and whatever their users and the network do next."""

from __future__ import annotations

from attrs import define, evolve, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sipproto.agent import AgentConfig, Output, Recovery, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.tokens import SeededTokens
from tests.sim.network import Link, Network, Node

SIDES = st.sampled_from(["a", "b"])
PENDING, ACTIVE = i.SubscriptionState.PENDING, i.SubscriptionState.ACTIVE
LINKS = [
    Link(),
    Link(jitter=0.4, reorder=0.2, duplicate=0.3),
    Link(loss=0.3, duplicate=0.2, jitter=0.1),
    Link(transport="WS", jitter=0.1),
]
LIFETIMES = [0, 60, 90, 240]
REASONS = ["deactivated", "probation", "rejected", "timeout", "giveup", "noresource", "invariant"]


@define(kw_only=True)
class Book:
    """What the application of one side knows."""

    subscriptions: dict[str, o.SubscriptionChanged | None] = field(factory=dict)  # not terminated ones, last change
    bodies: dict[str, bytes] = field(factory=dict)  # the last one heard
    asking: dict[str, o.SubscribeReceived] = field(factory=dict)
    watchers: dict[str, str] = field(factory=dict)  # granted ones, with the name that the other side has for them


class Agents(Network):
    """`a` and `b`, connected to one another. Connections come back by themselves."""

    def __init__(self, seed: int, link: Link) -> None:
        super().__init__(seed)
        self.books: dict[str, Book] = {}
        self.obliging = False
        for name in "ab":
            config = AgentConfig(
                aor=f"sip:{name}@example.com",
                tokens=SeededTokens(2 * seed + (name == "b")),
                recovery=Recovery(first_delay=0.5, max_delay=4.0),
                keep_alive=0.0,
                events=("presence", "dialog"),
            )
            node = self.add(name, UserAgent(config))
            self.books[name] = Book()
            self.links[name] = link
            node.on_output = lambda output, node=node: self._react(node, output)  # type: ignore[misc]
        for name in "ab":
            self.command(name, i.Connect(command=0, server="ws://peer"))
        self.run(1)

    def _react(self, node: Node, output: Output) -> None:
        book = self.books[node.name]
        match output:
            case o.SubscriptionChanged(subscription=name, state=state):
                assert name in book.subscriptions, f"seed {self.seed}: {output} after its end"
                book.subscriptions[name] = output
                if state is i.SubscriptionState.TERMINATED:
                    del book.subscriptions[name]
            case o.NotifyReceived(subscription=name, body=body):
                assert name in book.subscriptions, f"seed {self.seed}: {output} after its end"
                book.bodies[name] = body
            case o.SubscribeReceived(subscription=name):
                book.asking[name] = output
                if self.obliging:
                    self.after(0.1, lambda: self.grant(node.name, name))
            case o.SubscriptionEnded(subscription=name):
                known = book.asking.pop(name, None) is not None
                known = book.watchers.pop(name, None) is not None or known
                assert known, f"seed {self.seed}: {output} of an unknown one"
            case o.SubscriptionRefreshed(subscription=name):
                assert name in book.watchers
            case _:
                pass

    # -- users -------------------------------------------------------------------------------------------------------

    def subscribe(self, side: str, name: str, event: str, expires: int) -> None:
        other = "b" if side == "a" else "a"
        command = i.Subscribe(
            command=0,
            subscription=name,
            target=f"sip:{other}@example.com",
            event=event,
            expires=expires,
            headers=(("X-Sim", name),),
        )
        self.books[side].subscriptions[name] = None
        if self.command(side, command) is None:
            del self.books[side].subscriptions[name]

    def grant(self, side: str, name: str, state: i.SubscriptionState = ACTIVE) -> None:
        asked = self.books[side].asking.pop(name, None)
        if asked is not None:
            self.books[side].watchers[name] = dict(asked.headers)["X-Sim"]
            command = i.AcceptSubscription(
                command=0, subscription=name, state=state, content_type="text/plain", body=b"first"
            )
            assert self.command(side, command) is not None

    def notify(self, side: str, name: str, body: bytes, state: i.SubscriptionState | None = None) -> None:
        self.command(side, i.Notify(command=0, subscription=name, content_type="text/plain", body=body, state=state))

    # -- ends --------------------------------------------------------------------------------------------------------

    def calm(self) -> None:
        """From now on nothing is lost, and everybody is granted what he asks for."""
        self.obliging = True
        for node in self.nodes.values():
            self.links[node.name] = evolve(self.links[node.name], loss=0.0, duplicate=0.0)
            for connection in node.flows.values():
                connection.link = self.links[node.name]
            for name in list(self.books[node.name].asking):
                self.grant(node.name, name)
            for name in list(self.books[node.name].watchers):
                self.notify(node.name, name, b"calm", ACTIVE)

    def check_agreement(self) -> None:
        """Both sides know of the same subscriptions, and what one says the other hears."""
        for here, there in ("ab", "ba"):
            ours, theirs = self.books[here], self.books[there]
            active = {name for name, last in ours.subscriptions.items() if last is not None and last.state is ACTIVE}
            assert active == set(ours.subscriptions), f"seed {self.seed}: {ours.subscriptions}"
            assert sorted(theirs.watchers.values()) == sorted(active), f"seed {self.seed}: {theirs.watchers}, {active}"
            for number, name in enumerate(list(theirs.watchers)):
                self.notify(there, name, b"%d" % number, ACTIVE)
            self.run(3)
            heard = {name: ours.bodies[name] for name in active}
            assert heard == {name: b"%d" % number for number, name in enumerate(theirs.watchers.values())}

    def check_the_end(self) -> None:
        for node in self.nodes.values():
            text = f"seed {self.seed}, agent {node.name}"
            assert set(node.issued) == set(node.outcomes), f"{text}: {set(node.issued) - set(node.outcomes)}"
            assert max((when - node.issued[n] for n, (when, _) in node.outcomes.items()), default=0.0) <= 120, text
            assert self.books[node.name].subscriptions == {}, text
            assert self.books[node.name].watchers == {}, text
            assert not any(node.agent.retained.values()), f"{text}: {node.agent.retained} {node.agent.timers()}"


class EventMachine(RuleBasedStateMachine):
    pair: Agents
    made = 0

    @initialize(seed=st.integers(0, 10**6), link=st.sampled_from(LINKS))
    def connect(self, seed: int, link: Link) -> None:
        self.pair = Agents(seed, link)

    @precondition(lambda self: self.made < 8)
    @rule(side=SIDES, event=st.sampled_from(["presence", "dialog;id=1", "x"]), expires=st.sampled_from(LIFETIMES))
    def subscribe(self, side: str, event: str, expires: int) -> None:
        self.made += 1
        self.pair.subscribe(side, f"s{self.made}", event, expires)

    @rule(side=SIDES, which=st.integers(0, 4))
    def unsubscribe(self, side: str, which: int) -> None:
        for name in list(self.pair.books[side].subscriptions)[which : which + 1]:
            assert self.pair.command(side, i.Unsubscribe(command=0, subscription=name)) is not None
            assert name not in self.pair.books[side].subscriptions  # it is over at once

    @rule(side=SIDES, state=st.sampled_from([PENDING, ACTIVE, ACTIVE]))
    def grant(self, side: str, state: i.SubscriptionState) -> None:
        for name in list(self.pair.books[side].asking):
            self.pair.grant(side, name, state)

    @rule(side=SIDES)
    def reject(self, side: str) -> None:
        for name in list(self.pair.books[side].asking):
            self.pair.command(side, i.RejectSubscription(command=0, subscription=name, status=403))

    @rule(side=SIDES, state=st.sampled_from([None, None, PENDING, ACTIVE]), count=st.integers(1, 3))
    def notify(self, side: str, state: i.SubscriptionState | None, count: int) -> None:
        for number in range(count):
            for name in list(self.pair.books[side].watchers):
                self.pair.notify(side, name, b"body %d" % number, state)

    @rule(side=SIDES, which=st.integers(0, 3), reason=st.sampled_from(REASONS))
    def end(self, side: str, which: int, reason: str) -> None:
        for name in list(self.pair.books[side].watchers)[which : which + 1]:
            self.pair.command(side, i.EndSubscription(command=0, subscription=name, reason=reason))
            assert name not in self.pair.books[side].watchers

    @rule(steps=st.integers(1, 6))
    def step(self, steps: int) -> None:
        for _ in range(steps):
            self.pair.step()

    @rule(seconds=st.sampled_from([0.01, 0.1, 1.0, 5.0, 35.0, 130.0]))
    def wait(self, seconds: float) -> None:
        self.pair.run(seconds)

    @rule(side=SIDES)
    def reset(self, side: str) -> None:
        self.pair.reset(side)

    @invariant()
    def an_early_timeout_changes_nothing(self) -> None:
        for node in self.pair.nodes.values():
            due = node.agent.next_timeout()
            if due is None or due > self.pair.now:
                before = (node.agent.retained, node.agent.timers())
                assert node.agent.handle(i.TimeoutElapsed(), self.pair.now) == ()
                assert before == (node.agent.retained, node.agent.timers())

    @invariant()
    def every_wait_ends(self) -> None:
        for node in self.pair.nodes.values():
            waiting = [self.pair.now - node.issued[c] for c in set(node.issued) - set(node.outcomes)]
            assert max(waiting, default=0.0) <= 120

    def teardown(self) -> None:
        if not hasattr(self, "pair"):
            return
        pair = self.pair
        pair.calm()
        pair.run(900)  # longer than any lifetime, and than the back-off of who was sent away often
        pair.check_agreement()
        if pair.seed % 2:  # one way out: in order
            for side in "ab":
                for name in list(pair.books[side].subscriptions):
                    pair.command(side, i.Unsubscribe(command=0, subscription=name))
        else:  # the other: one side ends altogether
            pair.command("a", i.Shutdown(command=0))
            pair.run(5)
            pair.command("b", i.Shutdown(command=0))
        pair.run(300)
        pair.check_the_end()


EventMachine.TestCase.settings = settings(
    max_examples=300, stateful_step_count=30, deadline=None, derandomize=True, database=None, print_blob=True
)
TestEventMachine = EventMachine.TestCase
