#!/usr/bin/env bash
# The entry point against real PostgreSQL processes on loopback: two "containers", each a PID namespace with a folder for a volume, run the
# entry point as PID 1 with the settings and the certificates of deploy/examples/two-deployments. DNS is replaced by PG_PEERS, the API
# server by a `curl` that answers from a file. Needs PostgreSQL 15, openssl, jq; no root. Prints a line a test, exits 1 when one failed.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
EXAMPLE=$HERE/../../examples/two-deployments
PATH=/usr/lib/postgresql/15/bin:$PATH
WAIT_MAX=90   # seconds for any one condition; a clone takes 1 to 2, and where the disk is busy one checkpoint was seen to take 6

# PostgreSQL refuses root.
if ((EUID == 0)) && [[ -z ${UNPRIVILEGED:-} ]]; then
  exec env UNPRIVILEGED=1 setpriv --reuid=postgres --regid=postgres --init-groups "$BASH" "$0" "$@"
fi

work=$(mktemp -d /tmp/entrypoint-test.XXXXXX)
export HOME=$work   # libpq looks for certificates in there
declare -A container=()   # node -> pid of its `unshare`, which takes the namespace with it when it is killed
passed=0 current='the set-up'

finish() {
  local status=$? pid
  if ((status != 0)); then
    tail -n 40 "$work"/*.log >&2 || true
    echo "FAILED $current"
  fi
  # The shell would report each of them.
  exec 2>/dev/null
  for pid in "${container[@]}"; do kill -KILL "$pid" || true; done
  wait || true
  rm -rf "$work"
  echo "$passed passed, $((status != 0)) failed"
}
trap finish EXIT

# === two nodes ===

port1=$((20000 + RANDOM % 10000)) port2=$((30000 + RANDOM % 2000))
port() { [[ $1 == node1 ]] && echo "$port1" || echo "$port2"; }
peer() { [[ $1 == node1 ]] && echo "127.0.0.1:$port2" || echo "127.0.0.1:$port1"; }
volume() { echo "$work/$1/volume"; }

# The ConfigMap's file $1, by its indentation.
from_config_map() { awk -v key="  $1: |" '$0 == key { on = 1; next } on && /^  [^ ]/ { exit } on { print substr($0, 5) }' "$EXAMPLE/3-config.yaml"; }

lay_out() {
  mkdir -p "$work"/{bin,account,secrets}
  echo pg >"$work/account/namespace"; echo token >"$work/account/token"; : >"$work/account/ca.crt"
  # Answers the ledger's question from the file `ledger`: a status, a space, a body.
  cat >"$work/bin/curl" <<'CURL'
#!/usr/bin/env bash
while (($#)); do [[ $1 == -o ]] && out=$2; shift; done
read -r status body <"${0%/bin/curl}/ledger"
echo "$body" >"$out"
printf %s "$status"
CURL
  # As it is, only with less patience for a standby that does not follow.
  sed 's/^FOLLOW_MAX=10 /FOLLOW_MAX=2 /' "$HERE/entrypoint" >"$work/bin/entrypoint"
  chmod +x "$work"/bin/*
  local key value name='' file
  while IFS=': ' read -r key value; do
    case $key in
      name) name=$value ;;
      ca.crt | tls.crt | tls.key) openssl base64 -d -A <<<"$value" >"$work/secrets/$key" ;;
      password)
        file=${name#pg-} file=${file#pgsteer-}
        openssl base64 -d -A <<<"$value" >"$work/secrets/$file"
        ;;
    esac
  done < <("$EXAMPLE/../secrets.sh" | sed 's/^ *//')
  chmod 0600 "$work"/secrets/*
  for node in node1 node2; do
    mkdir -p "$work/$node"/{volume,run,config}
    from_config_map postgresql.conf | sed -e "s#/etc/postgres/secrets#$work/secrets#" -e "s#/var/run/postgresql/#$work/$node/run/#" -e "s/'\*'/'127.0.0.1'/" \
      -e "s/host=pg-service-primary.pg.svc port=6432/host=pg-nodes.pg.svc,pg-nodes.pg.svc hostaddr=127.0.0.1,127.0.0.1 port=$port1,$port2/" >"$work/$node/config/postgresql.conf"
    from_config_map pg_hba.conf >"$work/$node/config/pg_hba.conf"
  done
  # A password that has to be escaped in a password file.
  printf 'a:b\\c' >"$work/secrets/replication"
}

# launch NODE [NAME]: a container of NODE, called NAME in the logs.
launch() {
  local node=$1 name=${2:-$1}
  env PATH="$work/bin:$PATH" PG_VOLUME="$(volume "$node")" PG_RUN="$work/$node/run" PG_CONFIG="$work/$node/config" PG_SECRETS="$work/secrets" PG_ACCOUNT="$work/account" \
    PG_NODE="$node" PG_PORT="$(port "$node")" PG_PEERS="$(peer "$node")" PG_BOOTSTRAP="$([[ $node == node1 ]] && echo 1 || echo 0)" \
    unshare --user --map-current-user --pid --fork --kill-child "$work/bin/entrypoint" >>"$work/$name.log" 2>&1 &
  container[$name]=$!
}

# PID 1 of the container, as seen from here.
pid_1() { pgrep -P "${container[$1]}"; }
postmaster() { pgrep -f "^postgres -D $(volume "$1")/data "; }

# Waits for the end of the container and answers PID 1's status.
ended() {
  local status=0
  wait "${container[$1]}" || status=$?
  unset "container[$1]"
  return "$status"
}

# === asking ===

sql() {
  local node=$1 user=postgres
  shift
  PGPASSWORD=$(<"$work/secrets/superuser") timeout 5 psql -XAtq -d "host=pg-nodes.pg.svc hostaddr=127.0.0.1 port=$(port "$node") user=$user dbname=postgres sslmode=verify-full sslrootcert=$work/secrets/ca.crt connect_timeout=2" -c "$*" 2>/dev/null
}

# The first is met when node $1 answers $2 with $3.
answers() { [[ $(sql "$1" "$2") == "$3" ]]; }
logged() { grep -qsF "$2" "$work/$1.log"; }
lock_is_free() { flock --exclusive --nonblock "$(volume "$1")/.lock" true; }
follows() { answers "$1" "SELECT pg_is_in_recovery(), status, received_tli FROM pg_stat_wal_receiver" "t|streaming|$2"; }

# Waits until the condition holds.
until_() {
  local until=$((SECONDS + WAIT_MAX))
  until "$@"; do
    if ((SECONDS >= until)); then echo "not within $WAIT_MAX s: $*" >&2; return 1; fi
    sleep 0.1
  done
}

# === the tests, in the order of one cluster's life ===

next_step_follows_the_table() (
  # shellcheck disable=SC1091
  source "$HERE/entrypoint"
  local -A survey=(
    [silent]=$'resolved' [unresolved]=$'unresolved'
    [higher]=$'resolved\npeer A s Writable 3' [two]=$'resolved\npeer A s Writable 3\npeer B s Writable 4'
    [standby]=$'resolved\npeer A s InRecovery 0' [foreign]=$'resolved\npeer A x Writable 9'
  )
  local want arguments peers got
  # step | state standby running behind may_init system timeline | survey
  while IFS='|' read -r want arguments peers; do
    # shellcheck disable=SC2086
    got=$(next_step $arguments "${survey[$peers]}")
    [[ $got == "$want" ]] || { echo "$arguments with $peers peers: $got instead of $want" >&2; return 1; }
  done <<'TABLE'
start|whole 0 0 0 1 s 3|higher
rewind A|whole 0 0 0 1 s 2|higher
rewind A|whole 0 1 0 0 s 2|higher
rewind B|whole 0 1 0 0 s 2|two
stay|whole 0 1 0 0 s 4|two
stay|whole 1 1 9 0 s 2|higher
rewind A|whole 1 1 10 0 s 2|higher
start|whole 1 0 0 0 s 2|higher
start|whole 0 0 0 0 s 2|foreign
stay|whole 0 1 0 0 s 2|standby
start|whole 0 0 0 1 s 2|silent
clone A|none 0 0 0 1 - 0|standby
clone B|none 0 0 0 0 - 0|two
clone A|partial 0 0 0 1 - 0|standby
wait|partial 0 0 0 1 - 0|silent
wait|none 0 0 0 0 - 0|silent
bootstrap|none 0 0 0 1 - 0|silent
wait|none 0 0 0 1 - 0|unresolved
clone A|torn 0 0 0 1 s 2|higher
wait|torn 0 0 0 1 s 2|standby
wait|torn 0 0 0 1 s 2|foreign
wait|foreign 0 0 0 1 s 2|higher
TABLE
)

only_a_writable_peer_of_our_cluster_on_a_higher_timeline_is_higher() (
  # shellcheck disable=SC1091
  source "$HERE/entrypoint"
  higher_peer s 2 $'resolved\npeer B s InRecovery 0\npeer A s Writable 3'
  local survey
  for survey in resolved 'peer A s Writable 2' 'peer A s InRecovery 3' 'peer A x Writable 3'; do
    if higher_peer s 2 "$survey"; then return 1; fi
  done
)

a_postmaster_whose_end_was_noted_earlier_is_still_missed() (
  # shellcheck disable=SC1091
  source "$HERE/entrypoint"
  true &
  postmaster=$!
  # Its end is noted here, so `wait -n` knows it no more.
  wait "$postmaster"
  local status=0
  (beside sleep 0.2) 2>/dev/null || status=$?
  ((status == 1))
)

an_empty_volume_waits_while_the_ledger_cannot_be_read() {
  echo "403 {}" >"$work/ledger"
  launch node1
  until_ logged node1 "could not be read (status 403)"
  [[ ! -e $(volume node1)/data && ! -e $(volume node1)/init ]]
}

an_empty_volume_waits_while_the_ledger_has_a_mark() {
  echo '200 {"spec":{"mark":{"timeline":1}}}' >"$work/ledger"
  until_ logged node1 "has a mark"
  [[ ! -e $(volume node1)/data && ! -e $(volume node1)/init ]]
}

an_empty_cluster_is_bootstrapped_once() {
  echo "404 {}" >"$work/ledger"
  until_ answers node1 "SELECT pg_is_in_recovery(), current_setting('data_checksums'), current_setting('cluster_name')" "f|on|node1"
  sql node1 "CREATE TABLE t(v text)"
  sql node1 "INSERT INTO t VALUES ('first')"
  answers node1 "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname !~ '^pg_'" "app pgsteer postgres replicator"
}

passwords_are_in_no_log() {
  local name
  for name in superuser replication probe app; do
    if grep -qFf "$work/secrets/$name" "$work"/*.log; then return 1; fi
  done
}

a_node_without_data_clones_and_streams() {
  launch node2
  until_ follows node2 1
  until_ answers node2 "SELECT v FROM t" first
}

a_second_container_waits_for_the_lock() {
  launch node1 second
  until_ logged second "another container still holds the volume"
  kill -TERM "$(pid_1 second)"
  ended second
  answers node1 "SELECT pg_is_in_recovery()" f
}

a_killed_postmaster_ends_the_container_and_all_its_processes() {
  kill -KILL "$(postmaster node1)"
  local status=0
  ended node1 || status=$?
  ((status == 1))
  lock_is_free node1
}

a_crashed_primary_comes_back_as_it_was() {
  launch node1
  until_ answers node1 "SELECT pg_is_in_recovery(), v FROM t" "f|first"
  until_ follows node2 1
}

a_deposed_primary_that_runs_is_rewound_and_follows() {
  sql node2 "SELECT pg_promote()" >/dev/null
  # What it still accepts is nobody's: it may be refused, and it must be gone afterwards.
  sql node1 "INSERT INTO t VALUES ('after the fork')" || true
  sql node2 "INSERT INTO t VALUES ('second')"
  until_ follows node1 2
  until_ answers node1 "SELECT string_agg(v, ' ' ORDER BY v) FROM t" "first second"
  logged node1 "rewound to"
}

a_deposed_primary_that_was_down_is_rewound_before_it_starts() {
  kill -KILL "$(postmaster node2)"
  ended node2 || true
  sql node1 "SELECT pg_promote()" >/dev/null
  sql node1 "INSERT INTO t VALUES ('third')"
  launch node2
  until_ follows node2 3
  until_ answers node2 "SELECT count(*) FROM t" 3
}

sigterm_is_a_fast_shutdown() {
  local session
  # A session that would hold up a smart shutdown.
  PGPASSWORD=$(<"$work/secrets/superuser") psql -Xq -d "host=127.0.0.1 port=$port2 user=postgres sslmode=require dbname=postgres" -c "SELECT pg_sleep(100)" >/dev/null 2>&1 &
  session=$!
  until_ answers node2 "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(100)' AND pid <> pg_backend_pid()" 1
  kill -TERM "$(pid_1 node2)"
  ended node2
  wait "$session" || true
  lock_is_free node2
  LC_ALL=C pg_controldata -D "$(volume node2)/data" | grep -q 'state: *shut down in recovery'
}

an_interrupted_rewind_is_followed_by_a_clone() {
  touch "$(volume node2)/rewinding"
  rm "$(volume node2)/data/pg_xact"/*
  launch node2
  until_ follows node2 3
  [[ ! -e $(volume node2)/rewinding ]]
}

an_interrupted_clone_is_never_taken_for_an_empty_volume() {
  kill -TERM "$(pid_1 node2)"; ended node2
  kill -TERM "$(pid_1 node1)"; ended node1
  mv "$(volume node1)/data" "$work/node1/kept"
  mkdir "$(volume node1)/clone"
  launch node1 interrupted
  until_ logged interrupted "a clone was interrupted"
  kill -TERM "$(pid_1 interrupted)"; ended interrupted
  [[ ! -e $(volume node1)/data ]]
  rmdir "$(volume node1)/clone"
  mv "$work/node1/kept" "$(volume node1)/data"
}

a_finished_clone_takes_its_place_after_a_crash_between_the_renames() {
  mv "$(volume node2)/data" "$(volume node2)/clone"
  mkdir "$(volume node2)/data.old"
  launch node1
  launch node2
  until_ follows node2 3
  [[ ! -e $(volume node2)/data.old ]]
}

a_wiped_bootstrap_node_clones_instead_of_beginning_anew() {
  kill -KILL "$(postmaster node1)"; ended node1 || true
  find "$(volume node1)" -mindepth 1 -delete
  sql node2 "SELECT pg_promote()" >/dev/null
  launch node1
  until_ follows node1 4
  until_ answers node1 "SELECT count(*) FROM t" 3
}

# Node2, the primary, crashes with a row that node1 never got, and node1 is promoted to timeline $1.
fork_with_a_lost_row() {
  kill -TERM "$(pid_1 node1)"
  ended node1
  sql node2 "INSERT INTO t VALUES ('lost')"
  kill -KILL "$(postmaster node2)"
  ended node2 || true
  launch node1
  until_ answers node1 "SELECT pg_is_in_recovery()" t
  sql node1 "SELECT pg_promote()" >/dev/null
  until_ answers node1 "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)" "0000000$1"
}

what_a_crashed_primary_wrote_alone_is_rewound() {
  fork_with_a_lost_row 5
  : >"$work/node2.log"
  launch node2
  until_ follows node2 5
  answers node2 "SELECT count(*), count(*) FILTER (WHERE v = 'lost') FROM t" "3|0"
  logged node2 "rewound to"
}

a_standby_that_went_past_the_fork_stops_and_follows_anew() {
  sql node2 "SELECT pg_promote()" >/dev/null
  until_ follows node1 6
  fork_with_a_lost_row 7
  # What is left of the primary is started as a standby: it replays its own log, and cannot follow.
  touch "$(volume node2)/data/standby.signal"
  : >"$work/node2.log"
  launch node2
  until_ follows node2 7
  answers node2 "SELECT count(*), count(*) FILTER (WHERE v = 'lost') FROM t" "3|0"
  logged node2 "we are on 6: stopping"
}

# They share one cluster and its state, so the first failure ends the run. Called outside of any condition: `set -e` does not hold in one.
tests=(
  next_step_follows_the_table
  only_a_writable_peer_of_our_cluster_on_a_higher_timeline_is_higher
  a_postmaster_whose_end_was_noted_earlier_is_still_missed
  an_empty_volume_waits_while_the_ledger_cannot_be_read
  an_empty_volume_waits_while_the_ledger_has_a_mark
  an_empty_cluster_is_bootstrapped_once
  a_node_without_data_clones_and_streams
  a_second_container_waits_for_the_lock
  a_killed_postmaster_ends_the_container_and_all_its_processes
  a_crashed_primary_comes_back_as_it_was
  a_deposed_primary_that_runs_is_rewound_and_follows
  a_deposed_primary_that_was_down_is_rewound_before_it_starts
  sigterm_is_a_fast_shutdown
  an_interrupted_rewind_is_followed_by_a_clone
  an_interrupted_clone_is_never_taken_for_an_empty_volume
  a_finished_clone_takes_its_place_after_a_crash_between_the_renames
  a_wiped_bootstrap_node_clones_instead_of_beginning_anew
  what_a_crashed_primary_wrote_alone_is_rewound
  a_standby_that_went_past_the_fork_stops_and_follows_anew
  passwords_are_in_no_log
)
lay_out
for current in "${tests[@]}"; do
  began=${EPOCHREALTIME/./}
  "$current"
  passed=$((passed + 1))
  printf 'ok %s (%d ms)\n' "$current" "$(((${EPOCHREALTIME/./} - began) / 1000))"
done
