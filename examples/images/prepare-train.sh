#!/bin/sh
# Runs inside the root file system of qubix/train:local once its packages are there: makes the text that the job trains on,
# and removes what a job never reads.
set -eu
export LC_ALL=C # the order of the texts must not depend on the machine that builds

# The licences that every Debian and Ubuntu carries, without the links among them, runs of blanks squeezed to one.
find /usr/share/common-licenses -type f | sort | xargs cat | tr -s ' \n' >/opt/train/corpus.txt

find /usr/lib/python3/dist-packages/numpy -type d -name tests -prune -exec rm -rf {} +
rm -rf /usr/share/doc /usr/share/man /usr/share/info /usr/share/locale /usr/share/zoneinfo \
  /usr/lib/*/gconv /usr/lib/*/perl /usr/lib/*/perl-base /usr/share/perl /usr/bin/perl* \
  /var/lib/dpkg /var/lib/apt /var/cache /var/log
# A job's root file system is read-only: what is not compiled by now would be compiled at every start.
python3 -m compileall -q /usr/lib/python3.* /usr/lib/python3

mkdir -p /work /out
chown 65534:65534 /work /out # a new volume that is mounted there takes its owner from here
rm /opt/train/prepare-train.sh
