"""What the end-to-end tests share: a node of its own for each test, with DNS, next hops and clients around it."""
