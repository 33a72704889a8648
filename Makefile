# The commands of this project. `make demo` and `make test` need nothing but Node 20, npm and (for Vault) Go.
SHELL := /bin/bash
.DEFAULT_GOAL := help
NODE ?= node
NODE_VERSION ?= 22
NODE_TEST_PARTS ?= test/keys/ test/lib/ test/plugin/ test/server/ test/security/ test/store/file test/store/sqlite test/workers/workers test/cli/cli. test/cli/serve
SBOM_FILE ?= sbom.cdx.json

.PHONY: help install build demo test check bench soak fuzz openapi-fuzz vault vault-if-possible postgres postgres-if-possible secrets format generate package sbom audit test-node clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-14s %s\n", $$1, $$2}'

node_modules/.installed: package.json package-lock.json
	npm ci --no-fund --no-audit
	@touch $@

install: node_modules/.installed ## install what package-lock.json says

build: install ## install and compile, into dist/
	@npx --no-install tsc -p tsconfig.json

vault: ## find a Vault server (VAULT_BIN, PATH, cache), or build 1.21.1 from the Go proxy once; and its plugins for tests
	@scripts/vault.sh
	@scripts/vault.sh --plugins

postgres: ## find PostgreSQL's server (POSTGRES_BIN_DIR, PATH, Debian's), or install Debian's
	@scripts/postgres.sh

demo: build ## run the main job end to end and say what is seen
	@$(NODE) dist/scripts/demo.js

test: build vault-if-possible postgres-if-possible ## run every test
	@$(NODE) dist/scripts/run-tests.js

test-node: build ## run the faster tests under another Node (NODE_VERSION=22; NODE_TEST_PARTS= for all of them)
	@node="$$(scripts/node.sh $(NODE_VERSION))" && export PATH="$$(dirname "$$node"):$$PATH" && \
		"$$node" dist/scripts/run-tests.js $(NODE_TEST_PARTS)

check: build ## types, lint, format, generated files and licences up to date, the package as it would be published
	@npx --no-install oxlint --deny-warnings src test bench scripts
	@npx --no-install prettier --check --log-level warn .
	@$(NODE) dist/scripts/generate.js --check
	@$(NODE) dist/scripts/check-package.js
	@$(NODE) dist/scripts/sbom.js dist/sbom.cdx.json
	@echo "check: all good"

package: build ## pack it, look into it, install it into an empty folder and use it there
	@$(NODE) dist/scripts/check-package.js

sbom: build ## write a bill of materials, CycloneDX (SBOM_FILE)
	@$(NODE) dist/scripts/sbom.js $(SBOM_FILE)

audit: install ## ask the npm registry for known vulnerabilities in what is installed with the package
	@scripts/npm-audit.sh

vault-if-possible:
	@scripts/vault.sh --if-possible >/dev/null

postgres-if-possible:
	@scripts/postgres.sh --if-possible >/dev/null

secrets: build ## make what docker-compose.yml needs: CA, certificates, passwords, pepper, token, into deploy/local
	@deploy/compose/secrets.sh

bench: build ## measure, as tables with ratios
	@$(NODE) dist/bench/main.js

soak: build ## a million requests and five minutes of kills and stops (SOAK_REQUESTS, CHAOS_SECONDS)
	@SOAK_REQUESTS=$${SOAK_REQUESTS:-1000000} CHAOS_SECONDS=$${CHAOS_SECONDS:-300} TEST_TIMEOUT_SECONDS=3600 \
		$(NODE) dist/scripts/run-tests.js --jobs 1 soak/

fuzz: build ## ten minutes of hostile messages on the socket (FUZZ_SECONDS, FUZZ_SEED)
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-600} TEST_TIMEOUT_SECONDS=3600 $(NODE) dist/scripts/run-tests.js --jobs 1 fuzz/

openapi-fuzz: build ## schemathesis (PyPI) against the admin service's OpenAPI description
	@scripts/openapi-fuzz.sh

generate: build ## write what is generated from schemas/, src/lib/errors.ts and src/audit/rules
	@$(NODE) dist/scripts/generate.js

format: install ## Prettier
	@npx --no-install prettier --write --log-level warn .

clean: ## remove what was built
	rm -rf dist node_modules
