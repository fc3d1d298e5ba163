#!/bin/sh
# Makes the namespace, unless it is there. TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE are read by the temporal command.
set -eu

# The port opens before the front end knows its peers: ask until it answers, for a minute at most.
tries=30
until temporal operator cluster health; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || exit 1
    sleep 2
done

temporal operator namespace describe >/dev/null 2>&1 || temporal operator namespace create --retention 168h
# Until the namespace is known everywhere, the next calls may be refused.
until temporal workflow count >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || exit 1
    sleep 2
done
