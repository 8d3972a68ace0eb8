"""The one exception for an ordinary mistake of the person at the keyboard."""


class UserError(Exception):
    """Something the user can mend. The command line prints the message alone, without a traceback.

    The message says in one sentence what is wrong and what to do about it.
    """

    def __init__(self, message: str, exit_code: int = 2):
        super().__init__(message)
        self.exit_code = exit_code
