.PHONY: deps deps-mysql deps-valkey

# deps: the servers that the tests start, by Debian's packages where root.
deps:
	@scripts/deps.sh servers

# deps-mysql, deps-valkey: servers that this Debian lacks, unpacked into a cache.
deps-mysql:
	@scripts/deps.sh mysql

deps-valkey:
	@scripts/deps.sh valkey
