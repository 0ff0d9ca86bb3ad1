#!/bin/sh
# The smallest job: says hello and leaves a file behind.
set -eu
echo "hello, ${NAME:-world}"
echo "hello, ${NAME:-world}" >/out/hello.txt
