//! The longer explanations of `--help`.

/// Of the program.
pub(super) const LOADTEST: &str = "\
It knows the wire, never a server's code. Start with:

  loadtest push                         one push a millisecond, each to one of 1,000 sessions
  loadtest push --users 1 --rate 100    each push to all 1,000 sessions: the fan-out
  loadtest channel --outstanding 16     by a client to 1,000 members, 16 at once
  loadtest rpc --clients 1              one command's round trip
  loadtest push --users 1 --ramp --rate 50 --seconds 2      up to the knee
  loadtest floor --clients 1000         what the kernel alone costs for the same bytes

Without --target it starts the `campanile` beside itself, on the first core, and runs on the second.
Keep the machine idle otherwise. To drive another server, name it and what it speaks:

  loadtest channel --target ws://127.0.0.1:9001 --protocol topics --via http --pid 4711

In an open loop (--rate) what is due does not wait for what came before, so that a stall shows in
the latency of everything that was due; latencies count from the moment a message was due. In a
closed loop (--outstanding) the next goes when one has been received by all.

Every message carries its publisher, its number and its receiver. Lost, duplicated, reordered and
misdelivered ones are counted.

Exit status: 0 when all is as it should be, 1 when a message or an answer was wrong or a figure does
not hold, 2 when the measurement could not be made.";

/// Of `compare`.
pub(super) const COMPARE: &str = "\
The servers are in a TOML file; the first is the one that the others are held against:

  note = \"why this was measured\"   # for the report; none
  rounds = 15                      # these are the defaults
  round_seconds = 1.0
  subscribers = [1000, 10000]
  bytes = [64, 512, 16384]
  outstanding = [1, 16]
  measures = [\"fanout\", \"rpc\", \"knee\", \"half_load\", \"connect\", \"idle\",
              \"shards\"]
  long_rounds = 5                  # of knee, connect and idle
  p99_max_ms = 10.0                # what a knee must keep
  idle_sessions = 10000
  connect_sessions = 2000
  batch_bytes_max = 1073741824     # larger cells of fanout are left out, and the report says so

  [[server]]
  name = \"campanile\"
  command = [\"target/release/campanile\", \"--listen\", \"127.0.0.1:{port}\", \"--shards\", \"1\"]
  protocol = \"wserver\"             # as --protocol of the scenarios
  via = \"http\"                     # or \"client\"
  rpc_protocol = \"wsrv\"            # none: no part in rpc
  connections = 1                  # one for each outstanding publication; 0: pipelined on one
  # version = \"1.2.3\": what the report says it is
  # measures = [\"shards\"]: another way to run the first, which takes part in these only
  # path, publish_path, rpc_path, publish_header = \"Name: value\", app = \"ID:KEY:SECRET\"

{port} is replaced by a free port; the server must listen on it, on loopback, within 30 s. It runs
on the server's core, is told to stop by SIGTERM, and its children are counted with it.

fanout     one publication at a time, or batches of `outstanding`, to all subscribers, against a
           floor of the same shape in the same round
rpc        one command's round trip on one connection, against the first server
knee       most deliveries a second with p99 below p99_max_ms in one of two tries, 1,000
           subscribers, 512 bytes; 0 where it was at no rate that was tried
half_load  latencies at half of what the slowest server bears in a closed loop
connect    CPU per connection, of a server that has just started
idle       anonymous memory per connection, of a server that has just started
shards     one publication at a time to 1,000 sessions, the first server against others that name
           this measure: itself with more shards

A ratio is taken within each round; reported are its median and 95 % bootstrap interval. A server
whose interval overlaps the first's is `equal` to it, else `less` or `more`; where the first loses
is listed before all tables. Exit status 1 when a server lost, duplicated, reordered or misdelivered
a message.";
