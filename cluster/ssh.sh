#!/bin/sh
# ssh.sh MANIFEST STORE [OPTION...]: a run on machines that you reach by ssh.
#   HOSTS="node1 node2 node3" cluster/ssh.sh gs://bucket/labels.csv gs://bucket/out.zarr --size 224
#
# The scheduler and the run itself are here, a worker is on each of HOSTS; all of it ends with the
# run. daskimg must be installed at the same place everywhere (DASKIMG_PYTHON, python3 if not
# given), and HOSTS must reach this machine (DASKIMG_HOST, `hostname -f` if not given). Set SSH for
# another way to a host.
set -u
if [ -z "${HOSTS:-}" ] || [ $# -lt 2 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
python=${DASKIMG_PYTHON:-python3}
here=${DASKIMG_HOST:-$(hostname -f)}
ssh=${SSH:-ssh -o BatchMode=yes -o ServerAliveInterval=15}
meeting=$(mktemp -u).json

run=
finish() {
    # Workers that an ssh left behind end with their scheduler.
    # shellcheck disable=SC2086  # several words, or none
    kill $workers $scheduler 2>/dev/null
    wait
    rm -f "$meeting"
}
workers=
"$python" -m distributed.cli.dask_scheduler --host "$here" --port 0 --dashboard-address :0 \
    --scheduler-file "$meeting" &
scheduler=$!
trap finish EXIT
trap 'kill -TERM $run 2>/dev/null' TERM INT

until [ -s "$meeting" ]; do
    kill -0 "$scheduler" 2>/dev/null || exit 3
    sleep 0.2
done
address=$(sed -n 's/.*"address": "\([^"]*\)".*/\1/p' "$meeting")
for host in $HOSTS; do
    # shellcheck disable=SC2086  # SSH is several words
    $ssh "$host" "$python" -m distributed.cli.dask_worker "$address" --death-timeout 60 \
        --no-dashboard </dev/null &
    workers="$workers $!"
done

"$python" -m daskimg.run "$@" --scheduler "$address" &
run=$!
while :; do # a signal ends `wait` before the run has ended
    wait "$run"
    status=$?
    kill -0 "$run" 2>/dev/null || exit "$status"
done
