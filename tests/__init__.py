"""The tests; their tiers are its folders. A tier with a lab that its files share is a package, as the lab's scope."""
