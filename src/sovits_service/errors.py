"""Every failure that callers can tell apart; `api/errors.py` maps them to status codes."""


class SovitsError(Exception):
    """A failure whose message is fit for a user: what is wrong, what to do; no path, key or text of a user."""


class SettingsError(SovitsError):
    """A configuration file or variable that cannot be used, or a configured file that is missing."""


class CheckpointError(SovitsError):
    """A weights file that is unsafe, damaged, or not what the configuration says."""


class DownloadError(SovitsError):
    """Published weights that could not be fetched, or not completely."""


class MissingExtraError(SovitsError):
    """A part that needs an optional dependency which is not installed; the message names the extra."""


class InvalidRequestError(SovitsError):
    """A field of a request that is missing or cannot be used."""


class ReferenceAudioError(InvalidRequestError):
    """A reference clip that cannot serve as a voice: too short, too long, silent, damaged."""


class UnknownVoiceError(SovitsError):
    """No voice template has this id."""


class UnknownModelError(SovitsError):
    """No model has this name."""


class UnknownJobError(SovitsError):
    """No job has this id, or it is another key's."""


class UnfinishedJobError(SovitsError):
    """What is asked of a job does not go with its state: audio that is not there yet, resuming what has not failed."""


class NotSupportedError(SovitsError):
    """Something that this way of running the service does not have."""


class UnsupportedAudioError(SovitsError):
    """An upload whose content is in no audio format that is accepted."""


class UploadTooLargeError(SovitsError):
    """An upload beyond the byte limit."""


class QuotaExceededError(SovitsError):
    """An upload beyond what the uploads of one key may take together."""


class UnauthorizedError(SovitsError):
    """No key, or a key that is not known."""


class ForbiddenError(SovitsError):
    """An operation that the settings, or the scope of the key, do not allow."""


class OverloadedError(SovitsError):
    """The queue is full or the service is not ready.

    Args:
        message: what is wrong and what to do.
        retry_after_s: when a further try makes sense, from the queue's real state.
    """

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimitedError(SovitsError):
    """A key or an address that asks more often than the settings allow.

    Args:
        message: the limit, and what to do.
        retry_after_s: when the next request will be taken.
    """

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StorageError(SovitsError):
    """A store that files are kept in does not answer, or refuses."""


class ScanUnavailableError(SovitsError):
    """The virus scanner that the settings ask for does not answer: nothing is accepted unscanned."""


class InfectedUploadError(SovitsError):
    """An upload in which the virus scanner found something."""


class DeadlineExceededError(SovitsError):
    """The request's deadline passed before its work was done."""


class SynthesisError(SovitsError):
    """The engine failed on this request: non-finite output, no tokens, a fault in a model."""
