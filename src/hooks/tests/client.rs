//! The backend client: retries, limits and the health report.

use super::backend::{PATIENCE, ReceivedRequest, TestBackend};
use crate::config::{Backend, Config, Secret};
use crate::hooks::HookError;
use crate::hooks::client::{BackendClient, Backends};
use crate::hooks::requests::Hook;
use crate::hooks::responses::read_allow;
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use tokio::task::LocalSet;

/// Returns the config of a backend with retries after 1 ms.
pub(super) fn config(url: String) -> Backend {
    let mut backend = Backend::new("b", url);
    backend.limits.retry_delay_ms = 1;
    backend.limits.timeout_ms = 20_000;
    backend
}

fn open(backend: Backend) -> Result<Arc<Backends>, String> {
    let config = Config {
        backends: vec![backend],
        ..Config::default()
    };
    Backends::open(&config).map_err(|error| error.to_string())
}

/// Runs a test with a client of the backend.
pub(super) fn run(backend: Backend, test: impl AsyncFnOnce(Rc<BackendClient>, Arc<Backends>)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let work = async {
        let backends = open(backend).expect("the backend is valid");
        let shard = backends.on_shard(0).expect("the backend was valid before");
        let client = shard.find("b").expect("there is one");
        test(client, backends).await;
    };
    let work = async { tokio::time::timeout(PATIENCE * 2, work).await };
    let ended = LocalSet::new().block_on(&runtime.expect("a runtime"), work);
    ended.expect("nothing hangs");
}

