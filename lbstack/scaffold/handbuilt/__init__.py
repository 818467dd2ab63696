"""`lbstack import`: a stack file made of the files of a hand-built pair, and a report about each of their lines."""
