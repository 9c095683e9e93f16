//! Errors of starting a gateway. Each message is one line with the cause and the remedies.

use std::io;
use std::net::SocketAddr;

/// The reason that a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound or listened on.
    #[error("{}", not_listening(address, error))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The kernel's error.
        error: io::Error,
    },
    /// The kernel is older than 6.1.
    #[error("the kernel is Linux {release}; Campanile needs Linux 6.1 or newer for io_uring")]
    Kernel {
        /// The kernel's release, as of `uname -r`.
        release: String,
    },
    /// `io_uring` is disabled by a sysctl or blocked by a seccomp filter.
    #[error("{}", forbidden(error, disabled.as_deref()))]
    Forbidden {
        /// The kernel's error.
        error: io::Error,
        /// The value of `kernel.io_uring_disabled`; `None` if it is zero or cannot be read.
        disabled: Option<String>,
    },
    /// Too little memory may be locked for the smallest rings that the config allows.
    #[error(
        "too little lockable memory for the rings: raise it (`ulimit -l`, LimitMEMLOCK= in \
         systemd), or run fewer shards with --shards, or lower ring.entries_min and \
         ring.submission_entries"
    )]
    LockedMemory,
    /// The hard limit of open files is too low for the configured number of sessions.
    #[error(
        "too few open files: {have} are allowed and {need} are needed; raise the limit \
         (`ulimit -Hn`, LimitNOFILE= in systemd), or lower limits.sessions_max"
    )]
    OpenFiles {
        /// The hard limit.
        have: usize,
        /// The number of files needed.
        need: usize,
    },
    /// A ring cannot be made for another reason.
    #[error("cannot make an io_uring: {0}")]
    Ring(io::Error),
    /// A thread or an eventfd cannot be made, or random bytes cannot be read.
    #[error("cannot start a shard: {0}")]
    Thread(io::Error),
}

impl StartError {
    /// Classifies a failure to make a ring.
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

/// Formats why an address cannot be listened on, and what to do about it.
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
            "cannot listen on {address}: this user may not listen on port {port}; choose a higher \
             port with --listen, permit the program \
             (`setcap cap_net_bind_service=+ep campanile`, \
             AmbientCapabilities=CAP_NET_BIND_SERVICE in systemd), or permit all users \
             (`sysctl -w net.ipv4.ip_unprivileged_port_start={port}`)"
        )
    } else {
        format!("cannot listen on {address}: {error}")
    }
}

/// Formats why `io_uring` may not be used, and what to do about it.
fn forbidden(error: &io::Error, disabled: Option<&str>) -> String {
    match disabled {
        Some(value) => format!(
            "io_uring is disabled (kernel.io_uring_disabled is {value}): run `sysctl -w \
             kernel.io_uring_disabled=0`"
        ),
        None => format!(
            "io_uring is blocked ({error}): a seccomp filter denies it, as the default profiles of \
             Docker and containerd do; run with a profile that allows io_uring_setup, \
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
