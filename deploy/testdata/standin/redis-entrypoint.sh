#!/bin/sh
# What the official redis image does at its start. As root: give /data to redis and go on as redis.
set -e
case "$1" in
-* | *.conf) set -- redis-server "$@" ;;
esac
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
	find /data ! -user redis -exec chown redis '{}' +
	exec setpriv --reuid redis --regid redis --init-groups "$@"
fi
umask 0077
exec "$@"
