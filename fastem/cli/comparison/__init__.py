"""The methods that are compared, their fits, and the figures of a comparison."""
