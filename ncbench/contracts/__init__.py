"""What the core and its plugins promise each other.

Cards, specs, supervision, errors and hook specifications import no torch; the contracts of methods, backbones and
metrics do, and are imported by the modules that need them.
"""
