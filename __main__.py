"""The Pulumi program. Everything is in the package, so a repository of your own needs no more than this."""

from lbstack.deploy.main import run

run()
