"""Every error that this project raises on purpose.

    ActiveLabelerError
    ├── ConfigurationError            what was set cannot work; says which setting and what would
    │   ├── UnsupportedLabelingConfig   names the tag and what is supported
    │   ├── WeightsUnavailable          the backbone's weights cannot be had
    │   └── UnknownStrategy             no query strategy, uncertainty or parameter of that name
    ├── UnrankableInput               arrays that no strategy can rank: wrong shape, NaN, logits
    ├── LabelStudioError              Label Studio did not do what was asked
    │   ├── LabelStudioUnreachable      no answer, or a 5xx: worth another try
    │   ├── LabelStudioRefused          401 or 403: the token, or a blocked address
    │   ├── LabelStudioNotFound         404: the project, task or prediction is gone
    │   └── PublishMismatch             what was written is not what Label Studio holds
    ├── ImageUnreadable               one image; carries a reason for people; never stops a round
    ├── CorruptFile                   a file of ours that cannot be what was written
    ├── ExportFailed                  a model or labels cannot be exported, or read back otherwise
    ├── Cancelled                     somebody asked for the work to stop
    ├── TrainingDiverged              losses that are not numbers, several times in a row
    ├── UnknownModel                  no model version of that name is kept; says which are
    ├── ProjectNotConnected           no such project here: `connect` comes first
    ├── Busy                          too much is being done at once: worth another try in a moment
    └── LeaseLost                     another trainer has taken the project over

A message names the thing, its value and what was expected.
"""


class ActiveLabelerError(Exception):
    """Base of all errors raised on purpose."""


class ConfigurationError(ActiveLabelerError):
    """Something that a person set cannot work."""


class UnsupportedLabelingConfig(ConfigurationError):
    """The project's labeling config asks for something other than single-choice classification."""


class WeightsUnavailable(ConfigurationError):
    """The weights of the configured backbone can neither be found nor downloaded."""


class UnknownStrategy(ConfigurationError):
    """A query strategy, an uncertainty or a parameter that does not exist; says which do."""


class UnrankableInput(ActiveLabelerError):
    """Arrays that no query strategy can rank; names the array and what is wrong with it."""


class LabelStudioError(ActiveLabelerError):
    """Label Studio did not do what was asked of it."""


class LabelStudioUnreachable(LabelStudioError):
    """No answer, a timeout or a 5xx: the same call may work later."""


class LabelStudioRefused(LabelStudioError):
    """Label Studio answered 401 or 403."""


class LabelStudioNotFound(LabelStudioError):
    """Label Studio answered 404."""


class PublishMismatch(LabelStudioError):
    """Label Studio holds something else than what was written."""


class ImageUnreadable(ActiveLabelerError):
    """One image cannot be fetched or decoded; `str()` is a reason to show to people."""


class CorruptFile(ActiveLabelerError):
    """A file of ours does not hold what its format promises."""


class ExportFailed(ActiveLabelerError):
    """What was exported is not what was meant.

    A model's file gives other probabilities than the model, or an export's files other labels.
    """


class Cancelled(ActiveLabelerError):
    """Work was stopped because somebody asked for it; what it had saved can be gone on with."""


class TrainingDiverged(ActiveLabelerError):
    """A network's training gave losses that are not finite numbers, several times in a row."""


class UnknownModel(ActiveLabelerError):
    """No model version of that name is kept (any more); says which are."""


class ProjectNotConnected(ActiveLabelerError):
    """The project is not connected (any more)."""


class LeaseLost(ActiveLabelerError):
    """Another trainer holds the project now; what this one was doing must stop."""


class Busy(ActiveLabelerError):
    """Too much of it is being done at once: the same call works in a moment."""
