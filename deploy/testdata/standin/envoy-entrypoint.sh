#!/bin/sh
# What the official envoy image does at its start. As root: give the logs to envoy and go on as envoy. As anybody else: just go on.
set -e
case "$1" in
-*) set -- envoy "$@" ;;
esac
if [ "$(id -u)" = 0 ] && [ "$ENVOY_UID" != 0 ]; then
	chown envoy:envoy /dev/stdout /dev/stderr
	exec setpriv --reuid envoy --regid envoy --init-groups "$@"
fi
exec "$@"
