//! Backends for hooks, driven by the test step by step or by a function.

use crate::PATIENCE;
use crate::http::{Request, ok};
use crate::peer::Peer;
use crate::spawn;
use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

/// A backend whose requests the test reads and responds to.
#[derive(Debug)]
pub struct Backend {
    /// The listening address.
    pub address: SocketAddr,
    accepted: Receiver<TcpStream>,
}

impl Backend {
    /// Starts to listen on a free port.
    pub fn start() -> Self {
        let (sender, accepted) = channel();
        let address = listen(move |socket| sender.send(socket).is_ok());
        Self { address, accepted }
    }

    /// Waits for the gateway's next connection.
    #[track_caller]
    pub fn connection(&self) -> Peer {
        let socket = self.accepted.recv_timeout(PATIENCE);
        Peer::over(socket.expect("the gateway connects"))
    }
}

/// Starts a backend that responds to every request with the body that `with` returns, until the
/// test process exits. Returns its address.
pub fn respond(with: impl Fn(&Request) -> String + Send + Sync + 'static) -> SocketAddr {
    let with = Arc::new(with);
    listen(move |socket| {
        let with = Arc::clone(&with);
        spawn("backend's connection", move || {
            let mut reader = BufReader::new(&socket);
            while let Ok(Some(request)) = Request::read(&mut reader) {
                if (&socket).write_all(ok(&with(&request)).as_bytes()).is_err() {
                    break;
                }
            }
        });
        true
    })
}

/// Passes each connection to `each` until that returns `false`. Returns the listening address.
fn listen(mut each: impl FnMut(TcpStream) -> bool + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it listens");
    spawn("backend", move || {
        for socket in listener.incoming().map_while(Result::ok) {
            if !each(socket) {
                break;
            }
        }
    });
    address
}
