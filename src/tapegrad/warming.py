"""All machine code of the package, compiled at once: for this machine, or to be shipped.

``python -m tapegrad warm`` fills the store. ``python -m tapegrad.warming FOLDER [LEVEL ...]`` writes the code
for levels of processors (by default that of this machine) to a folder, a folder a level; the build of a
wheel calls it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .native import machine_code
from .native import object_cache as store
from .native.machine_code import Unit
from .native.progress import Progress
from .native.targets import LEVELS, Target, target, targeting
from .native.ufunc_loops import native_units
from .scalar_tape import sweeps

__all__ = ["ship", "units", "warm"]


def units() -> list[Unit]:
    """Return the units of all native code: entry points, kernels, and the sweeps of strips.

    Loops over hot programs are compiled when there are such programs.
    """
    return [*machine_code.UNITS, *native_units(), *sweeps.native_units()]


def _missing() -> list[Unit]:
    """Return the units that no folder of the store has."""
    return [unit for unit in units() if not machine_code.is_stored(unit)]


def warm() -> int:
    """Compile what is not in the store yet; how many units that were.

    Raises
    ------
    OSError
        If not all of it is kept: a later process would compile again.

    Examples
    --------
    >>> from tapegrad.warming import warm
    >>> warm() >= 0
    True
    """
    folder, missing = store.cache_folder(), _missing()
    if missing and folder is None:
        raise OSError("no folder can be written: compiled code would not be kept")
    machine_code.load_all(missing, "compiling native code", f"{__name__}; {__name__}.warm()")
    lost = len(_missing())
    if lost:
        raise OSError(
            f"{lost} of {len(missing)} units of compiled code could not be kept in {folder}"
        )
    return len(missing)


def ship(folder: Path, levels: list[Target]) -> None:
    """Write the code for levels of processors.

    Parameters
    ----------
    folder : pathlib.Path
        Gets a folder a level.
    levels : list of Target

    Raises
    ------
    ValueError
        If a level is of another family of processors.
    OSError
        If not all files could be written.
    """
    everything = units()
    for level in levels:
        if level.name in LEVELS and (level.name == "arm64") != (target().name == "arm64"):
            raise ValueError(
                f"{level.name} is no level of this machine's family: {target().name} is"
            )
        place = folder / level.name
        place.mkdir(mode=0o755, parents=True, exist_ok=True)  # whatever the umask: `write` looks
        known = level == target()
        with targeting(level), Progress(f"compiling for {level.name}", len(everything)) as progress:
            for unit in everything:
                name = machine_code.name_of(unit)
                symbols = machine_code.symbols_of(unit, name)
                stored = store.read(name, [*symbols.values()]) if known else None
                store.write(name, unit.build(symbols) if stored is None else stored.code, place)
                if not (place / name).exists():
                    raise OSError(f"{place} cannot be written, or by others, too")
                progress.step()
        size = sum(status.st_size for _, status in store.files(place))
        print(f"tapegrad: {len(everything)} units for {level.name}, {size / 1024:.0f} KiB")


def main(arguments: list[str]) -> None:
    """Run the command line."""
    if not arguments or not set(arguments[1:]) <= LEVELS.keys():
        sys.exit(
            f"usage: python -m tapegrad.warming FOLDER [LEVEL ...]; levels: {', '.join(LEVELS)}"
        )
    folder, *names = arguments
    ship(Path(folder), [LEVELS[name] for name in names] or [target()])


if __name__ == "__main__":
    main(sys.argv[1:])