pub(super) async fn send_hook(client: &BackendClient, hook: Hook) -> Result<bool, HookError> {
    let body = |id| format!(r#"{{"hook":"{}","id":"{id}"}}"#, hook.as_str()).into_bytes();
    client.send(hook, body, read_allow).await
}

/// Sends a hook and has `script` respond to each request. Returns the result and the number of
/// requests, which must all have the same id.
pub(super) async fn send_with(
    client: &BackendClient,
    backend: &mut TestBackend,
    hook: Hook,
    script: impl Fn(ReceivedRequest),
) -> (Result<bool, HookError>, usize) {
    let mut ids = Vec::new();
    let mut sending = Box::pin(send_hook(client, hook));
    let result = loop {
        tokio::select! {
            biased;
            request = backend.next() => {
                ids.push(request.header("campanile-hook-id").expect("an id").to_owned());
                script(request);
            }
            result = &mut sending => break result,
        }
    };
    backend.expect_nothing();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    (result, ids.len())
}

pub(super) fn report(backends: &Backends) -> Value {
    backends.report().remove(0)
}

pub(super) const YES: &str = r#"{"allow":true}"#;

#[test]
fn a_request_names_its_hook_and_its_sender() {
    let mut backend = TestBackend::start();
    let mut config = config(backend.url());
    config.secret = Some(Secret::new("s3cret"));
    run(config, async |client, backends| {
        let mut ids = Vec::new();
        for hook in [Hook::Open, Hook::Message] {
            let (result, request) = tokio::join!(send_hook(&client, hook), async {
                let request = backend.next().await;
                assert!(
                    request.head.starts_with("POST /hooks?v=1 HTTP/1.1\r\n"),
                    "{}",
                    request.head
                );
                assert_eq!(request.header("content-type"), Some("application/json"));
                assert_eq!(request.header("campanile-hook"), Some(hook.as_str()));
                assert_eq!(request.header("authorization"), Some("Bearer s3cret"));
                assert_eq!(request.connection, 0, "it is kept alive");
                let id = request
                    .header("campanile-hook-id")
                    .expect("an id")
                    .to_owned();
                assert_eq!(request.body["id"], id);
                request.ok(YES);
                id
            });
            assert_eq!(result, Ok(true));
            ids.push(request);
        }
        assert_ne!(ids[0], ids[1]);
        assert_eq!(
            (ids[0].len(), &ids[0][14..15]),
            (36, "4"),
            "a UUID of version 4"
        );
        let report = report(&backends);
        assert_eq!(report["state"], "up");
        assert_eq!(
            (&report["answered"], &report["failed"]),
            (&2.into(), &0.into())
        );
        assert!(!format!("{report} {backends:?}").contains("s3cret"));
    });
}

#[test]
fn a_hook_is_repeated_only_where_nothing_can_be_done_twice() {
    // The name of a case, its script, and whether the hook may be sent again.
    type Script = fn(ReceivedRequest);
    let scripts: &[(&str, Script, bool)] = &[
        ("lost", |request| request.write_and_close(""), true),
        (
            "half a head",
            |request| request.write_and_close("HTTP/1.1 200 O"),
            true,
        ),
        (
            "half a body",
            |request| {
                request.write_and_close("HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"allo");
            },
            true,
        ),
        ("502", |request| request.answer(502, ""), true),
        ("503", |request| request.answer(503, "later"), true),
        ("504", |request| request.answer(504, ""), true),
        ("500", |request| request.answer(500, YES), false),
        ("401", |request| request.answer(401, YES), false),
        ("201", |request| request.answer(201, YES), false),
        (
            "a redirect",
            |request| {
                request.write("HTTP/1.1 307 X\r\nLocation: /hooks\r\nContent-Length: 0\r\n\r\n");
            },
            false,
        ),
        (
            "not HTTP",
            |request| request.write_and_close("hello there\r\n\r\n"),
            false,
        ),
        ("not JSON", |request| request.ok("{\"allow\":true"), false),
        (
            "no such member",
            |request| request.ok("{\"allow\":true,\"deny\":1}"),
            false,
        ),
        ("nothing", |request| request.ok(""), false),
    ];
    for &(what, script, is_worth_it) in scripts {
        for hook in [
            Hook::Message,
            Hook::Open,
            Hook::Authenticate,
            Hook::Join,
            Hook::Command,
        ] {
            let mut backend = TestBackend::start();
            run(config(backend.url()), async |client, backends| {
                let (result, count) = send_with(&client, &mut backend, hook, script).await;
                let expected = if is_worth_it && hook != Hook::Message {
                    3
                } else {
                    1
                };
                assert_eq!(count, expected, "{what}: {hook:?}");
                let error = result.expect_err(what);
                let report = report(&backends);
                assert_eq!(report["tried_again"], expected - 1, "{what}: {hook:?}");
                assert_eq!(
                    (&report["state"], &report["failed"]),
                    (&"down".into(), &1.into())
                );
                assert_eq!(report["last_error"], error.to_string());
            });
        }
    }
}

#[test]
fn each_failure_is_called_what_it_is() {
    type Case = (fn(ReceivedRequest), fn(&HookError) -> bool);
    let scripts: &[Case] = &[
        (
            |it| it.write_and_close(""),
            |it| matches!(it, HookError::Lost(_)),
        ),
        (|it| it.answer(500, ""), |it| *it == HookError::Status(500)),
        (
            |it| it.answer(302, ""),
            |it| matches!(it, HookError::InvalidResponse(_)),
        ),
        (
            |it| it.write_and_close("?\r\n\r\n"),
            |it| matches!(it, HookError::InvalidResponse(_)),
        ),
        (
            |it| it.ok("[]"),
            |it| matches!(it, HookError::InvalidResponse(_)),
        ),
    ];
    let mut backend = TestBackend::start();
    run(config(backend.url()), async |client, _| {
        for (script, is_expected) in scripts {
            let (result, _) = send_with(&client, &mut backend, Hook::Message, script).await;
            let error = result.expect_err("a failure");
            assert!(is_expected(&error), "{error:?}");
        }
    });
}

#[test]
fn a_second_try_may_succeed() {
    let mut backend = TestBackend::start();
    run(config(backend.url()), async |client, backends| {
        let (result, ()) = tokio::join!(send_hook(&client, Hook::Publish), async {
            backend.next().await.write_and_close("");
            backend.next().await.answer(503, "");
            backend.next().await.ok(YES);
        });
        assert_eq!(result, Ok(true));
        let report = report(&backends);
        assert_eq!(
            (&report["state"], &report["tried_again"]),
            (&"up".into(), &2.into())
        );
        assert_eq!(
            (&report["answered"], &report["failed"]),
            (&1.into(), &0.into())
        );
        assert_eq!(report["last_error"], HookError::Status(503).to_string());
    });
}

#[test]
fn whatever_was_not_sent_is_tried_again_until_the_backend_is_there() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("it listens");
    drop(listener);
    let mut config = config(format!("http://{address}/"));
    config.limits.retries_max = 3;
    run(config, async |client, backends| {
        for (hook, tried_again) in [(Hook::Message, 3), (Hook::Open, 6)] {
            let error = send_hook(&client, hook).await.expect_err("no listener");
            assert!(matches!(error, HookError::Unreachable(_)), "{error:?}");
            assert!(error.to_string().contains("refused"), "{error}");
            let report = report(&backends);
            assert_eq!(
                (&report["state"], &report["tried_again"]),
                (&"down".into(), &tried_again.into())
            );
        }
        let mut backend = TestBackend::start_at(address);
        let (result, count) =
            send_with(&client, &mut backend, Hook::Message, |it| it.ok(YES)).await;
        assert_eq!((result, count), (Ok(true), 1));
        assert_eq!(report(&backends)["state"], "up");
    });
}

#[test]
fn a_restart_between_two_messages_fails_neither() {
    let mut backend = TestBackend::start();
    run(config(backend.url()), async |client, backends| {
        for _ in 0..20 {
            let (result, count) =
                send_with(&client, &mut backend, Hook::Message, |it| it.ok(YES)).await;
            assert_eq!((result, count), (Ok(true), 1));
            let address = backend.address;
            let stopping = std::mem::replace(&mut backend, TestBackend::start());
            assert_eq!(stopping.stop(), address);
            backend = TestBackend::start_at(address);
        }
        let report = report(&backends);
        assert_eq!(
            (&report["answered"], &report["failed"]),
            (&20.into(), &0.into())
        );
        assert_eq!(
            report["tried_again"], 0,
            "a new connection is no second try"
        );
    });
}

#[test]
fn a_backend_that_says_nothing_is_given_up_in_time() {
    let mut backend = TestBackend::start();
    let mut config = config(backend.url());
    config.limits.timeout_ms = 100;
    run(config, async |client, backends| {
        let held = async { backend.next().await };
        let (result, held) = tokio::join!(send_hook(&client, Hook::Open), held);
        assert_eq!(result, Err(HookError::TimedOut));
        let report = report(&backends);
        assert_eq!(
            (&report["state"], &report["in_flight"]),
            (&"down".into(), &0.into())
        );
        held.ok(YES); // too late, and on a connection that is no longer used
        backend.expect_nothing();
    });
}

#[test]
fn a_backend_that_takes_no_connection_is_given_up_in_time() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).expect("a port");
    socket.listen(0).expect("it listens");
    let address = socket.local_addr().expect("bound");
    let address = address.as_socket().expect("of IPv4");
    let _queued = TcpStream::connect(address).expect("there is one place");
    let mut config = config(format!("http://{address}/"));
    config.limits.connect_timeout_ms = 100;
    config.limits.retries_max = 1;
    run(config, async |client, backends| {
        let error = send_hook(&client, Hook::Message)
            .await
            .expect_err("no place");
        assert!(matches!(error, HookError::Unreachable(_)), "{error:?}");
        assert!(error.to_string().contains("connect_timeout_ms"), "{error}");
        assert_eq!(report(&backends)["tried_again"], 1, "nothing was sent");
    });
}

