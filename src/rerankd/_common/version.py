"""The version of rerankd.

It is made from the git tag when the package is built (or from the build argument of an image) and read from the
installed package. An editable install keeps the version of the moment it was made.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

UNKNOWN = "0+unknown"


def read_version(package: str = "rerankd") -> str:
    """Return the installed version of a package; `0+unknown` if it is imported without being installed.

    Example:
        >>> read_version("no-such-package")
        '0+unknown'
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return UNKNOWN


__version__ = read_version()
