# The whole interface for a newcomer: `make lab`, `make test`. Each target installs what it misses (lab/bootstrap.py says
# what, before it does) and needs no other command before it.
.DEFAULT_GOAL := help
.PHONY: help lab lab-down lab-status test test-unit soak sabotage check format bench
SHELL := /bin/sh
ARGS ?=
TIERS ?= unit native deploy rehearsal
# One more than there are labs at a time, where there is something quick to do besides (tests/scheduling.py).
WORKERS ?= $(if $(filter unit native,$(TIERS)),5,4)
# The longest test waits a minute for a provider that waits in vain; one that takes this long hangs.
TEST_TIMEOUT_S ?= 600

# python3 itself is the only thing that bootstrap.py cannot install.
define PYTHON3
if ! command -v python3 >/dev/null 2>&1; then \
  if [ "$$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then \
    echo "There is no python3 here. Run once as root: apt-get update && apt-get install -y python3 python3-venv" >&2; exit 2; \
  fi; \
  echo "Installing Debian packages with apt, as root: python3, python3-venv (everything here runs on them)" >&2; \
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends python3 python3-venv; } \
    >/tmp/lbstack-python3.$$$$ 2>&1 || { tail -15 /tmp/lbstack-python3.$$$$ >&2; rm -f /tmp/lbstack-python3.$$$$; exit 2; }; \
  rm -f /tmp/lbstack-python3.$$$$; \
fi
endef
RUN = @$(PYTHON3); exec python3 -m lab.bootstrap

help: ## show this list
	@echo "usage: make TARGET [ARGS='more arguments for its command']"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1 \2/p' Makefile | while read -r name text; do printf '  %-12s %s\n' "$$name" "$$text"; done

lab: ## deploy the pair to a simulated vCenter on this machine, with the real Pulumi engine
	$(RUN) lab -- python -m lab up $(ARGS)

lab-down: ## destroy the pair, stop the simulated vCenter, remove the lab's state
	$(RUN) down -- python -m lab down $(ARGS)

lab-status: ## show the simulated vCenter, its VMs and the stack's outputs
	$(RUN) down -- python -m lab status $(ARGS)

test: ## run all tests (TIERS='unit native' for some: unit, native, deploy, rehearsal)
	$(RUN) test -- sh -c '$(if $(filter deploy rehearsal,$(TIERS)),python -m lab build && )exec pytest $(TIERS:%=tests/%) --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder --timeout=$(TEST_TIMEOUT_S) --durations=25 $(ARGS)'

test-unit: ## run the tests that need Python alone (seconds)
	$(RUN) unit -- pytest tests/unit --numprocesses=auto $(ARGS)

soak: ## run the random campaigns whole, then the fail-over tests 20 times (ARGS='--rounds N --histories N')
	$(RUN) test -- sh -c 'python -m lab build && exec python -m tests.rehearsal.soak $(ARGS)'

sabotage: ## take safeguards out of a copy one by one; for each, a named test has to fail
	$(RUN) test -- sh -c 'python -m lab build && exec python -m tests.rehearsal.sabotage $(ARGS)'

check: ## lint and type-check everything; changes nothing
	$(RUN) check -- python -m lab.check $(ARGS)

format: ## rewrite the Python and Go sources in their standard format
	$(RUN) check -- python -m lab.check --fix $(ARGS)

bench: ## measure, each figure besides its baseline in the same run
	$(RUN) bench -- python -m bench $(ARGS)
