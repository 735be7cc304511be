#!/bin/sh
# The official build has protected mode off by default, a distribution's has it on.
exec /usr/bin/redis-server --protected-mode no "$@"
