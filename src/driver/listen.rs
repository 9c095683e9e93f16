//! Listening sockets: binds the port for all shards, before any shard runs.

use super::errno::{EADDRNOTAVAIL, EAFNOSUPPORT, EPROTONOSUPPORT};
use super::start_error::StartError;
use crate::config::Listen;
use crate::vocabulary::limits::Limits;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The listening sockets of all shards.
#[derive(Debug)]
pub(super) struct Listening {
    /// The addresses, with the actual port if the kernel chose it. The first one is for messages
    /// and logs.
    pub(super) addresses: Vec<SocketAddr>,
    /// By shard: one listener for each address.
    pub(super) shards: Vec<Vec<OwnedFd>>,
}

/// An address and its sockets, one for each shard, bound and not yet listening.
struct BoundAddress {
    address: SocketAddr,
    sockets: Vec<Socket>,
}

/// Binds all addresses that `listen` stands for, then listens on all of them.
///
/// # Errors
///
/// [`StartError::Listen`] if an address cannot be bound or listened on.
pub(super) fn listen(
    listen: Listen,
    shards: usize,
    limits: &Limits,
) -> Result<Listening, StartError> {
    let all = bind_all(listen, |address| {
        bind_shards(listen, address, shards, limits).map_err(|error| (address, error))
    });
    let failed = |(address, error)| StartError::Listen { address, error };
    let all = all.map_err(failed)?;
    for bound in &all {
        for socket in &bound.sockets {
            let listens = socket.listen(BACKLOG);
            listens.map_err(|error| failed((bound.address, error)))?;
        }
    }
    let addresses = all.iter().map(|bound| bound.address).collect();
    let mut by_shard: Vec<Vec<OwnedFd>> = (0..shards).map(|_| Vec::new()).collect();
    for bound in all {
        for (listeners, socket) in by_shard.iter_mut().zip(bound.sockets) {
            listeners.push(OwnedFd::from(socket));
        }
    }
    Ok(Listening {
        addresses,
        shards: by_shard,
    })
}

/// Binds the addresses that `listen` stands for, each by `bind_one`. On a machine without IPv6,
/// `localhost` and all addresses are those of IPv4; an address named in the config must exist.
///
/// # Errors
///
/// The address that cannot be bound, and why.
fn bind_all(
    listen: Listen,
    mut bind_one: impl FnMut(SocketAddr) -> Result<BoundAddress, (SocketAddr, io::Error)>,
) -> Result<Vec<BoundAddress>, (SocketAddr, io::Error)> {
    match listen {
        Listen::Address(address) => Ok(vec![bind_one(address)?]),
        Listen::Localhost(port) => {
            // The port that the kernel chose for one address may be in use on the other.
            let mut choices_left = if port == 0 { 3 } else { 1 };
            loop {
                let first = bind_one((Ipv4Addr::LOCALHOST, port).into())?;
                choices_left -= 1;
                match bind_one((Ipv6Addr::LOCALHOST, first.address.port()).into()) {
                    Ok(second) => return Ok(vec![first, second]),
                    Err((_, error)) if is_unavailable(&error) => return Ok(vec![first]),
                    Err((_, error))
                        if error.kind() == io::ErrorKind::AddrInUse && choices_left > 0 => {}
                    Err(failed) => return Err(failed),
                }
            }
        }
        Listen::Everywhere(port) => match bind_one((Ipv6Addr::UNSPECIFIED, port).into()) {
            Err((_, error)) if is_unavailable(&error) => {
                Ok(vec![bind_one((Ipv4Addr::UNSPECIFIED, port).into())?])
            }
            bound => Ok(vec![bound?]),
        },
    }
}

/// Returns whether the machine has no such address: no IPv6, or none on the loopback interface.
fn is_unavailable(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(EAFNOSUPPORT | EADDRNOTAVAIL | EPROTONOSUPPORT)
    )
}

/// Binds one socket for each shard to an address.
///
/// # Errors
///
/// Fails if a socket cannot be made, bound or configured; for a port in use after waiting for it.
fn bind_shards(
    listen: Listen,
    address: SocketAddr,
    shards: usize,
    limits: &Limits,
) -> io::Result<BoundAddress> {
    let mut bound = address;
    if address.port() != 0 {
        // SO_REUSEPORT would let a second instance silently take half the clients, so bind once
        // without it.
        wait_for_port(address, || bind(listen, address, false).map(drop))?;
    }
    let mut sockets = Vec::new();
    for _ in 0..shards {
        let socket = bind(listen, bound, true)?;
        limit_send_buffers(&socket, limits)?;
        let local = socket.local_addr()?;
        bound = local
            .as_socket()
            .expect("bound to an address of the internet");
        sockets.push(socket);
    }
    Ok(BoundAddress {
        address: bound,
        sockets,
    })
}

