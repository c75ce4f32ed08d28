#!/bin/sh
# certificates.sh [FOLDER] [DAYS]: a certificate authority of your own, and certificates of a
# scheduler, its workers and its clients. Dask checks that the authority is this one; names of
# hosts are not checked, so one set serves machines that come and go.
#
# FOLDER gets ca.pem, {scheduler,worker,client}.{pem,key}, and tls.yaml, Dask's settings that use
# them: DASK_CONFIG=FOLDER. Keep ca.key off the cluster: with it more certificates can be made.
set -eu
folder=${1:-certificates}
days=${2:-365}
umask 077
mkdir -p "$folder"
cd "$folder"
if [ -e ca.key ]; then
    echo "certificates.sh: $folder/ca.key is there already; name another folder" >&2
    exit 2
fi

curve="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
# shellcheck disable=SC2086  # the curve is several words
openssl req -x509 $curve -days "$days" -subj "/CN=daskimg-ca" -keyout ca.key -out ca.pem 2>/dev/null
for role in scheduler worker client; do
    # shellcheck disable=SC2086
    openssl req $curve -subj "/CN=daskimg-$role" -keyout "$role.key" -out "$role.csr" 2>/dev/null
    openssl x509 -req -in "$role.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days "$days" \
        -out "$role.pem" 2>/dev/null
    rm "$role.csr"
done

here=$(pwd)
cat > tls.yaml <<END
distributed:
  comm:
    require-encryption: true
    default-scheme: tls
    tls:
      ca-file: $here/ca.pem
      scheduler: {cert: $here/scheduler.pem, key: $here/scheduler.key}
      worker: {cert: $here/worker.pem, key: $here/worker.key}
      client: {cert: $here/client.pem, key: $here/client.key}
END
echo "certificates.sh: $here holds certificates for $days days; use them with DASK_CONFIG=$here"
