"""Rules that branch and merge: any offset, every policy, any base, asked for once or again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from hypothesis import strategies as st

import transit
from rigs.machines.compare import compare_name, compare_plan, outcome, real_node
from rigs.machines.machine import World, step
from rigs.machines.values import POLICIES, durabilities, metadata, names, spots
from transit.testing.model import ModelLog, ModelPlan, ModelPosition, Scalar

cuts = st.one_of(st.none(), st.none(), spots)
"""Where a parent's history ends for a merge: at its head, or anywhere before it."""
parents = st.lists(st.tuples(spots, cuts), min_size=2, max_size=4)


class Descent(World):
    """Branches and merges in any shape."""

    # Records that a frame has beside what was asked for.
    OF_A_FRAME: ClassVar[int] = 0

    @step(
        spot=spots,
        name=names,
        at=st.one_of(st.none(), spots),
        metadata=metadata,
        durability=durabilities,
    )
    def branch(
        self,
        spot: int,
        name: str,
        at: int | None,
        metadata: dict[str, Scalar] | None,
        durability: str | None,
    ) -> None:
        """A branch at any offset there is, and at one that is not there yet."""
        parent = self.picked(spot)
        name = self.fresh(name)
        if at is not None:
            at %= len(parent.records) + 1
        self.same(
            lambda: self.model.branch(parent.name, name, at, metadata),
            lambda: self.stream(parent.name).branch(
                name, at=at, metadata=metadata, durability=durability
            ),
        )
        if name in self.model.streams:
            compare_name(self.log, self.model, name)
        else:
            assert name not in self.log

    @step(
        parents=parents,
        name=names,
        policy=st.sampled_from(POLICIES),
        given=st.booleans(),
        metadata=metadata,
        base=st.one_of(st.none(), st.none(), spots),
        number=spots,
        durability=durabilities,
    )
    def merge(
        self,
        parents: list[tuple[int, int | None]],
        name: str,
        policy: str,
        given: bool,
        metadata: dict[str, Scalar] | None,
        base: int | None,
        number: int,
        durability: str | None,
    ) -> None:
        """A merge of heads, which makes what its plan said, or fails as its plan did."""
        name = self.fresh(name)
        heads = [self.cut(spot, where) for spot, where in parents]
        call: dict[str, object] = {
            "policy": policy,
            "base": None if policy == "fast-forward" else self.base(heads, base),
            "params": self.params(policy, heads, number),
        }
        if (call["params"] or {}) == {"selected": "nobody"}:
            # With a base that is refused, or a parent that is none, only one of the two is wrong.
            call["base"] = None
        planned = self.compare_plan(heads, call)
        call |= {"metadata": metadata, "merge_id": f"id of {name}" if given else None}
        made = self.same(
            lambda: _merge(self.model, name, heads, call),
            lambda: self.real_merge(name, heads, call, durability),
        )
        if not isinstance(made, transit.Stream):
            assert made == planned
            assert name not in self.log
            return
        assert isinstance(planned, ModelPlan)
        assert made.name == name
        assert made.merge_plan is not None
        compare_plan(made.merge_plan, planned.base, planned.origins)
        assert made.merge_plan.params == call["params"]
        self.merges[name] = {**call, "heads": heads}
        compare_name(self.log, self.model, name)

    @step(spot=spots)
    def merge_again(self, spot: int) -> None:
        """The same merge once more is the stream that is there, and writes nothing."""
        if not self.merges:
            self.merge_two()
        name = sorted(self.merges)[spot % len(self.merges)]
        call = dict(self.merges[name])
        heads = call.pop("heads")
        assert isinstance(heads, list)
        if call["merge_id"] is not None:
            heads = [self.model.stream(head.stream).head for head in heads]
        before = self.log.status().records
        made = self.real_merge(name, heads, call, None)
        assert _merge(self.model, name, heads, call) == made.name == name
        assert self.log.status().records == before + self.OF_A_FRAME
        compare_name(self.log, self.model, name)

    @step(parents=parents, policy=st.sampled_from(POLICIES), base=cuts, number=spots)
    def plan(
        self,
        parents: list[tuple[int, int | None]],
        policy: str,
        base: int | None,
        number: int,
    ) -> None:
        """A plan, which makes nothing."""
        heads = [self.cut(spot, where) for spot, where in parents]
        params = self.params(policy, heads, number)
        chosen = None if "selected" in params else self.base(heads, base)
        before = self.log.status().records
        self.compare_plan(heads, {"policy": policy, "base": chosen, "params": params})
        assert self.log.status().records == before

    # What the rules are made of

    def merge_two(self) -> None:
        """A merge to be asked for again."""
        name = self.fresh("merged")
        heads = [stream.head for stream in self.model.streams.values()][:2]
        call: dict[str, object] = {"policy": "append", "base": None, "params": {}}
        call |= {"metadata": None, "merge_id": None}
        assert _merge(self.model, name, heads, call) == name
        assert self.real_merge(name, heads, call, None).name == name
        self.merges[name] = {**call, "heads": heads}

    def cut(self, spot: int, where: int | None) -> ModelPosition:
        """A position of a stream, most often its head."""
        head = self.picked(spot).head
        if where is None or head.offset < 0:
            return head
        return ModelPosition(head.stream, where % (head.offset + 1))

    def base(self, heads: Sequence[ModelPosition], spot: int | None) -> ModelPosition | None:
        """No base, the nearest, or any record in a parent's history, which may be refused."""
        if spot is None or len({head.stream for head in heads}) < len(heads):
            return None
        choices = list(self.model.merge_bases(*heads))
        choices += [record.origin for head in heads for record in self.model.history(head)[::3]]
        return choices[spot % len(choices)] if choices else None

    def params(self, policy: str, heads: Sequence[ModelPosition], number: int) -> dict[str, Scalar]:
        """What a policy takes."""
        if policy == "select":
            choices = [*(head.stream for head in heads), "nobody"]
            return {"selected": choices[number % len(choices)]}
        return {"step": 1 + number % 3} if policy == "custom:test-sparse" else {}

    def compare_plan(self, heads: list[ModelPosition], call: dict[str, object]) -> object:
        """The model's plan, which the engine's equals, or the class of the error of both."""
        expected = outcome(lambda: self.model.plan(heads, **call))  # type: ignore[arg-type]
        found = outcome(
            lambda: self.log.plan(self.nodes(heads), **_for_the_engine(call))  # type: ignore[arg-type]
        )
        if isinstance(expected, ModelPlan) and isinstance(found, transit.MergePlan):
            compare_plan(found, expected.base, expected.origins)
        else:
            assert found == expected
        return expected

    def nodes(self, heads: list[ModelPosition]) -> list[transit.Stream | transit.Position]:
        """Heads as the engine takes them."""
        return [real_node(self.log, self.model, head) for head in heads]

    def real_merge(
        self,
        name: str,
        heads: list[ModelPosition],
        call: dict[str, object],
        durability: str | None,
    ) -> transit.Stream:
        """A merge in the engine."""
        options = {**_for_the_engine(call), "durability": durability}
        return self.log.merge(name, self.nodes(heads), **options)  # type: ignore[arg-type]


def _merge(model: ModelLog, name: str, heads: list[ModelPosition], call: dict[str, object]) -> str:
    return model.merge(name, heads, **call)  # type: ignore[arg-type]


def _for_the_engine(call: dict[str, object]) -> dict[str, object]:
    base = call["base"]
    assert base is None or isinstance(base, ModelPosition)
    return {**call, "base": None if base is None else transit.Position(*base)}
