#!/usr/bin/env bash
# Prints the Secrets of an example: fresh random passwords, a certificate authority whose key is thrown away, and the servers' certificate.
#
#   ./secrets.sh [NAMESPACE] | kubectl apply -f -      # the example's namespace; `pg` is that of two-deployments
#
# They are immutable, so a second run against the same cluster is refused instead of locking the servers out.
set -euo pipefail

NAMESPACE=${1:-pg}
DAYS=${DAYS:-825}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077
cd "$work"

# One certificate for all servers: clients check it against the Services' names, pgsteer and the servers themselves against their own.
# A server is also a client of its peers, and where a promoter's own interface asks for a certificate it shows this one.
names=''
for name in pg pg-nodes '*.pg-nodes' pg-service-primary pg-service-replica pg-witness pg-monitor; do
  names+="DNS:$name,DNS:$name.$NAMESPACE,DNS:$name.$NAMESPACE.svc,DNS:$name.$NAMESPACE.svc.cluster.local,"
done
# Both are valid since long ago: a client whose clock is behind believes them too.
printf '[ca]\ndefault_ca=d\n[d]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n' >ca.conf
: >index
# sign REQUEST CERTIFICATE OPTION...
sign() {
  openssl ca -batch -notext -config ca.conf -rand_serial -keyfile ca.key -startdate 20250101000000Z -days "$DAYS" -in "$1" -out "$2" "${@:3}" 2>/dev/null
}
printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n' >ca.ext
openssl ecparam -name prime256v1 -genkey -noout -out ca.key
openssl req -new -key ca.key -subj "/CN=PostgreSQL of namespace $NAMESPACE" -out ca.csr
sign ca.csr ca.crt -selfsign -extfile ca.ext
openssl ecparam -name prime256v1 -genkey -noout -out tls.key
openssl req -new -key tls.key -subj "/CN=pg.$NAMESPACE.svc" -out tls.csr
printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=%s\n' "${names%,}" >tls.ext
sign tls.csr tls.crt -cert ca.crt -extfile tls.ext

# secret NAME TYPE KEY FILE [KEY FILE]...
secret() {
  printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\ntype: %s\nimmutable: true\ndata:\n' "$1" "$NAMESPACE" "$2"
  shift 2
  while (($#)); do
    printf '  %s: %s\n' "$1" "$(openssl base64 -A <"$2")"
    shift 2
  done
}

password() {
  printf %s "$(openssl rand -hex 24)" >"$1.password"
  secret "$1" Opaque password "$1.password"
}

secret pg-ca Opaque ca.crt ca.crt
secret pg-tls kubernetes.io/tls tls.crt tls.crt tls.key tls.key
password pg-superuser
password pg-replication
password pgsteer-probe
password pg-app
