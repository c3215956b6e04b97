"""Progress bars: tqdm's notebook widget where there is one, a terminal line elsewhere, nothing when not wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(title: str, *, shown: bool) -> Iterator[Callable[[float, str], None]]:
    """A function of percent and step text that moves a bar while the block runs."""
    if not shown:
        yield lambda percent, step: None
        return
    from tqdm.auto import tqdm

    with tqdm(
        total=100.0, desc=title, unit="%", bar_format="{desc}: {percentage:3.0f}% |{bar}| {postfix}", leave=False
    ) as bar:

        def report(percent: float, step: str) -> None:
            bar.set_postfix_str(step, refresh=False)
            bar.update(percent - bar.n)

        yield report
