#!/usr/bin/env bash
# One Kafka broker (KRaft) on 127.0.0.1, for trying things out and for the tests. Needs Java 17 and, once, Maven.
#
#   scripts/kafka/start.sh [folder] [port] [controller port]   # default: .kafka 9092 9093; what the folder holds is
#                                                              # used again; more.properties in it counts last
#   scripts/kafka/start.sh --jars                              # only fetch the jars, into scripts/kafka/libs
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ ! -e "$here/libs/.complete" ]; then
    mvn -q -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$here/libs" >&2
    touch "$here/libs/.complete"
fi
[ "${1:-}" = --jars ] && exit
folder="$(mkdir -p "${1:-.kafka}" && cd "${1:-.kafka}" && pwd)"
port="${2:-9092}"
controller="${3:-$((port + 1))}"
cat > "$folder/server.properties" << END
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:$controller
log.dirs=$folder/data
num.partitions=4
auto.create.topics.enable=false
message.max.bytes=33554432
socket.request.max.bytes=104857600
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
END
[ ! -e "$folder/more.properties" ] || cat "$folder/more.properties" >> "$folder/server.properties"
java() { command java -Xmx512m -Dlog4j2.level=WARN -cp "$here/libs/*" "$@"; }
if [ ! -e "$folder/data/meta.properties" ]; then
    java kafka.tools.StorageTool format --standalone -t "$(java kafka.tools.StorageTool random-uuid)" \
        -c "$folder/server.properties" > /dev/null
fi
exec java -Xmx512m -cp "$here/libs/*" kafka.Kafka "$folder/server.properties"
