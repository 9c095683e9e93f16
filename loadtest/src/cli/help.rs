//! The texts after the options in `--help`.

/// The text of `loadtest --help`.
pub(super) const LOADTEST: &str = "\
The load test uses only the network protocol of a server. Start with:

  loadtest push                         one push a millisecond, each to one of 1,000 sessions
  loadtest push --users 1 --rate 100    each push to all 1,000 sessions (fan-out)
  loadtest channel --outstanding 16     a client publishes to 1,000 members, 16 at once
  loadtest rpc --clients 1              the round trip of one command
  loadtest push --users 1 --ramp --rate 50 --seconds 2      raise the rate up to the knee
  loadtest floor --clients 1000         the cost of the kernel alone for the same bytes

Without --target it starts the `campanile` in its own folder on the first core and runs on the
second. Keep the machine idle otherwise. To measure another server, give its URL and protocol:

  loadtest channel --target ws://127.0.0.1:9001 --protocol topics --via http --pid 4711

In an open loop (--rate) a message does not wait for earlier ones. Latency counts from the time at
which a message was due, so a stall shows in the latency of every message that was due meanwhile.
In a closed loop (--outstanding) the next message is sent when all have received an earlier one.

Every message carries its publisher, its number and its receiver. Lost, duplicated, reordered and
misdelivered messages are counted.

Exit status: 0 on success, 1 if a message or a response was wrong or a figure does not hold, 2 if
the measurement failed.";

/// The text of `loadtest compare --help`.
pub(super) const COMPARE: &str = "\
The servers are listed in a TOML file; the others are compared with the first:

  note = \"why this was measured\"   # for the report; none
  rounds = 15                      # these are the defaults
  round_seconds = 1.0
  subscribers = [1000, 10000]
  bytes = [64, 512, 16384]
  outstanding = [1, 16]
  measures = [\"fanout\", \"rpc\", \"knee\", \"half_load\", \"connect\", \"idle\",
              \"shards\"]
  long_rounds = 5                  # of knee, connect and idle
  p99_max_ms = 10.0                # the latency limit of a knee
  idle_sessions = 10000
  connect_sessions = 2000
  batch_bytes_max = 1073741824     # larger cells of fanout are skipped; the report lists them

  [[server]]
  name = \"campanile\"
  command = [\"target/release/campanile\", \"--listen\", \"127.0.0.1:{port}\", \"--shards\", \"1\"]
  protocol = \"wserver\"             # as --protocol of the scenarios
  via = \"http\"                     # or \"client\"
  rpc_protocol = \"wsrv\"            # none: the server is left out of rpc
  connections = 1                  # one for each outstanding publication; 0: pipelined on one
  # version = \"1.2.3\": shown in the report
  # measures = [\"shards\"]: a variant of the first server, for these measures only
  # path, publish_path, rpc_path, publish_header = \"Name: value\", app = \"ID:KEY:SECRET\"

{port} is replaced by a free port; the server must listen on it, on loopback, within 30 s. It runs
on the server's core and is stopped with SIGTERM. The measurements include its child processes.

fanout     one publication at a time, or batches of `outstanding`, to all subscribers, relative to
           a floor with the same sizes in the same round
rpc        the round trip of one command on one connection, relative to the first server
knee       the most deliveries a second with p99 below p99_max_ms in one of two tries, 1,000
           subscribers, 512 bytes; 0 if no tried rate kept it
half_load  latencies at half the rate that the slowest server reaches in a closed loop
connect    CPU time per connection of a server that has just started
idle       anonymous memory per connection of a server that has just started
shards     one publication at a time to 1,000 sessions: the first server, and variants of it with
           more shards that name this measure

A ratio is taken within each round; the report gives its median and 95 % bootstrap interval. A
server whose interval overlaps the first's is `equal` to it, else `less` or `more`. The report
begins with the cells in which the first server is worse. The exit status is 1 if a server lost,
duplicated, reordered or misdelivered a message.";
