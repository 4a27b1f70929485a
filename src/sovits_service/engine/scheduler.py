"""Which sequence gets which slot, and when: jobs in, sequences with slots out. Integers and lists only."""

from __future__ import annotations

import heapq

from sovits_service.engine.sequence import Job, Sequence


class Scheduler:
    """Fair admission of the jobs' segments to a fixed number of slots.

    The lowest free slot is taken first: the decode batch spans slots 0 to the highest one in use.
    """

    def __init__(self, slots: int) -> None:
        self._free = list(range(slots))
        self._running: list[Sequence | None] = [None] * slots
        self._jobs: list[Job] = []

    @property
    def jobs(self) -> list[Job]:
        """The unfinished jobs, oldest first."""
        return list(self._jobs)

    @property
    def running(self) -> list[Sequence]:
        """The sequences that hold a slot, by slot."""
        return [sequence for sequence in self._running if sequence is not None]

    @property
    def waiting_jobs(self) -> int:
        """Jobs none of whose segments has started."""
        return sum(job.next_to_start == 0 for job in self._jobs)

    @property
    def batch_rows(self) -> int:
        """Rows of the decode batch: one more than the highest slot in use."""
        return max((sequence.slot + 1 for sequence in self.running if sequence.slot is not None), default=0)

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def admit(self, limit: int) -> list[Sequence]:
        """Give free slots to at most `limit` waiting segments: the job with the fewest slots first, then the oldest."""
        admitted: list[Sequence] = []
        while self._free and len(admitted) < limit:
            ready = [job for job in self._jobs if job.can_start()]
            if not ready:
                break
            job = min(ready, key=self._slots_held)
            sequence = job.start_next()
            sequence.slot = heapq.heappop(self._free)
            self._running[sequence.slot] = sequence
            admitted.append(sequence)
        return admitted

    def release(self, sequence: Sequence) -> None:
        """Take the slot back, if the sequence still holds one."""
        if sequence.slot is None:
            return
        self._running[sequence.slot] = None
        heapq.heappush(self._free, sequence.slot)
        sequence.slot = None

    def remove(self, job: Job) -> None:
        """Forget a job and free every slot it holds."""
        for sequence in job.running.values():
            self.release(sequence)
        job.running.clear()
        if job in self._jobs:
            self._jobs.remove(job)

    def _slots_held(self, job: Job) -> int:
        return sum(sequence.slot is not None for sequence in job.running.values())
