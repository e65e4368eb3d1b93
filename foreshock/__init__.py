"""foreshock: the domain library. Pure and synchronous: no Ray, no event loop, no HTTP."""

__version__ = "0.1.0"