#[test]
fn waiting_for_a_turn_is_part_of_the_time() {
    let mut backend = TestBackend::start();
    let mut config = config(backend.url());
    config.limits.requests_in_flight_max = 1;
    config.limits.timeout_ms = 300;
    run(config, async |client, backends| {
        let tasks = (0..3).map(|_| {
            let client = Rc::clone(&client);
            tokio::task::spawn_local(async move { send_hook(&client, Hook::Open).await })
        });
        let tasks: Vec<_> = tasks.collect();
        let held = backend.next().await; // no response, as for those that may follow
        for task in tasks {
            assert_eq!(task.await.expect("no panic"), Err(HookError::TimedOut));
        }
        let report = report(&backends);
        assert_eq!(
            (&report["waiting"], &report["in_flight"]),
            (&0.into(), &0.into())
        );
        drop(held);
    });
}

#[test]
fn a_longer_response_than_may_be_is_not_read_to_its_end() {
    let mut backend = TestBackend::start();
    let mut config = config(backend.url());
    config.limits.answer_bytes_max = 1_024;
    run(config, async |client, _| {
        let fits = format!("{YES}{}", " ".repeat(1_024 - YES.len()));
        let (result, _) = send_with(&client, &mut backend, Hook::Open, |it| it.ok(&fits)).await;
        assert_eq!(result, Ok(true));
        let declared = "HTTP/1.1 200 OK\r\nContent-Length: 1025\r\n\r\n"; // and nothing else
        let chunk = format!("200\r\n{}\r\n", " ".repeat(512));
        let chunks = chunk.repeat(3); // and no last one
        let endless = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        for answer in [declared, &endless] {
            let (result, count) =
                send_with(&client, &mut backend, Hook::Open, |it| it.write(answer)).await;
            let too_long = HookError::InvalidResponse("more than 1024 bytes".to_owned());
            assert_eq!((result, count), (Err(too_long), 1));
        }
    });
}

#[test]
fn requests_in_flight_and_waiting_are_limited() {
    let mut backend = TestBackend::start();
    let mut config = config(backend.url());
    config.limits.requests_in_flight_max = 3;
    config.limits.requests_waiting_max = 2;
    run(config, async |client, backends| {
        let tasks: Vec<_> = (0..5)
            .map(|_| {
                let client = Rc::clone(&client);
                tokio::task::spawn_local(async move { send_hook(&client, Hook::Message).await })
            })
            .collect();
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(backend.next().await);
        }
        let report = |state: &str, in_flight: u32, waiting: u32| {
            let report = report(&backends);
            assert_eq!(report["state"], state);
            assert_eq!(report["in_flight"], in_flight);
            assert_eq!(report["waiting"], waiting);
        };
        report("unknown", 3, 2);
        backend.expect_nothing();
        assert_eq!(
            send_hook(&client, Hook::Message).await,
            Err(HookError::Busy)
        );
        report("unknown", 3, 2);
        for _ in 0..2 {
            held.remove(0).ok(YES);
            held.push(backend.next().await);
            backend.expect_nothing();
        }
        report("up", 3, 0);
        for request in held {
            request.ok(YES);
        }
        for task in tasks {
            assert_eq!(task.await.expect("no panic"), Ok(true));
        }
        report("up", 0, 0);
    });
}

