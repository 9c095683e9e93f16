//! Why a gateway did not start: one line each, with the cause and the cures.

use std::io;
use std::net::SocketAddr;

/// What kept a gateway from starting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("{}", not_listening(address, error))]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel is older than 6.1.
    #[error("this kernel is {release}: io_uring as used here needs Linux 6.1 or newer")]
    Kernel {
        /// What it calls itself.
        release: String,
    },
    /// `io_uring` is switched off or filtered out.
    #[error("{}", forbidden(error, disabled.as_deref()))]
    Forbidden {
        /// What the kernel said.
        error: io::Error,
        /// `kernel.io_uring_disabled`, if it could be read and is not zero.
        disabled: Option<String>,
    },
    /// Too little memory may be locked.
    #[error(
        "too little lockable memory for the rings: raise it (`ulimit -l`, LimitMEMLOCK= in \
         systemd), or run fewer shards with --shards, or lower ring.entries_min and \
         ring.submission_entries"
    )]
    LockedMemory,
    /// The limit of open files is too low for the sessions wanted.
    #[error(
        "too few open files: {have} are allowed and {need} are needed; raise the limit \
         (`ulimit -Hn`, LimitNOFILE= in systemd), or lower limits.sessions_max"
    )]
    OpenFiles {
        /// The hard limit.
        have: usize,
        /// What would be enough.
        need: usize,
    },
    /// The ring cannot be made for another reason.
    #[error("cannot make an io_uring: {0}")]
    Ring(io::Error),
    /// The kernel refused a thread, an event descriptor or random numbers.
    #[error("cannot start a shard: {0}")]
    Thread(io::Error),
}

impl StartError {
    /// What a failure to make a ring means.
    pub(crate) fn ring(error: io::Error) -> Self {
        let kind = error.kind();
        if kind == io::ErrorKind::OutOfMemory {
            return Self::LockedMemory;
        }
        if !matches!(
            kind,
            io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
        ) {
            return Self::Ring(error);
        }
        let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
        let disabled = disabled.map(|text| text.trim().to_owned());
        Self::Forbidden {
            error,
            disabled: disabled.filter(|value| value != "0"),
        }
    }
}

/// Why an address cannot be listened on, and what to do about it.
fn not_listening(address: &SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    let kind = error.kind();
    if kind == io::ErrorKind::AddrInUse {
        format!(
            "cannot listen on {address}: the port is in use; stop the other program, or choose \
             another port with --listen"
        )
    } else if kind == io::ErrorKind::PermissionDenied && port != 0 {
        format!(
            "cannot listen on {address}: this user may not listen on a port as low as {port}; \
             choose a higher one with --listen, let the program \
             (`setcap cap_net_bind_service=+ep campanile`, \
             AmbientCapabilities=CAP_NET_BIND_SERVICE in systemd), or let everyone \
             (`sysctl -w net.ipv4.ip_unprivileged_port_start={port}`)"
        )
    } else {
        format!("cannot listen on {address}: {error}")
    }
}

/// Why `io_uring` may not be used, and what to do about it.
fn forbidden(error: &io::Error, disabled: Option<&str>) -> String {
    match disabled {
        Some(value) => format!(
            "io_uring is switched off (kernel.io_uring_disabled is {value}): run `sysctl -w \
             kernel.io_uring_disabled=0`"
        ),
        None => format!(
            "io_uring is not allowed here ({error}): a seccomp filter refuses it, as the default \
             profiles of Docker and containerd do; run with a profile that allows io_uring_setup, \
             io_uring_enter and io_uring_register"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_one_line() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let error = || io::Error::from_raw_os_error(1);
        for error in [
            StartError::Listen {
                address,
                error: io::Error::from(io::ErrorKind::AddrInUse),
            },
            StartError::Listen {
                address,
                error: error(),
            },
            StartError::Listen {
                address,
                error: io::Error::from(io::ErrorKind::AddrNotAvailable),
            },
            StartError::Kernel {
                release: "5.10.0".to_owned(),
            },
            StartError::Forbidden {
                error: error(),
                disabled: Some("2".to_owned()),
            },
            StartError::Forbidden {
                error: error(),
                disabled: None,
            },
            StartError::LockedMemory,
            StartError::OpenFiles {
                have: 100,
                need: 257,
            },
            StartError::Ring(error()),
            StartError::Thread(error()),
        ] {
            let line = error.to_string();
            assert!(!line.contains('\n') && !line.contains("  "), "{line}");
        }
    }
}
