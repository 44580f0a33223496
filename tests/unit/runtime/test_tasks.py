from __future__ import annotations

import asyncio

import pytest

from nodeipam.runtime.tasks import TaskScope
from nodeipam.testing.loop import run_virtual


async def _fail(after: float) -> None:
    await asyncio.sleep(after)
    raise ValueError(f"failed after {after}")


async def _fail_when_cancelled() -> None:
    try:
        await asyncio.sleep(1000.0)
    finally:
        raise ValueError("failed while ending")


class TestAsTaskGroup:
    def test_awaits_children(self) -> None:
        """Leaving the scope waits for its children, and for those that they start meanwhile."""

        async def main() -> list[str]:
            log = []

            async def child(name: str) -> None:
                await asyncio.sleep(1.0)
                log.append(name)
                if name == "a":
                    scope.create_task(child("b"))

            async with TaskScope() as scope:
                scope.create_task(child("a"))
            return log

        assert ["a", "b"] == run_virtual(main())

    @pytest.mark.parametrize("body", [0.0, 10.0])
    def test_failure_ends_all(self, body: float) -> None:
        """A child's failure cancels its siblings and the body, comes out in a group, and leaves no cancel."""

        async def main() -> tuple[float, int]:
            async def scope() -> None:
                async with TaskScope() as scope:
                    scope.create_task(_fail(1.0))
                    scope.create_task(asyncio.sleep(1000.0))
                    await asyncio.sleep(body)

            with pytest.raises(ExceptionGroup) as caught:
                await scope()
            assert ["failed after 1.0"] == [str(error) for error in caught.value.exceptions]
            task = asyncio.current_task()
            assert task is not None
            return asyncio.get_running_loop().time(), task.cancelling()

        assert (1.0, 0) == run_virtual(main())

    def test_body_failure(self) -> None:
        """The body's own failure cancels the children and comes out in the group too."""

        async def main() -> None:
            async with TaskScope() as scope:
                scope.create_task(_fail_when_cancelled())
                await asyncio.sleep(0)
                raise KeyError("body")

        with pytest.raises(ExceptionGroup) as caught:
            run_virtual(main())
        assert {KeyError, ValueError} == {type(error) for error in caught.value.exceptions}

    def test_cancel_awaits_children(self) -> None:
        """A cancel ends the children, however long they take, and then comes out."""

        async def slow_end() -> None:
            try:
                await asyncio.sleep(1000.0)
            finally:
                await asyncio.sleep(5.0)

        async def scope() -> None:
            async with TaskScope() as scope:
                scope.create_task(slow_end())

        async def main() -> float:
            task = asyncio.create_task(scope())
            await asyncio.sleep(1.0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            return asyncio.get_running_loop().time()

        assert 6.0 == run_virtual(main())


class TestCancelledTwice:
    @pytest.mark.parametrize("failing", [False, True])
    def test_cuts_cleaning_up_short(self, failing: bool) -> None:  # noqa: FBT001 - a parameter of the test
        """A second cancel reaches children that are still cleaning up after the first one, or a failure."""

        async def slow_end() -> None:
            try:
                await asyncio.sleep(1000.0)
            finally:
                await asyncio.sleep(100.0)

        async def scope() -> None:
            async with TaskScope() as outer:
                outer.create_task(inner())

        async def inner() -> None:
            async with TaskScope() as scope:
                scope.create_task(slow_end())
                if failing:
                    scope.create_task(_fail(0.5))

        async def main() -> tuple[bool, float]:
            task = asyncio.create_task(scope())
            for _ in range(2):
                await asyncio.sleep(1.0)
                task.cancel()
            await asyncio.wait([task])
            return task.cancelled(), asyncio.get_running_loop().time()

        assert (True, 2.0) == run_virtual(main())


class TestEnding:
    @pytest.mark.parametrize("reason", ["cancelled", "child failed", "body failed"])
    def test_children_can_tell(self, reason: str) -> None:
        """A child that is being cancelled finds the scope ending, whatever the reason; before, it doesn't."""
        seen: list[bool] = []

        async def child(scope: TaskScope) -> None:
            seen.append(scope.ending)
            try:
                await asyncio.sleep(1000.0)
            finally:
                seen.append(scope.ending)

        async def scope() -> None:
            async with TaskScope() as scope:
                scope.create_task(child(scope))
                if reason == "child failed":
                    scope.create_task(_fail(1.0))
                if reason == "body failed":
                    await _fail(1.0)

        async def main() -> None:
            task = asyncio.create_task(scope())
            await asyncio.sleep(2.0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or task.exception()

        run_virtual(main())
        assert [False, True] == seen

    def test_ordinary_end(self) -> None:
        """A scope whose children just finish was never ending."""

        async def main() -> bool:
            async with TaskScope() as scope:
                scope.create_task(asyncio.sleep(1.0))
            return scope.ending

        assert not run_virtual(main())


class TestCancelDuringFailure:
    """What asyncio.TaskGroup gets wrong: a cancel from outside while a child fails."""

    @pytest.mark.parametrize("body", [0.0, 1000.0])
    @pytest.mark.parametrize("when", [1.0, 1.5])
    def test_comes_out_as_cancelled(self, body: float, when: float) -> None:
        """A cancel that arrives with the failure, or while the others end, is what comes out, and once."""

        async def slow_end() -> None:
            try:
                await asyncio.sleep(1000.0)
            finally:
                await asyncio.sleep(2.0)

        async def guarded() -> None:
            try:
                async with TaskScope() as scope:
                    scope.create_task(_fail(1.0))
                    scope.create_task(slow_end())
                    await asyncio.sleep(body)
            except* ValueError:
                pass  # handles the failure, and would go on
            finally:
                await asyncio.sleep(1.0)  # cleans up, which isn't cancelled a second time

        async def main() -> tuple[bool, float]:
            task = asyncio.create_task(guarded())
            await asyncio.sleep(when)
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled(), asyncio.get_running_loop().time()

        assert (True, 4.0) == run_virtual(main())

    def test_tells_the_failures(self) -> None:
        """The failures aren't lost over the cancel: they are its cause."""

        async def scope() -> None:
            async with TaskScope() as scope:
                scope.create_task(_fail_when_cancelled())

        async def main() -> BaseException | None:
            async def outer() -> BaseException | None:
                try:
                    await scope()
                except asyncio.CancelledError as cancelled:
                    return cancelled.__cause__
                return None

            task = asyncio.create_task(outer())
            await asyncio.sleep(1.0)
            task.cancel()
            return await task

        assert isinstance(run_virtual(main()), ExceptionGroup)

    def test_child_fails_because_of_the_cancel(self) -> None:
        """When the cancel makes a child fail, the task still ends as cancelled."""

        async def scope() -> None:
            async with TaskScope() as scope:
                scope.create_task(_fail_when_cancelled())

        async def main() -> bool:
            task = asyncio.create_task(scope())
            await asyncio.sleep(1.0)
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

        assert run_virtual(main())

    def test_timeout_around_it(self) -> None:
        """A timeout's cancel counts as one from outside: it comes out as TimeoutError, not as the failure."""

        async def main() -> None:
            async with asyncio.timeout(1.0), TaskScope() as scope:
                scope.create_task(_fail_when_cancelled())

        with pytest.raises(TimeoutError):
            run_virtual(main())

    def test_cancelled_before(self) -> None:
        """In a task that was cancelled earlier and is cleaning up, a failure is a failure."""

        async def cleaning() -> str:
            try:
                await asyncio.sleep(1000.0)
            except asyncio.CancelledError:
                try:
                    async with TaskScope() as scope:
                        scope.create_task(_fail(1.0))
                except* ValueError:
                    pass
                raise
            return ""

        async def main() -> bool:
            task = asyncio.create_task(cleaning())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

        assert run_virtual(main())


def test_belongs_to_a_task() -> None:
    """Outside a task there is nobody who could be cancelled: the group below says so."""
    entering = TaskScope().__aenter__()
    with pytest.raises(RuntimeError):
        entering.send(None)
