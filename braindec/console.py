"""What a command shows on the terminal: progress bars on a terminal, plain lines elsewhere, one clear error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any

from braindec.types import DataError


def progress(items: Iterable[Any], caption: str) -> Iterable[Any]:
    """A progress bar on a terminal; silent where output goes to a file."""
    from tqdm import tqdm

    return tqdm(items, desc=caption, disable=not sys.stderr.isatty(), leave=False, dynamic_ncols=True)


def set_up_logging(verbose: bool = False) -> None:
    """Send braindec's log lines to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("braindec")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


def guarded(main: Callable[[], None]) -> None:
    """Run a main; bad input and a full disk end in one message and exit status 2, without a traceback."""
    try:
        main()
    except DataError as error:
        print(f"braindec: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        print("braindec: interrupted; run the same command again to go on from here", file=sys.stderr)
        raise SystemExit(130) from None
