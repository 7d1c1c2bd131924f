"""Tables of other programs: from bytes to checked columns and targets."""
