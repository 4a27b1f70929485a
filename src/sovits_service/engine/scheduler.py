"""Decide which segments are prepared and which get a slot. Integers and lists only, no tensors."""

from __future__ import annotations

import heapq

from sovits_service.engine.sequence import DecodeSequence, Job

_BEGUN_PER_JOB = 2  # prepared or being prepared, without a slot: enough to fill slots, not to keep others from it


class Scheduler:
    """Fair admission of the jobs' segments to a fixed number of slots.

    A segment begins without a slot, while its features are computed, and is admitted when they are there. The lowest
    free slot is taken first: the decode batch spans slots 0 to the highest one in use.

    Args:
        slots: that there are.
        answer_slots: how many of them whole answers may hold at a time; None: all. Answers that are decoded together
            end together, and until then there are no waves to compute.
    """

    def __init__(self, slots: int, answer_slots: int | None = None) -> None:
        self._free = list(range(slots))
        self._answer_slots = slots if answer_slots is None else answer_slots
        self._running: list[DecodeSequence | None] = [None] * slots
        self._begun: list[DecodeSequence] = []
        self._jobs: list[Job] = []
        self._again: list[DecodeSequence] = []

    @property
    def jobs(self) -> list[Job]:
        """The unfinished jobs, oldest first."""
        return list(self._jobs)

    @property
    def running(self) -> list[DecodeSequence]:
        """The sequences that hold a slot, by slot."""
        return [sequence for sequence in self._running if sequence is not None]

    @property
    def waiting_jobs(self) -> int:
        """Jobs none of whose segments has had a slot."""
        return sum(job.next_to_start == self._begun_of(job) for job in self._jobs)

    @property
    def batch_rows(self) -> int:
        """Rows of the decode batch: one more than the highest slot in use."""
        return max((sequence.slot + 1 for sequence in self.running if sequence.slot is not None), default=0)

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def holds(self, sequence: DecodeSequence) -> bool:
        """Whether the sequence is still wanted: its job has neither ended nor failed."""
        return sequence.job in self._jobs and sequence.job.running.get(sequence.index) is sequence

    def begin(self) -> DecodeSequence | None:
        """The next segment to prepare, of a job whose voice is there: what listeners wait for first; None: nothing."""
        if self._again:
            sequence = self._again.pop(0)
            self._begun.append(sequence)
            return sequence
        voiced = [job for job in self._jobs if job.has_voice and job.can_start()]
        ready = [job for job in voiced if self._begun_of(job) < _BEGUN_PER_JOB]
        if not ready:
            return None
        sequence = min(ready, key=lambda job: (*job.urgency, self._slots_held(job))).start_next()
        self._begun.append(sequence)
        return sequence

    def begin_again(self, sequence: DecodeSequence) -> None:
        """Another take of a segment goes before segments that have had none."""
        self._again.append(sequence)

    def pass_by(self, sequence: DecodeSequence) -> None:
        """A prepared segment needs no slot: its tokens are there."""
        self._begun.remove(sequence)

    def admit(self, limit: int) -> list[DecodeSequence]:
        """Give free slots to at most `limit` prepared segments: of the job with the fewest slots, then the oldest."""
        admitted: list[DecodeSequence] = []
        while self._free and len(admitted) < limit:
            has_room = sum(not sequence.job.is_stream for sequence in self.running) < self._answer_slots
            ready = [s for s in self._begun if s.is_prepared and (has_room or s.job.is_stream)]
            if not ready:
                break
            sequence = min(ready, key=lambda sequence: (self._slots_held(sequence.job), self._jobs.index(sequence.job)))
            self._begun.remove(sequence)
            sequence.slot = heapq.heappop(self._free)
            self._running[sequence.slot] = sequence
            admitted.append(sequence)
        return admitted

    def release(self, sequence: DecodeSequence) -> None:
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
        self._begun = [sequence for sequence in self._begun if sequence.job is not job]
        self._again = [sequence for sequence in self._again if sequence.job is not job]
        job.running.clear()
        if job in self._jobs:
            self._jobs.remove(job)

    def _begun_of(self, job: Job) -> int:
        """Segments that have had no slot; further takes are of segments that had one."""
        return sum(sequence.job is job and not sequence.takes for sequence in self._begun)

    def _slots_held(self, job: Job) -> int:
        return sum(sequence.slot is not None for sequence in job.running.values())
