#!/bin/sh
# link.sh NAME ADDRESS/LENGTH makes an interface that is there whether or not any server is: where
# the package cache listens. A dummy device does it; kernels without one have bridges, as Incus
# needs them.
set -eu
ip link show dev "$1" >/dev/null 2>&1 ||
	ip link add "$1" type dummy 2>/dev/null ||
	ip link add "$1" type bridge
ip address replace "$2" dev "$1"
ip link set "$1" up
