"""The subcommands of `active-labeler`, grouped by what they are about."""
