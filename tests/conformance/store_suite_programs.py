"""The store suite, part eight: random programs, held against a recount and against the memory store."""

import pytest

from aftercommit.domain.lifecycle import TERMINAL
from aftercommit.domain.message import DueKind, Message
from aftercommit.ports.store import Store
from aftercommit.stores.memory import MemoryStore
from tests.builders import T0
from tests.conformance.programs import Program, everything, recounted
from tests.conformance.store_case import StoreCase

SEEDS = range(12)
STEPS = 120


async def same_answers(store: Store, model: Store, program: Program, steps: int = STEPS) -> None:
    """Every step of the program is answered by both stores alike, and leaves both with the same messages."""
    await program.set_up(store, model)
    for number in range(steps):
        answered, expected = await program.step(store, model)
        assert answered == expected, f"seed {program.seed}, step {number}"
        if number % 10 == 0:
            assert await everything(store) == await everything(model), f"seed {program.seed}, step {number}"
    assert await everything(store) == await everything(model)


def waits(message: Message) -> set[DueKind]:
    """The kinds of work that wait on a message."""
    return {due.kind for due in (message.due, *(each.due for each in message.deliveries)) if due is not None}


class ProgramSuite(StoreCase):
    """Long histories. `recounted_steps`: everything is read after each of them, which takes time over a network."""

    recounted_steps = STEPS

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_a_random_program_is_answered_as_by_the_memory_store(self, store: Store, seed: int) -> None:
        model = MemoryStore(chance=lambda: 0.0)
        await model.open(T0)

        await same_answers(store, model, Program(seed))

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_a_random_program_leaves_nothing_forgotten(self, store: Store, seed: int) -> None:
        program = Program(100 + seed)
        await program.set_up(store)
        settled: dict[str, Message] = {}
        versions: dict[str, int] = {}

        for _ in range(self.recounted_steps):
            await program.step(store)
            present = await everything(store)
            expected = await recounted(store)

            # counts and lanes are those of the messages
            assert {name: present[name] for name in expected} == expected
            messages = [each.message for each in present["listed"]]  # type: ignore[attr-defined]
            for each in messages:
                # what is settled stays as it is, and everything else waits for something or somebody
                assert settled.get(each.id, each) == each
                if each.status in TERMINAL:
                    settled[each.id] = each
                    assert waits(each) == set()
                elif each.status != "undelivered":
                    assert waits(each)
                # each write is counted once
                assert each.version - versions.get(each.id, each.version) in (0, 1)
                versions[each.id] = each.version
            gone = settled.keys() - {each.id for each in messages}
            for message_id in gone:
                del settled[message_id], versions[message_id]
