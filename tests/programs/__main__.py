"""`python -m tests.programs NAME…`: build or find these programs, and print where each is."""

import sys

from tests.programs import BUILT, INSTALLED, Unavailable, provide


def _main() -> None:
    names = sys.argv[1:]
    unknown = [name for name in names if name not in BUILT and name not in INSTALLED]
    if unknown or not names:
        sys.exit(f"no program {' '.join(unknown)!r}; there are {', '.join([*BUILT, *INSTALLED])}")
    for name in names:
        try:
            print(provide(name, _say), flush=True)  # noqa: T201 - the answer of this program
        except Unavailable as reason:
            sys.exit(str(reason))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress of a build


if __name__ == "__main__":
    _main()