#[test]
fn a_dropped_hook_frees_its_place() {
    let mut backend = TestBackend::start();
    let mut config = config(backend.url());
    config.limits.requests_in_flight_max = 1;
    config.limits.requests_waiting_max = 0;
    run(config, async |client, backends| {
        let mut sending = Box::pin(send_hook(&client, Hook::Message));
        let held = tokio::select! {
            held = backend.next() => held,
            result = &mut sending => panic!("{result:?}"),
        };
        assert_eq!(
            send_hook(&client, Hook::Message).await,
            Err(HookError::Busy)
        );
        drop(sending);
        assert_eq!(report(&backends)["in_flight"], 0);
        let (result, _) = send_with(&client, &mut backend, Hook::Message, |it| it.ok(YES)).await;
        assert_eq!(result, Ok(true));
        drop(held);
    });
}

#[test]
fn a_close_needs_no_response_but_success() {
    let mut backend = TestBackend::start();
    run(config(backend.url()), async |client, _| {
        for (status, body) in [(200, "whatever"), (204, ""), (202, "[")] {
            let body = |request: ReceivedRequest| request.answer(status, body);
            let closing = client.send(Hook::Close, |_| b"{}".to_vec(), |_| Ok(()));
            let (result, ()) = tokio::join!(closing, async { body(backend.next().await) });
            assert_eq!(result, Ok(()));
        }
    });
}

#[test]
fn a_user_in_the_url_is_sent_to_the_backend_and_not_shown() {
    let mut backend = TestBackend::start();
    let url = backend.url().replace("http://", "http://ada:l%40ve@");
    run(config(url), async |client, backends| {
        let (result, ()) = tokio::join!(send_hook(&client, Hook::Open), async {
            let request = backend.next().await;
            assert_eq!(request.header("authorization"), Some("Basic YWRhOmxAdmU="));
            request.write_and_close("");
            backend.next().await.ok(YES);
        });
        assert_eq!(result, Ok(true));
        let shown = format!("{} {backends:?} {client:?}", report(&backends));
        assert!(
            !shown.contains("ada") && !shown.contains("l%40ve"),
            "{shown}"
        );
    });
}

#[test]
fn tls_trusts_only_the_authority_that_the_config_names() {
    let mut backend = TestBackend::start_tls();
    let mut config = config(backend.tls_url());
    config.limits.retries_max = 0;
    run(config.clone(), async |client, _| {
        let error = send_hook(&client, Hook::Open)
            .await
            .expect_err("an untrusted certificate");
        assert!(matches!(error, HookError::Unreachable(_)), "{error:?}");
        assert!(error.to_string().contains("certificate"), "{error}");
    });
    backend.expect_nothing();
    let ca_file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/hooks/tests/tls/ca.pem");
    config.ca_file = Some(ca_file.into());
    run(config, async |client, _| {
        for _ in 0..2 {
            let (result, count) =
                send_with(&client, &mut backend, Hook::Message, |it| it.ok(YES)).await;
            assert_eq!((result, count), (Ok(true), 1));
        }
    });
}

#[test]
fn an_unusable_backend_is_an_error_at_start() {
    let error = |change: &dyn Fn(&mut Backend)| {
        let mut backend = config("http://127.0.0.1:9/".to_owned());
        change(&mut backend);
        open(backend).expect_err("it is not usable")
    };
    for url in [
        "",
        "127.0.0.1:9",
        "ftp://127.0.0.1/",
        "http://",
        "http://:9/",
    ] {
        let error = error(&|it| it.url = url.to_owned());
        assert!(error.starts_with("backend b: its url is not"), "{error}");
    }
    assert_eq!(
        error(&|it| it.ca_file = Some("/nowhere/ca.pem".into())),
        "backend b: ca_file /nowhere/ca.pem: No such file or directory (os error 2)"
    );
    let not_pem = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    assert_eq!(
        error(&|it| it.ca_file = Some(not_pem.into())),
        format!("backend b: ca_file {not_pem}: it has no certificate")
    );
    let both = error(&|it| {
        it.url = "http://ada:love@127.0.0.1:9/".to_owned();
        it.secret = Some(Secret::new("s3cret"));
    });
    assert_eq!(
        both,
        "backend b: it has both a secret and a user in its url"
    );
}
