"""What the chapter's results rest on: their sources, and what in them is a plausible guess."""

REFERENCES = (
    "abbe1873",
    "born1999",
    "goodman2017",
    "mack2007",
    "levinson2019",
    "brunner1994",
    "kirk1994",
    "bossung1977",
)
"""Keys of ``references.bib``."""
ILLUSTRATIVE_IMAGE = ("nominal flare 1 %", "nominal stage vibration 1 nm", "constant-threshold resist")
"""Guesses that shape any printed line."""
ILLUSTRATIVE = (
    *ILLUSTRATIVE_IMAGE,
    "lens temperature 22 degC",
    "lens focus shift 200 nm/K",
    "scanner and metrology noise",
)
"""Guesses that shape an exposed lot."""
