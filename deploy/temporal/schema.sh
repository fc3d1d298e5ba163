#!/bin/sh
# Makes Temporal's two databases and brings their schema to the version of this image. Safe to repeat: databases that
# are there stay, and only the missing versions are applied. The password is read from SQL_PASSWORD.
set -eu

tool() {
    database=$1
    shift
    temporal-sql-tool --plugin postgres12 --endpoint "$SQL_HOST" --port 5432 --user "$SQL_USER" --database "$database" "$@"
}

for store in temporal visibility; do
    case $store in
        temporal) database=temporal ;;
        visibility) database=temporal_visibility ;;
    esac
    tool "$database" create
    tool "$database" setup-schema --version 0.0
    tool "$database" update-schema --schema-dir "/etc/temporal/schema/postgresql/v12/$store/versioned"
done
