"""Reports about a deployment: what it would change, what has drifted, what it did."""
