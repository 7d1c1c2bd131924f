"""The version of the package. The build reads this line, and so does a tree without a build."""

__version__ = "0.1.0"
