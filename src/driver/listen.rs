//! Takes the port: the listening sockets of all shards, before any shard runs.

use super::errno::{EADDRNOTAVAIL, EAFNOSUPPORT, EPROTONOSUPPORT};
use super::start_error::StartError;
use crate::config::Listen;
use crate::vocabulary::limits::Limits;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// What is listened on.
#[derive(Debug)]
pub(super) struct Listening {
    /// The addresses, with the port that the kernel has chosen if it was left to it. The first is
    /// the one to tell people.
    pub(super) addresses: Vec<SocketAddr>,
    /// For each shard a listener for each address.
    pub(super) shards: Vec<Vec<OwnedFd>>,
}

/// An address and one socket for each shard, bound to it and not listening.
struct Taken {
    address: SocketAddr,
    sockets: Vec<Socket>,
}

/// Takes all addresses that `listen` stands for. All sockets are bound before any listens.
pub(super) fn listen(
    listen: Listen,
    shards: usize,
    limits: &Limits,
) -> Result<Listening, StartError> {
    let all = take_all(listen, |address| {
        take(listen, address, shards, limits).map_err(|error| (address, error))
    });
    let failed = |(address, error)| StartError::Listen { address, error };
    let all = all.map_err(failed)?;
    for taken in &all {
        for socket in &taken.sockets {
            let listens = socket.listen(BACKLOG);
            listens.map_err(|error| failed((taken.address, error)))?;
        }
    }
    let addresses = all.iter().map(|taken| taken.address).collect();
    let mut of_shards: Vec<Vec<OwnedFd>> = (0..shards).map(|_| Vec::new()).collect();
    for taken in all {
        for (listeners, socket) in of_shards.iter_mut().zip(taken.sockets) {
            listeners.push(OwnedFd::from(socket));
        }
    }
    Ok(Listening {
        addresses,
        shards: of_shards,
    })
}

/// Takes each address by `take`. Only what every machine has must be there.
fn take_all(
    listen: Listen,
    mut take: impl FnMut(SocketAddr) -> Result<Taken, (SocketAddr, io::Error)>,
) -> Result<Vec<Taken>, (SocketAddr, io::Error)> {
    match listen {
        Listen::Address(address) => Ok(vec![take(address)?]),
        Listen::Localhost(port) => {
            // A port that the kernel has chosen for one address may be in use on the other.
            let mut choices_left = if port == 0 { 3 } else { 1 };
            loop {
                let first = take((Ipv4Addr::LOCALHOST, port).into())?;
                choices_left -= 1;
                match take((Ipv6Addr::LOCALHOST, first.address.port()).into()) {
                    Ok(second) => return Ok(vec![first, second]),
                    Err((_, error)) if is_not_there(&error) => return Ok(vec![first]),
                    Err((_, error))
                        if error.kind() == io::ErrorKind::AddrInUse && choices_left > 0 => {}
                    Err(failed) => return Err(failed),
                }
            }
        }
        Listen::Everywhere(port) => match take((Ipv6Addr::UNSPECIFIED, port).into()) {
            Err((_, error)) if is_not_there(&error) => {
                Ok(vec![take((Ipv4Addr::UNSPECIFIED, port).into())?])
            }
            taken => Ok(vec![taken?]),
        },
    }
}

/// Whether the machine has no such address: no IPv6, or none on the loopback interface.
fn is_not_there(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(EAFNOSUPPORT | EADDRNOTAVAIL | EPROTONOSUPPORT)
    )
}

/// Binds one socket for each shard to an address.
fn take(listen: Listen, address: SocketAddr, shards: usize, limits: &Limits) -> io::Result<Taken> {
    let mut bound = address;
    if address.port() != 0 {
        // A second instance would silently take half the clients: first without sharing the port.
        wait_for_port(address, || bind(listen, address, false).map(drop))?;
    }
    let mut sockets = Vec::new();
    for _ in 0..shards {
        let socket = bind(listen, bound, true)?;
        bound_send_buffers(&socket, limits)?;
        let local = socket.local_addr()?;
        bound = local
            .as_socket()
            .expect("bound to an address of the internet");
        sockets.push(socket);
    }
    Ok(Taken {
        address: bound,
        sockets,
    })
}

/// Tries again for a while if the port is in use, and says so: an instance that is being replaced
/// may be about to leave.
#[expect(
    clippy::disallowed_methods,
    reason = "before the shards run, their starter may wait"
)]
fn wait_for_port(
    address: SocketAddr,
    mut attempt: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let began = Instant::now();
    let mut is_told = false;
    loop {
        match attempt() {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < PATIENCE =>
            {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(%address, "the port is in use; trying again for a second");
                }
                std::thread::sleep(PAUSE);
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
        // Whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    // Inherited by every connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Bounds what the kernel buffers for each connection of a listener: both options are inherited, so
/// that an accepted socket costs no system call.
fn bound_send_buffers(listener: &Socket, limits: &Limits) -> io::Result<()> {
    let Limits {
        socket_unsent_bytes_max: unsent_bytes_max,
        socket_send_buffer_bytes_max: buffer_bytes_max,
        ..
    } = *limits;
    if unsent_bytes_max > 0 {
        listener.set_tcp_notsent_lowat(unsent_bytes_max)?;
    }
    if buffer_bytes_max > 0 {
        // The kernel doubles what it is told.
        listener.set_send_buffer_size(buffer_bytes_max as usize / 2)?;
    }
    Ok(())
}

const BACKLOG: i32 = 4096;
/// How long a port in use is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    /// Which addresses are taken on a machine where taking those that begin like this fails so.
    fn taken(listen: &str, failing: &str, errno: i32) -> Result<Vec<String>, String> {
        let listen = listen.parse().expect("an address");
        let all = take_all(listen, |mut address| {
            if !failing.is_empty() && address.to_string().starts_with(failing) {
                return Err((address, io::Error::from_raw_os_error(errno)));
            }
            if address.port() == 0 {
                address.set_port(7);
            }
            Ok(Taken {
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
        assert_eq!(taken("localhost:80", "", 0), both);
        let chosen = Ok(vec!["127.0.0.1:7".to_owned(), "[::1]:7".to_owned()]);
        assert_eq!(taken("localhost:0", "", 0), chosen);
        assert_eq!(taken(":80", "", 0), Ok(vec!["[::]:80".to_owned()]));
        assert_eq!(taken("[::]:80", "", 0), Ok(vec!["[::]:80".to_owned()]));
        for no_ipv6 in [EAFNOSUPPORT, EADDRNOTAVAIL, EPROTONOSUPPORT] {
            let one = Ok(vec!["127.0.0.1:80".to_owned()]);
            assert_eq!(taken("localhost:80", "[", no_ipv6), one);
            let all = Ok(vec!["0.0.0.0:80".to_owned()]);
            assert_eq!(taken(":80", "[", no_ipv6), all);
            // Whoever asks for an address by its number wants that one.
            let failed = Err("[::]:80".to_owned());
            assert_eq!(taken("[::]:80", "[", no_ipv6), failed);
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
            let found = taken(listen, failing, EADDRINUSE);
            assert_eq!(found, Err(failing.to_owned()), "{listen}");
        }
        let without_ipv4 = taken("localhost:80", "127", EADDRNOTAVAIL);
        assert_eq!(without_ipv4, Err("127.0.0.1:80".to_owned()));
    }
}
