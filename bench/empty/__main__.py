"""A Pulumi program that makes nothing: what a preview costs before anybody's program has done anything."""

import pulumi

pulumi.export("made", 0)
