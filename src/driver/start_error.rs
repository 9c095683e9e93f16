//! Why a gateway did not start: one line each, with the cause and the cures.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// What kept a gateway from starting.
#[derive(Debug)]
pub enum StartError {
    /// The address cannot be listened on.
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel is older than 6.1.
    Kernel {
        /// What it calls itself.
        release: String,
    },
    /// `io_uring` is switched off or filtered out.
    Forbidden {
        /// What the kernel said.
        error: io::Error,
        /// `kernel.io_uring_disabled`, if it could be read and is not zero.
        disabled: Option<String>,
    },
    /// Too little memory may be locked.
    LockedMemory,
    /// The limit of open files is too low for the sessions wanted.
    OpenFiles {
        /// The hard limit.
        have: usize,
        /// What would be enough.
        need: usize,
    },
    /// The ring cannot be made for another reason.
    Ring(io::Error),
    /// The kernel refused a thread, an event descriptor or random numbers.
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

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, error } if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {address}: the port is in use; stop the other program, or choose \
                 another port with --listen"
            ),
            Self::Listen { address, error }
                if error.kind() == io::ErrorKind::PermissionDenied && address.port() != 0 =>
            {
                let port = address.port();
                write!(
                    f,
                    "cannot listen on {address}: this user may not listen on a port as low as \
                     {port}; choose a higher one with --listen, let the program \
                     (`setcap cap_net_bind_service=+ep campanile`, \
                     AmbientCapabilities=CAP_NET_BIND_SERVICE in systemd), or let everyone \
                     (`sysctl -w net.ipv4.ip_unprivileged_port_start={port}`)"
                )
            }
            Self::Listen { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::Kernel { release } => {
                write!(
                    f,
                    "this kernel is {release}: io_uring as used here needs Linux 6.1 or newer"
                )
            }
            Self::Forbidden {
                disabled: Some(value),
                ..
            } => write!(
                f,
                "io_uring is switched off (kernel.io_uring_disabled is {value}): \
                 run `sysctl -w kernel.io_uring_disabled=0`"
            ),
            Self::Forbidden {
                error,
                disabled: None,
            } => write!(
                f,
                "io_uring is not allowed here ({error}): a seccomp filter refuses it, as the \
                 default profiles of Docker and containerd do; run with a profile that allows \
                 io_uring_setup, io_uring_enter and io_uring_register"
            ),
            Self::LockedMemory => write!(
                f,
                "too little lockable memory for the rings: raise it (`ulimit -l`, \
                 LimitMEMLOCK= in systemd), or run fewer shards with --shards, or lower \
                 ring.entries_min and ring.submission_entries"
            ),
            Self::OpenFiles { have, need } => write!(
                f,
                "too few open files: {have} are allowed and {need} are needed; raise the limit \
                 (`ulimit -Hn`, LimitNOFILE= in systemd), or lower limits.sessions_max"
            ),
            Self::Ring(error) => write!(f, "cannot make an io_uring: {error}"),
            Self::Thread(error) => write!(f, "cannot start a shard: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

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