/// Retries for [`PORT_WAIT_MAX`] if the port is in use, since an instance that is being replaced
/// may be about to exit. Logs that once.
#[expect(
    clippy::disallowed_methods,
    reason = "before the shards run, their starter may wait"
)]
fn wait_for_port(
    address: SocketAddr,
    mut attempt: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let began = Instant::now();
    let mut is_logged = false;
    loop {
        match attempt() {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < PORT_WAIT_MAX =>
            {
                if !std::mem::replace(&mut is_logged, true) {
                    tracing::warn!(%address, "the port is in use; retrying for one second");
                }
                std::thread::sleep(PORT_RETRY_PAUSE);
            }
            result => return result,
        }
    }
}

fn bind(listen: Listen, address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if let (Listen::Everywhere(_), SocketAddr::V6(_)) = (listen, address) {
        // Accept IPv4 too, independent of net.ipv6.bindv6only.
        socket.set_only_v6(false)?;
    }
    // Accepted sockets inherit this.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Limits the bytes that the kernel buffers for each connection of a listener. Accepted sockets
/// inherit both options, so that an accept needs no further system call.
fn limit_send_buffers(listener: &Socket, limits: &Limits) -> io::Result<()> {
    let Limits {
        socket_unsent_bytes_max: unsent_bytes_max,
        socket_send_buffer_bytes_max: buffer_bytes_max,
        ..
    } = *limits;
    if unsent_bytes_max > 0 {
        listener.set_tcp_notsent_lowat(unsent_bytes_max)?;
    }
    if buffer_bytes_max > 0 {
        // The kernel doubles the value.
        listener.set_send_buffer_size(buffer_bytes_max as usize / 2)?;
    }
    Ok(())
}

/// Connections that wait to be accepted, per listener; `net.core.somaxconn` may lower it.
const BACKLOG: i32 = 4096;
/// Time that binding is retried while the port is in use.
const PORT_WAIT_MAX: Duration = Duration::from_secs(1);
const PORT_RETRY_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the addresses that are bound if binding those that begin with `failing` fails with
    /// `errno`.
    fn bound(listen: &str, failing: &str, errno: i32) -> Result<Vec<String>, String> {
        let listen = listen.parse().expect("an address");
        let all = bind_all(listen, |mut address| {
            if !failing.is_empty() && address.to_string().starts_with(failing) {
                return Err((address, io::Error::from_raw_os_error(errno)));
            }
            if address.port() == 0 {
                address.set_port(7);
            }
            Ok(BoundAddress {
                address,
                sockets: Vec::new(),
            })
        });
        let all = all.map_err(|(address, _)| address.to_string())?;
        Ok(all.iter().map(|it| it.address.to_string()).collect())
    }

    #[test]
    fn localhost_is_one_address_or_two_and_everywhere_always_one() {
        let both = Ok(vec!["127.0.0.1:80".to_owned(), "[::1]:80".to_owned()]);
        assert_eq!(bound("localhost:80", "", 0), both);
        let chosen = Ok(vec!["127.0.0.1:7".to_owned(), "[::1]:7".to_owned()]);
        assert_eq!(bound("localhost:0", "", 0), chosen);
        assert_eq!(bound(":80", "", 0), Ok(vec!["[::]:80".to_owned()]));
        assert_eq!(bound("[::]:80", "", 0), Ok(vec!["[::]:80".to_owned()]));
        for no_ipv6 in [EAFNOSUPPORT, EADDRNOTAVAIL, EPROTONOSUPPORT] {
            let one = Ok(vec!["127.0.0.1:80".to_owned()]);
            assert_eq!(bound("localhost:80", "[", no_ipv6), one);
            let all = Ok(vec!["0.0.0.0:80".to_owned()]);
            assert_eq!(bound(":80", "[", no_ipv6), all);
            // An address in the config is that one only.
            let failed = Err("[::]:80".to_owned());
            assert_eq!(bound("[::]:80", "[", no_ipv6), failed);
        }
    }

    #[test]
    fn an_address_that_is_there_and_cannot_be_had_is_an_error() {
        const EADDRINUSE: i32 = rustix::io::Errno::ADDRINUSE.raw_os_error();
        for (listen, failing) in [
            ("localhost:80", "127.0.0.1:80"),
            ("localhost:80", "[::1]:80"),
            (":80", "[::]:80"),
            ("127.0.0.1:80", "127.0.0.1:80"),
        ] {
            let found = bound(listen, failing, EADDRINUSE);
            assert_eq!(found, Err(failing.to_owned()), "{listen}");
        }
        let without_ipv4 = bound("localhost:80", "127", EADDRNOTAVAIL);
        assert_eq!(without_ipv4, Err("127.0.0.1:80".to_owned()));
    }
}
